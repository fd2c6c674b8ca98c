//! Locks on open files (flock(2)).

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;

/// An exclusive lock, given up when the value goes, also where a clone of this process still holds the descriptor.
pub struct Lock(OwnedFd);

impl Lock {
    /// Locks what a descriptor refers to; EAGAIN if somebody else has.
    pub fn try_exclusive(fd: OwnedFd) -> Result<Lock, (OwnedFd, Errno)> {
        // SAFETY: plain integers; the descriptor is open.
        match Errno::result(unsafe { libc::flock(fd.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }) {
            Ok(_) => Ok(Lock(fd)),
            Err(e) => Err((fd, e)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // SAFETY: as above. Closing would do the same but for clones.
        unsafe { libc::flock(self.0.as_raw_fd(), libc::LOCK_UN) };
    }
}
