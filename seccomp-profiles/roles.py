#!/usr/bin/env python3
"""Writes the profiles and bundle templates of the gateway roles: NAME.json and NAME.config.json for each role.

usage: roles.py, or `roles.py bundle NAME`, which prints both in one config.json as `embrun spec --role NAME` does

The groups of system calls below give the reasons; NAME.md describes the result for each role.
"""
import json, os, sys

HERE = os.path.dirname(os.path.abspath(__file__))
EPERM, EACCES, ENOSYS = 1, 13, 38

# Calls that any program needs to run as one process with threads, with or without a C library.
RUN = """execve execveat exit exit_group brk mmap mmap2 munmap mprotect mremap madvise msync mincore mlock munlock membarrier
futex futex_time64 futex_waitv set_robust_list get_robust_list set_tid_address rseq sched_yield sched_getaffinity
sched_getparam sched_getscheduler getcpu arch_prctl set_thread_area get_thread_area prctl riscv_flush_icache cacheflush
breakpoint set_tls restart_syscall rt_sigaction rt_sigprocmask rt_sigreturn sigreturn sigaltstack rt_sigpending
rt_sigtimedwait rt_sigtimedwait_time64 rt_sigsuspend tgkill tkill getpid getppid gettid getpgrp getpgid getsid getuid geteuid
getgid getegid getresuid getresgid getgroups getuid32 geteuid32 getgid32 getegid32 getresuid32 getresgid32 getgroups32 uname
sysinfo getrlimit ugetrlimit prlimit64 getrusage times getrandom umask capget"""
TIME = """clock_gettime clock_gettime64 clock_getres clock_getres_time64 clock_nanosleep clock_nanosleep_time64 nanosleep
gettimeofday time alarm getitimer setitimer timer_create timer_delete timer_settime timer_settime64 timer_gettime
timer_gettime64 timer_getoverrun timerfd_create timerfd_settime timerfd_settime64 timerfd_gettime timerfd_gettime64"""
EVENTS = """poll ppoll ppoll_time64 select _newselect pselect6 pselect6_time64 epoll_create epoll_create1 epoll_ctl epoll_wait
epoll_pwait epoll_pwait2 eventfd eventfd2 signalfd signalfd4 pipe pipe2 inotify_init inotify_init1 inotify_add_watch
inotify_rm_watch"""
READ = """read readv pread64 preadv preadv2 lseek _llseek close close_range dup dup2 dup3 fcntl fcntl64 flock fstat fstat64 stat
stat64 lstat lstat64 newfstatat fstatat64 statx statfs statfs64 fstatfs fstatfs64 access faccessat faccessat2 readlink
readlinkat getdents getdents64 getcwd chdir fchdir getxattr lgetxattr fgetxattr fadvise64 fadvise64_64 arm_fadvise64_64
sendfile sendfile64"""
# Writes to open descriptors: sockets, pipes, devices, stdout.
WRITE = "write writev"
FILES = """open openat creat pwrite64 pwritev pwritev2 mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat
symlink symlinkat truncate truncate64 ftruncate ftruncate64 fallocate fsync fdatasync sync_file_range
arm_sync_file_range sync_file_range2 copy_file_range utimensat utimensat_time64 utime utimes futimesat"""
MODES = "chmod fchmod fchmodat fchmodat2"
SOCKETS = """bind connect listen accept accept4 sendto recvfrom send recv sendmsg recvmsg sendmmsg recvmmsg recvmmsg_time64
getsockname getpeername getsockopt setsockopt shutdown"""
CHILDREN = "fork vfork wait4 waitid waitpid kill setpgid setsid"
FLUSH = "sync syncfs"

CLONE_NEW = 0x7E020000  # every CLONE_NEW* that clone(2) takes
CLONE_THREAD = 0x10000
ACCMODE, CREAT, TRUNC, TMPFILE = 0o3, 0o100, 0o1000, 0o20000000
UNIX, INET, INET6, NETLINK = 1, 2, 10, 16
STREAM, DGRAM, TYPE_MASK = 1, 2, 0xF
TIOCSTI, TIOCLINUX = 0x5412, 0x541C


def allow(names, *args):
    rule = {"names": names.split(), "action": "SCMP_ACT_ALLOW"}
    if args:
        rule["args"] = [dict(zip(("index", "op", "value", "valueTwo"), a)) for a in args]
    return rule


def eq(index, value):
    return (index, "SCMP_CMP_EQ", value, 0)


def masked(index, mask, value):
    return (index, "SCMP_CMP_MASKED_EQ", mask, value)


def opens(flags):
    """Opening with none of `flags`; openat2 hides its flags, so programs are told to do without it."""
    return [allow("openat", masked(2, flags, 0)), allow("open", masked(1, flags, 0))]


def sockets(*families):
    return [allow("socket", eq(0, f), masked(1, TYPE_MASK, t)) for f in families for t in (STREAM, DGRAM)]


THREADS = [allow("clone", masked(0, CLONE_NEW | CLONE_THREAD, CLONE_THREAD))]
PROCESSES = [allow("clone", masked(0, CLONE_NEW, 0)), allow(CHILDREN)]
# All requests to devices except the two that put characters into a terminal's input. The kernel uses only the lower half of the
# request, so only that is compared. Rules with equality are tried first; the last rule covers all other requests.
IOCTL = [{**allow("ioctl", masked(1, 0xFFFFFFFF, request)), "action": "SCMP_ACT_ERRNO", "errnoRet": EACCES}
         for request in (TIOCSTI, TIOCLINUX)] + [allow("ioctl", (1, "SCMP_CMP_GE", 0, 0))]
