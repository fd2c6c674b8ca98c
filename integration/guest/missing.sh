#!/bin/sh
# Checks embrun on the kernel of uml-small.sh, which lacks most options: a container that needs none of them runs, and each error
# names the missing option, as cross/kernel/options promises. It prints the same lines as gateway.sh.
# usage: missing.sh EMBRUN      The exit status is the number of failures.
embrun=/tmp/embrun work=/tmp/missing
cp "$1" $embrun && chmod 755 $embrun && mkdir -p $work/rootfs/bin $work/rootfs/proc $work/rootfs/dev && cp /bin/busybox $work/rootfs/bin/ || exit 99
cd $work || exit 99
failures=0
is() { if [ "$2" = "$3" ]; then echo "ok $1"; else
	echo "FAIL $1: wanted '$2', found '$3'"
	failures=$((failures + 1))
fi; }
# config SCRIPT [NAMESPACE [MOUNT [MEMBER of linux]]]
config() {
	cat > config.json << C
{ "ociVersion": "1.2.0", "hostname": "gw", "root": { "path": "rootfs" },
  "process": { "args": ["/bin/busybox", "sh", "-c", "$1"], "cwd": "/", "noNewPrivileges": true, "user": { "uid": 0, "gid": 0 } },
  "mounts": [ { "destination": "/proc", "type": "proc", "source": "proc" }${3:+, $3} ],
  "linux": { "cgroupsPath": "/missing", "namespaces": [ { "type": "mount" }, { "type": "uts" }${2:+, { \"type\": \"$2\" \}} ]${4:+, $4} } }
C
}
# Without eBPF the default device rules cannot be enforced on v2, so the checks that are not about cgroups disable them.
manager=disabled
run() { $embrun --root /run/missing --cgroup-manager $manager run "$@" 2>&1 < /dev/null; }
# refused NAME OPTION: the bundle is refused, and the error names the option.
refused() {
	out=$(run refused) && {
		echo "FAIL $1: it ran: $out"
		failures=$((failures + 1))
		return
	}
	case $out in *"$2"*) echo "ok $1" ;; *)
		echo "FAIL $1: no '$2' in '$out'"
		failures=$((failures + 1))
		;;
	esac
}

config 'echo $(busybox hostname); exit 7'
out=$(run least)
is least 'gw status 7' "$out status $?"
namespaces() {
	config true "$1"
	refused "namespace_$1" "$1 ($2)"
}
namespaces pid CONFIG_PID_NS
namespaces ipc CONFIG_IPC_NS
namespaces network CONFIG_NET_NS
config true '' '' '"seccomp": { "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [ { "names": ["mkdir"], "action": "SCMP_ACT_ERRNO" } ] }'
refused seccomp CONFIG_SECCOMP_FILTER
mounts() {
	config true '' "{ \"destination\": \"/dev\", \"type\": \"$1\", \"source\": \"$1\"${3:+, \"options\": [$3]} }"
	refused "mount_$1" "$2"
}
mounts devpts CONFIG_UNIX98_PTYS
mounts mqueue CONFIG_POSIX_MQUEUE
mounts overlay CONFIG_OVERLAY_FS '"lowerdir=/proc:/sys"'
manager=cgroupfs
# The memory controller is not checked: its limits come after the device rules, which are refused first.
limits() {
	config true '' '' "\"resources\": { $3 }"
	refused "limits_$1" "$2"
}
limits pids CONFIG_CGROUP_PIDS '"pids": { "limit": 5 }'
limits cpu CONFIG_CGROUP_SCHED '"cpu": { "shares": 100 }'
limits cpuset CONFIG_CPUSETS '"cpu": { "cpus": "0" }'
limits io CONFIG_BLK_CGROUP '"blockIO": { "weight": 100 }'
limits devices CONFIG_BPF_SYSCALL '"devices": [ { "allow": false, "access": "rwm" } ]'
# Rules that allow every device need no eBPF program, so the container gets its cgroup.
config 'grep -c missing /proc/self/cgroup' '' '' '"resources": { "devices": [ { "allow": true, "access": "rwm" } ] }'
is all_devices_allowed 1 "$(run free)"
is leaves_nothing '' "$(
	ls /run/missing
	find /sys/fs/cgroup -type d -name missing
)"
echo "kernel $(uname -r) $(uname -m), $failures failures"
exit $failures
