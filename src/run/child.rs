//! The process that a launch has made.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::sys::process;

/// A cloned process.
pub struct Child {
    /// Its pid here.
    pub pid: Pid,
    /// Readable when it has ended; absent before Linux 5.2.
    pub pidfd: Option<OwnedFd>,
}

impl Child {
    /// Sends it a signal.
    pub fn signal(&self, signal: i32) -> nix::Result<()> {
        match self.pidfd.as_ref().map(|fd| process::pidfd_send_signal(fd.as_fd(), signal)) {
            // Before Linux 5.1, or under an older filter. Only we reap it, so its pid is not reused.
            None | Some(Err(Errno::ENOSYS)) => process::kill(self.pid, signal),
            Some(sent) => sent,
        }
    }
}
