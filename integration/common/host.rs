//! The cgroup hierarchies of the host.

use std::path::PathBuf;

/// One mounted cgroup hierarchy.
pub struct Hierarchy {
    /// Where it is mounted.
    pub mount: PathBuf,
    /// Whether it is the unified hierarchy (v2).
    pub v2: bool,
    /// Its controllers: the mount options on v1, `cgroup.controllers` on v2.
    pub controllers: Vec<String>,
}

impl Hierarchy {
    /// All hierarchies in mountinfo.
    pub fn all() -> Vec<Hierarchy> {
        let info = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        info.lines().filter_map(Hierarchy::of_line).collect()
    }

    fn of_line(line: &str) -> Option<Hierarchy> {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        let v2 = match right.next()? {
            "cgroup2" => true,
            "cgroup" => false,
            _ => return None,
        };
        let mount = PathBuf::from(left.split(' ').nth(4)?);
        let words = if v2 {
            std::fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default()
        } else {
            right.nth(1)?.replace(',', " ")
        };
        Some(Hierarchy { mount, v2, controllers: words.split_whitespace().map(String::from).collect() })
    }
}
