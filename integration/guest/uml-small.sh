#!/bin/bash
# Builds a user-mode Linux without the options that embrun can do without, from Debian's source of Linux 6.12, and prints its path.
# It is built once (three minutes on two processors) and kept in the cache, until this script changes.
# usage: integration/guest/uml-small.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../cross/common.sh"
kernel=$cache/uml-small/linux
mkdir -p "${kernel%/*}"
exec 9> "$kernel.lock"
flock 9
stamp=$(cksum < "$0")
if [ -x "$kernel" ] && [ "$(cat "$kernel.stamp" 2> /dev/null)" = "$stamp" ]; then
	echo "$kernel"
	exit
fi
say "building a small user-mode Linux"
box=$(mktemp -d "$cache/uml-small.XXXXXX")
trap 'rm -rf "$box"' EXIT
apt_fetch "$host" "bookworm trixie" "$box" linux-source-6.12
dpkg-deb --fsys-tarfile "$box"/linux-source-6.12_*.deb | tar -xO ./usr/src/linux-source-6.12.tar.xz | tar -C "$box" -xJ
cd "$box/linux-source-6.12"
make -s ARCH=um tinyconfig > "$box/log" 2>&1 || {
	tail "$box/log" >&2
	die "no configuration"
}
# Below: the options that this machine's own programs need. The table of cross/kernel adds the ones that every container needs.
without="PID_NS IPC_NS USER_NS NET_NS TIME_NS SECCOMP BPF_SYSCALL MEMCG CGROUP_PIDS CGROUP_SCHED CPUSETS UNIX98_PTYS POSIX_MQUEUE OVERLAY_FS KEYS"
cat >> .config << 'C'
CONFIG_64BIT=y
CONFIG_HOSTFS=y
CONFIG_FD_CHAN=y
CONFIG_NULL_CHAN=y
CONFIG_MAGIC_SYSRQ=y
CONFIG_PRINTK=y
CONFIG_TTY=y
CONFIG_MULTIUSER=y
CONFIG_BINFMT_ELF=y
CONFIG_BINFMT_SCRIPT=y
CONFIG_FUTEX=y
CONFIG_EPOLL=y
CONFIG_TIMERFD=y
CONFIG_EVENTFD=y
CONFIG_POSIX_TIMERS=y
CONFIG_SHMEM=y
CONFIG_ADVISE_SYSCALLS=y
CONFIG_MEMBARRIER=y
CONFIG_PROC_SYSCTL=y
CONFIG_DEVTMPFS=y
CONFIG_NET=y
CONFIG_CGROUPS=y
CONFIG_UTS_NS=y
CONFIG_SYSFS=y
C
"$top/cross/kernel/check.sh" --fragment required >> .config
for option in $without; do echo "# CONFIG_$option is not set"; done >> .config
make -s ARCH=um olddefconfig > "$box/log" 2>&1 || {
	tail "$box/log" >&2
	die "no configuration"
}
for option in $without; do
	! grep -q "^CONFIG_$option=" .config || die "CONFIG_$option cannot be left out"
done
make -s ARCH=um -j"$(nproc)" linux > "$box/log" 2>&1 || {
	tail -n 20 "$box/log" >&2
	die "the kernel does not build"
}
strip -o "$kernel.new" linux
cp .config "$kernel.config"
mv "$kernel.new" "$kernel"
echo "$stamp" > "$kernel.stamp"
echo "$kernel"
