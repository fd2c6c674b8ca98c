//! Commands with one fault: a signal or an error at one of their system calls.

#[cfg(target_arch = "x86_64")]
use super::tracer::second_argument;
use super::tracer::{Act, Event, follow};
use libc::c_long;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;
use std::fs;
use std::process::Command;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// The process that gets the fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The process of the command.
    Host,
    /// Init, or any other process of the runtime.
    Init,
}

/// The kind of a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The signal arrives as the call begins.
    Signal(Signal),
    /// The call fails with the error of this number in its list.
    Error(usize),
}

/// A fault at one system call.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// The process.
    pub role: Role,
    /// The number of the call, from 1 on.
    pub at: usize,
    /// The fault.
    pub kind: Kind,
}

/// The result of a command with a fault.
#[derive(Debug)]
pub struct Faulted {
    /// The exit status, or 128 plus the number of the signal.
    pub status: i32,
    /// The number of the call that got the fault; `None` if the command ended before.
    pub met: Option<c_long>,
    /// The error that the call returned.
    pub error: Option<Errno>,
    /// Whether the command did not end in time and was killed.
    pub hung: bool,
}

/// Runs a command with a fault. Init may have been started by an earlier command.
pub fn perform(command: Command, init: Option<Pid>, fault: Fault, limit: Duration) -> Faulted {
    std::thread::scope(|threads| {
        threads.spawn(|| trace(command, init, fault, limit)).join().expect("the tracer")
    })
}

fn trace(command: Command, init: Option<Pid>, fault: Fault, limit: Duration) -> Faulted {
    let (mut first, mut calls) = (None, 0);
    let (mut met, mut error) = (None, None);
    let (begun, begins) = channel::<Pid>();
    let guard = std::thread::spawn(move || {
        let pid = begins.recv().expect("the command begins");
        let late = begins.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
        if late {
            show_processes();
            let _ = kill(pid, Signal::SIGKILL);
        }
        late
    });
    let end = follow(command, init, false, |pid, event| {
        let number = match event {
            Event::Began => {
                first = Some(pid);
                begun.send(pid).expect("the guard waits");
                return Act::GoOn;
            }
            Event::Executed => return if is_runtime(pid) { Act::GoOn } else { Act::LetGo },
            Event::Call(_) if met.is_some() => return Act::LetGo,
            Event::Call(number) => number,
        };
        let role = if first == Some(pid) { Role::Host } else { Role::Init };
        if role != fault.role {
            return Act::GoOn;
        }
        calls += 1;
        if calls < fault.at {
            return Act::GoOn;
        }
        met = Some(number);
        match fault.kind {
            Kind::Signal(signal) => Act::Signal(signal),
            Kind::Error(n) => {
                error = errors_of(pid, number).get(n).copied();
                // close(2) has closed the descriptor whatever it returns.
                error.map_or(Act::LetGo, |errno| Act::Fail(errno, number == libc::SYS_close))
            }
        }
    });
    drop(begun);
    let hung = guard.join().expect("the guard");
    let status = match end {
        Some(WaitStatus::Exited(_, status)) => status,
        Some(WaitStatus::Signaled(_, signal, _)) => 128 + signal as i32,
        other => panic!("the command did not end: {other:?}"),
    };
    Faulted { status, met, error, hung }
}

/// Prints where each process waits.
pub fn show_processes() {
    let own = |name: &str| name.parse::<u32>().is_ok();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if own(&name) {
            let read = |file: &str| fs::read_to_string(path.join(file)).unwrap_or_default();
            let status = read("status");
            let lines = ["State:", "PPid:", "TracerPid:"];
            let shown = status.lines().filter(|line| lines.iter().any(|l| line.starts_with(l)));
            let shown = shown.collect::<Vec<_>>().join(" ").replace('\t', " ");
            println!(
                "{name} {}: {shown} in {} at {}",
                read("comm").trim(),
                read("syscall").trim(),
                read("wchan")
            );
        }
    }
}

fn is_runtime(pid: Pid) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.starts_with("embrun"))
}

