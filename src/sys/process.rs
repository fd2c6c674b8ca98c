//! Creates, watches, signals and replaces processes.

use std::ffi::{CStr, c_char, c_int, c_long, c_ulong};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::descriptor::adopt;
use super::done;
use super::signal::set_action;
use crate::text::search::cut;

type Result<T> = std::result::Result<T, Errno>;

/// `CLONE_PIDFD` (Linux 5.2).
const CLONE_PIDFD: u64 = 0x1000;
/// `CLONE_INTO_CGROUP` (Linux 5.7, clone3 only).
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// The kernel's `struct clone_args` (clone(2)).
/// The libc crate does not have it on every target.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// The side of a [`clone`] that is running.
pub enum Cloned {
    /// The calling process.
    Parent {
        /// The child's pid in the caller's pid namespace.
        pid: Pid,
        /// A pidfd (Linux 5.2), which is readable when the child has ended.
        pidfd: Option<OwnedFd>,
        /// Whether the child is in the cgroup, or its pid must still be written there.
        in_cgroup: bool,
    },
    /// The new process.
    Child,
}

/// Clones this process into new namespaces (`flags`: `CLONE_NEW…`), like fork.
/// The child starts in the given cgroup v2 directory if the kernel can do that (5.7).
///
/// Fails with EBUSY if this process has other threads, because the child would find their locks held forever.
pub fn clone(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Cloned> {
    if super::file::stat(c"/proc/self/task").is_ok_and(|s| s.st_nlink > 3) {
        return Err(Errno::EBUSY);
    }
    clone_unchecked(flags, cgroup)
}

/// Like [`clone`], for a process that is known to have one thread.
/// It needs no procfs.
pub fn clone_unchecked(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Cloned> {
    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs {
        flags: flags | CLONE_PIDFD,
        pidfd: &raw mut pidfd as usize as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if let Some(fd) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = fd.as_raw_fd() as u64;
    }
    let mut answer = clone3(&args);
    let doomed = cgroup.and(answer.ok()).filter(|pid| *pid > 0 && is_doomed(*pid));
    if let Some(pid) = doomed {
        wait(Pid::from_raw(pid), true)?;
        drop(adopt(pidfd));
        pidfd = -1;
    }
    // Kernels before 5.7 refuse the cgroup argument. A cgroup that cannot take the child yet (frozen, threaded)
    // gives a better error when the pid is written.
    if doomed.is_some() || (cgroup.is_some() && answer.is_err_and(|e| e != Errno::ENOSYS)) {
        args.flags &= !CLONE_INTO_CGROUP;
        args.cgroup = 0;
        answer = clone3(&args);
    }
    // Without a free number for a pidfd, the caller polls for the child's end, as on kernels without pidfds.
    if answer == Err(Errno::EMFILE) {
        args.flags &= !CLONE_PIDFD;
        answer = clone3(&args);
    }
    let in_cgroup = args.flags & CLONE_INTO_CGROUP != 0 && answer.is_ok();
    // Before 5.3, or under a filter that hides clone3. clone(2) has CLONE_PIDFD since 5.2; older kernels ignore or
    // refuse it.
    if answer == Err(Errno::ENOSYS) {
        answer = clone_legacy(flags | CLONE_PIDFD, &mut pidfd);
        if answer == Err(Errno::EINVAL) {
            answer = clone_legacy(flags, &mut pidfd);
        }
    }
    match answer? {
        0 => Ok(Cloned::Child),
        pid => {
            // SAFETY: the kernel stored a new descriptor for us there, or left -1.
            let pidfd = (pidfd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(pidfd) });
            Ok(Cloned::Parent { pid: Pid::from_raw(pid), pidfd, in_cgroup })
        }
    }
}

/// Clones this process as a sibling: both have the same parent.
/// This process must have no other threads. The new process is in the pid namespace that setns(2) chose for the
/// children.
///
/// This uses clone(2), because the container's filter may already be installed, and engines' profiles answer
/// clone3(2) with ENOSYS or worse.
pub fn clone_sibling() -> Result<Cloned> {
    Ok(match clone_legacy(libc::CLONE_PARENT as u64, &mut -1)? {
        0 => Cloned::Child,
        pid => Cloned::Parent { pid: Pid::from_raw(pid), pidfd: None, in_cgroup: true },
    })
}

/// Whether SIGKILL is pending for a child that was just created.
///
/// Newer kernels (seen on 6.18) kill a child that is cloned into a cgroup, unless `cgroup.kill` was written as
/// often to that cgroup as to the caller's own: cgroup_css_set_fork() saves the count of the one, and
/// cgroup_post_fork() compares it with the count of the other (kernel/cgroup/cgroup.c). The signal is sent before
/// clone3(2) returns.
fn is_doomed(pid: i32) -> bool {
    let status = super::file::read_text(&format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = cut(&status, "\nShdPnd:\t").and_then(|(_, rest)| rest.lines().next());
    mask.and_then(|mask| u64::from_str_radix(mask, 16).ok())
        .is_some_and(|m| m >> (libc::SIGKILL - 1) & 1 == 1)
}

fn clone3(args: &CloneArgs) -> Result<i32> {
    // SAFETY: without a stack and CLONE_VM, the child continues with a copy of this memory, as after fork. The
    // caller checked that the process has no other threads, so no other thread holds a lock.
    let r = unsafe { libc::syscall(libc::SYS_clone3, std::ptr::from_ref(args), size_of::<CloneArgs>()) };
    Errno::result(r).map(|r| r as i32)
}

fn clone_legacy(flags: u64, pidfd: &mut RawFd) -> Result<i32> {
    let flags = flags as c_ulong | libc::SIGCHLD as c_ulong;
    // SAFETY: as for clone3. Flags, stack and the parent-tid pointer (where the pidfd is stored) are in this order
    // on every supported architecture; the last two arguments are unused.
    let r = unsafe {
        libc::syscall(
            libc::SYS_clone,
            flags,
            0 as c_ulong,
            std::ptr::from_mut(pidfd),
            0 as c_ulong,
            0 as c_ulong,
        )
    };
    Errno::result(r).map(|r| r as i32)
}

/// Opens a pidfd, which is readable once the process has ended (Linux 5.3).
pub fn pidfd_open(pid: Pid) -> Result<OwnedFd> {
    // SAFETY: plain integers; returns a new descriptor for us.
    unsafe {
        let r = libc::syscall(libc::SYS_pidfd_open, pid.as_raw() as c_long, 0 as c_long);
        Ok(OwnedFd::from_raw_fd(Errno::result(r)? as RawFd))
    }
}

/// Sends a signal to the process of a pidfd (pidfd_send_signal(2), Linux 5.1).
/// Signals are numbers, because nix has no names for real-time signals.
pub fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    // SAFETY: a null siginfo selects the default one.
    let r = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd() as c_long,
            signal as c_long,
            std::ptr::null::<libc::siginfo_t>(),
            0 as c_long,
        )
    };
    done(r as c_int)
}

