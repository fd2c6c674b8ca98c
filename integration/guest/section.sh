#!/bin/bash
# Replaces a section of docs/kernels.md (or $DOC) by its stdin, below a line that states which embrun was run.
# usage: integration/guest/section.sh NAME STAMP < TEXT
#        integration/guest/section.sh --stamp      prints that line; call it after the build, before the run
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
if [ "$1" = --stamp ]; then
	# A section of docs that was written before does not change the program.
	commit=$(git rev-parse --short HEAD)
	git diff --quiet HEAD -- . ':!docs' || commit+=" with changes"
	echo "Run with embrun $(sed -n '0,/^version = /s/^version = "\(.*\)"/\1/p' Cargo.toml), commit $commit, on $(date -u +%F)."
	exit
fi
doc=${DOC:-docs/kernels.md}
new=$(mktemp)
trap 'rm -f "$new"' EXIT
[ -n "$2" ] || {
	echo "section: the stamp is empty (see --stamp)" >&2
	exit 1
}
grep -q "^<!-- $1 -->\$" "$doc" || {
	echo "section: $doc has no section $1" >&2
	exit 1
}
{
	sed "/^<!-- $1 -->\$/q" "$doc"
	printf '\n%s\n' "$2"
	cat
	sed -n "/^<!-- end of $1 -->\$/,\$p" "$doc"
} > "$new"
cat "$new" > "$doc"
