//! Follows the processes of a command: their descriptors and system calls.
//!
//! It lists the open descriptors at each execve, and counts system calls.
//!
//! A tracer stops the processes there. It also lists descriptors that the execve is about to close,
//! because they are still open while the kernel resolves the program's path.

use libc::c_long;
use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::sys::statfs::{CGROUP_SUPER_MAGIC, statfs};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;

/// One execve that is about to happen.
#[derive(Debug)]
pub struct Exec {
    /// The current name of the process (proc(5), `comm`).
    pub comm: String,
    /// The path that was given to execve.
    pub path: String,
    /// The open descriptors and their targets.
    pub fds: BTreeMap<i32, String>,
}

/// Makes a command wait for its tracer (the calling thread) once it is executed.
pub fn traced(mut command: Command) -> Command {
    // SAFETY: the closure makes one system call and touches no memory.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(|| Ok(ptrace::traceme()?));
    }
    command
}

/// Runs a traced command until `reached` holds and leaves it stopped there.
///
/// The condition is checked at each system call.
pub fn stop_when(command: Pid, reached: impl Fn() -> bool) {
    waitpid(command, None).expect("the command stops at its execve");
    ptrace::setoptions(command, Options::PTRACE_O_TRACESYSGOOD).expect("PTRACE_SETOPTIONS");
    while !reached() {
        ptrace::syscall(command, None).expect("PTRACE_SYSCALL");
        let status = waitpid(command, Some(WaitPidFlag::__WALL)).expect("waitpid");
        assert!(
            matches!(status, WaitStatus::PtraceSyscall(_)),
            "the command did not reach the condition: {status:?}"
        );
    }
    ptrace::detach(command, Signal::SIGSTOP).expect("PTRACE_DETACH");
}

/// Runs a command to the end of all its processes and returns what they executed.
///
/// The output is discarded.
pub fn trace(command: Command) -> JoinHandle<Vec<Exec>> {
    std::thread::spawn(move || {
        let mut execs = Vec::new();
        follow(quiet(command), None, true, |pid, event| {
            if matches!(event, Event::Call(_)) {
                execs.extend(about_to_exec(pid));
            }
            Act::GoOn
        });
        execs
    })
}

/// Executed programs, among the counts of [`calls`].
pub const PROGRAMS: c_long = -1;
/// Pids that were written to the `cgroup.procs` of a v1 hierarchy.
pub const MOVES: c_long = -2;
/// Mounts that were made without a place in the tree.
pub const DETACHED: c_long = -3;
/// Detached mounts that got a place.
pub const PLACED: c_long = -5;
/// Minor page faults of the command and of the processes that it has waited for.
pub const FAULTS: c_long = -4;

/// Counts the system calls of a command's processes by their numbers.
///
/// A process no longer counts once it has executed a program whose name (proc(5), `comm`) is `payload`. The command is let go
/// once its first process and all that count have ended.
pub fn calls(command: Command, payload: &'static str) -> BTreeMap<c_long, usize> {
    let faults = || getrusage(UsageWho::RUSAGE_CHILDREN).expect("getrusage").minor_page_faults() as usize;
    let trace = move || {
        let mut counts = BTreeMap::new();
        follow(quiet(command), None, false, |pid, event| {
            let number = match event {
                Event::Call(number) => number,
                Event::Executed if read(pid, "comm").is_some_and(|comm| comm.trim_end() == payload) => {
                    return Act::LetGo;
                }
                Event::Executed => PROGRAMS,
                Event::Began => return Act::GoOn,
            };
            for number in [Some(number), particular(pid, number)].into_iter().flatten() {
                *counts.entry(number).or_default() += 1;
            }
            Act::GoOn
        });
        counts
    };
    let before = faults();
    let mut counts: BTreeMap<c_long, usize> = std::thread::spawn(trace).join().expect("the tracer");
    counts.insert(FAULTS, faults() - before);
    counts
}

