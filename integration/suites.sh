#!/bin/bash
# Runs the test programs of a host and holds the number of skipped tests against its line in integration/skips.
# usage: integration/suites.sh HOST PROGRAM...       env: RUNTIME, IT_ARGS for the kernel tests, IT_ARGS_NAME for others;
# IT_SHOW=--nocapture where each test is a process of its own, whose output --show-output does not show
# HOST is a name for the reports. Every program runs in a pid and a mount namespace of its own under tini, so that orphans
# are reaped at once and nothing outside can be signalled; the kernel tests make their own, one for each test. Where
# systemd is asked for things, processes must have the pids that it knows them by.
set -uo pipefail
host=$1
shift
budget=$(awk -v h="$host" '$1 == h { print $2 }' "$(dirname "$0")/skips")
log=$(mktemp)
trap 'rm -f "$log"' EXIT
skipped=0 failed=0
case $host in
systemd-*) cage=() ;;
*) cage=(unshare --fork --pid --mount --mount-proc --kill-child=KILL -- tini -s --) ;;
esac
export IT_HOST=$host RUST_BACKTRACE=0
for program in "$@"; do
	name=$(basename "$program")
	name=${name%-*}
	if [ "$name" = kernel ]; then
		# shellcheck disable=SC2086  # words on purpose
		"$program" ${IT_ARGS:-} > "$log" 2>&1
		status=$?
		n=$(grep -c '^test .* \.\.\. ignored, [^d]' "$log")
		d=$(grep -c '^test .* \.\.\. ignored, differs' "$log")
		reasons='^test .* ignored, '
	else
		args=IT_ARGS_$name
		# shellcheck disable=SC2086  # words on purpose
		"${cage[@]}" "$program" ${IT_SHOW:---show-output} ${!args:-} > "$log" 2>&1
		status=$?
		n=$(grep -cE '(^|\.\.\. )SKIPPED: ' "$log") d=0
		reasons='(^|\.\.\. )SKIPPED: '
	fi
	if [ $status != 0 ]; then
		cat "$log"
		failed=1
	else grep -E "$reasons" "$log" || true; fi
	# A program that runs nothing proves nothing: a word that names no test any more, or a crash that ends well.
	grep -qE '^test result: .* [1-9][0-9]* passed' "$log" || {
		echo "$host: $name: no test passed"
		failed=1
	}
	echo "$host: $name: $(grep -E '^test result' "$log" | tail -n 1) ($n skipped, $d listed differences)"
	skipped=$((skipped + n))
done
echo "$host: $skipped tests skipped; integration/skips allows ${budget:-none: the host has no line there}"
[ -n "$budget" ] && [ "$skipped" -le "$budget" ] || failed=1
exit $failed
