//! Finds the type and the parent of a namespace from its descriptor.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;

use super::descriptor::adopt;
use super::file;

/// Returns the `CLONE_NEW…` flag of a namespace (NS_GET_NSTYPE, Linux 4.11).
/// Fails with ENOTTY on older kernels and for other files.
pub fn kind_of(fd: &impl AsFd) -> Result<u64, Errno> {
    // _IO(0xb7, 3), which is the same on every supported architecture.
    const NS_GET_NSTYPE: u32 = 0xb703;
    // SAFETY: takes no argument, returns a number.
    Errno::result(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), NS_GET_NSTYPE as _) }).map(|n| n as u64)
}

/// The user namespace in which this one was made (NS_GET_PARENT, Linux 4.9).
/// Fails with ENOTTY on older kernels, and with EPERM above the caller's.
pub fn parent(users: &impl AsFd) -> Result<OwnedFd, Errno> {
    // _IO(0xb7, 2)
    const NS_GET_PARENT: u32 = 0xb702;
    // SAFETY: takes no argument, returns a new descriptor, which is close-on-exec.
    Errno::result(unsafe { libc::ioctl(users.as_fd().as_raw_fd(), NS_GET_PARENT as _) }).map(adopt)
}

/// Whether this is a user namespace whose ids differ from the host's.
///
/// See user_namespaces(7).
pub fn are_ids_mapped() -> bool {
    let map = file::read_text("/proc/self/uid_map").unwrap_or_default();
    !map.is_empty() && map.split_ascii_whitespace().ne(["0", "0", "4294967295"])
}
