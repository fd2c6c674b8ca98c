//! `linux.cgroupsPath`: the container's cgroup in each hierarchy.

use super::layout::MountedHierarchy;
use crate::error::{Error, Quoted, Result};

/// A checked `cgroupsPath`: one or more plain names.
///
/// It cannot lead out of the hierarchy, and cannot be the hierarchy's root, which contains everything else.
#[derive(Clone, Debug, PartialEq)]
pub struct CgroupPath {
    absolute: bool,
    names: String,
}

impl CgroupPath {
    /// Checks `cgroupsPath`; without one, the cgroup is named after the container's id.
    ///
    /// An empty path, `/`, `..` and control characters are errors, which name the field: a newline would break `/proc/PID/cgroup`
    /// for every reader.
    pub fn new(path: Option<&str>, id: &str) -> Result<CgroupPath> {
        let path = path.unwrap_or(id);
        let refuse = |why: &str| Err(Error::of(format_args!("linux.cgroupsPath: {} {why}", Quoted(path))));
        if path.contains(|c: char| c.is_control()) {
            return refuse("contains a control character");
        }
        let names: Vec<&str> = path.split('/').filter(|n| !n.is_empty() && *n != ".").collect();
        if names.contains(&"..") {
            return refuse("must not contain \"..\"");
        }
        if names.is_empty() {
            return refuse("must name a cgroup of the container's own, not the root of the hierarchy");
        }
        Ok(CgroupPath { absolute: path.starts_with('/'), names: names.join("/") })
    }

    /// The path in a hierarchy, below its mount, starting with `/`.
    ///
    /// An absolute path starts at the mount. Like in runc, a relative one starts at the runtime's own cgroup on v1, and at its
    /// parent on v2, where a cgroup with processes (the runtime) cannot have children with controllers.
    pub fn within(&self, hierarchy: &MountedHierarchy) -> String {
        let parent = match (self.absolute, hierarchy.is_v2()) {
            (true, _) => "",
            (false, false) => hierarchy.own.as_str(),
            (false, true) => hierarchy.own.rsplit_once('/').map_or("", |(parent, _)| parent),
        };
        format!("{}/{}", parent.trim_end_matches('/'), self.names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hierarchy(own: &str, v2: bool) -> MountedHierarchy {
        let controllers = if v2 { vec![] } else { vec!["memory".to_owned()] };
        MountedHierarchy { mount: "/sys/fs/cgroup".into(), own: own.into(), controllers }
    }

    #[test]
    fn absolute_is_below_the_mount_and_relative_below_the_runtime() {
        let at = |path, own, v2| CgroupPath::new(path, "web").unwrap().within(&hierarchy(own, v2));
        for (path, own, v1, v2) in [
            (Some("/a/b"), "/own/deep", "/a/b", "/a/b"),
            (Some("//a/./b/"), "/", "/a/b", "/a/b"),
            (Some("a/b"), "/", "/a/b", "/a/b"),
            (Some("a/b"), "/own", "/own/a/b", "/a/b"),
            (Some("./a"), "/own/deep", "/own/deep/a", "/own/a"),
            (None, "/own/deep", "/own/deep/web", "/own/web"),
            (None, "/", "/web", "/web"),
        ] {
            assert_eq!(at(path, own, false), v1, "v1 {path:?} in {own}");
            assert_eq!(at(path, own, true), v2, "v2 {path:?} in {own}");
        }
    }

    #[test]
    fn what_would_escape_is_refused() {
        for path in
            ["", "/", "//", "./.", "/./", "..", "/a/../../x", "../../x", "a/..", "x\ny", "a\u{7f}", "\t"]
        {
            let e = CgroupPath::new(Some(path), "web").unwrap_err().to_string();
            assert!(e.starts_with("linux.cgroupsPath: "), "{e}");
        }
        assert!(CgroupPath::new(Some("/a/..b/c.."), "web").is_ok(), "dots in a name are no way up");
    }
}