/// Duplicates a descriptor of another process (pidfd_getfd(2), Linux 5.6).
pub fn pidfd_getfd(pidfd: BorrowedFd<'_>, number: RawFd) -> Result<OwnedFd> {
    // SAFETY: plain integers; returns a new descriptor for us, close-on-exec.
    unsafe {
        let (pidfd, number) = (pidfd.as_raw_fd() as c_long, number as c_long);
        let r = libc::syscall(libc::SYS_pidfd_getfd, pidfd, number, 0 as c_long);
        Ok(OwnedFd::from_raw_fd(Errno::result(r)? as RawFd))
    }
}

/// Sends a signal to a process by pid (kill(2)).
pub fn kill(pid: Pid, signal: i32) -> Result<()> {
    // SAFETY: plain integers.
    done(unsafe { libc::kill(pid.as_raw(), signal) })
}

/// How a process ended, as reported by waitpid(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It exited with this status.
    Exited(u8),
    /// It was killed by this signal.
    Signalled(i32),
}

impl Ended {
    /// The status that a shell would show: 128 + n for signal n.
    pub fn status(self) -> u8 {
        match self {
            Ended::Exited(status) => status,
            Ended::Signalled(signal) => 128u8.wrapping_add(signal as u8),
        }
    }
}

/// Waits for one child, or for any with pid -1.
/// With `block` false it returns `None` if no child has ended yet.
pub fn wait(pid: Pid, block: bool) -> Result<Option<(Pid, Ended)>> {
    loop {
        let mut status: c_int = 0;
        let flags = if block { 0 } else { libc::WNOHANG };
        // SAFETY: `status` is ours during the call.
        match Errno::result(unsafe { libc::waitpid(pid.as_raw(), &mut status, flags) }) {
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e),
            Ok(0) => return Ok(None),
            Ok(pid) => {
                let ended = if libc::WIFEXITED(status) {
                    Ended::Exited(libc::WEXITSTATUS(status) as u8)
                } else {
                    Ended::Signalled(libc::WTERMSIG(status))
                };
                return Ok(Some((Pid::from_raw(pid), ended)));
            }
        }
    }
}

