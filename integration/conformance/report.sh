#!/bin/bash
# Writes docs/conformance.md from the last results of all suites and from the lists of known failures.
# usage: integration/conformance/report.sh
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$here/../..
box=$("$here/fetch.sh")
results=$box/results
suites=(runc runc-v2 crun tools)
{
	cat << T
# Conformance

\`make conformance\` and \`make conformance-v2\` write this page. They run the test suites of runc, crun and runtime-tools with
embrun and, in the same way on the same host, with runc and crun, which they build from Debian's sources. They fail if the lists
below do not agree with the results of embrun and of the oracles; a test without a result counts as failed. The suite runc-v2 has
most test files of runc, and runs in a guest of user-mode Linux.

runc $(cat "$box/runc/VERSION"), crun $(cat "$box/crun/.tarball-version").

| suite | host | runtime | passed | skipped | failed |
|---|---|---|---|---|---|
T
	for suite in "${suites[@]}"; do
		[ -e "$results/$suite.host" ] || continue
		host=$(cat "$results/$suite.host") awk -F'\t' '{ printf "| %s | %s | %s | %s | %s | %s |\n", $1, ENVIRON["host"], $2, $3, $4, $5 }' "$results/$suite.counts"
	done
	for suite in "${suites[@]}"; do
		printf '\n## Tests of %s that embrun fails\n\n| test | oracles | reason |\n|---|---|---|\n' "$suite"
		sed -E '/^$/d; s/\|/\\|/g; s/^(.*[^ ]) +## +([^:]*): (.*)$/| \1 | \2 | \3 |/' "$here/known/$suite"
	done
} > "$top/docs/conformance.md"
echo "written: docs/conformance.md" >&2
