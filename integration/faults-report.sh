#!/bin/bash
# Prints the numbers of integration/faults.sh as a table.
# usage: integration/faults-report.sh STEP GUEST-STEP < NUMBERS
# NUMBERS has lines of the kernel, the cgroup layout, the command, points, signals, errors, leaks, orphans, hangs and wrong results.
set -euo pipefail
every() { if [ "$1" = 1 ]; then echo 'every system call'; else echo "every ${1}th system call"; fi; }
printf '\nOn the host %s was taken, in the guest (v2) %s.\n\n' "$(every "$1")" "$(every "$2")"
echo '| kernel, cgroups | command | points | signals | errors | leaks | orphans | hangs | wrong results |'
echo '|---|---|--:|--:|--:|--:|--:|--:|--:|'
awk -F '\t' '
{ printf "| %s, %s | %s |", $1, $2, $3; for (n = 4; n <= 10; n++) { printf " %d |", $n; sum[n] += $n }; print "" }
END { printf "| | all |"; for (n = 4; n <= 10; n++) printf " %d |", sum[n]; print "" }'
