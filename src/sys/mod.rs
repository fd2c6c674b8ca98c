//! System calls: the only room with `unsafe`.
//!
//! nix has safe wrappers for most of what is needed; here is the rest, each behind a function that is safe to call with
//! any arguments and that answers with the [`Errno`] of the call. File descriptors go in as `BorrowedFd` and come out as
//! `OwnedFd`, always close-on-exec.
#![allow(unsafe_code)]

pub mod bpf;
pub mod clock;
pub mod credentials;
pub mod descriptor;
pub mod errno;
pub mod event;
pub mod exact_modes;
pub mod fault;
pub mod file;
pub mod heap;
pub mod interrupt;
pub mod lock;
pub mod mount_api;
pub mod mountinfo;
pub mod namespace;
pub mod once;
pub mod openat2;
pub mod process;
pub mod scheduling;
pub mod sealed_exe;
pub mod search;
pub mod seccomp;
pub mod signal;
pub mod socket;
pub mod start;
pub mod tty;

pub use nix::errno::Errno;

/// What a call answered that tells no more than whether it failed.
#[inline(never)]
fn done(answer: std::ffi::c_int) -> Result<(), Errno> {
    if answer == -1 { Err(Errno::last()) } else { Ok(()) }
}
