//! Opens paths with control over their resolution: openat2(2), Linux 5.6.

use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag};
use nix::sys::stat::Mode;

/// The number of attempts after EAGAIN.
/// The kernel returns it if a rename anywhere on the system races with the resolution of `..`. With this limit an
/// attacker who renames constantly delays a container, and rarely stops it.
const ATTEMPTS: u32 = 128;

/// Opens `path` from `dir`, close-on-exec, with `resolve`; creates nothing.
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

/// The same from the kernel's cache alone (Linux 5.12).
/// No server of a file system can hang it. It fails with EAGAIN if that is not enough, and with EINVAL on an older
/// kernel.
pub fn openat2_cached(
    dir: BorrowedFd<'_>,
    path: &CStr,
    flags: OFlag,
    resolve: ResolveFlag,
) -> Result<OwnedFd, Errno> {
    const RESOLVE_CACHED: u64 = 0x20;
    let resolve = resolve | ResolveFlag::from_bits_retain(RESOLVE_CACHED);
    nix::fcntl::openat2(dir, path, OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(resolve))
}

/// Whether the error means that openat2 is missing or hidden by a filter.
/// For an open that creates nothing, openat2(2) itself returns none of these errors.
pub fn is_missing(errno: Errno) -> bool {
    matches!(errno, Errno::ENOSYS | Errno::EPERM | Errno::E2BIG)
}
