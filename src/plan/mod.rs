//! The pure compiler: what a bundle asks for and what is known of the host, to lists of steps.

pub mod devices;
pub mod mounts;
pub mod options;
pub mod process;
pub mod sysctl;
pub mod validate;
