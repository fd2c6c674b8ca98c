#!/bin/bash
# Tries a package of cross/deb.sh, which calls it in new mount and pid namespaces: installs it in a fresh Debian, runs containers,
# and removes it. All files are on a tmpfs in FOLDER, which ends with the mount namespace.
# usage: cross/deb-try.sh FOLDER DEBIAN.tar PACKAGE ROOTFS RUNC-PACKAGE
set -euo pipefail
box=$1 fresh=$2 package=$3 rootfs=$4 runc=$5
said() { printf 'package: %s\n' "$*" >&2; }
mount --make-rprivate /
mkdir "$box/debian"
mount -t tmpfs debian "$box/debian"
tar -C "$box/debian" --exclude=./dev/\* -xf "$fresh"
d=$box/debian
mount --rbind /dev "$d/dev"
mount -t proc proc "$d/proc"
mount -t sysfs sys "$d/sys"
mount --rbind /sys/fs/cgroup "$d/sys/fs/cgroup"
mount -t tmpfs run "$d/run"
cp "$package" "$d/tmp/embrun.deb"
cp "$runc" "$d/tmp/embrun-runc.deb"
list() { chroot "$d" find / -xdev \( -path /proc -o -path /sys -o -path /tmp -o -path /var/lib/dpkg -o -path /var/log \) -prune -o -print | sort; }

list > "$box/before"
chroot "$d" dpkg -i /tmp/embrun.deb /tmp/embrun-runc.deb > "$box/dpkg.log" || {
	cat "$box/dpkg.log" >&2
	exit 1
}
[ "$(chroot "$d" dpkg --verify embrun embrun-runc)" = "" ] || {
	said "dpkg --verify reports differences"
	exit 1
}
[ -z "$(chroot "$d" dpkg-query -W -f '${Conffiles}' embrun)" ] || {
	said "it has conffiles, but should have none"
	exit 1
}
said "installed: $(chroot "$d" embrun --version | head -n 1)"

# A real bundle: the package's own `embrun spec` writes its configuration, and its root file system is a copy of the fixture.
mkdir -p "$d/tmp/bundle"
cp -a "$rootfs" "$d/tmp/bundle/rootfs"
out=$(chroot "$d" sh -euc 'cd /tmp/bundle; embrun spec
  sed -i "s/\"terminal\": true/\"terminal\": false/; s|\"sh\"|\"/bin/sh\", \"-c\", \"echo in it as pid \$\$; exit 7\"|" config.json
  s=0; embrun run tried || s=$?; echo "status $s"; embrun list --quiet')
[ "$out" = "in it as pid 1
status 7" ] || {
	said "the container in the fresh Debian printed: $out"
	exit 1
}
out=$(chroot "$d" sh -euc 'cd /tmp/bundle; s=0; runc run tried || s=$?; echo "status $s"')
[ "$out" = "in it as pid 1
status 7" ] || {
	said "the container by the name of runc printed: $out"
	exit 1
}
said "ran containers in a fresh Debian, by both names"

# The machine's podman uses the package's program through the package's own drop-in.
mount -t proc proc /proc
mount -t overlay overlay -o "lowerdir=$d/usr/bin:/usr/bin" /usr/bin
export CONTAINERS_CONF=$d/usr/share/doc/embrun/examples/containers.conf
mount -t tmpfs run /run
mkdir -p /run/lock
podman=(podman --root "$d/tmp/podman" --runroot /run/podman --storage-driver vfs --cgroup-manager cgroupfs --events-backend none)
by=$("${podman[@]}" info --format '{{.Host.OCIRuntime.Path}}')
[ "$by" = /usr/bin/embrun ] || {
	said "podman chose $by"
	exit 1
}
parent=/embrun-deb-$(basename "$box")
run() { "${podman[@]}" run --rm --network none --cgroup-parent "$parent" --rootfs "$d/tmp/bundle/rootfs" "$@"; }
out=$(run /bin/sh -c 'echo by podman')
[ "$out" = "by podman" ] || {
	said "the container of podman printed: $out"
	exit 1
}
s=0
out=$(run /no/such/program 2>&1) || s=$?
[[ $s = 127 && $out = *"no such file"* ]] || {
	said "a missing program: status $s: $out"
	exit 1
}
said "podman ran a container with it, through its drop-in"
# conmon still cleans up for a moment.
for _ in $(seq 50); do
	find /sys/fs/cgroup -depth -type d -path "*$parent*" -exec rmdir {} + 2> /dev/null || :
	[ -n "$(find /sys/fs/cgroup -type d -path "*$parent*")" ] || break
	sleep 0.1
done
[ -z "$(find /sys/fs/cgroup -type d -path "*$parent*")" ] || {
	said "a cgroup was left behind"
	exit 1
}

rm -rf "$d/tmp/bundle"
chroot "$d" dpkg --purge embrun embrun-runc > "$box/dpkg.log" || {
	cat "$box/dpkg.log" >&2
	exit 1
}
list > "$box/after"
diff "$box/before" "$box/after" >&2 || {
	said "its removal left files behind"
	exit 1
}
said "removed without a trace"
