//! The seccomp compiler: a [`policy::Policy`] to a filter program, without the C library for it.
//!
//! [`compile::compile`] is pure; [`crate::sys::seccomp`] loads what it makes. [`sim`] runs and checks programs as the
//! kernel does, for the tests and for people who ask why a call was refused.

pub mod arch;
pub mod code;
pub mod compile;
pub mod explain;
pub mod notify;
pub mod policy;
pub mod record;
mod rules;
pub mod sim;
pub mod syscalls;
#[cfg(test)]
mod tests;
