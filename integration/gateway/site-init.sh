#!/bin/bash
# Runs one site: pid 1 of the site's namespaces. It finds an empty /run, as after a boot, waits for its network, and starts the
# site's broker, sensors and dockerd. Its end is the end of the site's power.
# usage: site-init.sh NAME ADDRESS DIR      DIR is the site's disk; EMBRUN and REGISTRY in the environment
set -euo pipefail
# shellcheck source=integration/gateway/slots.sh
. "$(dirname "$0")/slots.sh"
name=$1 address=$2 dir=$3
hostname "$name"
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs /run
# dockerd keeps its key in /etc/docker, so the site has a layer of its own over /etc.
mkdir -p "$dir/etc" "$dir/etc.work" "$dir/data" "$dir/log" "$dir/slots"
mount -t overlay -o "lowerdir=/etc,upperdir=$dir/etc,workdir=$dir/etc.work" overlay /etc
printf '127.0.0.1 localhost\n%s %s\n' "$address" "$name" > /etc/hosts
# The paths that services are given are the same at each site.
slots_up "$dir/slots" /run/slots
mount -t devpts -o newinstance,ptmxmode=666 devpts /dev/pts
mount --bind /dev/pts/ptmx /dev/ptmx
until ip -4 -o address show scope global | grep -q "$address/"; do sleep 0.05; done

mosquitto -c "$dir/broker.conf" >> "$dir/log/broker" 2>&1 &
"$(dirname "$0")/sensors.py" "$name" /run/sensors >> "$dir/log/sensors" 2>&1 &
# Swarm gives no devices to its services. So the site allows the slots to each container of firmware-updater when it starts.
allow_slots() {
	docker --host unix:///run/docker.sock events --since "$1" --filter event=start \
		--filter label=com.docker.swarm.service.name=firmware-updater --format '{{.ID}}' | while read -r id; do
		for slot in a b; do "$EMBRUN" --root "$(echo /run/docker/runtime-*/moby)" device add "$id" "/run/slots/$slot" --as "/slots/$slot"; done
	done
}
booted=$EPOCHSECONDS
while sleep 0.2; do allow_slots "$booted" || true; done >> "$dir/log/slots" 2>&1 &
exec dockerd --data-root "$dir/data" --exec-root /run/docker --pidfile /run/docker.pid --host unix:///run/docker.sock \
	--iptables=false --ip6tables=false --ip-forward=false --bridge=none --storage-driver vfs \
	--exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "/$name" --insecure-registry "$REGISTRY" \
	--add-runtime "embrun=$EMBRUN" --default-runtime embrun >> "$dir/log/dockerd" 2>&1
