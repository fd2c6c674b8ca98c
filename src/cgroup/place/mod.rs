//! The place of a container's cgroup: hierarchies, path, and systemd scope.

pub mod layout;
pub mod location;
pub mod path;
pub mod unit;
