#!/bin/bash
# Replaces a section of docs/kernels.md by what it reads, below the line that says of which embrun it is.
# usage: integration/guest/section.sh NAME STAMP < TEXT
#        integration/guest/section.sh --stamp      prints that line; to be asked at the start of a run, after the build
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
if [ "$1" = --stamp ]; then
	# Another section that was written before this one is no change to what is run.
	commit=$(git rev-parse --short HEAD)
	git diff --quiet HEAD -- . ':!docs' || commit+=" with changes"
	echo "Of embrun $(sed -n '0,/^version = /s/^version = "\(.*\)"/\1/p' Cargo.toml), commit $commit, on $(date -u +%F)."
	exit
fi
new=$(mktemp)
trap 'rm -f "$new"' EXIT
[ -n "$2" ] || {
	echo "section: of which embrun? (--stamp)" >&2
	exit 1
}
grep -q "^<!-- $1 -->\$" docs/kernels.md || {
	echo "section: docs/kernels.md has no $1" >&2
	exit 1
}
{
	sed "/^<!-- $1 -->\$/q" docs/kernels.md
	printf '\n%s\n' "$2"
	cat
	sed -n "/^<!-- end of $1 -->\$/,\$p" docs/kernels.md
} > "$new"
cat "$new" > docs/kernels.md
