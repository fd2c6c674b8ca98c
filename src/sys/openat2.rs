//! Opening paths with a say in how they resolve: openat2(2), Linux 5.6.

use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag};
use nix::sys::stat::Mode;

/// How often an EAGAIN is tried again. The kernel answers it when a rename anywhere on the system met the resolution of a
/// `..`; at this bound an attacker who renames all the time delays a container, and rarely stops it.
const ATTEMPTS: u32 = 128;

/// Opens `path` from `dir`, close-on-exec, and resolved as `resolve` says. Nothing is created.
pub fn openat2(
    dir: BorrowedFd<'_>,
    path: &CStr,
    flags: OFlag,
    resolve: ResolveFlag,
) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).mode(Mode::empty()).resolve(resolve);
    let mut last = Errno::EAGAIN;
    for _ in 0..ATTEMPTS {
        match nix::fcntl::openat2(dir, path, how) {
            Err(e @ (Errno::EAGAIN | Errno::EINTR)) => last = e,
            other => return other,
        }
    }
    Err(last)
}

/// True for the errnos of a kernel without openat2, or of a seccomp filter that hides it: openat2(2) itself answers none
/// of them for an open that creates nothing.
pub fn is_missing(errno: Errno) -> bool {
    matches!(errno, Errno::ENOSYS | Errno::EPERM | Errno::E2BIG)
}
