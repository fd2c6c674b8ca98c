//! Signals to marked processes, children or not, and the wait for their end.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

use super::observe::Stat;
use super::record::ProcessMark;
use crate::error::{Errno, Error, Result};
use crate::sys::clock;
use crate::sys::file::{each_entry, open};
use crate::sys::process::{self, pidfd_open, pidfd_send_signal};

/// Sends a signal to a marked process.
///
/// The mark is compared after the pidfd is opened, so the pidfd refers to the marked process. Before Linux 5.3 there is a short
/// race between comparison and signal.
pub fn signal(mark: &ProcessMark, signal: i32) -> std::result::Result<(), Errno> {
    let pid = Pid::from_raw(mark.pid);
    let pidfd = match pidfd_open(pid) {
        Err(Errno::ESRCH) => return Err(Errno::ESRCH),
        other => other.ok(),
    };
    if !mark.lives() {
        return Err(Errno::ESRCH);
    }
    match pidfd {
        Some(fd) => pidfd_send_signal(fd.as_fd(), signal),
        None => process::kill(pid, signal),
    }
}

/// Waits for a process, child or not, to end; false at the deadline.
pub fn wait_for_end(mark: &ProcessMark, deadline: Instant) -> Result<bool> {
    let pidfd = pidfd_open(Pid::from_raw(mark.pid)).ok();
    while mark.lives() {
        let left = clock::until(deadline);
        if left.is_zero() {
            return Ok(false);
        }
        match &pidfd {
            Some(fd) => {
                let timeout =
                    PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
                match poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], timeout) {
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(e) => return Err(Error::os("poll", e)),
                }
            }
            None => std::thread::sleep(left.min(Duration::from_millis(5))),
        }
    }
    Ok(true)
}

/// Kills the leader of a session that is not its parent's, and all its processes.
pub fn end_session(leader: &ProcessMark) {
    // A stopped leader keeps the session's number from being reused.
    if signal(leader, libc::SIGSTOP).is_err() {
        return;
    }
    // The members may fork while they are collected.
    for _ in 0..100 {
        if kill_members(leader) == 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let _ = signal(leader, libc::SIGKILL);
    let _ = wait_for_end(leader, clock::after(Duration::from_secs(2)));
}

/// Kills the other processes of a session once; returns their number.
fn kill_members(leader: &ProcessMark) -> usize {
    let mut count = 0;
    let mut look = |name: &std::ffi::CStr, _| {
        let Some(pid) = name.to_str().ok().and_then(|name| name.parse().ok()) else { return };
        let Some(stat) = Stat::read(pid) else { return };
        let mark = ProcessMark { pid, start: stat.start };
        if stat.session == leader.pid && mark != *leader && signal(&mark, libc::SIGKILL).is_ok() {
            count += 1;
        }
    };
    let proc = open(c"/proc", OFlag::O_RDONLY | OFlag::O_DIRECTORY);
    let looked = proc.and_then(|proc| each_entry(proc.as_fd(), &mut look));
    // After an error there may be more.
    count + usize::from(looked.is_err())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_else_is_signalled() {
        let me = ProcessMark::of(std::process::id() as i32).unwrap();
        assert_eq!(signal(&me, 0), Ok(()));
        let earlier = ProcessMark { start: me.start - 1, ..me };
        assert_eq!(signal(&earlier, libc::SIGKILL), Err(Errno::ESRCH));
        assert_eq!(signal(&ProcessMark { pid: i32::MAX, start: 1 }, 0), Err(Errno::ESRCH));
    }

    #[test]
    fn a_session_ends_with_all_its_process_groups() {
        use std::io::Read as _;
        // An interactive shell gives its children other process groups.
        let script = "sleep 60 & sleep 60 & echo on; wait";
        let mut command = std::process::Command::new("setsid");
        command
            .args(["--wait", "bash", "-mc", &format!("echo $$; {script}")])
            .stdout(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (mut text, mut byte, mut out) = (String::new(), [0], child.stdout.take().unwrap());
        while !text.ends_with("on\n") && out.read(&mut byte).unwrap() == 1 {
            text.push(byte[0].into());
        }
        let leader = ProcessMark::of(text.lines().next().unwrap().parse().unwrap()).unwrap();
        end_session(&ProcessMark { start: leader.start + 1, ..leader });
        assert!(leader.lives(), "another process of that number");
        end_session(&leader);
        assert!(!leader.lives());
        // The pipe ends, because all processes that held it have ended.
        assert_eq!(out.read(&mut byte).unwrap(), 0);
        child.wait().unwrap();
    }
}
