#!/bin/sh
# Checks from outside what a gateway does with the runtime. It needs only busybox, so it runs in every guest of qemu.sh. Each
# check prints a line: `ok NAME`, `FAIL NAME: reason` or `skip NAME: what the kernel lacks`.
# usage: gateway.sh EMBRUN YEAR [FOREIGN-BUSYBOX FOREIGN-SCMP-ARCH]      YEAR: the year that the clock was set to
#   The exit status is the number of failures. profiles.sh and the folder seccomp-profiles must lie in the current folder.
embrun=/tmp/embrun
cp "$1" $embrun && chmod 755 $embrun || exit 99
year=$2 foreign=${3:+$PWD/$3} foreign_arch=${4:-} here=$PWD
work=/tmp/gateway state=/tmp/gateway/state
[ -d /run ] && state=/run/embrun
mkdir -p $work
cd $work || exit 99
failures=0
ok() { echo "ok $1"; }
skip() { echo "skip $1: $2"; }
fail() {
	echo "FAIL $1: $2"
	failures=$((failures + 1))
}
# is NAME WANTED FOUND
is() { if [ "$2" = "$3" ]; then ok "$1"; else fail "$1" "wanted '$2', found '$3'"; fi; }
# has NAME PART TEXT
has() { case $3 in *"$2"*) ok "$1" ;; *) fail "$1" "no '$2' in '$3'" ;; esac }
rt() { $embrun --root $state "$@"; }

case $(uname -m) in
aarch64) arch=SCMP_ARCH_AARCH64 ;; armv7l | armv6l) arch=SCMP_ARCH_ARM ;; x86_64) arch=SCMP_ARCH_X86_64 ;; riscv64) arch=SCMP_ARCH_RISCV64 ;;
esac
controllers=' '
v2=no
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
	v2=yes controllers=" $(cat /sys/fs/cgroup/cgroup.controllers) "
elif grep -q ' cgroup ' /proc/mounts; then
	controllers=" $(awk '$3 == "cgroup" { n = split($2, p, "/"); print p[n] }' /proc/mounts | tr '\n' ' ') "
fi
with() {
	case $controllers in *" $1 "*) return 0 ;; esac
	return 1
}
# knob CONTROLLER V2-FILE V1-FILE: the content of a file in the container's cgroup.
knob() { if [ $v2 = yes ]; then cat "/sys/fs/cgroup/gateway/$2"; else cat "/sys/fs/cgroup/$1/gateway/$3"; fi; }

