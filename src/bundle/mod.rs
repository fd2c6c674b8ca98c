//! Turns untrusted JSON into a typed [`spec::Spec`]; errors have the JSON path.

pub mod config;
pub mod id;
pub mod intel_rdt;
pub mod load;
pub mod role;
pub mod spec;
pub mod template;

pub use load::{Loaded, load};
