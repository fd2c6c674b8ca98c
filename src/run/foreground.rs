//! A `run` or `exec` in the foreground, until its process ends.
//!
//! It forwards signals, reaps orphans and relays the terminal.
//!
//! One thread, one poll loop. Signals are blocked before the clone ([`Signals::block`]), so that none is lost between the
//! child's birth and the loop: an early SIGCHLD would otherwise never be seen.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

use super::child::Child;
use super::notify::{Readiness, watched};
use super::relay::Relay;
use crate::error::{Context, Result};
use crate::sys::process::{self, Ended};
use crate::sys::signal;

/// The signals of this process, blocked and read from a descriptor.
pub struct Signals(OwnedFd);

impl Signals {
    /// Blocks all signals except those that report a fault of this program.
    pub fn block() -> Result<Signals> {
        let faults = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT, libc::SIGTRAP];
        signal::block_all_but(&faults).at("signalfd").map(Signals)
    }
}

/// Waits for the process to end, and forwards signals and terminal data meanwhile.
///
/// Signals go to the process. Bytes go between the terminal's master and our own stdin and stdout. All other children that end
/// are reaped: with a subreaper they are the container's orphans.
///
/// Once the caller's side is gone, the terminal is hung up, which ends a program that does not handle SIGHUP. After the
/// program's end, its last output waits for its reader, unless a signal asks us to end.
pub fn supervise(
    signals: &Signals,
    child: &Child,
    terminal: Option<OwnedFd>,
    mut readiness: Option<Readiness>,
) -> Result<Ended> {
    let mut relay = terminal.map(Relay::new);
    let mut how = None;
    loop {
        while let Some((pid, ended)) = reap()? {
            if pid == child.pid {
                how = Some(ended);
                readiness.take().iter_mut().for_each(Readiness::finish);
            }
        }
        if let Some(ended) = how.filter(|_| !relay.as_mut().is_some_and(Relay::finish)) {
            return Ok(ended);
        }
        let idle = signals.0.as_fd();
        let nothing = || std::array::from_fn(|_| PollFd::new(idle, PollFlags::empty()));
        let [master, stdin, stdout] = relay.as_ref().map_or_else(nothing, |relay| relay.wants(idle));
        let (notify, timeout) = readiness.as_ref().map_or((None, PollTimeout::NONE), Readiness::wants);
        let mut fds = [PollFd::new(idle, PollFlags::POLLIN), watched(notify, idle), master, stdin, stdout];
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(e).at("poll"),
        }
        let [_, _, ready @ ..] = fds.map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        while let Some(signal) = signal::next(idle) {
            match (how, signal) {
                (None, _) => forward(signal, child, relay.as_ref()),
                (Some(ended), libc::SIGTERM | libc::SIGINT | libc::SIGHUP | libc::SIGQUIT) => {
                    return Ok(ended);
                }
                // Its pid may have been reused by now.
                (Some(_), _) => {}
            }
        }
        if let Some(readiness) = &mut readiness {
            readiness.serve();
        }
        if let Some(open) = &mut relay {
            open.serve(ready);
        }
        relay = relay.filter(|relay| !relay.is_gone());
    }
}

fn reap() -> Result<Option<(Pid, Ended)>> {
    match process::wait(Pid::from_raw(-1), false) {
        Err(Errno::ECHILD) => Ok(None),
        other => other.at("waitpid"),
    }
}

fn forward(signal: i32, child: &Child, relay: Option<&Relay>) {
    match (signal, relay) {
        (libc::SIGCHLD | libc::SIGPIPE | libc::SIGURG, _) => {}
        (libc::SIGWINCH, Some(relay)) => relay.resize(),
        // The process may have ended meanwhile; the next round reaps it.
        _ => drop(child.signal(signal)),
    }
}
