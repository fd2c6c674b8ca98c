#!/bin/bash
# Installs a site for podman's quadlet in a guest: embrun as the runtime, an image for each service, and the files of quadlet.
# usage: integration/gateway/guest-quadlets.sh SRV EMBRUN      SRV: from guest-root.sh; quadlet and seccomp are beside this script
set -euo pipefail
srv=$1 embrun=$2 own=$(dirname "$0")
mkdir -p /etc/containers/systemd /etc/containers/containers.conf.d
cat > /etc/containers/containers.conf.d/embrun.conf << CONF
[engine]
runtime = "embrun"
events_logger = "none"
cgroup_manager = "systemd"
[engine.runtimes]
embrun = ["$embrun"]
CONF
printf '[storage]\ndriver = "vfs"\nrunroot = "/run/containers/storage"\ngraphroot = "/var/lib/containers/storage"\n' > /etc/containers/storage.conf
cp -r "$own/seccomp" /etc/gateway/seccomp
for root in "$srv"/*/rootfs; do
	name=$(basename "${root%/rootfs}")
	tar -C "$root" -c . | podman import --quiet --change "ENTRYPOINT [\"/$name\"]" - "localhost/gateway/$name:1"
	cp "$own/quadlet/$name.container" /etc/containers/systemd/
done
chown 1000 /dev/ttyS1 /dev/ttyS2 /dev/i2c-0 /dev/sensor0 /dev/loop0 /dev/loop1
