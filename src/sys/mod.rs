//! System calls: the only room with `unsafe`.
//!
//! nix has safe wrappers for most calls; this room has the rest. Each function is safe to call with any arguments
//! and returns the call's [`Errno`]. File descriptors are passed as `BorrowedFd` and returned as `OwnedFd`, always
//! close-on-exec.
#![allow(unsafe_code)]

pub mod boot;
pub mod bpf;
pub mod clock;
pub mod credentials;
pub mod descriptor;
pub mod entry;
pub mod errno;
pub mod event;
pub mod exact_modes;
pub mod fault;
pub mod file;
pub mod heap;
pub mod interrupt;
pub mod killed;
pub mod lock;
pub mod memory_policy;
pub mod mount_api;
pub mod mountinfo;
pub mod namespace;
pub mod netlink;
pub mod once;
pub mod openat2;
pub mod path;
pub mod process;
pub mod scheduling;
pub mod sealed_exe;
pub mod seccomp;
pub mod shared;
pub mod signal;
pub mod socket;
pub mod stack;
pub mod tty;

pub use nix::errno::Errno;

/// The result of a call that only succeeds or fails.
#[inline(never)]
fn done(answer: std::ffi::c_int) -> Result<(), Errno> {
    if answer == -1 { Err(Errno::last()) } else { Ok(()) }
}
