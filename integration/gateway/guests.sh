#!/bin/bash
# Runs the gateway in guests: power cuts, a bad link, a site in user-mode Linux, as systemd units, and on emulated ARM machines.
# usage: integration/gateway/guests.sh ci|PART...      PART: power netem uml systemd quadlet armv7 aarch64 memory; ci: one power cut
# env: CUTS: the number of power cuts (default: 20)
set -uo pipefail
own=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$own/../.." && pwd)
cd "$top" || exit 2
"$top/integration/needs.sh" build gateway
images=${XDG_CACHE_HOME:-$HOME/.cache}/embrun/gateway/guest-images
bad=0
part() {
	local began=$SECONDS status=0
	echo "=== $*"
	"$@" || status=$?
	echo "=== ${1##*/} ${2:-}: $([ $status = 0 ] && echo ok || echo FAILED), $((SECONDS - began)) s"
	[ $status = 0 ] || bad=1
}
native() { "$top/rootfs-fixtures/gateway/build.sh" host "$images/host"; }
# arm TARGET: builds embrun and the services for it.
arm() {
	"$top/integration/guest/qemu-install.sh"
	"$top/cross/build.sh" "$1"
	"$top/rootfs-fixtures/gateway/build.sh" "$1" "$images/$1"
}
[ $# -gt 0 ] || {
	sed -n 3,4p "$0" >&2
	exit 2
}
native || exit 1
for name; do
	export IMAGES=$images/host TOOL=$images/host/gateway-tool
	case $name in
	ci) part "$own/power.sh" 1 ;;
	power) part "$own/power.sh" "${CUTS:-20}" ;;
	netem) part "$own/power.sh" netem ;;
	uml) part "$own/guest.sh" uml ;;
	systemd) part "$own/systemd.sh" units ;;
	quadlet) part "$own/systemd.sh" quadlet ;;
	armv7 | aarch64)
		case $name in armv7) target=armv7-unknown-linux-musleabihf guest=armv7-6.1 ;; *) target=aarch64-unknown-linux-musl guest=aarch64-6.12 ;; esac
		arm $target || exit 1
		IMAGES=$images/$target part "$own/guest.sh" $guest
		;;
	memory)
		part "$own/memory.sh" armv7-6.1
		part "$own/memory.sh" aarch64-6.12
		;;
	*)
		echo "guests: unknown part $name" >&2
		exit 2
		;;
	esac
done
exit $bad
