#!/bin/bash
# Runs one site with embrun alone: five services under busybox's init, a broker with TLS, and a cloud broker in a network namespace of
# its own. Moves data through all five, performs the checks of checks.py, and prints a table. Everything is in private namespaces.
# usage: integration/gateway/run.sh EMBRUN
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/../.." && pwd)
embrun=$(realpath "$1")
"$top/integration/needs.sh" build test gateway
images=${XDG_CACHE_HOME:-$HOME/.cache}/embrun/gateway/images
box=$(mktemp -d "${TMPDIR:-/tmp}/gateway-XXXXXX")
loops=()
# shellcheck disable=SC2317
clean() {
	for loop in "${loops[@]}"; do losetup -d "$loop" || true; done
	# Cgroups outlive the namespaces.
	for tree in /sys/fs/cgroup /sys/fs/cgroup/*; do
		[ ! -d "$tree/${box##*/}" ] || find "$tree/${box##*/}" -depth -type d -exec rmdir {} + || true
	done
	rm -rf "$box"
}
trap clean EXIT
"$top/rootfs-fixtures/gateway/build.sh" host "$images"
"$here/certs.sh" "$box/certs" "$images/gateway-tool" site=127.0.0.1 cloud=10.77.0.1 uplink firmware-updater operator
"$top/rootfs-fixtures/gateway/build.sh" host "$images" "$box/certs"
for slot in a b; do
	truncate -s 4M "$box/slot-$slot"
	loops+=("$(losetup --find --show "$box/slot-$slot")")
done

mkdir "$box/etc" "$box/site"
cat > "$box/settings.json" << A
{"embrun": "$embrun", "images": "$images", "box": "$box", "top": "$top", "slots": ["${loops[0]}", "${loops[1]}"],
 "cgroup": "/${box##*/}", "path": "$PATH"}
A
# busybox's init reads /etc/inittab, so it gets an /etc of its own. The harness adds the services' lines and makes init read them.
echo "::once:$(command -v python3) $here/harness.py $box/settings.json" > "$box/inittab"
status=0
unshare --mount --pid --fork --kill-child=KILL --net --ipc --uts --propagation private sh -euc '
	mount -t proc proc /proc
	mount -t tmpfs -o mode=755 tmpfs /run
	mount -t tmpfs -o mode=755 tmpfs "$1/etc"
	mkdir "$1/etc/upper" "$1/etc/work"
	mount -t overlay -o "lowerdir=/etc,upperdir=$1/etc/upper,workdir=$1/etc/work" overlay /etc
	cp "$1/inittab" /etc/inittab
	exec busybox init
' sh "$box" < /dev/null || status=$?
# The status of init is that of its halt signal, so the harness writes the result to a file.
[ -s "$box/status" ] || {
	echo "gateway: the site ended early, status $status" >&2
	exit 1
}
exit "$(cat "$box/status")"
