//! eventfd(2), as cgroup v1 tells its events by.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::Errno;

/// A counter that is readable when it is not zero; reading does not block, and sets it to zero.
pub fn counter() -> Result<OwnedFd, Errno> {
    // SAFETY: plain integers in, a new fd of ours out.
    unsafe {
        Ok(OwnedFd::from_raw_fd(Errno::result(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK))?))
    }
}

/// What to write to `cgroup.event_control` for the counter to be raised by the events of a file of that cgroup.
pub fn cgroup_v1_event(counter: BorrowedFd<'_>, file: BorrowedFd<'_>) -> String {
    format!("{} {}", counter.as_raw_fd(), file.as_raw_fd())
}
