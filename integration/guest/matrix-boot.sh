#!/bin/bash
# Boots one guest with a release binary and runs gateway.sh in it; in uml-small, which lacks most options, missing.sh. Prints
# what the script prints and ends with its status. If a part of the guest can be neither fetched nor built, it prints
# `UNAVAILABLE PART: reason` and ends with 1.
# usage: integration/guest/matrix-boot.sh GUEST TARGET [OPTION...]      env: LIMIT=600, the seconds that a guest may take
#   GUEST: uml, uml-small or a guest of qemu-build.sh; OPTION: for uml.sh or qemu.sh
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$here/../..
guest=$1 target=$2
shift 2
box=$(mktemp -d "${TMPDIR:-/var/tmp}/matrix.XXXXXX")
trap 'rm -rf "$box"' EXIT
share=$box/share

unavailable() { # PART
	cat "$box/log" >&2
	echo "UNAVAILABLE $1: $(tail -n 1 "$box/log")"
	exit 1
}

# year_of OPTION...: the year that the guest's clock will show.
year_of() {
	while [ $# -gt 0 ]; do
		if [ "$1" = --date ]; then
			date -u -d "@$2" +%Y
			return
		fi
		shift
	done
	date -u +%Y
}

# fill_share: the folder that the guest sees.
fill_share() {
	local profile
	mkdir -p "$share/seccomp-profiles"
	cp "$here/gateway.sh" "$here/missing.sh" "$here/profiles.sh" "$top/target/dist/$target/embrun" "$share/"
	for profile in "$top"/seccomp-profiles/*.json; do
		case $profile in *.config.json) ;; *) cp "$profile" "$share/seccomp-profiles/" ;; esac
	done
}

kernel=''
case $guest in
uml) kernel=$("$here/uml-kernel.sh" 2> "$box/log") ;;
uml-small) kernel=$("$here/uml-small.sh" 2> "$box/log") ;;
*) "$here/qemu-build.sh" "$guest" > /dev/null 2> "$box/log" ;;
esac || unavailable "the kernel"
fill_share
check=(./gateway.sh ./embrun "$(year_of "$@")")
case $guest in
# Debian aligns the segments of its armv7 busybox to 4 KiB: a kernel with larger pages cannot run it.
*-16k) ;;
aarch64-*)
	foreign=$("$here/foreign.sh" 2> "$box/log") && cp "$foreign" "$share/foreign" || unavailable "the armv7 busybox"
	check+=(./foreign SCMP_ARCH_ARM)
	;;
uml-small) check=(./missing.sh ./embrun) ;;
esac

options=(--limit "${LIMIT:-600}" "$@")
cd "$share" || exit 1
case $guest in
uml*)
	# User-mode Linux sees this machine's files, so the check gets its own /tmp, and busybox as its shell.
	in_uml='mount -t tmpfs tmp /tmp && mkdir /tmp/bin && busybox --install -s /tmp/bin && PATH=/tmp/bin:$PATH exec busybox sh "$@"'
	"$here/uml.sh" --kernel "$kernel" "${options[@]}" -- sh -c "$in_uml" sh "${check[@]}"
	;;
*) "$here/qemu.sh" --share "$share" "${options[@]}" "$guest" -- sh "${check[@]}" ;;
esac 2>&1
