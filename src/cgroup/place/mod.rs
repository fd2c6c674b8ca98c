//! Where a container's cgroup is: the hierarchies of the host, the path, and the scope of systemd.

pub mod layout;
pub mod location;
pub mod path;
pub mod unit;