/// The errors that a call may return if memory, space or descriptors run out.
///
/// Its manual page lists them. A call that may block also returns EINTR.
#[cfg(target_arch = "x86_64")]
fn errors_of(pid: Pid, number: c_long) -> &'static [Errno] {
    use Errno::{EAGAIN, EINTR, EIO, EMFILE, ENOMEM, ENOSPC};
    use libc as l;
    match number {
        l::SYS_open | l::SYS_openat => &[EINTR, EMFILE, ENOMEM, ENOSPC, EIO],
        l::SYS_openat2 => &[EAGAIN, EINTR, EMFILE, ENOMEM],
        l::SYS_read | l::SYS_readv | l::SYS_pread64 => &[EINTR, EIO, EAGAIN],
        l::SYS_write | l::SYS_writev | l::SYS_pwrite64 => &[EINTR, EIO, ENOSPC],
        l::SYS_close => &[EINTR, EIO],
        l::SYS_fsync | l::SYS_fdatasync => &[EINTR, EIO, ENOSPC],
        l::SYS_ftruncate | l::SYS_fallocate => &[EINTR, EIO, ENOSPC],
        l::SYS_flock => &[EINTR],
        l::SYS_poll | l::SYS_ppoll => &[EINTR, ENOMEM],
        l::SYS_wait4 | l::SYS_waitid | l::SYS_nanosleep | l::SYS_clock_nanosleep => &[EINTR],
        l::SYS_connect | l::SYS_accept4 => &[EINTR, EAGAIN],
        l::SYS_sendmsg | l::SYS_sendto | l::SYS_recvmsg | l::SYS_recvfrom => &[EINTR, ENOMEM, EAGAIN],
        l::SYS_socket | l::SYS_socketpair | l::SYS_pipe2 | l::SYS_memfd_create => &[EMFILE, ENOMEM],
        l::SYS_fcntl if second_argument(pid) != Some(libc::F_DUPFD_CLOEXEC as u64) => &[],
        l::SYS_dup | l::SYS_fcntl => &[EMFILE],
        l::SYS_dup2 | l::SYS_dup3 => &[EINTR, EMFILE],
        l::SYS_clone | l::SYS_clone3 | l::SYS_fork | l::SYS_vfork => &[EAGAIN, ENOMEM],
        l::SYS_mkdir | l::SYS_mkdirat | l::SYS_mknodat | l::SYS_symlinkat | l::SYS_linkat => {
            &[ENOSPC, ENOMEM]
        }
        l::SYS_rename | l::SYS_renameat | l::SYS_renameat2 => &[ENOSPC, ENOMEM, EIO],
        l::SYS_unlink | l::SYS_unlinkat | l::SYS_rmdir => &[EIO, ENOMEM],
        l::SYS_mount | l::SYS_move_mount | l::SYS_mount_setattr => &[ENOMEM],
        l::SYS_fsopen | l::SYS_fsmount | l::SYS_open_tree | l::SYS_pidfd_open => &[EMFILE, ENOMEM],
        l::SYS_fsconfig | l::SYS_unshare | l::SYS_setns => &[ENOMEM, ENOSPC],
        l::SYS_pivot_root | l::SYS_chdir | l::SYS_fchdir | l::SYS_fchmod | l::SYS_fchownat => &[EIO, ENOMEM],
        l::SYS_fstat | l::SYS_newfstatat | l::SYS_statx | l::SYS_statfs | l::SYS_fstatfs => &[ENOMEM, EIO],
        l::SYS_readlink | l::SYS_readlinkat | l::SYS_getdents64 | l::SYS_sendfile => &[EIO, ENOMEM],
        l::SYS_setuid | l::SYS_setresuid | l::SYS_seccomp => &[EAGAIN, ENOMEM],
        l::SYS_bpf => &[EAGAIN, ENOMEM, ENOSPC],
        l::SYS_keyctl | l::SYS_mmap | l::SYS_mremap | l::SYS_prctl => &[ENOMEM],
        l::SYS_execve | l::SYS_execveat => &[EIO, EMFILE, ENOMEM],
        _ => &[],
    }
}

/// The tracer changes the result of a call on x86_64 only.
#[cfg(not(target_arch = "x86_64"))]
fn errors_of(_: Pid, _: c_long) -> &'static [Errno] {
    &[]
}
