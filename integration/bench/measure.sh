#!/bin/bash
# Measures the runtimes in one cgroup layout. run.sh starts it under tini in its own mount, pid and cgroup namespaces.
# usage: integration/bench/measure.sh v1|v2|hybrid ROUNDS OUT
# env: EMBRUN, CRUN, DEBIAN_CRUN, RUNC, FLOOR, INTERLEAVE, BENCH_ROOTFS, PROFILE: paths; COUNTS: numbers of containers for `list`;
#   DISK: a directory on a disk
# Appends lines to OUT/times (layout, command, runtime, wall and CPU time in microseconds, status) and OUT/sizes (layout, what,
# runtime, number).
set -euo pipefail
layout=$1 rounds=$2 out=$3
mount -t tmpfs run /run
cd /run
case $layout in
v1) awk '/ - cgroup2 / { print $5 }' /proc/self/mountinfo | while read -r tree; do umount "$tree"; done ;;
v2)
	umount -R /sys/fs/cgroup
	mount -t cgroup2 cgroup2 /sys/fs/cgroup
	;;
esac
# On v1 a write to cgroup.procs is cheap shortly after another one, so there is a pause before each command.
pause=:
[ "$layout" = v2 ] || pause='sleep 0.06'

runtimes=(embrun crun debian-crun runc)
case $layout in
# crun refuses a hybrid host.
hybrid) runtimes=(embrun runc) ;;
# Debian 12's crun must raise a limit there, which takes CAP_SYS_RESOURCE.
v2) capsh --has-p=cap_sys_resource 2> /dev/null || runtimes=(embrun crun runc) ;;
esac
path_of() {
	case $1 in
	embrun) echo "$EMBRUN" ;;
	crun) echo "$CRUN" ;;
	debian-crun) echo "$DEBIAN_CRUN" ;;
	runc) echo "$RUNC" ;;
	esac
}
call() { echo "$(path_of "$1") --root ${2:-/run}/s-$1"; }
bundle() { # DIR ARGS FILTER
	mkdir -p "$1"
	"$RUNC" spec --bundle "$1"
	jq --arg rootfs "$BENCH_ROOTFS" --argjson args "$2" --slurpfile filter "$3" '.process.terminal = false | .root.path = $rootfs |
		.process.args = $args | del(.process.capabilities.ambient) | .linux.seccomp = $filter[0]' "$1/config.json" > c
	mv c "$1/config.json"
}
echo null > none
# Debian's runc does not know riscv64.
jq '.architectures -= ["SCMP_ARCH_RISCV64"]' "$PROFILE" > profile
bundle true '["/bin/true"]' none
bundle sleep '["/bin/sleep", "1000"]' none
bundle filtered '["/bin/true"]' profile
bundle sleep-filtered '["/bin/sleep", "1000"]' profile
quiet='< /dev/null > /dev/null 2>&1'

# one COMMAND RUNTIME BEFORE TIMED AFTER: a case of interleave, which replaces `@` by a new number.
one() { printf '%s\t%s\t%s\t%s\n' "$layout $1 $2" "$3; $pause" "$4" "$5"; }
cases() {
	local name rt id stopped
	for name in "${runtimes[@]}"; do
		rt=$(call "$name") id="b-$name-@"
		stopped="until $rt state $id | grep -q stopped; do sleep 0.002; done"
		one run "$name" : "$rt run --bundle /run/true $id" ""
		one run-profile "$name" : "$rt run --bundle /run/filtered $id" ""
		one create "$name" : "$rt create --bundle /run/true $id" "$rt delete --force $id"
		one start "$name" "$rt create --bundle /run/true $id $quiet" "$rt start $id" "$stopped; $rt delete $id"
		one exec "$name" : "$rt exec sleeper-$name /bin/true" ""
		one delete "$name" "$rt create --bundle /run/true $id $quiet; $rt start $id; $stopped" "$rt delete $id" ""
		one delete-force "$name" "$rt create --bundle /run/sleep $id $quiet; $rt start $id" "$rt delete --force $id" ""
		one state "$name" : "$rt state sleeper-$name" ""
	done
	one run floor : "$FLOOR $BENCH_ROOTFS b-floor-@" ""
	[ "$layout" = v1 ] || return 0
	# With the state on a disk, where embrun syncs its records and crun does not.
	for name in embrun crun; do
		rt=$(call "$name" "$DISK") id="d-$name-@"
		one disk-run "$name" : "$rt run --bundle /run/true $id" ""
		one disk-create "$name" : "$rt create --bundle /run/true $id" "$rt delete --force $id"
		one disk-delete "$name" "$rt create --bundle /run/true $id $quiet; $rt kill $id KILL; until $rt state $id | grep -q stopped; do sleep 0.002; done" "$rt delete $id" ""
	done
}
# interleaved ROUNDS: the cases of stdin. A command that fails ends the measurement.
interleaved() {
	timeout $((300 + $1 * 120)) "$INTERLEAVE" "$1" 2 > results
	if awk -F'\t' '$5 != 0 { print; bad = 1 } END { exit !bad }' results; then
		echo "bench: the commands above failed (label, wall, CPU, KiB, status)" >&2
		exit 1
	fi
	awk -F'\t' '{ gsub(" ", "\t", $1); print $1 "\t" $2 "\t" $3 "\t" $5 }' results >> "$out/times"
}
make_sleeper() { # RUNTIME ID
	# shellcheck disable=SC2046  # words on purpose
	$(call "$1") create --bundle /run/sleep "$2" < /dev/null > /dev/null
}

