//! Swaps two names of a directory atomically, as an attacker would.
//!
//! nix and musl 1.2.3 do not offer RENAME_EXCHANGE.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd};

#[allow(unsafe_code)]
pub fn exchange(dir: impl AsFd, one: &str, other: &str) -> nix::Result<()> {
    let (one, other) = (CString::new(one).unwrap(), CString::new(other).unwrap());
    let dir = dir.as_fd().as_raw_fd();
    // SAFETY: both names end in NUL and outlive the call.
    let done = unsafe {
        libc::syscall(libc::SYS_renameat2, dir, one.as_ptr(), dir, other.as_ptr(), libc::RENAME_EXCHANGE)
    };
    nix::errno::Errno::result(done).map(drop)
}
