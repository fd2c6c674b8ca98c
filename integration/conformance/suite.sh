#!/bin/bash
# Runs another project's test suite with one runtime, and prints a line for each test: pass, skip or fail, a tab, its name.
# usage: integration/conformance/suite.sh runc|crun|tools RUNTIME LOG [TEST-FILE...]
#   runc: the bats tests of runc, as in sid; crun: the Python tests of crun, as in trixie; tools: the validation of runtime-tools
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
suite=$1 runtime=$(realpath "$2") log=$(realpath "$3")
shift 3
box=$("$here/fetch.sh")
# Not below /tmp: the cage has its own. The runtime has the name runc, which runc's tests read.
out=$(mktemp -d -p "$box")
trap 'rm -rf "$out"' EXIT
[ "$suite:$runtime" != "crun:$box/peer/runc" ] || cp "$box/peer/runc-as-crun" "$out/runtime"
cp "$runtime" "$out/runc"
[ -e "$out/runtime" ] || ln "$out/runc" "$out/runtime"
case $suite in
runc)
	cd "$box/runc/tests/integration"
	files="${*:-*.bats}"
	# The tests need a terminal and an open standard input. A process that a failed test left behind can keep bats from ending:
	# once each test of the plan has its line, five more seconds are enough.
	"$here/cage.sh" bash -c "export RUNC=$out/runc TMPDIR=/tmp; mkfifo /tmp/in; sleep 100000 > /tmp/in & held=\$!
		timeout --foreground ${LIMIT:-1200} script -qefc 'bats --tap -t $files' $out/log < /tmp/in > /dev/null & ran=\$!
		while kill -0 \$ran 2> /dev/null; do
			plan=\$(sed -nE 's/^1\.\.([0-9]+).*/\1/p' $out/log 2> /dev/null | tr -d '\r')
			[ \"\$(grep -cE '^(not )?ok ' $out/log)\" != \"\${plan:-none}\" ] || { sleep 5; break; }
			sleep ${TICK:-1}
		done
		kill \$held \$ran 2> /dev/null" 2> /dev/null || :
	tr -d '\r' < "$out/log" > "$log"
	;;
crun)
	cd "$box/crun/tests"
	# test_delete is left out: it freezes a cgroup outside the cage.
	HIDE_UNIFIED=1 "$here/cage.sh" bash -c "export OCI_RUNTIME=$out/runtime INIT=$box/crun/tests/init TMPDIR=/tmp
		for f in ${*:-test_*.py}; do [ \$f = test_delete.py ] || timeout -k 5 150 python3 \$f; done" > "$log" 2> /dev/null || :
	;;
tools)
	cd "$box/tools"
	# Each program is one test. It passes if it prints `ok`, prints no `not ok`, and exits with 0. Some race with a container that
	# has just started, so each has three tries.
	HIDE_UNIFIED=1 "$here/cage.sh" bash -c "export RUNTIME=$out/runtime TMPDIR=/tmp
		for f in ${*:-validation/*/*.t}; do
			name=\$(basename \$f .t)
			for try in 1 2 3; do
				said=\$(timeout -k 5 60 \$f 2>&1) && good=yes || good=no
				echo \"\$said\" | grep -q ^ok || good=no
				! echo \"\$said\" | grep -q '^not ok' || good=no
				[ \$good = no ] || break
			done
			echo \"\$said\" | sed 's/^/# /'
			[ \$good = yes ] && echo \"ok 1 - \$name\" || echo \"not ok 1 - \$name\"
		done" > "$log" 2> /dev/null || :
	;;
*)
	echo "suite: unknown suite $suite" >&2
	exit 2
	;;
esac
sed -nE 's/^(not ok|ok) [0-9]+ (- )?(.*[^ ]) *$/\1\t\3/p' "$log" | awk -F'\t' '{
	skip = match($2, / *# *[sS][kK][iI][pP]/)
	name = skip ? substr($2, 1, RSTART - 1) : $2
	sub(/ in [0-9]+ms$/, "", name)
	print ($1 == "not ok" ? "fail" : skip ? "skip" : "pass") "\t" name
}' | sort -t '	' -k 2
