//! eventfd(2), through which cgroup v1 reports its events.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::Errno;

/// Creates a counter that is readable while it is not zero.
/// Reading sets it to zero and does not block.
pub fn counter() -> Result<OwnedFd, Errno> {
    // SAFETY: plain integers; returns a new descriptor for us.
    unsafe {
        Ok(OwnedFd::from_raw_fd(Errno::result(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK))?))
    }
}

/// The line that registers the counter in `cgroup.event_control`.
/// The kernel then raises the counter at each event of `file`, a file of that cgroup.
pub fn cgroup_v1_event(counter: BorrowedFd<'_>, file: BorrowedFd<'_>) -> String {
    format!("{} {}", counter.as_raw_fd(), file.as_raw_fd())
}
