#!/bin/bash
# Formats what matrix.sh counted as Markdown: a table with one row for each boot, and a list of the checks that did not pass.
# usage: integration/guest/matrix-report.sh < COUNTS      lines of tab-separated fields:
#   row KERNEL MACHINE SPECIAL PASSED FAILED SKIPPED, and note GUEST SPECIAL TEXT
set -euo pipefail
awk -F'\t' '
	BEGIN {
		print "\n| kernel | machine | what is special | passed | failed | skipped |"
		print "|---|---|---|---|---|---|"
	}
	$1 == "row" { print "| " $2 " | " $3 " | " $4 " | " $5 " | " $6 " | " $7 " |" }
	$1 == "note" { notes = notes "- " $2 ", " $3 ": " $4 "\n" }
	END { print "\n" notes }'
