#!/bin/bash
# Measures in an emulated guest how much memory five containers take without their programs, in the foreground and detached; each in
# a boot of its own (memory-checks.sh). Fails if five containers take 3 MB or more on armv7.
# usage: integration/gateway/memory.sh aarch64-6.12|armv7-6.1
set -euo pipefail
own=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$own/../.." && pwd)
guest=${1:-}
case $guest in
aarch64-*) arch=arm64 target=aarch64-unknown-linux-musl ;;
armv7-*) arch=armhf target=armv7-unknown-linux-musleabihf ;;
*)
	sed -n 4p "$0" >&2
	exit 2
	;;
esac
"$top/integration/needs.sh" build gateway
embrun=$top/target/dist/$target/embrun
[ -x "$embrun" ] || "$top/cross/build.sh" "$target"
packages=$("$own/guest-packages.sh" "$arch")
box=$(mktemp -d "${TMPDIR:-/var/tmp}/gateway-memory.XXXXXX")
trap 'rm -rf "$box"' EXIT
mkdir -p "$box/share/rootfs"/{bin,dev,proc,tmp,data,run/gateway} "$box/share/bundles"
cp "$packages/bin/busybox" "$box/share/rootfs/bin/"
ln -s busybox "$box/share/rootfs/bin/sleep"
cp "$embrun" "$own/memory-checks.sh" "$box/share/"
"$own/memory-bundles.py" "$("$top/integration/static.sh")" /it/rootfs "$box/share/bundles"
for how in foreground detached; do
	"$top/integration/guest/qemu.sh" --share "$box/share" --limit "${LIMIT:-600}" "$guest" -- \
		sh -c "cp -a . /it && cd /it && ./memory-checks.sh ./embrun bundles $how 8" | tee -a "$box/out"
done
kilobytes=$(sed -n 's/^foreground: \([0-9]*\) KB.*/\1/p' "$box/out")
case $guest in armv7-*) [ "$kilobytes" -lt 3072 ] || {
	echo "memory: $kilobytes KB on armv7 are 3 MB or more" >&2
	exit 1
} ;; esac
