#!/bin/bash
# Measures embrun, crun and runc in a guest with a Debian disk: the memory of `run` while the container runs, and the times of the
# commands, interleaved. It measures with a seccomp filter of two names and with a profile.
# usage: weigh.sh EMBRUN ROOTFS PROFILE [ROUNDS]      prints a row of a Markdown table for each runtime and filter
set -euo pipefail
# runc 1.1 does not know riscv64, so it is removed from the profile.
embrun=$1 rootfs=$2 profile=$(tr -d '\n' < "$3" | sed 's/, *"SCMP_ARCH_RISCV64"//; s/"SCMP_ARCH_RISCV64" *, *//') profile_name=${3##*/} rounds=${4:-10}
mkdir -p /run/w
cp "$embrun" /run/w/embrun
chmod 755 /run/w/embrun
cd /run/w
two_names='{ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [ { "names": ["mount", "kexec_load"], "action": "SCMP_ACT_ERRNO" } ] }'
config() {
	cat > config.json << C
{ "ociVersion": "1.0.2", "hostname": "gw", "root": { "path": "$rootfs" },
  "process": { "args": $1, "cwd": "/", "env": ["PATH=/bin"], "noNewPrivileges": true, "user": { "uid": 0, "gid": 0 } },
  "mounts": [ { "destination": "/proc", "type": "proc", "source": "proc" },
    { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"] } ],
  "linux": { "namespaces": [ { "type": "pid" }, { "type": "mount" }, { "type": "ipc" }, { "type": "uts" }, { "type": "network" } ],
    "cgroupsPath": "/w", "maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys"],
    "resources": { "memory": { "limit": 67108864 }, "pids": { "limit": 32 } },
    "seccomp": $2 } }
C
}
runtimes=(/run/w/embrun "$(command -v crun)" "$(command -v runc)")
declare -A peak anonymous took
# A tenth above what was measured. It was 508 and 680 when no code was placed apart (cross/order.ld).
most=440
[ "$(uname -m)" != aarch64 ] || most=560
# timed KEY COMMAND...
timed() {
	local key=$1 began now
	shift
	began=$(date +%s%N)
	"$@" > log 2>&1 < /dev/null || {
		cat log
		exit 1
	} >&2
	now=$(date +%s%N)
	[ "$i" = 0 ] || took[$key]+=" $(((now - began) / 1000))"
}
# median KEY: in milliseconds
# shellcheck disable=SC2086  # words on purpose
median() { echo "$(($(printf '%s\n' ${took[$1]} | sort -n | sed -n "$(((rounds + 1) / 2))p") / 1000)) ms"; }
# wait_for STATUS RUNTIME ID
wait_for() { for ((j = 0; j < 300; j++)); do
	grep -q "\"$1\"" <<< "$("$2" state "$3" 2>&1)" && break
	sleep 0.1
done; }
for filter in 'two names' "$profile_name"; do
	case $filter in 'two names') seccomp=$two_names ;; *) seccomp=$profile ;; esac
	config '["sleep", "1000"]' "$seccomp"
	for r in "${runtimes[@]}"; do
		"$r" run big > log 2>&1 < /dev/null &
		job=$!
		wait_for running "$r" big
		# The peak is the larger of VmHWM, which lags behind before Linux 6.2, and the current Rss. Anonymous memory is measured and
		# not dirty memory, because all pages of a program on a tmpfs are dirty.
		read -r "peak[$r$filter]" "anonymous[$r$filter]" <<< "$(cat "/proc/$job/status" "/proc/$job/smaps_rollup" |
			awk '/^(VmHWM|Rss):/ { if ($2 > p) p = $2 } /^Anonymous:/ { a = $2 } END { print p, a }')"
		[ -n "${peak[$r$filter]}" ] || {
			echo "weigh: ${r##*/} does not run:"
			cat log
			exit 1
		} >&2
		"$r" kill big KILL
		wait $job || true
	done
	for ((i = 0; i <= rounds; i++)); do
		for r in "${runtimes[@]}"; do
			timed "$r$filter create" "$r" create many
			"$r" start many
			timed "$r$filter exec" "$r" exec many true
			"$r" kill many KILL
			wait_for stopped "$r" many
			timed "$r$filter delete" "$r" delete many
		done
	done
	config '["true"]' "$seccomp"
	for ((i = 0; i <= rounds; i++)); do
		for r in "${runtimes[@]}"; do timed "$r$filter run" "$r" run once; done
	done
	for r in "${runtimes[@]}"; do
		version=$("$r" --version | sed -n '1s/.*version //p')
		k=$r$filter
		echo "| $(uname -m), $(uname -r) | ${r##*/} $version | $filter | ${peak[$k]} KB | ${anonymous[$k]} KB | $(median "$k run") | $(median "$k create") | $(median "$k exec") | $(median "$k delete") |"
	done
	k=/run/w/embrun$filter
	[ "${peak[$k]}" -lt "$most" ] || {
		echo "weigh: embrun's peak RSS is ${peak[$k]} KB, but must be below $most KB" >&2
		exit 1
	}
done
