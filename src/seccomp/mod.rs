//! The seccomp compiler: turns a [`policy::Policy`] into a filter program.
//!
//! It does not need libseccomp. [`compile::compile`] is pure; [`crate::sys::seccomp`] loads its result. [`sim`]
//! runs and checks programs as the kernel does, for the tests and for people who ask why a call was refused.

pub mod arch;
pub mod code;
pub mod compile;
pub mod explain;
pub mod notify;
pub mod policy;
pub mod recording;
mod rules;
pub mod sim;
pub mod support;
pub mod syscalls;
#[cfg(test)]
mod tests;
