//! What kind of namespace a descriptor is.

use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;

/// The `CLONE_NEW…` flag of a namespace (NS_GET_NSTYPE, Linux 4.11; ENOTTY before, and of what is no namespace).
pub fn kind_of(fd: &impl AsFd) -> Result<u64, Errno> {
    // _IO(0xb7, 3), the same on every architecture built for.
    const NS_GET_NSTYPE: u32 = 0xb703;
    // SAFETY: takes no argument, answers with a number.
    Errno::result(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), NS_GET_NSTYPE as _) }).map(|n| n as u64)
}
