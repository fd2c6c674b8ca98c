#!/bin/bash
# Runs a suite as suite.sh does, in a guest of user-mode Linux with cgroup v2, where the runtime has every capability.
# usage: integration/conformance/v2.sh SUITE RUNTIME LOG [TEST-FILE...]
#   SUITE: runc, by default all files of its tests but those that need what the guest lacks
# A process starts in 10 to 40 ms there, so a test takes 3 to 6 s. The limits are for a loaded machine. Checking for the end is a
# command too, so it happens every ten seconds only.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
suite=$1 runtime=$2 log=$3
shift 3
[ $# != 0 ] || set -- cgroups.bats cgroup_delegation.bats update.bats events.bats pause.bats dev.bats delete.bats kill.bats ps.bats \
	capabilities.bats rlimits.bats seccomp.bats seccomp-notify.bats mounts.bats mask.bats userns.bats hooks.bats host-mntns.bats \
	create.bats run.bats exec.bats cpu_affinity.bats cwd.bats debug.bats env.bats help.bats ioprio.bats list.bats no_pivot.bats \
	personality.bats pidfd-socket.bats root.bats scheduler.bats spec.bats start.bats start_detached.bats start_hello.bats \
	state.bats tty.bats umask.bats version.bats mounts_propagation.bats mounts_recursive.bats
modules=$(echo "$("$here/../guest/uml-kernel.sh" | sed 's,/bin/.*,,')"/lib/uml/modules/*/kernel)
export WHOLE_CGROUP=1 LIMIT=5400 TICK=10
# The tests of block devices need loop devices and a scheduler with weights.
# shellcheck disable=SC2016  # the guest's shell expands them
"$here/../guest/uml.sh" --memory 2G --limit 6000 -- bash -c \
	'for module in drivers/block/loop block/bfq; do insmod "$1/$module.ko" 2> /dev/null; done; shift; "$@"' sh "$modules" "$here/suite.sh" "$suite" "$runtime" "$log" "$@"
