//! The seccomp compiler against libseccomp, the kernel and other runtimes.
//!
//! Random tests use a seed, which a failing test prints. `SEED=n` runs one seed, `COUNT=n` that many.
#![allow(unsafe_code, missing_docs)]

mod catalogue;
#[cfg(not(no_oracles))]
mod crates;
mod differential;
mod fuzz;
mod kernel;
mod libseccomp;
mod meaning;
mod peers;
mod random;
mod roles;
