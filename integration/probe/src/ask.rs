//! The questions: what the process sees of itself and its surroundings.

use crate::json::{list, object, text, texts};
use std::fs;

/// The answer to a question as JSON, or `None` if the word is not a question.
pub fn ask(word: &str) -> Option<String> {
    Some(match word {
        "pid" => std::process::id().to_string(),
        "ppid" => number(unsafe { libc::getppid() }),
        "ids" => ids(),
        "caps" => status_lines(&["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]),
        "nnp" => number(unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) }),
        "seccomp" => number(unsafe { libc::prctl(libc::PR_GET_SECCOMP, 0, 0, 0, 0) }),
        "signals" => status_lines(&["SigBlk", "SigIgn", "SigCgt"]),
        "cwd" => match std::env::current_dir() {
            Ok(dir) => text(dir.to_string_lossy()),
            Err(e) => text(symbol(e.raw_os_error().unwrap_or(0))),
        },
        "env" => object(
            std::env::vars_os().map(|(k, v)| (k.to_string_lossy().into_owned(), text(v.to_string_lossy()))),
        ),
        "argv" => texts(std::env::args_os().map(|a| a.to_string_lossy().into_owned())),
        "exe" => link("/proc/self/exe"),
        "mounts" => mounts(),
        "rlimits" => rlimits(),
        "fds" => fds(),
        "hostname" => text(fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim()),
        "domainname" => text(fs::read_to_string("/proc/sys/kernel/domainname").unwrap_or_default().trim()),
        "machine" => text(uname().1),
        "release" => text(uname().0),
        "memory-policy" => memory_policy(),
        "oom" => fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default().trim().to_string(),
        "umask" => umask().to_string(),
        "tty" => tty(),
        "cgroup" => texts(fs::read_to_string("/proc/self/cgroup").unwrap_or_default().lines()),
        "namespaces" => {
            object(NAMESPACES.iter().map(|n| (n.to_string(), link(&format!("/proc/self/ns/{n}")))))
        }
        "session" => object([
            ("sid".into(), number(unsafe { libc::getsid(0) })),
            ("pgid".into(), number(unsafe { libc::getpgid(0) })),
        ]),
        "processes" => list(processes().iter().map(|p| p.to_string())),
        "affinity" => status_lines(&["Cpus_allowed_list"]),
        "scheduling" => scheduling(),
        "links" => texts(interfaces()),
        "dumpable" => number(unsafe { libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) }),
        "pdeathsig" => {
            let mut signal: libc::c_int = 0;
            unsafe { libc::prctl(libc::PR_GET_PDEATHSIG, &raw mut signal) };
            number(signal)
        }
        "clocks" => object([
            ("monotonic".into(), clock(libc::CLOCK_MONOTONIC)),
            ("boottime".into(), clock(libc::CLOCK_BOOTTIME)),
        ]),
        "time" => unsafe { libc::time(std::ptr::null_mut()) }.to_string(),
        _ => return None,
    })
}

/// The policy, the real-time priority, the niceness, and the I/O class and level.
fn scheduling() -> String {
    let mut param: libc::sched_param = unsafe { std::mem::zeroed() };
    // By number: musl's functions of these names always fail with ENOSYS.
    let (policy, io) = unsafe {
        libc::syscall(libc::SYS_sched_getparam, 0, &raw mut param);
        (libc::syscall(libc::SYS_sched_getscheduler, 0), libc::syscall(libc::SYS_ioprio_get, 1, 0))
    };
    object([
        ("policy".into(), number(policy as libc::c_int)),
        ("priority".into(), number(param.sched_priority)),
        ("nice".into(), number(unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) })),
        ("io".into(), format!("[{},{}]", io >> 13, io & 7)),
    ])
}

/// The NUMA memory policy: the mode with its flags, and the nodes.
fn memory_policy() -> String {
    const WORD: usize = libc::c_ulong::BITS as usize;
    let (mut mode, mut mask): (libc::c_int, _) = (0, [0 as libc::c_ulong; 1024 / WORD]);
    let answer =
        unsafe { libc::syscall(libc::SYS_get_mempolicy, &raw mut mode, mask.as_mut_ptr(), 1025usize, 0, 0) };
    if answer != 0 {
        return text(symbol(std::io::Error::last_os_error().raw_os_error().unwrap_or(0)));
    }
    let nodes = (0..1024).filter(|node| mask[node / WORD] >> (node % WORD) & 1 == 1);
    object([("mode".into(), number(mode)), ("nodes".into(), list(nodes.map(|node| node.to_string())))])
}

/// A clock in seconds.
fn clock(clock: libc::clockid_t) -> String {
    let mut now: libc::timespec = unsafe { std::mem::zeroed() };
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    format!("{}.{:09}", now.tv_sec, now.tv_nsec)
}

const NAMESPACES: [&str; 8] = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];

fn number(n: libc::c_int) -> String {
    n.to_string()
}

