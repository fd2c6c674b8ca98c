//! Which cgroup a new container gets. Pure: the host is looked at later, when the cgroup is located.

use super::place::layout::Layout;
use super::place::location::Location;
use super::place::path::CgroupPath;
use super::place::unit::{Unit, slice_path};
use super::systemd::properties;
use crate::error::Result;
use crate::json::pairs::Pairs;
use crate::text::Keep;

/// Who makes the cgroups of new containers: `--cgroup-manager`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CgroupManager {
    /// The runtime, by the cgroup file system.
    #[default]
    Cgroupfs,
    /// systemd, as scopes.
    Systemd {
        /// The user's own systemd, not the system's.
        user: bool,
    },
    /// Nobody: a container stays in the cgroup of its caller.
    Disabled,
}

/// The cgroup of a new container.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum PlannedCgroup {
    /// None of its own.
    #[default]
    None,
    /// A directory.
    Path(CgroupPath),
    /// A scope of systemd, and its directory.
    Scope(Unit, CgroupPath),
}

impl PlannedCgroup {
    /// The cgroup of a container by its `cgroupsPath`, which for systemd is `slice:prefix:name`. `systemd` is the cgroup of
    /// that systemd itself. Annotations `org.systemd.property.*` are properties of the scope.
    ///
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

    /// Its path, if it has a cgroup of its own.
    pub fn path(&self) -> Option<&CgroupPath> {
        match self {
            PlannedCgroup::None => None,
            PlannedCgroup::Path(path) | PlannedCgroup::Scope(_, path) => Some(path),
        }
    }

    /// Where it will be, and what of it must be made: to be written down before it is.
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
