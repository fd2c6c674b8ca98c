#!/bin/bash
# Runs containers as on a gateway for some minutes: with health checks, updates, pauses, restarts, hot-plugged devices and
# events. Fails if a command fails, or if memory, descriptors, processes, cgroups, files, mounts or latencies grow.
# usage: integration/soak/run.sh EMBRUN MINUTES      writes docs/soak.svg and a section of docs/reliability.md
set -euo pipefail
cd "$(dirname "$0")/../.."
rootfs=$(rootfs-fixtures/build.sh)
runtime=$(realpath "$1")
work=$(mktemp -d)
parent=soak-$$
stamp=$(integration/guest/section.sh --stamp)
# A run removes its cgroups; a run that fails may leave some.
clean() {
	for dir in /sys/fs/cgroup/"$parent" /sys/fs/cgroup/*/"$parent"; do
		[ ! -d "$dir" ] || find "$dir" -depth -type d -exec rmdir {} + 2> "$work/rmdir" || true
	done
	rm -rf "$work"
}
trap clean EXIT
unshare --fork --pid --mount --mount-proc --kill-child=KILL -- tini -s -- \
	python3 integration/soak/soak.py "$runtime" "$rootfs" "$2" "$work" "$parent"
python3 integration/soak/report.py "$work/samples.tsv" "$work/times.tsv" "$work/soak.svg" | tee "$work/table"
cat "$work/soak.svg" > docs/soak.svg
DOC=docs/reliability.md integration/guest/section.sh soak "$stamp" < "$work/table"
