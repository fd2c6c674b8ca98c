//! Untrusted JSON to a typed [`spec::Spec`], with the JSON path of every fault.

pub mod config;
pub mod id;
pub mod json;
pub mod load;
pub mod pairs;
mod parse;
pub mod read;
pub mod role;
pub mod shape;
pub mod sort;
pub mod spec;
pub mod template;
pub mod text;

pub use load::{Loaded, load};
