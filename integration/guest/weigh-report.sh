#!/bin/bash
# Formats the output of `arm.sh weigh` as Markdown: the rows that weigh.sh printed, under their heading.
# usage: integration/guest/weigh-report.sh < LOG
set -euo pipefail
echo
echo '| machine | runtime | filter | peak RSS | anonymous | run | create | exec | delete |'
echo '|---|---|---|---|---|---|---|---|---|'
grep '^|' || true
echo
