#!/bin/bash
# Runs another project's test suite against a runtime and compares the failures with integration/conformance/known/SUITE, which
# gives the reason of each. Fails if a test failed that is not listed, or if a listed test did not fail.
# usage: integration/conformance/run.sh runc|crun|tools RUNTIME [TEST-FILE...]
#   runc: the bats tests of runc, as in sid; crun: the Python tests of crun, as in trixie; tools: the validation of runtime-tools
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
suite=$1 runtime=$(realpath "$2")
shift 2
box=$("$here/fetch.sh")
# Not below /tmp: the cage has its own.
out=$(mktemp -d -p "$box")
trap 'rm -rf "$out"' EXIT
case $suite in
runc)
	cd "$box/runc/tests/integration"
	files="${*:-*.bats}"
	# The tests need a terminal and an open standard input. A process that a failed test left behind can keep bats from ending,
	# hence the timeout.
	"$here/cage.sh" bash -c "export RUNC=$runtime TMPDIR=/tmp; mkfifo /tmp/in; sleep 100000 > /tmp/in & held=\$!
		timeout --foreground 900 script -qefc 'bats --tap -t $files' $out/log < /tmp/in > /dev/null; kill \$held" || :
	tr -d '\r' < "$out/log" > "$out/tap"
	;;
crun)
	cd "$box/crun/tests"
	# test_delete is left out: it freezes a cgroup outside the cage.
	"$here/cage.sh" bash -c "export OCI_RUNTIME=$runtime INIT=$box/crun/tests/init TMPDIR=/tmp
		for f in ${*:-test_*.py}; do [ \$f = test_delete.py ] || timeout -k 5 150 python3 \$f; done" > "$out/tap" 2> "$out/stderr" || :
	;;
tools)
	cd "$box/tools"
	# Each program is one test. It passes if it prints `ok`, prints no `not ok`, and exits with 0.
	"$here/cage.sh" bash -c "export RUNTIME=$runtime TMPDIR=/tmp; n=0
		for f in ${*:-validation/*/*.t}; do
			n=\$((n + 1)) name=\$(basename \$f .t) said=\$(timeout -k 5 60 \$f 2>&1) && good=yes || good=no
			echo \"\$said\" | grep -q ^ok || good=no
			! echo \"\$said\" | grep -q '^not ok' || good=no
			[ \$good = yes ] && echo \"ok \$n - \$name\" || echo \"not ok \$n - \$name\"
		done" > "$out/tap" || :
	;;
*)
	echo "run: unknown suite $suite" >&2
	exit 2
	;;
esac
names() { sed -nE "s/^$1 [0-9]+ (- )?//p" "$out/tap" | sed 's/ *# *[sS][kK][iI][pP].*//; s/ *$//' | sort; }
names 'not ok' > "$out/failed"
passed=$(grep '^ok' "$out/tap" | grep -civ '# *skip' || :) skipped=$(grep '^ok' "$out/tap" | grep -ci '# *skip' || :)
sed 's/ *## .*//; /^$/d' "$here/known/$suite" | sort > "$out/known"
if new=$(comm -23 "$out/failed" "$out/known") && [ -n "$new" ]; then printf 'failed but not listed:\n%s\n' "$new"; fi
if [ $# = 0 ] && gone=$(comm -13 "$out/failed" "$out/known") && [ -n "$gone" ]; then printf 'listed but did not fail:\n%s\n' "$gone"; fi
cp "$out/tap" "${TMPDIR:-/tmp}/conformance-$suite.tap"
echo "$suite: $passed passed, $skipped skipped, $(wc -l < "$out/failed") failed; all that was said: ${TMPDIR:-/tmp}/conformance-$suite.tap"
[ -z "$new" ] && [ -z "${gone:-}" ]
