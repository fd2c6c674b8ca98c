//! The seccomp compiler against libseccomp, the kernel and other runtimes.
//!
//! What is random here comes from a seed: a failing test prints it, `SEED=n` runs that one alone, `COUNT=n` that many.
#![allow(unsafe_code, missing_docs)]

mod catalogue;
#[cfg(not(no_oracles))]
mod crates;
mod differential;
mod fuzz;
mod kernel;
mod libseccomp;
mod peers;
mod random;
mod roles;
