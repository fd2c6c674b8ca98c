#!/bin/bash
# Boots every line of matrix.txt, counts the checks, and writes their section of docs/kernels.md. Fails if a check failed or
# if a line skipped a different number of checks than matrix.txt says.
# usage: integration/guest/matrix.sh [--check] [WORD...]
#   WORD: run only the lines that contain one of the words. With words or --check the section is printed, not written.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$here/../..
die() {
	echo "matrix: $*" >&2
	exit 2
}

# selected [WORD...]: the lines of matrix.txt that contain one of the words, or all of them.
selected() {
	local lines word
	lines=$(grep -v '^#' "$here/matrix.txt")
	for word; do
		grep -qF -e "$word" <<< "$lines" || die "no line of matrix.txt contains '$word'"
	done
	grep -F -e "$(printf '%s\n' "$@")" <<< "$lines"
}

# binaries < LINES: the release binaries that these lines run.
binaries() { cut -d'|' -f2 | sort -u | sed "s,.*,$top/target/dist/&/embrun,"; }

# is_current BINARY: it was built after the last change of the sources.
is_current() { [ -z "$(cd "$top" && find src build.rs Cargo.toml Cargo.lock -newer "$1" -print -quit)" ]; }

# count GUEST SPECIAL SKIPS < OUTPUT: counts the checks of one boot. Prints a `row` and a `note` for each check that did not
# pass, as tab-separated fields for matrix-report.sh. Fails if the checks did not end, or if another number was skipped.
count() {
	awk -v guest="$1" -v special="$2" -v skips="$3" '
		function note(text) { notes = notes "note\t" guest "\t" special "\t" text "\n" }
		# A line is `WORD NAME: REASON`.
		function name() { return substr($0, length($1) + 2, index($0, ":") - length($1) - 2) }
		function reason() { return substr($0, index($0, ":") + 2) }
		/^ok / { passed++ }
		/^FAIL / { failed++; note("**" name() " failed**: " reason()) }
		/^skip / { skipped++; note(name() " skipped: " reason()) }
		/^UNAVAILABLE / { unavailable = name() " is not available: " reason() }
		/^kernel .*, [0-9]+ failures$/ { kernel = $2 "\t" $3; sub(/,$/, "", kernel) }
		END {
			if (unavailable) {
				print "row\t" guest ": " unavailable "\t?\t" special "\t\t\t"
				exit 1
			}
			print "row\t" (kernel ? kernel : guest " did not end\t?") "\t" special "\t" passed + 0 "\t" failed + 0 "\t" skipped + 0
			if (skipped + 0 != skips) {
				note("**" skipped + 0 " checks skipped, not " skips "**")
				print "matrix: " guest ", " special ": " skipped + 0 " checks skipped, not " skips > "/dev/stderr"
			}
			printf "%s", notes
			exit !kernel || skipped + 0 != skips
		}'
}

# run_all < LINES: boots each line and prints its counts. What did not pass goes to stderr at once. Fails if a line failed.
run_all() {
	local guest target special skips options bad=0 out
	out=$(mktemp)
	while IFS='|' read -r guest target special skips options; do
		echo "== $guest, $special" >&2
		# shellcheck disable=SC2086  # words on purpose
		"$here/matrix-boot.sh" "$guest" "$target" $options < /dev/null > "$out" || bad=1
		grep -v '^ok ' "$out" >&2
		count "$guest" "$special" "$skips" < "$out" || bad=1
	done
	rm "$out"
	return $bad
}

write=yes
if [ "${1:-}" = --check ]; then
	write=no
	shift
fi
[ $# = 0 ] || write=no
lines=$(selected "$@") || exit 2
for embrun in $(binaries <<< "$lines"); do
	[ -e "$embrun" ] || die "$embrun is missing: first make release TARGET=..., or make release-all"
	# The published section describes the tree that contains it.
	[ $write = no ] || is_current "$embrun" || die "$embrun is older than the sources: first make release-all"
done
if [ $write = no ]; then
	run_all <<< "$lines" | "$here/matrix-report.sh"
else
	stamp=$("$here/section.sh" --stamp) || exit 2
	run_all <<< "$lines" | "$here/matrix-report.sh" | "$here/section.sh" kernels "$stamp"
fi
