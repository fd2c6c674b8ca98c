#!/bin/bash
# Runs test programs and fails if a test failed, or if more tests were skipped than integration/skips allows for this host.
# usage: integration/suites.sh HOST PROGRAM...
#   HOST names this run in the output and in integration/skips.
# env: RUNTIME; IT_ARGS, the arguments of the kernel tests; IT_ARGS_NAME, those of the program NAME; IT_SHOW=--nocapture if
#   each test is a separate process, whose output --show-output does not show
# Every program runs under tini in its own pid and mount namespace, so that orphans are reaped at once and no process outside
# can be signalled. The kernel tests create these namespaces for each test. On a systemd host the programs stay in the
# host's pid namespace, because systemd knows processes by their pids there.
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
	# A program that ran no test proves nothing: IT_ARGS may name a test that was renamed, or the program ended early with 0.
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
