#!/bin/bash
# Builds the kernel tests for TARGET, to run them there. target/dist/TARGET/tests gets the programs (kernel, rootfs, cgroup and
# seccomp, or the named ones) and `probe`, which runs in their containers.
# usage: cross/tests.sh TARGET [PROGRAM...]
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
target=${1:-}
target_facts "$target"
out=target/dist/$target/tests
shift
cd "$top"
rm -rf "$out"
mkdir -p "$out"
[ $# -gt 0 ] || set -- kernel rootfs cgroup seccomp
which=()
for program in "$@"; do which+=(--test "$program"); done
# Unoptimised code would take too long on an emulated processor.
export CARGO_PROFILE_DEV_OPT_LEVEL=1 CARGO_PROFILE_DEV_DEBUG=false
built=$("$here/cargo.sh" "$target" test --no-run "${which[@]}" 2>&1) || {
	say "$built"
	exit 1
}
sed -n 's/.*Executable integration.*(\(.*\))$/\1/p' <<< "$built" | while read -r program; do
	name=${program##*/}
	cp "$program" "$out/${name%-*}"
done
"$here/cargo.sh" "$target" build --quiet --release --manifest-path integration/probe/Cargo.toml
cp "target/cross/$target/release/probe" "$out/"
echo "$out"
