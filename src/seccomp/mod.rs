//! The seccomp compiler: a [`policy::Policy`] to a filter program, without the C library for it.

pub mod arch;
pub mod policy;
pub mod syscalls;
