#!/bin/sh
# Makes a small root file system to try containers with: a copy of the one of the tests, busybox without the probe.
# usage: rootfs-fixtures/copy.sh DIR
set -eu
dir=$1
[ -z "$(ls -A "$dir" 2> /dev/null)" ] || {
	echo "rootfs: $dir is not empty" >&2
	exit 1
}
from=$("$(dirname "$0")/build.sh" --bare)
mkdir -p "$dir"
(cd "$from" && tar -c --exclude=./bin/probe .) | tar -x -C "$dir"
echo "rootfs: $dir has busybox, $(du -sh "$dir" | cut -f1)" >&2
