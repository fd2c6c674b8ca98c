#!/bin/bash
# Builds the test programs and prints their paths, or only the paths of the named ones.
# usage: integration/programs.sh [NAME...]      for example: kernel rootfs
set -euo pipefail
cd "$(dirname "$0")/.."
built=$(${CARGO:-cargo} test --locked --no-run 2>&1) || {
	echo "$built" >&2
	exit 1
}
mapfile -t all < <(sed -n 's/.*Executable integration.*(\(.*\))$/\1/p' <<< "$built")
for program in "${all[@]}"; do
	name=$(basename "${program%-*}")
	[ $# -gt 0 ] && [[ " $* " != *" $name "* ]] || echo "$PWD/${program#"$PWD"/}"
done
