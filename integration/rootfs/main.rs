//! The container's root file system on a real kernel, with each of its mount APIs.
//!
//! The tests need root and run in a mount namespace each.

mod assembly;
mod devices;
#[path = "../exchange.rs"]
mod exchange;
mod hostile;
mod hostile_proc;
mod mounts;
mod own_mounts;
mod pivot;
mod resolve;
