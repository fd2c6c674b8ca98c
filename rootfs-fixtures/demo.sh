#!/bin/sh
# Runs a real container that prints what it sees: its host name, its processes from pid 1 on, its mounts and its limits.
# usage: rootfs-fixtures/demo.sh EMBRUN
set -eu
embrun=$1
here=$(cd "$(dirname "$0")" && pwd)
rootfs=$("$here/build.sh" --bare)
bundle=$(mktemp -d "${TMPDIR:-/tmp}/embrun-demo.XXXXXX")
trap 'rm -rf "$bundle"' EXIT
# A kernel may run without a controller (a Raspberry Pi without memory), so the limits are those of the enabled ones.
has() { awk -v c="$1" '$1 == c && $4 == 1 { yes = 1 } END { exit !yes }' /proc/cgroups; }
limits=
! has memory || limits="$limits, \"memory\": {\"limit\": 33554432}"
! has pids || limits="$limits, \"pids\": {\"limit\": 16}"
sed -e "s|@ROOTFS@|$rootfs|" -e "s|@SCRIPT@|$here/demo-inside.sh|" -e "s|@LIMITS@|$limits|" "$here/demo.json" \
	> "$bundle/config.json"
echo "+ $embrun run --bundle $bundle demo" >&2
"$embrun" run --bundle "$bundle" "demo-$$"
