//! The cgroup hierarchies that this process can use.
//!
//! They are read from `/proc/self/mountinfo` and `/proc/self/cgroup`.
//!
//! A layout is a list of hierarchies. It has one on pure v2; one for each controller on v1, where controllers may share a
//! hierarchy that is mounted under any name; those of v1 and one of v2 on a hybrid host; and none on a host without cgroups.
//! Sources: proc_pid_mountinfo(5), cgroups(7).

use nix::fcntl::OFlag;

use crate::error::{Context, Result};
use crate::sys::file::{open, read_all, read_text};
use crate::sys::mountinfo::{MountInfo, mounts};

/// The hierarchies that are mounted in this process's mount namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    /// Those of v1 in the order of `/proc/self/cgroup`, then that of v2.
    pub hierarchies: Vec<MountedHierarchy>,
}

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq)]
pub struct MountedHierarchy {
    /// Its mount point.
    pub mount: String,
    /// This process's cgroup as a path below `mount`; `/` if it is not visible there.
    pub own: String,
    /// The controllers of a v1 hierarchy, `name=…` for a named one; empty for v2.
    pub controllers: Vec<String>,
}

impl MountedHierarchy {
    /// Whether it is the unified hierarchy.
    pub fn is_v2(&self) -> bool {
        self.controllers.is_empty()
    }

    /// Whether it is a v1 hierarchy with this controller.
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|c| c == controller)
    }
}

impl Layout {
    /// Reads the layout of the calling process.
    pub fn discover() -> Result<Layout> {
        Layout::of("self")
    }

    /// Reads `cgroup.controllers` of v2's root, if it can be read.
    pub fn v2_controllers(&self) -> Option<String> {
        read_text(&format!("{}/cgroup.controllers", self.v2()?.mount)).ok()
    }

    /// Reads the layout with the cgroups of another process.
    pub(in crate::cgroup) fn of(process: &str) -> Result<Layout> {
        // Mounts of other programs may have a path that is not UTF-8.
        let read = |file: &str| {
            let text = open(file, OFlag::O_RDONLY).and_then(|fd| read_all(fd, usize::MAX));
            text.about(format_args!("read {file}")).map(|text| String::from_utf8_lossy(&text).into_owned())
        };
        let cgroups = match read(&format!("/proc/{process}/cgroup")) {
            // The kernel lacks CONFIG_CGROUPS.
            Err(e) if e.errno() == Some(crate::error::Errno::ENOENT) => return Ok(Layout::default()),
            other => other?,
        };
        Ok(Layout::parse(&read("/proc/self/mountinfo")?, &cgroups))
    }

    /// Parses the two texts into a layout.
    ///
    /// A malformed line is ignored. A hierarchy that is not mounted, or only below another mount, is left out.
    pub fn parse(mountinfo: &str, cgroups: &str) -> Layout {
        let mounts = mounts(mountinfo.as_bytes());
        let mut hierarchies: Vec<MountedHierarchy> = cgroups
            .lines()
            .filter_map(|line| {
                let (names, path) = line.split_once(':')?.1.split_once(':')?;
                let names: Vec<&str> = names.split(',').filter(|n| !n.is_empty()).collect();
                hierarchy(&mounts, &names, path)
            })
            .collect();
        hierarchies.sort_by_key(MountedHierarchy::is_v2);
        Layout { hierarchies }
    }

    /// The v2 hierarchy.
    pub fn v2(&self) -> Option<&MountedHierarchy> {
        self.hierarchies.iter().find(|t| t.is_v2())
    }

    /// Whether v2 is the only hierarchy.
    pub fn is_pure_v2(&self) -> bool {
        self.hierarchies.len() == 1 && self.hierarchies[0].is_v2()
    }
}

fn holds(mount: &MountInfo<'_>, names: &[&str]) -> bool {
    match names.first() {
        None => mount.kind == b"cgroup2",
        Some(name) => mount.kind == b"cgroup" && has_option(mount.kind_options, name),
    }
}

fn has_option(options: &[u8], wanted: &str) -> bool {
    options.split(|b| *b == b',').any(|option| option == wanted.as_bytes())
}

/// Chooses the best mount of a hierarchy.
///
/// A writable mount is preferred to a read-only one, then one that shows our own cgroup, then the first.
fn hierarchy(mounts: &[MountInfo<'_>], names: &[&str], path: &str) -> Option<MountedHierarchy> {
    let own = |m: &MountInfo<'_>| below(&m.root, path);
    let mount = mounts
        .iter()
        .filter(|m| holds(m, names) && !hidden(mounts, m))
        .min_by_key(|m| (!has_option(m.options, "rw"), own(m).is_none()))?;
    Some(MountedHierarchy {
        mount: String::from_utf8_lossy(&mount.point).into_owned(),
        own: own(mount).unwrap_or_else(|| "/".to_owned()),
        controllers: names.iter().map(|n| (*n).to_owned()).collect(),
    })
}

/// Converts `path` to a path below `root`.
///
/// Inside a container the mount's root may be the container's cgroup. A path that starts with `/..` is outside of our cgroup
/// namespace.
fn below(root: &[u8], path: &str) -> Option<String> {
    let rest = rest_of(path.as_bytes(), root).filter(|_| !path.starts_with("/.."))?;
    Some(if rest.is_empty() { "/".to_owned() } else { String::from_utf8_lossy(rest).into_owned() })
}

/// The rest of a path after a directory that contains or equals it.
fn rest_of<'a>(path: &'a [u8], directory: &[u8]) -> Option<&'a [u8]> {
    let rest = path.strip_prefix(directory.strip_suffix(b"/").unwrap_or(directory))?;
    rest.first().is_none_or(|b| *b == b'/').then_some(rest)
}

