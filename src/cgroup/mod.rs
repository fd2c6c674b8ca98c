//! Control groups: layouts, knobs, device rules.
//!
//! What is asked for ([`resources::Resources`]) becomes, by pure conversions of each cgroup version ([`knobs_v1`],
//! [`knobs_v2`], [`devices`]), files and values ([`Knob`]); a handle on the container's cgroup writes them.

pub mod layout;
pub mod path;
pub mod resources;
