//! Untrusted JSON to a typed [`spec::Spec`], with the JSON path of every fault.

pub mod config;
pub mod id;
pub mod load;
pub mod role;
pub mod spec;
pub mod template;

pub use load::{Loaded, load};