# The requests of stdio and sockets: TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIOCLEX.
STDIO = [allow("ioctl", eq(1, r)) for r in (0x5401, 0x5413, 0x541B, 0x5421, 0x5451)]
LOCAL = [allow(SOCKETS), *sockets(UNIX), allow("socketpair", eq(0, UNIX))]
# Name look-up reads the addresses from the kernel (NETLINK_ROUTE).
NETWORK = [allow("socket", eq(0, NETLINK), eq(2, 0)), *sockets(INET, INET6)]
READ_ONLY = opens(ACCMODE | CREAT | TRUNC | TMPFILE)
EXISTING = opens(CREAT | TRUNC | TMPFILE)

MiB = 1 << 20
ROLES = {
    "data-collector": dict(
        rules=[*READ_ONLY, *THREADS, *IOCTL, *LOCAL], memory=32, pids=32, network=False),
    "data-processor": dict(
        rules=[allow(FILES), *THREADS, *STDIO, *LOCAL], memory=64, pids=32, data=True, network=False),
    "uplink": dict(
        rules=[allow(FILES), *THREADS, *STDIO, *LOCAL, *NETWORK], memory=64, pids=32, data=True, network=True),
    "device-controller": dict(
        rules=[*EXISTING, *THREADS, *IOCTL, *LOCAL], memory=32, pids=32, network=False),
    "firmware-updater": dict(
        rules=[allow(FILES + " " + MODES + " " + FLUSH), *PROCESSES, *IOCTL, *LOCAL, *NETWORK], memory=128, pids=64, data=True,
        network=True),
}


def profile(role):
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        # Without x86: a filter cannot see the arguments of its socketcall.
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM", "SCMP_ARCH_RISCV64"],
        "syscalls": [
            allow(" ".join((RUN, TIME, EVENTS, READ, WRITE))),
            # A filter cannot see their flags; C libraries fall back to clone and openat.
            {"names": ["clone3", "openat2"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS},
            *role["rules"],
        ],
    }


def bundle(name, role):
    mount = lambda to, kind, *options: {
        "destination": to, "type": kind, "source": kind, "options": ["nosuid", "nodev", "noexec", *options]}
    mounts = [
        mount("/proc", "proc"),
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
         "options": ["nosuid", "noexec", "strictatime", "mode=755", "size=64k"]},
        mount("/tmp", "tmpfs", "mode=1777", "size=1m"),
        # A process can connect to the sockets in a read-only mount.
        {"destination": "/run/gateway", "type": "bind", "source": f"/run/gateway/{name}",
         "options": ["bind", "ro", "nosuid", "nodev", "noexec"]},
    ]
    if role.get("data"):
        source = f"/var/lib/gateway/{name}"
        mounts.append({"destination": "/data", "type": "bind", "source": source,
                       "options": ["bind", "nosuid", "nodev", "noexec"]})
    user = 2001 + list(ROLES).index(name)
    namespaces = ["pid", "mount", "ipc", "uts", "cgroup"] + ([] if role["network"] else ["network"])
    return {
        "ociVersion": "1.2.0",
        "process": {
            "user": {"uid": user, "gid": user},
            "args": ["/" + name],
            "env": ["PATH=/usr/bin:/bin"],
            "cwd": "/",
            "capabilities": {},
            "noNewPrivileges": True,
            "oomScoreAdj": 100,
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 256, "hard": 256}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}],
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": name,
        "mounts": mounts,
        "linux": {
            "namespaces": [{"type": n} for n in namespaces],
            "resources": {
                "devices": [{"allow": False, "access": "rwm"}],
                "memory": {"limit": role["memory"] * MiB, "swap": role["memory"] * MiB},
                "pids": {"limit": role["pids"]},
                "cpu": {"shares": 512},
            },
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/sched_debug",
                            "/proc/scsi", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    }


def text(value, depth=0):
    """JSON with lists of strings packed into lines, and what is short on one."""
    flat, pad = json.dumps(value), " " * (2 * depth)
    if len(flat) + len(pad) <= 110 and depth > 0:
        return flat
    if isinstance(value, dict):
        members = [f"{pad}  {json.dumps(k)}: {text(v, depth + 1)}" for k, v in value.items()]
        return "{\n" + ",\n".join(members) + f"\n{pad}}}"
    if all(isinstance(v, str) for v in value):
        lines, line = [], ""
        for item in (json.dumps(v) + ", " for v in value):
            if len(pad) + 2 + len(line) + len(item) > 112:
                lines, line = lines + [line], ""
            line += item
        return "[\n" + "\n".join(f"{pad}  {l}".rstrip() for l in [*lines, line.rstrip(", ")]) + f"\n{pad}]"
    return "[\n" + ",\n".join(f"{pad}  {text(v, depth + 1)}" for v in value) + f"\n{pad}]"


def whole(name):
    config = bundle(name, ROLES[name])
    config["linux"]["seccomp"] = profile(ROLES[name])
    return config


if sys.argv[1:2] == ["bundle"]:
    print(text(whole(sys.argv[2])))
else:
    for name, role in ROLES.items():
        with open(os.path.join(HERE, name + ".json"), "w") as f:
            print(text(profile(role)), file=f)
        with open(os.path.join(HERE, name + ".config.json"), "w") as f:
            print(text(bundle(name, role)), file=f)
