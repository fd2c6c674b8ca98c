#!/bin/bash
# ARM, in emulated guests. usage: integration/guest/arm.sh PART
#   ci      what the CI runs: of the kernel's tests those that differ most between processors, on both and on v2 and v1, and `weigh.sh`
#   tests   all of the kernel's tests, on both and on v2 and v1; writes their section of docs/kernels.md
#   report LOG   writes that section from what `tests` printed
#   weigh   memory and time beside crun and runc; writes their section of docs/kernels.md
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$here/../..
cd "$top"
part=${1:-}
case $part in ci | tests | report | weigh) ;; *)
	sed -n 2,6p "$0" >&2
	exit 2
	;;
esac
targets="aarch64-unknown-linux-musl armv7-unknown-linux-musleabihf"
bad=0 began=$SECONDS log=$(mktemp)
trap 'rm -f "$log"' EXIT
step() {
	echo "--- $* ($((SECONDS - began)) s)"
	"$@" || {
		bad=1
		echo "arm: failed: $*"
		return 1
	}
}

# report LOG: the section of the tests, from what they printed.
report() {
	{
		printf '\n| guest | cgroup | tests | passed | failed | skipped |\n|---|---|---|---|---|---|\n'
		awk '/^--- / { guest = $3; version = $4 }
      / test result: / { name = $2; sub(/:/, "", name)
        for (i = 1; i < NF; i++) { if ($(i + 1) ~ /^passed/) ok = $i; if ($(i + 1) ~ /^failed/) no = $i; if ($(i + 1) ~ /^skipped/) s = $i }
        sub(/\(/, "", s); printf "| %s | %s | %s | %s | %s | %s |\n", guest, version, name, ok, no, s }' "$1"
		[ -z "${IT_ARGS:-}" ] || printf '\nOf the kernel tests those named: %s.\n' "$IT_ARGS"
		printf '\nSkipped, and why:\n\n'
		awk '/^--- / { where = $3 ", " $4 } /^test .* ignored, / { n = $2; sub(/.* ignored, /, ""); sub(/ <[0-9.]*s>$/, ""); print "- " where ": " n ": " $0 }
      /SKIPPED: / { sub(/.*SKIPPED: /, ""); print "- " where ": " $0 }' "$1" | sort | uniq -c | sed 's/^ *\([0-9]*\) - /- \1 times: /; s/^- 1 times: /- /'
		echo
	} | "$here/section.sh" tests "$(grep -m 1 '^Of embrun ' "$1")"
}

if [ "$part" = report ]; then
	report "$2"
	exit
fi
"$here/qemu-install.sh" || {
	echo "arm: qemu cannot be installed by this machine's apt" >&2
	exit 1
}
for target in $targets; do
	step cross/build.sh "$target"
	[ "$part" = weigh ] || step cross/tests.sh "$target"
done
[ $bad = 0 ] || exit 1
stamp=$("$here/section.sh" --stamp)
echo "$stamp" | tee "$log"
case $part in
ci)
	export SUBSET=ci COUNT=40 IT_ARGS_seccomp=kernel::
	export IT_ARGS="filters:: roles:: confine:: notify:: limits:: lifecycle:: devices:: exec:: mounts:: namespaces::"
	step "$here/tests.sh" aarch64-6.12 v2 kernel rootfs cgroup seccomp
	step "$here/tests.sh" armv7-6.1 v2 kernel rootfs cgroup seccomp
	# What the version of cgroups matters to.
	IT_ARGS="limits:: devices:: lifecycle::" step "$here/tests.sh" armv7-6.1 v1 kernel cgroup
	step "$here/tests.sh" aarch64-6.12 v2 weigh
	step "$here/tests.sh" armv7-6.1 v2 weigh
	;;
tests)
	# Those that meet a kernel; the others compute over the tables of all architectures, which an ARM build does not hold.
	export IT_ARGS_seccomp="kernel:: fuzz:: roles::probes"
	for run in "aarch64-6.12 v2" "armv7-6.1 v2" "armv7-6.1 v1" "aarch64-5.10 v1"; do
		# shellcheck disable=SC2086  # words on purpose
		step "$here/tests.sh" $run kernel rootfs cgroup seccomp 2>&1 | tee -a "$log"
		[ "${PIPESTATUS[0]}" = 0 ] || bad=1
	done
	report "$log"
	;;
weigh)
	echo > "$log"
	printf '| machine | runtime | filter | peak RSS | anonymous | run | create | exec | delete |\n|---|---|---|---|---|---|---|---|---|\n' >> "$log"
	(
		for guest in aarch64-6.12 armv7-6.1; do step "$here/tests.sh" "$guest" v2 weigh; done
		exit $bad
	) | tee -a /dev/stderr | grep '^|' >> "$log"
	[ "${PIPESTATUS[0]}" = 0 ] || bad=1
	echo >> "$log"
	"$here/section.sh" weigh "$stamp" < "$log"
	;;
esac
exit $bad
