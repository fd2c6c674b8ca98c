#!/bin/bash
# Runs every command with a signal or an error at its system calls (integration/kernel/faults.rs), on this host and in a guest
# with cgroup v2. It fails if anything leaks or hangs, or if a command reports success without its effect.
# usage: integration/faults.sh STEP GUEST-STEP      every STEP-th call here, every GUEST-STEP-th in the guest, which is slower
# env: WRITE=1 writes the numbers into docs/reliability.md
set -euo pipefail
cd "$(dirname "$0")/.."
numbers=$(mktemp)
trap 'rm -f "$numbers"' EXIT
runtime=$(integration/static.sh)
mapfile -t kernel < <(integration/programs.sh kernel)
stamp=$(integration/guest/section.sh --stamp)
export IT_FAULTS_REPORT=$numbers
bad=0
IT_FAULTS=$1 RUNTIME=$runtime IT_SLOW=2 IT_ARGS="--ignored faults::" integration/suites.sh faults "${kernel[@]}" || bad=1
IT_FAULTS=$2 integration/guest/pinned.sh integration/guest/suites.sh faults "$runtime" || bad=1
[ -z "${WRITE:-}" ] || integration/faults-report.sh "$1" "$2" < "$numbers" | DOC=docs/reliability.md integration/guest/section.sh faults "$stamp"
exit $bad
