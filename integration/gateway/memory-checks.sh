#!/bin/busybox sh
# shellcheck shell=dash
# Measures in a guest how much memory the containers of a site take without their programs: five containers with a sleeping busybox,
# minus five sleeping busyboxes without containers. So it includes all that the kernel holds for them: namespaces, cgroups, mounts
# and filters. It needs busybox alone, and a guest that has just booted: the kernel keeps a part of its memory for the next containers.
# usage: memory-checks.sh EMBRUN BUNDLES foreground|detached      BUNDLES/NAME/config.json: the bundles; their program is `sleep`
set -eu
embrun=$1 bundles=$2 how=$3
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
running() { [ "$($embrun list -q | wc -l)" = "$1" ] && [ "$($embrun list | grep -c running)" = "$1" ]; }
pss() { awk '$1 == "Pss:" { print $2 }' "/proc/$1/smaps_rollup"; }

# The first sleeps bring what later ones share into memory.
pids=''
for name in $names; do
	busybox sleep 100000 > "$work/$name.log" 2>&1 &
	pids="$pids $!"
done
settled > "$work/without"
# shellcheck disable=SC2086  # words on purpose
kill -KILL $pids
wait || :

pids=''
for name in $names; do
	case $how in
	foreground)
		$embrun run --bundle "$bundles/$name" "$name" > "$work/$name.log" 2>&1 < /dev/null &
		pids="$pids $!"
		;;
	detached) $embrun run --detach --bundle "$bundles/$name" "$name" > "$work/$name.log" 2>&1 < /dev/null ;;
	esac
done
count=$(echo "$names" | wc -l)
wait_for running "$count"
settled > "$work/with"
total=$(($(cat "$work/without") - $(cat "$work/with")))
processes=0
for pid in $pids; do processes=$((processes + $(pss "$pid"))); done
for name in $names; do $embrun delete --force "$name"; done
wait || :
echo "$how: $total KB for $count containers on $(uname -m), Linux $(uname -r), of which $processes KB are processes of embrun"