for name in "${runtimes[@]}"; do
	make_sleeper "$name" "sleeper-$name"
	$(call "$name") start "sleeper-$name"
done
cases > cases
interleaved "$rounds" < cases
for name in "${runtimes[@]}"; do $(call "$name") delete --force "sleeper-$name"; done

# The cost of commands beside other containers.
if [ "$layout" != hybrid ]; then
	made=0
	for count in $COUNTS; do
		# The largest number only for two: a waiting init of runc takes several MB.
		beside=(embrun crun)
		[ "$count" -gt 100 ] || beside=("${runtimes[@]}")
		for name in "${beside[@]}"; do
			for ((i = made; i < count; i++)); do make_sleeper "$name" "many-$name-$i"; done
		done
		made=$count
		for name in "${beside[@]}"; do
			rt=$(call "$name")
			one "list-$count" "$name" : "$rt list" ""
			one "state-$count" "$name" : "$rt state many-$name-0" ""
			one "create-$count" "$name" : "$rt create --bundle /run/sleep more-$name-@" "$rt delete --force more-$name-@"
		done > cases
		interleaved $(((rounds + 2) / 3)) < cases
	done
	for name in "${runtimes[@]}"; do
		for id in $($(call "$name") list --quiet); do $(call "$name") delete --force "$id"; done
	done
fi

[ "$layout" = v1 ] || exit 0
size() { printf '%s\t%s\t%s\t%s\n' "$layout" "$1" "$2" "$3" >> "$out/sizes"; }
wait_for() { until $(call "$1") state "$2" 2> /dev/null | grep -q "$3"; do sleep 0.01; done; }
dirty() { awk '/^Private_Dirty:/ { print $2 }' "/proc/$1/smaps_rollup"; }
for name in "${runtimes[@]}"; do
	rt=$(call "$name")
	size binary "$name" "$(stat -L -c %s "$(path_of "$name")")"
	for bundle in sleep-filtered sleep; do
		$rt run --bundle /run/$bundle big < /dev/null > /dev/null 2>&1 &
		job=$!
		wait_for "$name" big running
		case $bundle in
		# The kernel's count for a process begins with each execve, unlike that of getrusage.
		sleep-filtered) size peak "$name" "$(awk '/^VmHWM:/ { print $2 }' "/proc/$job/status")" ;;
		sleep) size run-dirty "$name" "$(dirty "$job")" ;;
		esac
		$rt kill big KILL
		wait "$job" || true
	done
	$rt create --bundle /run/sleep waiting < /dev/null > /dev/null
	size init-dirty "$name" "$(dirty "$($rt state waiting | jq .pid)")"
	$rt delete --force waiting
	for limit in 64 96 128 160 192 256 384 512 1024 2048 3072 4096 6144 8192; do
		jq --argjson limit $((limit * 1024)) '.linux.resources.memory = { limit: $limit }' filtered/config.json > c
		mkdir -p limited && mv c limited/config.json
		for try in 1 2 3; do
			timeout -s KILL 5 "$(path_of "$name")" --root "/run/s-$name" run --bundle /run/limited "l-$try" < /dev/null > /dev/null 2>&1 || {
				$rt delete --force "l-$try" > /dev/null 2>&1 || true
				continue 2
			}
		done
		size limit "$name" "$limit"
		break
	done
done
