#!/bin/bash
# Runs the kernel tests, built for another processor, in one boot of an emulated guest.
# usage: integration/guest/tests.sh GUEST v2|v1 PROGRAM...
#   GUEST: aarch64-6.12, armv7-6.1 ...; PROGRAM: kernel, rootfs, cgroup or seccomp, or only `weigh`, which runs weigh.sh
# env: IT_ARGS, IT_ARGS_seccomp: the arguments of the programs; COUNT: the number of random filters; LIMIT: in seconds;
#   SUBSET: the name of a part of the tests, which has its own lines in integration/skips
#   WEIGH_ROUNDS: how often weigh.sh measures each command
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$here/../..
[ $# -ge 3 ] || {
	sed -n 3,7p "$0" >&2
	exit 2
}
guest=$1 cgroup=$2
shift 2
case $guest in
aarch64-*) target=aarch64-unknown-linux-musl arch=arm64 ;;
armv7-*) target=armv7-unknown-linux-musleabihf arch=armhf ;;
*)
	echo "tests: only for aarch64 and armv7 guests" >&2
	exit 2
	;;
esac
dist=$top/target/dist/$target
needs=("$dist/embrun" "$dist/tests")
[ "$1" != weigh ] || needs=("$dist/embrun")
ls "${needs[@]}" > /dev/null || {
	echo "tests: first cross/build.sh $target and, except for weigh, cross/tests.sh $target" >&2
	exit 2
}
disk=$("$here/qemu-root.sh" "$arch")

share=$(mktemp -d "${TMPDIR:-/var/tmp}/tests.XXXXXX")
trap 'rm -rf "$share"' EXIT
cp -r "${needs[@]}" "$top/integration/suites.sh" "$top/integration/skips" "$share/"
# The fixture's two programs are replaced by those of the guest's architecture.
cp -a "$("$top/rootfs-fixtures/build.sh" --bare)" "$share/rootfs"
cp "${disk%/*}/busybox-$arch" "$share/rootfs/bin/busybox"
case $1 in
weigh)
	cp "$here/weigh.sh" "$top/seccomp-profiles/default.json" "$share/"
	run="exec ./weigh.sh ./embrun /it/rootfs ./default.json ${WEIGH_ROUNDS:-10}"
	;;
*)
	cp "$dist/tests/probe" "$share/rootfs/bin/probe"
	run='exec ./suites.sh "$@"'
	;;
esac
# Emulated system calls are slow: longer timeouts.
"$here/qemu.sh" --disk "$disk" --cgroup "$cgroup" --memory 1G --limit "${LIMIT:-3600}" --share "$share" "$guest" -- \
	env IT_ROOTFS=/it/rootfs RUNTIME=/it/embrun IT_SLOW=10 IT_SHOW=--nocapture "IT_ARGS=${IT_ARGS:-}" "IT_ARGS_seccomp=${IT_ARGS_seccomp:-}" ${COUNT:+"COUNT=$COUNT"} \
	sh -c "cp -a . /it && cd /it && $run" sh "${guest%%-*}-$cgroup${SUBSET:+-$SUBSET}" "${@/#/tests/}"