/// The symbol of an errno that tests name, or else its number.
pub fn symbol(errno: i32) -> String {
    const KNOWN: [(i32, &str); 24] = [
        (libc::EPERM, "EPERM"),
        (libc::ENOENT, "ENOENT"),
        (libc::ESRCH, "ESRCH"),
        (libc::EIO, "EIO"),
        (libc::ENXIO, "ENXIO"),
        (libc::EBADF, "EBADF"),
        (libc::EAGAIN, "EAGAIN"),
        (libc::ENOMEM, "ENOMEM"),
        (libc::EACCES, "EACCES"),
        (libc::EFAULT, "EFAULT"),
        (libc::EBUSY, "EBUSY"),
        (libc::EEXIST, "EEXIST"),
        (libc::ENODEV, "ENODEV"),
        (libc::ENOTDIR, "ENOTDIR"),
        (libc::EISDIR, "EISDIR"),
        (libc::EINVAL, "EINVAL"),
        (libc::ENOTTY, "ENOTTY"),
        (libc::EROFS, "EROFS"),
        (libc::ENOSYS, "ENOSYS"),
        (libc::ELOOP, "ELOOP"),
        (libc::ENOSPC, "ENOSPC"),
        (libc::EAFNOSUPPORT, "EAFNOSUPPORT"),
        (libc::EPROTONOSUPPORT, "EPROTONOSUPPORT"),
        (libc::EOPNOTSUPP, "EOPNOTSUPP"),
    ];
    KNOWN.iter().find(|(n, _)| *n == errno).map_or_else(|| format!("errno {errno}"), |(_, s)| s.to_string())
}

fn link(path: &str) -> String {
    fs::read_link(path)
        .map_or_else(|e| text(symbol(e.raw_os_error().unwrap_or(0))), |target| text(target.to_string_lossy()))
}

fn ids() -> String {
    let (mut r, mut e, mut s) = (0, 0, 0);
    unsafe { libc::getresuid(&raw mut r, &raw mut e, &raw mut s) };
    let uids = list([r, e, s].iter().map(|n| n.to_string()));
    unsafe { libc::getresgid(&raw mut r, &raw mut e, &raw mut s) };
    let gids = list([r, e, s].iter().map(|n| n.to_string()));
    let mut groups = vec![0 as libc::gid_t; 1024];
    let n = unsafe { libc::getgroups(1024, groups.as_mut_ptr()) }.max(0) as usize;
    let groups = list(groups[..n].iter().map(|g| g.to_string()));
    object([("uid".into(), uids), ("gid".into(), gids), ("groups".into(), groups)])
}

/// Lines of /proc/self/status as an object of strings.
fn status_lines(keys: &[&str]) -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    object(status.lines().filter_map(|line| {
        let (key, value) = line.split_once(':')?;
        keys.contains(&key).then(|| (key.to_string(), text(value.trim())))
    }))
}

/// /proc/self/mountinfo, one object per mount.
fn mounts() -> String {
    let info = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    list(info.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let left: Vec<&str> = left.split(' ').collect();
        let right: Vec<&str> = right.split(' ').collect();
        Some(object([
            ("root".into(), text(left[3])),
            ("at".into(), text(left[4])),
            ("options".into(), texts(left[5].split(','))),
            ("propagation".into(), texts(&left[6..])),
            ("type".into(), text(right[0])),
            ("source".into(), text(right[1])),
            ("super".into(), texts(right.get(2).unwrap_or(&"").split(','))),
        ]))
    }))
}

fn rlimits() -> String {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    object(limits.lines().skip(1).filter(|l| l.len() > 46).map(|line| {
        let words = texts(line[26..].split_whitespace().take(2));
        (line[..26].trim().to_string(), words)
    }))
}

/// Every open descriptor, found without /proc, with its target in /proc.
fn fds() -> String {
    object(
        (0..4096)
            .filter(|fd| unsafe { libc::fcntl(*fd, libc::F_GETFD) } >= 0)
            .map(|fd| (fd.to_string(), link(&format!("/proc/self/fd/{fd}")))),
    )
}

fn uname() -> (String, String) {
    let mut u: libc::utsname = unsafe { std::mem::zeroed() };
    unsafe { libc::uname(&raw mut u) };
    let read = |field: &[libc::c_char]| -> String {
        field.iter().take_while(|c| **c != 0).map(|c| *c as u8 as char).collect()
    };
    (read(&u.release), read(&u.machine))
}

fn umask() -> libc::mode_t {
    let mask = unsafe { libc::umask(0o77) };
    unsafe { libc::umask(mask) };
    mask
}

fn tty() -> String {
    let each = (0..3).map(|fd| (unsafe { libc::isatty(fd) } == 1).to_string());
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    let sized = unsafe { libc::ioctl(0, libc::TIOCGWINSZ, &raw mut size) } == 0;
    let controlling = fs::OpenOptions::new().read(true).open("/dev/tty").is_ok();
    object([
        ("std".into(), list(each)),
        ("name".into(), link("/proc/self/fd/0")),
        ("rows".into(), if sized { size.ws_row.to_string() } else { "null".into() }),
        ("columns".into(), if sized { size.ws_col.to_string() } else { "null".into() }),
        ("controlling".into(), controlling.to_string()),
    ])
}

fn processes() -> Vec<u32> {
    let mut pids: Vec<u32> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    pids
}

fn interfaces() -> Vec<String> {
    let dev = fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
    dev.lines().skip(2).filter_map(|l| Some(l.split_once(':')?.0.trim().to_string())).collect()
}
