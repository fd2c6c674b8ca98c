//! Locks on open files (flock(2)).

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use nix::errno::Errno;

/// An exclusive lock on the open file of a value, released on drop.
/// It is released even if a clone of this process still holds the descriptor. It needs no descriptor of its own.
pub struct Lock<T: AsFd> {
    value: T,
}

impl<T: AsFd> Lock<T> {
    /// Locks the file of a descriptor; EAGAIN if another process holds the lock.
    pub fn try_exclusive(value: T) -> Result<Lock<T>, (T, Errno)> {
        match flock(value.as_fd(), libc::LOCK_EX | libc::LOCK_NB) {
            Ok(()) => Ok(Lock { value }),
            Err(e) => Err((value, e)),
        }
    }

    /// The locked value.
    pub fn get(&self) -> &T {
        &self.value
    }

    /// Releases the lock and returns the value.
    pub fn unlock(self) -> T {
        let _ = flock(self.value.as_fd(), libc::LOCK_UN);
        let lock = ManuallyDrop::new(self);
        // SAFETY: the value moves out of the lock, which is neither used nor dropped after this.
        unsafe { std::ptr::read(&raw const lock.value) }
    }
}

impl<T: AsFd> Drop for Lock<T> {
    fn drop(&mut self) {
        // close(2) releases the lock only when no clone has the descriptor any more.
        let _ = flock(self.value.as_fd(), libc::LOCK_UN);
    }
}

fn flock(fd: BorrowedFd<'_>, how: libc::c_int) -> Result<(), Errno> {
    // SAFETY: plain integers; the descriptor is open.
    Errno::result(unsafe { libc::flock(fd.as_raw_fd(), how) }).map(drop)
}
