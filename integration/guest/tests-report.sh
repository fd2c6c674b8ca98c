#!/bin/bash
# Formats the output of `arm.sh tests` as Markdown: a table of the test programs, and the reason of each skip.
# usage: integration/guest/tests-report.sh < LOG      env: IT_ARGS, if only a part of the kernel tests was run
set -euo pipefail
log=$(cat)

# Each boot begins with `--- .../tests.sh GUEST VERSION ...`.
results() {
	awk '
		/^--- / { guest = $3; version = $4 }
		/ test result: / {
			program = $2; sub(/:/, "", program)
			for (i = 1; i < NF; i++) {
				if ($(i + 1) ~ /^passed/) passed = $i
				if ($(i + 1) ~ /^failed/) failed = $i
				if ($(i + 1) ~ /^skipped/) skipped = $i
			}
			sub(/\(/, "", skipped)
			printf "| %s | %s | %s | %s | %s | %s |\n", guest, version, program, passed, failed, skipped
		}'
}

skips() {
	awk '
		/^--- / { where = $3 ", " $4 }
		/^test .* ignored, / {
			test = $2; sub(/.* ignored, /, ""); sub(/ <[0-9.]*s>$/, "")
			print where ": " test ": " $0
		}
		/SKIPPED: / { sub(/.*SKIPPED: /, ""); print where ": " $0 }' |
		sort | uniq -c | sed 's/^ *1 /- /; s/^ *\([0-9]*\) /- \1 times: /'
}

printf '\n| guest | cgroup | tests | passed | failed | skipped |\n|---|---|---|---|---|---|\n'
results <<< "$log"
[ -z "${IT_ARGS:-}" ] || printf '\nOnly a part of the kernel tests: %s.\n' "$IT_ARGS"
printf '\nSkipped, and why:\n\n'
skips <<< "$log"
echo
