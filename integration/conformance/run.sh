#!/bin/bash
# Runs another project's test suite with embrun and with the oracles, all in the same way, and compares them test by test.
# integration/conformance/known/SUITE names each test that embrun fails, with the results of the oracles and the reason. The run
# fails if embrun fails a test that is not listed, passes one that is, or if an oracle's result is not the listed one. A test that
# only another runtime has ended counts as failed: it hangs.
# usage: integration/conformance/run.sh runc|runc-v2|crun|tools EMBRUN [TEST-FILE...]
#   runc-v2: runc's tests in a guest with cgroup v2 (v2.sh)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
suite=$1 embrun=$2
shift 2
box=$("$here/fetch.sh")
results=$box/results
mkdir -p "$results"
oracles="runc crun"
[ "${suite%-v2}" != runc ] || oracles=runc
if [ "$suite" = runc-v2 ]; then
	tests=("$here/v2.sh" runc)
	kernel=$("$("$here/../guest/uml-kernel.sh")" --version)
	where="guest, cgroup v2, every capability"
else
	tests=("$here/suite.sh" "$suite")
	kernel=$(uname -r)
	where="cgroup v1"
	[ "$(stat -fc %T /sys/fs/cgroup)" != cgroup2fs ] || where="cgroup v2"
	[ ! -e /sys/fs/cgroup/unified/cgroup.procs ] || where="cgroup v1 and v2 (hybrid)"
fi
for runtime in embrun $oracles; do
	program=$box/peer/$runtime
	[ $runtime != embrun ] || program=$embrun
	: > "$results/$suite.$runtime.log"
	"${tests[@]}" "$program" "$results/$suite.$runtime.log" "$@" > "$results/$suite.$runtime"
done
for runtime in embrun $oracles; do cut -f 2 "$results/$suite.$runtime"; done | sort -u > "$results/$suite.names"
for runtime in embrun $oracles; do
	lost=$(comm -23 "$results/$suite.names" <(cut -f 2 "$results/$suite.$runtime" | sort -u))
	[ -z "$lost" ] || sed 's/^/fail\t/' <<< "$lost" >> "$results/$suite.$runtime"
	count() { grep -c "^$1" "$results/$suite.$runtime" || :; }
	printf '%s\t%s\t%s\t%s\t%s\n' "$suite" $runtime "$(count pass)" "$(count skip)" "$(count fail)"
done | tee "$results/$suite.counts"
echo "$(date -u +%Y-%m-%d), Linux $(echo "$kernel" | cut -d . -f 1,2), $(uname -m), $where" > "$results/$suite.host"
# What embrun fails, as in the list: name, then each oracle's result.
while IFS=$'\t' read -r result name; do
	[ "$result" = fail ] || continue
	printf '%s ##' "$name"
	for oracle in $oracles; do
		found=$(name=$name awk -F'\t' '$2 == ENVIRON["name"] { print $1; exit }' "$results/$suite.$oracle")
		printf ' %s=%s' "$oracle" "${found:-none}"
	done
	echo
done < "$results/$suite.embrun" | sort > "$results/$suite.failed"
sed -E 's/ +## +/ ## /; s/ *: .*//; /^$/d' "$here/known/$suite" | sort > "$results/$suite.known"
bad=0
if new=$(comm -23 "$results/$suite.failed" "$results/$suite.known") && [ -n "$new" ]; then
	printf 'failed, but not listed so:\n%s\n' "$new"
	bad=1
fi
# With some files only, the other tests of the list did not run.
if [ $# = 0 ] && gone=$(comm -13 "$results/$suite.failed" "$results/$suite.known") && [ -n "$gone" ]; then
	printf 'listed, but the result is another:\n%s\n' "$gone"
	bad=1
fi
echo "all that was said: $results/$suite.RUNTIME.log" >&2
exit $bad
