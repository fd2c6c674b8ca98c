//! The process that a launch makes.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::sys::process;

/// A cloned process.
pub struct Child {
    /// Its pid in the runtime's pid namespace.
    pub pid: Pid,
    /// A pidfd, readable when the process has ended; absent before Linux 5.2.
    pub pidfd: Option<OwnedFd>,
}

impl Child {
    /// Sends the process a signal.
    pub fn signal(&self, signal: i32) -> nix::Result<()> {
        match self.pidfd.as_ref().map(|fd| process::pidfd_send_signal(fd.as_fd(), signal)) {
            // Linux before 5.1 or an older filter lacks it. Only we reap the process, so its pid is not reused.
            None | Some(Err(Errno::ENOSYS)) => process::kill(self.pid, signal),
            Some(sent) => sent,
        }
    }
}
