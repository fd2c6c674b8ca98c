#!/bin/bash
# Runs tests in one boot of a guest. What is run there was built here: the guest sees this machine's files.
# usage: integration/guest/suites.sh GUEST EMBRUN
#   v2                  all kernel tests, under pure cgroup v2
#   v1, none            those that cgroups matter to, under v1, and with no cgroups mounted
#   systemd-v2|-hybrid|-v1      the cgroup tests, where systemd runs the guest
set -euo pipefail
guest=$1
cd "$(dirname "$0")/../.."
IT_ROOTFS=$(rootfs-fixtures/build.sh)
RUNTIME=$(realpath "$2")
# Emulated system calls are slow, and there is one processor: patience, and no more tests at a time than that.
export IT_ROOTFS RUNTIME IT_SLOW=5 RUST_TEST_THREADS=1
programs=(kernel cgroup)
case $guest in
v2) programs+=(rootfs) ;;
v1) export IT_ARGS="limits:: update:: devices:: exec:: lifecycle:: cgroup" ;;
none) export IT_ARGS="limits:: update:: devices:: exec:: lifecycle:: cgroup" ;;
systemd-*)
	programs=(cgroup)
	# What a test of this suite takes from the fixture lies outside of the tree.
	mkdir -p target/guest && cp "$IT_ROOTFS/bin/busybox" target/guest/
	;;
*)
	sed -n 3,6p "$0" >&2
	exit 2
	;;
esac
mapfile -t programs < <(integration/programs.sh "${programs[@]}")
case $guest in
systemd-*) boot=(integration/guest/systemd.sh --cgroup "${guest#systemd-}") ;;
*) boot=(integration/guest/uml.sh --cgroup "$guest") guest=uml-$guest ;;
esac
"${boot[@]}" --limit 2400 -- integration/suites.sh "$guest" "${programs[@]}"