mkdir -p rootfs/bin rootfs/proc rootfs/sys rootfs/dev rootfs/tmp rootfs/etc
cp /bin/busybox rootfs/bin/
for a in sh cat echo sleep mkdir hostname true id head uname ls ps kill dd touch mknod; do ln -sf busybox rootfs/bin/$a; done
[ -z "$foreign" ] || {
	mkdir -p rootfs/foreign
	cp "$foreign" rootfs/foreign/busybox
}
# config SCRIPT [MEMBERS of linux] [RESOURCES]: writes a bundle into the current folder whose process is `sh -c SCRIPT`.
config() {
	linux=${2:+, $2}$cgroups
	[ -z "$3" ] || linux="$linux, \"resources\": { $3 }"
	cat > config.json << C
{ "ociVersion": "1.2.0", "hostname": "gw",
  "process": { "args": ["sh", "-c", "$1"], "cwd": "/", "env": ["PATH=/bin"], "noNewPrivileges": true, "user": { "uid": 0, "gid": 0 },
    "capabilities": { "bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"] } },
  "root": { "path": "rootfs" },
  "mounts": [ { "destination": "/proc", "type": "proc", "source": "proc" },
    { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"] },
    { "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "size=16m"] } ],
  "linux": { "namespaces": [ { "type": "pid" }, { "type": "mount" }, { "type": "ipc" }, { "type": "uts" }, { "type": "network" } ],
    "maskedPaths": ["/proc/kcore", "/proc/keys"], "readonlyPaths": ["/proc/sys"]$linux } }
C
}
cgroups=', "cgroupsPath": "/gateway"'
[ "$controllers" != ' ' ] || cgroups=''
# lacks CONTROLLER RESOURCES: the limits are refused because the controller is missing, and the error names it.
lacks() {
	config true '' "$2"
	out=$(rt run lacks 2>&1 < /dev/null) && fail "$1_missing_is_said" "it ran: $out" && return
	if [ "$controllers" = ' ' ]; then
		has "$1_missing_is_said" 'no cgroup hierarchy is mounted' "$out"
	else has "$1_missing_is_said" "$1 controller" "$out"; fi
}

# -- a bundle runs in its own namespaces, and the runtime passes on its exit status
config 'echo \"$(hostname) pid $$ $(uname -m)\"; exit 7'
out=$(rt run one 2>&1)
status=$?
is run "gw pid 1 $(uname -m)" "$out"
is run_exit_status 7 $status
out=$(rt state one 2>&1) && fail run_leaves_nothing "$out" || ok run_leaves_nothing

# -- the lifecycle in a loop leaves nothing behind
config 'sleep 1000'
mounts=$(wc -l < /proc/mounts) n=0 bad=''
while [ $n -lt "${LOOPS:-10}" ] && [ -z "$bad" ]; do
	n=$((n + 1))
	rt create loop > log 2>&1 < /dev/null || bad="create: $(cat log)"
	case $(rt state loop 2>&1) in *'"created"'*) ;; *) bad="$bad not created" ;; esac
	rt start loop >> log 2>&1 || bad="$bad start: $(cat log)"
	case $(rt state loop 2>&1) in *'"running"'*) ;; *) bad="$bad not running" ;; esac
	[ "$(rt exec loop echo hello 2>&1)" = hello ] || bad="$bad exec"
	rt kill loop KILL || bad="$bad kill"
	w=0
	while [ $w -lt 50 ]; do
		case $(rt state loop 2>&1) in *'"stopped"'*) break ;; esac
		w=$((w + 1))
		usleep 100000
	done
	rt delete loop >> log 2>&1 || bad="$bad delete: $(cat log)"
done
is lifecycle_loop '' "$bad"
is lifecycle_mounts "$mounts" "$(wc -l < /proc/mounts)"
is lifecycle_state '' "$(ls $state 2> /dev/null)"
is lifecycle_cgroups '' "$(find /sys/fs/cgroup -type d -name gateway 2> /dev/null)"

# -- freezing
if [ $v2 = yes ] || with freezer; then
	rt run -d froz > log 2>&1 < /dev/null
	rt pause froz
	has pause '"paused"' "$(rt state froz 2>&1)"
	rt resume froz
	has resume '"running"' "$(rt state froz 2>&1)"
	rt delete -f froz
else
	rt run -d froz > log 2>&1 < /dev/null
	says='there is no freezer'
	[ -e /sys/fs/cgroup/memory ] || says='has no cgroup'
	has pause_missing_is_said "$says" "$(rt pause froz 2>&1)"
	rt delete -f froz
fi

# -- limits are written to the kernel's files, and enforced
if with memory; then
	config 'sleep 1000' '' '"memory": { "limit": 16777216 }'
	rt run -d mem > log 2>&1 < /dev/null
	is memory_limit 16777216 "$(knob memory memory.max memory.limit_in_bytes)"
	rt exec mem sh -c 'x=a; while :; do x=$x$x; done' > /dev/null 2>&1
	is memory_obeyed 137 $?
	rt delete -f mem
else lacks memory '"memory": { "limit": 16777216 }'; fi
if with pids; then
	config 'sleep 1000' '' '"pids": { "limit": 5 }'
	rt run -d pids > log 2>&1 < /dev/null
	is pids_limit 5 "$(knob pids pids.max pids.max)"
	has pids_obeyed "can't fork" "$(rt exec pids sh -c 'for i in 1 2 3 4 5 6; do sleep 9 & done' 2>&1)"
	rt delete -f pids
else lacks pids '"pids": { "limit": 5 }'; fi
if with cpu; then
	config 'sleep 1000' '' '"cpu": { "quota": 20000, "period": 100000 }'
	# The output goes to a file, because the container keeps it open as long as it lives.
	rt run -d cpu > log 2>&1 < /dev/null
	out=$(cat log)
	if [ $v2 = no ] && [ ! -e /sys/fs/cgroup/cpu/cpu.cfs_quota_us ]; then
		has cpu_quota_missing_is_said cfs_quota "$out"
	else is cpu_quota 20000 "$(knob cpu cpu.max cpu.cfs_quota_us | cut -d' ' -f1)"; fi
	rt delete -f cpu 2> /dev/null
