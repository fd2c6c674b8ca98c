//! Control groups: layouts, knobs, device rules.

pub mod resources;