/// Whether SIGKILL ended a child that has not been waited for.
pub fn is_killed(child: Pid) -> bool {
    let killed = |info: &libc::siginfo_t| {
        // SAFETY: waitid has set it, since the code is one of its own.
        info.si_code == libc::CLD_KILLED && unsafe { info.si_status() } == libc::SIGKILL
    };
    ended(child).is_some_and(|info| killed(&info))
}

/// Whether a child that has not been waited for has ended.
pub fn has_ended(child: Pid) -> bool {
    ended(child).is_some_and(|info| info.si_signo != 0)
}

/// Whether a process is a child of this one, alive or not.
pub fn is_child(pid: Pid) -> bool {
    ended(pid).is_some()
}

/// How a child ended, all zero if it has not; `None` if it is not our child.
fn ended(child: Pid) -> Option<libc::siginfo_t> {
    // SAFETY: the kernel fills in the structure or leaves it zero.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        (libc::waitid(libc::P_PID, child.as_raw() as libc::id_t, &mut info, flags) == 0).then_some(info)
    }
}

/// Ends this process immediately, without exit handlers.
/// Besides exec, a cloned child must end only in this way.
pub fn exit(status: i32) -> ! {
    // SAFETY: never returns and touches no memory of ours.
    unsafe { libc::_exit(status) }
}

/// A NULL-terminated array of static C strings.
/// It is built in advance, so that exec does not allocate.
pub struct CStrings(Vec<*const c_char>);

impl CStrings {
    /// Builds the array from strings.
    pub fn new(strings: impl IntoIterator<Item = &'static CStr>) -> CStrings {
        let mut all = CStrings(vec![std::ptr::null()]);
        strings.into_iter().for_each(|s| all.push(s));
        all
    }

    /// Appends a string.
    pub fn push(&mut self, s: &'static CStr) {
        if let Some(end) = self.0.last_mut() {
            *end = s.as_ptr();
        }
        self.0.push(std::ptr::null());
    }
}

/// Executes another program; returns only on failure, and allocates nothing.
pub fn execve(path: &CStr, argv: &CStrings, envp: &CStrings) -> Errno {
    // SAFETY: both arrays end in NULL and point to static C strings.
    unsafe { libc::execve(path.as_ptr(), argv.0.as_ptr(), envp.0.as_ptr()) };
    Errno::last()
}

/// Executes the program behind a descriptor.
/// Uses execveat(2) with AT_EMPTY_PATH (Linux 3.19).
pub fn fexecve(program: BorrowedFd<'_>, argv: &CStrings, envp: &CStrings) -> Errno {
    // SAFETY: as in `execve`.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd() as c_long,
            c"".as_ptr(),
            argv.0.as_ptr(),
            envp.0.as_ptr(),
            libc::AT_EMPTY_PATH as c_long,
        )
    };
    Errno::last()
}

/// This process's environment, unchanged.
pub fn environment() -> CStrings {
    CStrings::new(super::entry::environment())
}

/// Resets all signals to their default action and unblocks them, for exec.
/// Rust ignores SIGPIPE, and callers may ignore others; the program would inherit both.
pub fn default_signals() {
    // An all-zero action of the kernel's `struct sigaction`, which is not longer than this: SIG_DFL, no flags,
    // nothing blocked. We bypass the C library, because it reserves some signals for itself.
    let action = [0u64; 4];
    for signal in 1..=64 {
        // SAFETY: the default action runs no code of ours. SIGKILL and SIGSTOP are refused.
        unsafe {
            let (null, size) = (std::ptr::null_mut::<u64>(), size_of::<u64>());
            libc::syscall(libc::SYS_rt_sigaction, signal as c_long, action.as_ptr(), null, size);
        }
    }
    super::signal::block_none();
}

