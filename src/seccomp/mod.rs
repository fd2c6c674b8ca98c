//! The seccomp compiler: a policy to a filter program.

pub mod policy;
