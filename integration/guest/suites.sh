#!/bin/bash
# Runs tests in one boot of a guest of user-mode Linux. They are built here, since the guest sees this machine's files.
# usage: integration/guest/suites.sh GUEST EMBRUN
#   v2                          all kernel tests, with pure cgroup v2
#   v1, none                    the tests that depend on cgroups, with v1 and without any cgroup mounted
#   faults                      every command with faults at its system calls, with pure cgroup v2
#   engines                     podman of an ordinary user, and the runtime inside podman, with pure cgroup v2
#   systemd-v2|-hybrid|-v1      the cgroup tests, in a guest that systemd runs; with v2 also an ordinary user's
#                               containers, services of Type=notify, and podman
set -euo pipefail
guest=$1
cd "$(dirname "$0")/../.."
IT_ROOTFS=$(rootfs-fixtures/build.sh)
RUNTIME=$(realpath "$2")
# The guest has one processor and slow system calls: one test at a time, with longer timeouts.
export IT_ROOTFS RUNTIME IT_SLOW=5 RUST_TEST_THREADS=1
programs=(kernel cgroup)
case $guest in
v2) programs+=(rootfs) ;;
v1 | none)
	export IT_ARGS="limits:: update:: devices:: exec:: exec_process:: lifecycle:: kill_and_delete:: cgroup"
	[ "$guest" = none ] || IT_ARGS+=" costs::"
	;;
faults)
	export IT_ARGS="--ignored faults::"
	programs=(kernel)
	;;
engines)
	export IT_ARGS="--ignored rootless_engines mapped_engines::runtime"
	programs=(kernel)
	;;
systemd-*)
	programs=(cgroup)
	# systemd.sh mounts only this folder, so the busybox that a test copies must be in it.
	mkdir -p target/guest/rootfs/{proc,run,shared} && cp "$IT_ROOTFS/bin/busybox" target/guest/
	cp -a "$IT_ROOTFS/bin" target/guest/rootfs/
	if [ "$guest" = systemd-v2 ]; then
		rm -rf target/guest/fixture
		cp -a "$IT_ROOTFS" target/guest/fixture
		export IT_ROOTFS=$PWD/target/guest/fixture IT_ARGS="rootless:: nested::"
		programs+=(kernel)
	fi
	;;
*)
	sed -n 3,9p "$0" >&2
	exit 2
	;;
esac
mapfile -t programs < <(integration/programs.sh "${programs[@]}")
case $guest in
systemd-*) boot=(integration/guest/systemd.sh --cgroup "${guest#systemd-}") ;;
engines | faults) boot=(integration/guest/uml.sh --cgroup v2) guest=uml-$guest ;;
*) boot=(integration/guest/uml.sh --cgroup "$guest") guest=uml-$guest ;;
esac
checks=(integration/suites.sh "$guest" "${programs[@]}")
# shellcheck disable=SC2016  # the guest's shell expands them
[ "$guest" != systemd-v2 ] || checks=(bash -c 'integration/guest/notify.sh "$0" target/guest/rootfs &&
	integration/guest/podman.sh "$0" target/guest/fixture && "$@"' "$RUNTIME" "${checks[@]}")
"${boot[@]}" --limit 2400 -- "${checks[@]}"
