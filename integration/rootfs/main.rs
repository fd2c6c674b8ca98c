//! The container's root file system on a real kernel: as root, each test in a mount namespace of its own, and with each of
//! the ways that kernels offer, old and new.

mod assembly;
mod devices;
#[path = "../exchange.rs"]
mod exchange;
mod hostile;
mod mounts;
mod own_mounts;
mod pivot;
mod resolve;
