//! Untrusted JSON to a typed [`spec::Spec`], with the JSON path of every fault.

pub mod json;
pub mod read;
pub mod spec;
