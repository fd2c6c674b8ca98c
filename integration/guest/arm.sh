#!/bin/bash
# Runs the tests on ARM, in emulated guests.
# usage: integration/guest/arm.sh PART
#   ci           for the CI: the kernel tests that differ most between processors, and weigh.sh, on aarch64 and armv7
#   tests        all kernel tests, on both, with v2 and v1; writes their section of docs/kernels.md
#   report LOG   writes that section from the saved output of `tests`
#   weigh-only   builds, and prints the measurements of `weigh`
#   weigh        memory and time beside crun and runc; writes their section of docs/kernels.md
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
bad=0 began=$SECONDS
step() {
	echo "--- $* ($((SECONDS - began)) s)"
	"$@" || {
		bad=1
		echo "arm: failed: $*"
		return 1
	}
}

# build SCRIPT...: runs these scripts of cross/ for both processors.
build() {
	local target script
	"$here/qemu-install.sh" || {
		echo "arm: this machine's apt cannot install qemu" >&2
		exit 1
	}
	for target in aarch64-unknown-linux-musl armv7-unknown-linux-musleabihf; do
		for script; do step "cross/$script" "$target" || exit 1; done
	done
}

run_ci() {
	export SUBSET=ci COUNT=40 IT_ARGS_seccomp=kernel::
	export IT_ARGS="filters:: roles:: confine:: notify:: limits:: cgroup_access:: lifecycle:: kill_and_delete:: devices::"
	IT_ARGS+=" exec:: exec_process:: mounts:: namespaces::"
	step "$here/tests.sh" aarch64-6.12 v2 kernel rootfs cgroup seccomp
	step "$here/tests.sh" armv7-6.1 v2 kernel rootfs cgroup seccomp
	# Only the tests that depend on the version of cgroups.
	IT_ARGS="limits:: cgroup_access:: devices:: lifecycle:: kill_and_delete::" step "$here/tests.sh" armv7-6.1 v1 kernel cgroup
	run_weigh
}

run_tests() {
	local guest
	# The seccomp tests that need a kernel. The others compute tables of all architectures, which an ARM build lacks.
	export IT_ARGS_seccomp="kernel:: fuzz:: roles::probes"
	for guest in "aarch64-6.12 v2" "armv7-6.1 v2" "armv7-6.1 v1" "aarch64-5.10 v1"; do
		# shellcheck disable=SC2086  # words on purpose
		step "$here/tests.sh" $guest kernel rootfs cgroup seccomp 2>&1
	done
	return $bad
}

run_weigh() {
	step "$here/tests.sh" aarch64-6.12 v2 weigh
	step "$here/tests.sh" armv7-6.1 v2 weigh
	return $bad
}

# write_tests LOG, write_weigh LOG: write a section from the output of a run, which begins with the stamp.
write_tests() { "$here/tests-report.sh" < "$1" | "$here/section.sh" tests "$(grep -m 1 '^Run with embrun ' "$1")"; }
write_weigh() { "$here/weigh-report.sh" < "$1" | "$here/section.sh" weigh "$(grep -m 1 '^Run with embrun ' "$1")"; }

# logged COMMAND: runs it and keeps its output in $log, below the stamp.
logged() {
	"$here/section.sh" --stamp | tee "$log"
	"$@" | tee -a "$log"
	[ "${PIPESTATUS[0]}" = 0 ] || bad=1
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
case ${1:-} in
ci)
	build build.sh tests.sh
	run_ci
	;;
tests)
	build build.sh tests.sh
	logged run_tests
	write_tests "$log"
	;;
report) write_tests "$2" ;;
weigh-only)
	build build.sh
	run_weigh
	;;
weigh)
	build build.sh
	logged run_weigh
	write_weigh "$log"
	;;
*)
	sed -n 2,8p "$0" >&2
	exit 2
	;;
esac
exit $bad
