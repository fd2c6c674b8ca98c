#!/bin/busybox sh
# shellcheck shell=dash
# Measures in a guest how much memory the containers of a site take without their programs: the containers of some sites with a
# sleeping busybox each, minus as many sleeping busyboxes without containers, divided by the number of sites. So it includes all that
# the kernel holds for them: namespaces, cgroups, mounts and filters. One site alone would be lost in the kernel's own changes of about
# 1 MB. It needs busybox alone, and a guest that has just booted: the kernel keeps a part of its memory for the next containers.
# usage: memory-checks.sh EMBRUN BUNDLES foreground|detached SITES      BUNDLES/NAME/config.json: the bundles; their program is `sleep`
set -eu
embrun=$1 bundles=$2 how=$3 sites=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
names=$(ls "$bundles")
value() { awk -v name="$1:" '$1 == name { print $2 }' /proc/meminfo; }

# settled: the free memory once two measurements differ by less than 32 KB. Caches that can be dropped do not count.
settled() {
	last=0 n=0
	while [ $n -lt 40 ]; do
		n=$((n + 1))
		sync
		echo 3 > /proc/sys/vm/drop_caches
		now=$(value MemFree)
		if [ $((now - last)) -lt 32 ] && [ $((last - now)) -lt 32 ]; then break; fi
		last=$now
		usleep 200000
	done
	echo "$now"
}

# wait_for COMMAND...
wait_for() {
	n=0
	until "$@"; do
		n=$((n + 1))
		[ $n -lt 600 ] || {
			echo "memory: never: $*" >&2
			cat "$work"/*.log >&2
			exit 1
		}
		usleep 100000
	done
}
running() { [ "$($embrun list | grep -c running)" = "${1:-0}" ]; }
# embrun's file is on a tmpfs, whose pages are in use before a process maps them.
pss() { awk '$1 == "Pss:" { n = $2 } $1 == "Pss_Shmem:" { n -= $2 } END { print n }' "/proc/$1/smaps_rollup"; }

# taken COMMAND: how much memory COMMAND takes for each pair of a site's number and a name.
taken() {
	before=$(settled)
	for site in $(seq "$sites"); do for name in $names; do $1 "$name" "$name.$site"; done; done
	wait_for running "$([ "$1" = bare ] || echo $((sites * count)))"
	echo $((before - $(settled))) > "$work/$1"
}
bare() {
	busybox sleep 100000 > "$work/log" 2>&1 &
	pids="$pids $!"
}
foreground() {
	$embrun run --bundle "$bundles/$1" "$2" > "$work/$2.log" 2>&1 < /dev/null &
	pids="$pids $!"
}
detached() { $embrun run --detach --bundle "$bundles/$1" "$2" > "$work/$2.log" 2>&1 < /dev/null; }

count=$(echo "$names" | wc -l)
# The first sleep and the first container bring what later ones share into memory.
pids=''
bare
name=$(echo "$names" | head -n 1)
$embrun run --detach --bundle "$bundles/$name" first > "$work/first.log" 2>&1 < /dev/null
$embrun delete --force first
taken bare
# shellcheck disable=SC2086  # words on purpose
kill -KILL $pids
wait || :

pids=''
taken "$how"
processes=0
for pid in $pids; do processes=$((processes + $(pss "$pid"))); done
for id in $($embrun list -q); do $embrun delete --force "$id"; done
wait || :
echo "$how: $((($(cat "$work/$how") - $(cat "$work/bare")) / sites)) KB for $count containers on $(uname -m), Linux $(uname -r), of which" \
	"$((processes / sites)) KB are processes of embrun; $sites sites"