/// A second count for a call, which depends on its arguments.
#[cfg(target_arch = "x86_64")]
fn particular(pid: Pid, number: c_long) -> Option<c_long> {
    let registers = ptrace::getregs(pid).ok()?;
    match number {
        libc::SYS_fsmount => Some(DETACHED),
        libc::SYS_open_tree if registers.rdx & u64::from(libc::OPEN_TREE_CLONE) != 0 => Some(DETACHED),
        libc::SYS_move_mount => {
            let info = read(pid, &format!("fdinfo/{}", registers.rdi))?;
            let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim().to_owned() + " ";
            (!read(pid, "mountinfo")?.lines().any(|line| line.starts_with(&id))).then_some(PLACED)
        }
        libc::SYS_write => {
            let file = PathBuf::from(format!("/proc/{pid}/fd/{}", registers.rdi));
            let procs = fs::read_link(&file).ok()?.ends_with("cgroup.procs");
            (procs && statfs(&file).ok()?.filesystem_type() == CGROUP_SUPER_MAGIC).then_some(MOVES)
        }
        _ => None,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn particular(_: Pid, _: c_long) -> Option<c_long> {
    None
}

/// A stop of a followed process.
pub enum Event {
    /// The command has begun; it has made no system call yet.
    Began,
    /// It is about to make the system call with this number.
    Call(c_long),
    /// It has executed a program.
    Executed,
}

/// How a followed process continues.
pub enum Act {
    /// To its next event.
    GoOn,
    /// Without a tracer.
    LetGo,
    /// To its next event, after this signal.
    Signal(Signal),
    /// The call fails with this error. With true, the kernel performs it first.
    Fail(Errno, bool),
}

fn quiet(mut command: Command) -> Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Runs a command and calls `seen` at each event of its processes and of `other`.
///
/// It returns the end of the command when that has ended, or with `all` when all its processes have.
pub fn follow(
    command: Command,
    other: Option<Pid>,
    all: bool,
    mut seen: impl FnMut(Pid, Event) -> Act,
) -> Option<WaitStatus> {
    let (first, mut traced) = begin(command, other);
    seen(first, Event::Began);
    ptrace::syscall(first, None).expect("PTRACE_SYSCALL");
    // The processes that are inside a system call, and the errors that these will return.
    let (mut inside, mut failing, mut end) = (BTreeSet::new(), BTreeMap::new(), None);
    while !traced.is_empty() {
        // Other threads of the test have their own children.
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        let Ok(status) = waitpid(None, Some(flags)) else { break };
        let Some(pid) = status.pid() else { continue };
        let (mut deliver, mut act) = (None, Act::GoOn);
        match status {
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => {
                traced.remove(&pid);
                inside.remove(&pid);
                if pid == first {
                    end = Some(status);
                }
                if pid == first && !all {
                    break;
                }
                continue;
            }
            WaitStatus::PtraceSyscall(_) if inside.remove(&pid) => {
                if let Some(errno) = failing.remove(&pid) {
                    set_result(pid, errno);
                }
            }
            WaitStatus::PtraceSyscall(_) => {
                inside.insert(pid);
                act = call_of(pid).map_or(Act::GoOn, |number| seen(pid, Event::Call(number)));
            }
            // A new process first stops once.
            WaitStatus::Stopped(_, Signal::SIGSTOP) if traced.insert(pid) => {}
            WaitStatus::PtraceEvent(_, _, libc::PTRACE_EVENT_EXEC) => act = seen(pid, Event::Executed),
            // A new process of a seized one first stops with an event.
            WaitStatus::PtraceEvent(..) => drop(traced.insert(pid)),
            WaitStatus::Stopped(_, signal) => deliver = Some(signal),
            _ => {}
        }
        if let Act::Fail(errno, _) = act {
            failing.insert(pid, errno);
        }
        if !go_on(pid, act, deliver) {
            traced.remove(&pid);
            inside.remove(&pid);
        }
    }
    let_go(&traced);
    end.or_else(|| waitpid(first, None).ok())
}

/// Detaches from all processes that this thread still traces.
///
/// The kernel does the same when the tracer ends, but then a new process keeps the SIGSTOP of its first stop.
fn let_go(traced: &BTreeSet<Pid>) {
    let own = format!("TracerPid:\t{}\n", nix::unistd::gettid());
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid::from_raw)) {
        if read(pid, "status").is_some_and(|status| status.contains(&own)) {
            let wait = if traced.contains(&pid) { WaitPidFlag::WNOHANG } else { WaitPidFlag::empty() };
            let signal = match waitpid(pid, Some(WaitPidFlag::__WALL | wait)) {
                Ok(WaitStatus::Stopped(_, signal)) if signal != Signal::SIGSTOP => Some(signal),
                _ => None,
            };
            let _ = ptrace::detach(pid, signal);
        }
    }
}