else lacks cpu '"cpu": { "quota": 20000, "period": 100000 }'; fi

# -- device rules, enforced by the devices controller (v1) or an eBPF program (v2)
node='"devices": [ { "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229 } ]'
if ! grep -q ' fuse$' /proc/misc; then
	skip devices 'no fuse, whose device the check opens'
elif [ $v2 = yes ] || with devices; then
	config 'head -c 0 /dev/fuse && echo open' "$node" '"devices": [ { "allow": false, "access": "rwm" } ]'
	has device_denied 'not permitted' "$(rt run dev 2>&1 < /dev/null)"
	config 'head -c 0 /dev/fuse && echo open' "$node" '"devices": [ { "allow": false, "access": "rwm" }, { "allow": true, "type": "c", "major": 10, "minor": 229, "access": "r" } ]'
	is device_allowed open "$(rt run dev 2>&1 < /dev/null)"
	config 'echo x > /dev/fuse && echo open' "$node" '"devices": [ { "allow": false, "access": "rwm" }, { "allow": true, "type": "c", "major": 10, "minor": 229, "access": "r" } ]'
	has device_read_only 'not permitted' "$(rt run dev 2>&1 < /dev/null)"
else lacks devices '"devices": [ { "allow": false, "access": "rwm" } ]'; fi

# -- seccomp filters, enforced by this kernel
filter() { echo "\"seccomp\": { \"defaultAction\": \"SCMP_ACT_ALLOW\", \"architectures\": [$1], \"syscalls\": [ $2 ] }"; }
refuse='{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28 }'
config 'mkdir /tmp/a' "$(filter "\"$arch\"" "$refuse")"
has seccomp_errno 'No space left' "$(rt run sec 2>&1 < /dev/null)"
config 'exec mkdir /tmp/a' "$(filter "\"$arch\"" '{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL_PROCESS" }')"
rt run sec > out 2>&1 < /dev/null
is seccomp_kill 159 $?
config 'kill -5 $$; kill -6 $$; echo alive' "$(filter "\"$arch\"" '{ "names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [ { "index": 1, "value": 5, "op": "SCMP_CMP_EQ" } ] }')"
has seccomp_argument 'not permitted' "$(rt run sec 2>&1 < /dev/null)"
if [ -n "$foreign" ]; then
	config '/foreign/busybox mkdir /tmp/a' "$(filter "\"$arch\", \"$foreign_arch\"" "$refuse")"
	has seccomp_foreign_errno 'No space left' "$(rt run sec 2>&1 < /dev/null)"
	config '/foreign/busybox echo works' "$(filter "\"$arch\", \"$foreign_arch\"" "$refuse")"
	is seccomp_foreign_runs works "$(rt run sec 2>&1 < /dev/null)"
	# An architecture that the filter does not list is killed by SIGSYS at its first call.
	config 'exec /foreign/busybox echo works' "$(filter "\"$arch\"" "$refuse")"
	rt run sec > out 2>&1 < /dev/null
	is seccomp_foreign_unlisted 159 $?
fi

# -- the shipped profiles, and one that is recorded here
(cd "$here" && sh ./profiles.sh $embrun "${3:--}" seccomp-profiles/*.json)
failures=$((failures + $?))

# -- times after 2038, also on 32-bit ARM
config 'sleep 1000'
rt create when > log 2>&1 < /dev/null
created=$(rt state when 2>&1 | sed -n 's/.*"created": "\([^"]*\)".*/\1/p')
is "clock_in_$year" "$year" "${created%%-*}"
echo "created $created"
rt delete -f when

# -- a foreground run reports the signal that killed the container
config 'sleep 1000'
rt run big > log 2>&1 < /dev/null &
job=$!
w=0
while [ $w -lt 50 ]; do
	case $(rt state big 2>&1) in *'"running"'*) break ;; esac
	w=$((w + 1))
	usleep 100000
done
rt kill big KILL
wait $job
is run_reports_a_signal 137 $?
echo "kernel $(uname -r) $(uname -m), $failures failures"
exit $failures
