//! The cgroups that a mount of type `cgroup` shows, and their owner. Pure.

use super::mounts;
use crate::bundle::spec::{Mount, NamespaceKind, Spec};
use crate::cgroup::place::location::Access;
use crate::cgroup::planned::PlannedCgroup;
use crate::facts::HostFacts;
use crate::text::Text;

/// The container's cgroups as a mount of type `cgroup` shows them.
#[derive(Clone, Debug, Default)]
pub struct CgroupView {
    /// The v1 hierarchies. If there are any, the mount shows them.
    pub v1: Vec<V1Hierarchy>,
    /// The v2 cgroup, bound where cgroup2 may not be mounted.
    pub v2: Option<CgroupSource>,
    /// The container has its own cgroup namespace, and init is in it when it mounts.
    pub own_namespace: bool,
}

/// A v1 hierarchy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct V1Hierarchy {
    /// Its directory's name, from the host's mount point: `cpu,cpuacct` or `systemd`.
    pub directory: String,
    /// Its controllers, or `name=…` for a named one.
    pub controllers: Vec<String>,
    /// The container's directory in it.
    pub source: CgroupSource,
}

/// The host's path of a cgroup that a mount shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CgroupSource {
    /// The container's.
    pub own: String,
    /// The path to show if the container has none.
    ///
    /// An ordinary user may not be able to make one.
    pub otherwise: Option<String>,
}

/// The user that owns the cgroup, if it may be delegated.
///
/// See config-linux.md, "Cgroup ownership".
///
/// Only v2 can be delegated safely, and only to a container that has its own cgroup namespace and a writable view of it.
pub(super) fn cgroup_owner(spec: &Spec, rootfs: Text, facts: &HostFacts) -> Option<u32> {
    let writable = |m: &Mount| {
        let last = m.options.iter().rev().find(|o| matches!(**o, "ro" | "rw"));
        let there = mounts::target(m, rootfs).is_some_and(|t| t.as_bytes() == b"sys/fs/cgroup");
        there && m.kind == Some("cgroup") && last.is_none_or(|o| *o != "ro")
    };
    let new_namespace = spec.linux.namespace(NamespaceKind::Cgroup).is_some_and(|n| n.path.is_none());
    let may = facts.cgroups.is_pure_v2() && new_namespace && spec.mounts.iter().any(writable);
    spec.process.as_ref().map(|p| p.user.uid).filter(|_| may)
}

/// The container's cgroups where the host sees them.
pub(super) fn cgroup_view(
    spec: &Spec,
    cgroup: &PlannedCgroup,
    access: Access,
    facts: &HostFacts,
) -> CgroupView {
    let mut view = CgroupView {
        own_namespace: spec.linux.namespace(NamespaceKind::Cgroup).is_some(),
        ..CgroupView::default()
    };
    for hierarchy in &facts.cgroups.hierarchies {
        let path = cgroup.path().map_or_else(|| hierarchy.own.clone(), |path| path.within(hierarchy));
        let may_lack = access == Access::Delegated { asked: false };
        // As in runc: the caller's, or all of v2 if its paths are those of the host.
        let shown = match hierarchy.is_v2() && !view.own_namespace {
            true => hierarchy.mount.clone(),
            false => format!("{}{}", hierarchy.mount, hierarchy.own),
        };
        let own = format!("{}{path}", hierarchy.mount);
        let source = CgroupSource { own, otherwise: may_lack.then_some(shown) };
        if hierarchy.is_v2() {
            view.v2 = Some(source);
        } else {
            let directory = hierarchy.mount.rsplit('/').next().unwrap_or_default().to_owned();
            view.v1.push(V1Hierarchy { directory, controllers: hierarchy.controllers.clone(), source });
        }
    }
    view
}
