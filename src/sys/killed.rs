//! Waits for a killed process.
//!
//! Its end may take long, for example while it waits for a frozen file system or a device that does not answer. The runtime
//! already ignores signals then, so it waits no longer than [`DEADLINE`].

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

use super::clock;
use super::process::{self, Ended};
use crate::error::Errno;

/// The longest time that the kernel may take to end a killed process.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// Returns the end of a process; `None` if it does not end in time.
pub fn wait(pid: Pid, pidfd: Option<&OwnedFd>, time: Duration) -> Result<Option<Ended>, Errno> {
    let deadline = clock::after(time);
    loop {
        if let Some((_, ended)) = process::wait(pid, false)? {
            return Ok(Some(ended));
        }
        let left = clock::until(deadline);
        if left.is_zero() {
            return Ok(None);
        }
        // Without a pidfd (before Linux 5.2) we poll for its end.
        let nap = if pidfd.is_some() { left } else { left.min(Duration::from_millis(10)) };
        let mut fd = pidfd.map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN));
        let _ = poll(fd.as_mut_slice(), PollTimeout::from(nap.as_millis().max(1) as u16));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process::pidfd_open;

    #[test]
    fn an_end_is_waited_for_and_not_for_ever() {
        for by_pidfd in [true, false] {
            let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
            let pid = Pid::from_raw(child.id() as i32);
            let pidfd = pidfd_open(pid).ok().filter(|_| by_pidfd);
            assert_eq!(wait(pid, pidfd.as_ref(), Duration::from_millis(30)), Ok(None));
            child.kill().unwrap();
            assert_eq!(wait(pid, pidfd.as_ref(), DEADLINE), Ok(Some(Ended::Signalled(libc::SIGKILL))));
            assert_eq!(wait(pid, pidfd.as_ref(), DEADLINE), Err(Errno::ECHILD));
            assert!(child.wait().is_err());
        }
    }
}
