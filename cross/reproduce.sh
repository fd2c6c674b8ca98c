#!/bin/bash
# Builds TARGET twice, in folders of different names and depths and with two CARGO_HOMEs, and compares the binaries.
# usage: cross/reproduce.sh TARGET
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
target=${1:-}
target_facts "$target"
box=$(mktemp -d)
trap 'rm -rf "$box"' EXIT
mkdir -p "$box/a" "$box/second/deeper"
for d in "$box/a" "$box/second/deeper"; do
	git -C "$top" archive HEAD | tar -x -C "$d"
	(cd "$d" && CARGO_HOME=$d/.cargo cross/build.sh "$target")
done
a=$box/a/target/dist/$target/embrun b=$box/second/deeper/target/dist/$target/embrun
sha256sum "$a" "$b" | sed "s,$box/,,"
cmp "$a" "$b" && say "$target: both builds are identical"