/// Makes this process end on SIGHUP, SIGINT and SIGTERM.
/// Without handlers, the kernel ignores these signals for process 1 of a pid namespace. Exec resets the handlers.
pub fn end_when_asked() {
    extern "C" fn end(signal: c_int) {
        exit(128 + signal)
    }
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler makes one system call and does not return.
        unsafe { set_action(signal, end as extern "C" fn(_) as usize, libc::SA_RESTART) };
    }
    // If the host process is gone, write(2) fails. SIG_IGN would be inherited by the program; a handler is not.
    extern "C" fn go_on(_: c_int) {}
    // SAFETY: the handler does nothing.
    unsafe { set_action(libc::SIGPIPE, go_on as extern "C" fn(_) as usize, libc::SA_RESTART) };
}

/// Ignores a signal while this program runs.
pub fn ignore_signal(signal: Signal) {
    // SAFETY: ignoring runs no code of ours.
    unsafe { set_action(signal as c_int, libc::SIG_IGN, 0) };
}

/// Restores a signal's default action, regardless of the caller's.
pub fn default_signal(signal: Signal) {
    // SAFETY: the default action runs no code of ours.
    unsafe { set_action(signal as c_int, libc::SIG_DFL, 0) };
}

/// Sets a soft and a hard limit, and returns the old ones (prlimit(2)).
/// They have 64 bits on every architecture and with every C library.
pub fn set_rlimit(resource: u32, soft: u64, hard: u64) -> Result<(u64, u64)> {
    set_rlimit_of(Pid::from_raw(0), resource, soft, hard)
}

/// The same for another process.
pub fn set_rlimit_of(pid: Pid, resource: u32, soft: u64, hard: u64) -> Result<(u64, u64)> {
    let (limit, mut last) = ([soft, hard], [0_u64; 2]);
    let (pid, resource) = (pid.as_raw() as c_long, resource as c_long);
    // SAFETY: two pairs of 64-bit words, each like the kernel's struct rlimit64.
    let r = unsafe { libc::syscall(libc::SYS_prlimit64, pid, resource, limit.as_ptr(), last.as_mut_ptr()) };
    done(r as c_int).map(|()| (last[0], last[1]))
}

/// The number of files that this process may have open (RLIMIT_NOFILE).
pub fn most_open_files() -> u64 {
    let mut limit = [u64::MAX; 2];
    let (nofile, none) = (libc::RLIMIT_NOFILE as c_long, std::ptr::null::<u64>());
    // SAFETY: the kernel writes two 64-bit words, as in `set_rlimit`; nothing is set.
    unsafe { libc::syscall(libc::SYS_prlimit64, 0 as c_long, nofile, none, limit.as_mut_ptr()) };
    limit[0]
}

/// Sets the NIS domain name of the UTS namespace.
pub fn set_domain_name(name: &str) -> Result<()> {
    // SAFETY: pointer and length of one string.
    done(unsafe { libc::setdomainname(name.as_ptr().cast(), name.len() as _) })
}

/// Joins or creates the session keyring of this name (keyctl(2)).
/// This keeps the caller's keys out of the container. A later exec by the same user joins the keyring by its name,
/// which nobody else can read.
pub fn session_keyring(name: &CStr) -> Result<()> {
    const JOIN_SESSION_KEYRING: c_long = 1;
    const SETPERM: c_long = 5;
    // The possessor may do everything. The user, who may also be the user of other containers, may only search,
    // which a join needs. Without view, /proc/keys does not show the name.
    const PERMISSIONS: c_long = 0x3f08_0000;
    // SAFETY: a C string that the kernel copies.
    let keyring = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, name.as_ptr()) };
    let keyring = Errno::result(keyring)?;
    // SAFETY: plain integers.
    done(unsafe { libc::syscall(libc::SYS_keyctl, SETPERM, keyring, PERMISSIONS) } as c_int)
}

/// Creates a file in memory with these bytes, positioned at its start.
/// Uses memfd_create(2) (Linux 3.17).
pub fn memory_file(name: &CStr, bytes: &[u8]) -> Result<OwnedFd> {
    // SAFETY: a C string and flags; returns a new descriptor for us.
    let fd = unsafe {
        let fd = libc::syscall(libc::SYS_memfd_create, name.as_ptr(), libc::MFD_CLOEXEC);
        OwnedFd::from_raw_fd(Errno::result(fd)? as RawFd)
    };
    super::entry::write_all(fd.as_fd(), bytes)?;
    nix::unistd::lseek(&fd, 0, nix::unistd::Whence::SeekSet)?;
    Ok(fd)
}
