#!/bin/bash
# Writes docs/conformance.md from the last results of all suites and from the lists of known failures.
# usage: integration/conformance/report.sh
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$here/../..
box=$("$here/fetch.sh")
results=$box/results
if [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]; then layout="cgroup v2"; else layout="cgroup v1"; fi
[ ! -e /sys/fs/cgroup/unified/cgroup.procs ] || layout="cgroup v1 and v2 (hybrid)"
{
	cat << T
# Conformance

\`make conformance\` writes this page. It runs the test suites of runc, crun and runtime-tools with embrun and, in the same way on
the same host, with runc and crun, which it builds from Debian's sources. It fails if a test is lost, or if an entry of the lists
below is not true for embrun or for an oracle.

$(date -u +%Y-%m-%d), Linux $(uname -r | cut -d . -f 1,2), $(uname -m), $layout, runc $(cat "$box/runc/VERSION"), crun $(cat "$box/crun/.tarball-version").

| suite | runtime | passed | skipped | failed |
|---|---|---|---|---|
T
	for suite in runc crun tools; do
		awk -F'\t' '{ printf "| %s | %s | %s | %s | %s |\n", $1, $2, $3, $4, $5 }' "$results/$suite.counts"
	done
	for suite in runc crun tools; do
		printf '\n## Tests of %s that embrun fails\n\n| test | oracles | reason |\n|---|---|---|\n' "$suite"
		sed -E '/^$/d; s/\|/\\|/g; s/^(.*[^ ]) +## +([^:]*): (.*)$/| \1 | \2 | \3 |/' "$here/known/$suite"
	done
} > "$top/docs/conformance.md"
echo "written: docs/conformance.md" >&2