/// Continues a stopped process; returns false if it is let go.
fn go_on(pid: Pid, act: Act, deliver: Option<Signal>) -> bool {
    // The process may have been killed in the meantime.
    match act {
        Act::LetGo => {
            let _ = ptrace::detach(pid, None);
            return false;
        }
        Act::Fail(_, false) => skip_call(pid),
        Act::Signal(signal) => drop(kill(pid, signal)),
        Act::Fail(_, true) | Act::GoOn => {}
    }
    let _ = ptrace::syscall(pid, deliver);
    true
}

/// Starts the command and stops it and the process `other`.
fn begin(command: Command, other: Option<Pid>) -> (Pid, BTreeSet<Pid>) {
    let mut command = traced(command);
    #[allow(clippy::zombie_processes)]
    let child = command.spawn().expect("the command");
    let first = Pid::from_raw(child.id() as i32);
    waitpid(first, None).expect("the command stops at its execve");
    let options = Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_TRACESYSGOOD;
    ptrace::setoptions(first, options).expect("PTRACE_SETOPTIONS");
    if let Some(other) = other {
        ptrace::seize(other, options).expect("PTRACE_SEIZE");
        ptrace::interrupt(other).expect("PTRACE_INTERRUPT");
    }
    (first, other.into_iter().chain([first]).collect())
}

/// Skips the system call that a process is about to make.
#[cfg(target_arch = "x86_64")]
fn skip_call(pid: Pid) {
    if let Ok(mut registers) = ptrace::getregs(pid) {
        registers.orig_rax = u64::MAX;
        let _ = ptrace::setregs(pid, registers);
    }
}

/// The second argument of a system call that a process is about to make.
#[cfg(target_arch = "x86_64")]
pub fn second_argument(pid: Pid) -> Option<u64> {
    ptrace::getregs(pid).ok().map(|registers| registers.rsi)
}

/// Sets what a system call returns at its end.
#[cfg(target_arch = "x86_64")]
fn set_result(pid: Pid, errno: Errno) {
    if let Ok(mut registers) = ptrace::getregs(pid) {
        registers.rax = -i64::from(errno as i32) as u64;
        let _ = ptrace::setregs(pid, registers);
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn skip_call(_: Pid) {
    unreachable!("no test asks for it here")
}

#[cfg(not(target_arch = "x86_64"))]
fn set_result(_: Pid, _: Errno) {
    unreachable!("no test asks for it here")
}

fn read(pid: Pid, file: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/{file}")).ok()
}

/// The number of the system call that a process is about to make.
///
/// User-mode Linux has no `/proc/PID/syscall`.
#[cfg(target_arch = "x86_64")]
fn call_of(pid: Pid) -> Option<c_long> {
    ptrace::getregs(pid).ok().map(|registers| registers.orig_rax as c_long)
}

/// The number of the system call that a process is about to make.
#[cfg(not(target_arch = "x86_64"))]
fn call_of(pid: Pid) -> Option<c_long> {
    read(pid, "syscall")?.split_ascii_whitespace().next()?.parse().ok()
}

fn about_to_exec(pid: Pid) -> Option<Exec> {
    let call = read(pid, "syscall")?;
    let mut words = call.split_ascii_whitespace();
    if words.next()?.parse() != Ok(libc::SYS_execve) {
        return None;
    }
    let address = u64::from_str_radix(words.next()?.trim_start_matches("0x"), 16).ok()?;
    let mut bytes = [0; 256];
    let n = File::open(format!("/proc/{pid}/mem")).ok()?.read_at(&mut bytes, address).ok()?;
    let path = bytes[..n].split(|b| *b == 0).next().unwrap_or_default();
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten().filter_map(|entry| {
        let link = fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned();
        Some((entry.file_name().to_str()?.parse().ok()?, link))
    });
    Some(Exec {
        comm: read(pid, "comm")?.trim_end().to_owned(),
        path: String::from_utf8_lossy(path).into_owned(),
        fds: fds.collect(),
    })
}
