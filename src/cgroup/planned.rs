//! Chooses the cgroup of a new container.
//!
//! The decision is pure: the host's hierarchies are only needed later, when the cgroup is located.

use super::place::layout::Layout;
use super::place::location::Location;
use super::place::path::CgroupPath;
use super::place::unit::{Unit, slice_path};
use super::systemd::properties;
use crate::error::Result;
use crate::json::pairs::Pairs;
use crate::text::Keep;

/// The manager that makes the cgroups of new containers: `--cgroup-manager`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CgroupManager {
    /// The runtime makes directories in the cgroup file system.
    #[default]
    Cgroupfs,
    /// systemd makes scopes.
    Systemd {
        /// The manager is the user's systemd, not the system's.
        user: bool,
    },
    /// No cgroup is made: a container stays in the cgroup of its caller.
    Disabled,
}

/// The cgroup of a new container.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum PlannedCgroup {
    /// The container stays in the cgroup of its caller.
    #[default]
    None,
    /// A directory that the runtime makes.
    Path(CgroupPath),
    /// A systemd scope, and its directory.
    Scope(Unit, CgroupPath),
}

impl PlannedCgroup {
    /// Chooses the cgroup from the `cgroupsPath` (`slice:prefix:name` for systemd).
    ///
    /// `systemd` is the cgroup of that systemd itself. Annotations `org.systemd.property.*` become properties of the scope.
    /// Errors begin with the property at fault.
    pub fn new(
        manager: CgroupManager,
        systemd: &str,
        path: Option<&str>,
        id: &str,
        annotations: Pairs,
    ) -> Result<PlannedCgroup> {
        Ok(match manager {
            CgroupManager::Disabled => PlannedCgroup::None,
            CgroupManager::Cgroupfs => PlannedCgroup::Path(CgroupPath::new(path, id)?),
            CgroupManager::Systemd { user } => {
                let mut unit = Unit::new(path, id, user)?;
                unit.properties = properties::annotated(annotations)?.keep();
                let path = format!("{systemd}{}/{}", slice_path(&unit.slice)?, unit.name);
                PlannedCgroup::Scope(unit, CgroupPath::new(Some(&path), id)?)
            }
        })
    }

    /// The path of the cgroup, unless it is the caller's.
    pub fn path(&self) -> Option<&CgroupPath> {
        match self {
            PlannedCgroup::None => None,
            PlannedCgroup::Path(path) | PlannedCgroup::Scope(_, path) => Some(path),
        }
    }

    /// Locates the cgroup and the directories to make.
    ///
    /// The result is recorded before they are made.
    pub fn locate(&self, layout: &Layout) -> Location {
        let mut location = self.path().map(|path| Location::plan(layout, path)).unwrap_or_default();
        if let PlannedCgroup::Scope(unit, _) = self {
            location.unit = Some(unit.clone());
        }
        location
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use CgroupManager::*;

    #[test]
    fn a_scope_is_below_the_cgroup_of_its_systemd() {
        let plan = |manager, path| PlannedCgroup::new(manager, "/init", path, "web", Pairs::default());
        let path = |path: &str| CgroupPath::new(Some(path), "").unwrap();
        let scope = plan(Systemd { user: true }, Some("a-b.slice:x:web")).unwrap();
        assert_eq!(scope.path(), Some(&path("/init/a.slice/a-b.slice/x-web.scope")));
        assert!(matches!(scope, PlannedCgroup::Scope(Unit { user: true, .. }, _)));
        assert_eq!(plan(Cgroupfs, None).unwrap(), PlannedCgroup::Path(path("web")));
        assert_eq!(plan(Disabled, Some("..")).unwrap(), PlannedCgroup::None);
        let e = plan(Systemd { user: false }, Some("/a/b")).unwrap_err().to_string();
        assert!(e.starts_with("linux.cgroupsPath: "), "{e}");
    }
}
