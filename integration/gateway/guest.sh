#!/bin/bash
# Runs a site with embrun alone in a guest of another architecture or kernel, with the checks of guest-checks.sh: in user-mode Linux
# or on an emulated ARM machine.
# usage: integration/gateway/guest.sh uml|aarch64-6.12|armv7-6.1      env: see guest-parts.sh
set -euo pipefail
own=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$own/../.." && pwd)
guest=${1:-}
case $guest in
uml) arch=amd64 target=host ;;
aarch64-*) arch=arm64 target=aarch64-unknown-linux-musl ;;
armv7-*) arch=armhf target=armv7-unknown-linux-musleabihf ;;
*)
	sed -n 4p "$0" >&2
	exit 2
	;;
esac
"$top/integration/needs.sh" build gateway
box=$(mktemp -d "${TMPDIR:-/var/tmp}/gateway-guest.XXXXXX")
trap 'rm -rf "$box"' EXIT
native=$("$top/integration/static.sh")
"$own/guest-parts.sh" "$target" "$box" 127.0.0.1
embrun=$native
[ "$target" = host ] || embrun=$top/target/dist/$target/embrun
HOST_EMBRUN=$native "$own/guest-root.sh" "$arch" "$embrun" "$box/images" "$box" "$box/root" a 127.0.0.1:8883
cp "$box/sensor" "$box/root/usr/bin/"
mkdir "$box/root/etc/gateway/cloud"
cp "$box"/{ca.crt,cloud.crt,cloud.key,client.crt,client.key,command.key,firmware.key} "$box/root/etc/gateway/cloud/"
cp "$own/guest-checks.sh" "$box/root/usr/sbin/guest-checks"
case $arch in amd64) echo serial i2c raw ;; *) echo gpio raw ;; esac > "$box/root/etc/gateway/sensors"
echo "::once:/usr/sbin/guest-checks $([ "$guest" = uml ] && echo /dev/console || echo /run/checks)" >> "$box/root/etc/inittab"
run_uml() {
	local kernel
	kernel=$("$top/integration/guest/uml-kernel.sh")
	"$own/guest-modules.sh" "$kernel" "$box/root/mods"
	truncate -s 128M "$box/root.img"
	PATH=$PATH:/usr/sbin:/sbin mke2fs -q -F -t ext4 -O ^has_journal -d "$box/root" "$box/root.img"
	mkfifo "$box/line"
	exec 3<> "$box/line" 4> "$box/actuator"
	(while sleep 0.1; do echo 21.5; done >&3) &
	local feeder=$!
	"$top/integration/guest/pinned.sh" timeout "${LIMIT:-600}" "$kernel" "ubd0r=$box/root.img" root=/dev/ubda ro mem=384M init=/sbin/init quiet \
		con=null con0=null,fd:1 ssl1=fd:3,null ssl2=null,fd:4 < /dev/null | tr -d '\r' | tee "$box/console" | grep --line-buffered -E "$lines" || true
	kill $feeder
	[ -s "$box/actuator" ] || echo "FAIL actuator: nothing was written to its line" >> "$box/console"
}
run_qemu() {
	mkdir "$box/share"
	mv "$box/root" "$box/share/root"
	cp "$own/guest-enter.sh" "$box/share/"
	"$top/integration/guest/qemu.sh" --share "$box/share" --memory 768M --limit "${LIMIT:-900}" "$guest" -- sh ./guest-enter.sh |
		tee "$box/console" | grep --line-buffered -E "$lines" || true
}
lines='^(ok|FAIL|first|all services|service|kernel) '
case $guest in uml) run_uml ;; *) run_qemu ;; esac
if ! grep -q '^kernel .* 0 failures' "$box/console" || grep -q '^FAIL' "$box/console"; then
	echo "guest: $guest failed; its console:" >&2
	tail -n 60 "$box/console" >&2
	exit 1
fi