/// Whether another mount covers this one or one of its parent directories.
fn hidden(mounts: &[MountInfo<'_>], mount: &MountInfo<'_>) -> bool {
    let mut way = vec![mount.id];
    let mut at = mount;
    while let Some(parent) = mounts.iter().find(|m| m.id == at.parent && !way.contains(&m.id)) {
        way.push(parent.id);
        at = parent;
    }
    mounts
        .iter()
        .any(|m| way.contains(&m.parent) && !way.contains(&m.id) && rest_of(&mount.point, &m.point).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brief(layout: &Layout) -> Vec<(String, &str, &str)> {
        layout
            .hierarchies
            .iter()
            .map(|t| (t.controllers.join(","), t.mount.as_str(), t.own.as_str()))
            .collect()
    }

    const BASE: &str = "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n23 20 0:22 / /sys rw - sysfs sysfs rw\n";

    #[test]
    fn pure_v2() {
        let mounts =
            format!("{BASE}30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");
        let layout = Layout::parse(&mounts, "0::/user.slice/session-1.scope\n");
        assert_eq!(brief(&layout), [(String::new(), "/sys/fs/cgroup", "/user.slice/session-1.scope")]);
        assert!(layout.is_pure_v2());
    }

    #[test]
    fn v1_joined_and_renamed() {
        let mounts = format!(
            "{BASE}30 23 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755\n\
             31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
             32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
             33 20 0:29 / /dev/my\\040mem rw - cgroup none rw,memory\n"
        );
        let layout =
            Layout::parse(&mounts, "9:pids:/\n3:memory:/a\n2:cpu,cpuacct:/\n1:name=systemd:/init.scope\n");
        assert_eq!(
            brief(&layout),
            [
                ("memory".into(), "/dev/my mem", "/a"),
                ("cpu,cpuacct".into(), "/sys/fs/cgroup/cpu,cpuacct", "/"),
                ("name=systemd".into(), "/sys/fs/cgroup/systemd", "/init.scope"),
            ]
        );
        assert!(
            layout.hierarchies[1].has("cpuacct")
                && !layout.hierarchies[1].has("memory")
                && layout.v2().is_none()
        );
    }

    #[test]
    fn hybrid_has_v2_at_the_end() {
        let mounts = format!(
            "{BASE}31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
             32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
        );
        let layout = Layout::parse(&mounts, "0::/x\n1:cpu:/\n");
        assert_eq!(
            brief(&layout),
            [("cpu".into(), "/sys/fs/cgroup/cpu", "/"), (String::new(), "/sys/fs/cgroup/unified", "/x"),]
        );
        assert!(!layout.is_pure_v2());
    }

    #[test]
    fn nothing_mounted() {
        assert_eq!(Layout::parse(BASE, "1:cpu:/\n0::/\n"), Layout::default());
        assert_eq!(Layout::parse("", ""), Layout::default());
        assert_eq!(Layout::parse("x\n1 2 3\n - \n", "::\n:\nfoo\n"), Layout::default());
    }

    #[test]
    fn inside_a_container_without_its_own_namespace() {
        let mounts = format!(
            "{BASE}50 23 0:30 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n\
             51 23 0:31 /docker/other /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
        );
        let layout = Layout::parse(&mounts, "5:memory:/docker/abc/inner\n4:cpu:/docker/abc\n");
        assert_eq!(
            brief(&layout),
            [("memory".into(), "/sys/fs/cgroup/memory", "/inner"), ("cpu".into(), "/sys/fs/cgroup/cpu", "/"),]
        );
        assert_eq!(below(b"/docker/a", "/docker/abc"), None, "a prefix of the text is no parent");
        assert_eq!(below(b"/", "/../up"), None);
    }

    #[test]
    fn of_two_mounts_the_usable_one_is_taken() {
        let line = |id: u32, root: &str, at: &str, how: &str| {
            format!("{id} 20 0:26 {root} {at} {how} - cgroup2 cgroup2 rw\n")
        };
        let mounts = format!(
            "{BASE}{}{}{}",
            line(40, "/", "/ro", "ro"),
            line(41, "/b", "/b", "rw"),
            line(42, "/", "/c", "rw")
        );
        assert_eq!(Layout::parse(&mounts, "0::/a").hierarchies[0].mount, "/c");
        assert_eq!(Layout::parse(&mounts, "0::/b").hierarchies[0].mount, "/b");
    }

    #[test]
    fn a_mount_under_another_does_not_count() {
        let mounts = format!(
            "{BASE}31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
        );
        assert!(Layout::parse(&mounts, "0::/").v2().is_some());
        let over = |line: &str| Layout::parse(&format!("{mounts}{line}\n"), "0::/").v2().is_some();
        assert!(!over("60 41 0:50 / /sys/fs/cgroup/unified rw - tmpfs none rw"));
        assert!(!over("60 31 0:50 / /sys/fs/cgroup rw - tmpfs none rw"));
        assert!(over("60 31 0:50 / /sys/fs/cgroup/uni rw - tmpfs none rw"));
        assert!(over("60 20 0:50 / /proc rw - proc proc rw"));
        // After a switch of the root, the new root is a younger mount than those moved below it.
        let moved = "41 50 0:38 / /cg rw - cgroup2 cgroup2 rw\n50 1 8:1 / / rw - ext4 /dev/sda1 rw\n";
        assert!(Layout::parse(moved, "0::/").v2().is_some());
    }
}
