#!/bin/bash
# Builds each TARGET, proves its binary static and stripped, writes its checksum and bill of materials, and prints the sizes. It fails
# if a binary is larger than its line in cross/budget allows.
# usage: cross/release.sh TARGET...
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
[ $# -gt 0 ] || die "usage: cross/release.sh TARGET... (of: $targets)"
cd "$top"
bad=0
for target in "$@"; do
	"$here/build.sh" "$target"
	f=target/dist/$target/embrun
	"$here/proof.sh" "$f" || bad=1
	(
		. "$here/env.sh"
		"$here/sbom.py" "$target"
	) > "target/dist/$target/embrun.cdx.json"
done
printf '%-34s %9s %9s  %s\n' target bytes budget sha256
for target in "$@"; do
	f=target/dist/$target/embrun size=$(stat -c %s "target/dist/$target/embrun")
	budget=$(awk -v t="$target" '$1 == t { print $2 }' "$here/budget")
	[ -n "$budget" ] || die "cross/budget has no line for $target"
	printf '%-34s %9d %9d  %.16s\n' "$target" "$size" "$budget" "$(cat "$f.sha256")"
	[ "$size" -le "$budget" ] || {
		say "$target exceeds its line in cross/budget by $((size - budget)) bytes (see: make size TARGET=$target)"
		bad=1
	}
done
exit $bad
