//! Idmapped mounts: the map of each, and the user namespace that carries it. Pure.
//!
//! The kernel takes the map of a mount from a user namespace (mount_setattr(2)). A mount with the container's map gets the
//! container's; for each other map the host makes one that no process stays in.

use std::fmt;

use super::host_step::PrepareStep;
use super::mounts::{Refused, because};
use super::options::Options;
use super::root_step::RootStep;
use super::step::InitStep;
use super::user_namespace::{IdMaps, fault};
use crate::bundle::spec::{Mount, Namespace, NamespaceKind, Spec};
use crate::text::{Keep, List, Text};

/// The map of a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idmap {
    /// The property that asks for it.
    pub field: Text,
    /// `ridmap`: also for all mounts below.
    pub recursive: bool,
    /// The user namespace with the map.
    pub carrier: MapCarrier,
}

/// A user namespace with the map of a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapCarrier {
    /// The new one that init is in.
    Init,
    /// One that the host has before the clone: joined ones first, then made ones.
    Opened(usize),
}

/// Maps for which the host makes a user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MountMaps {
    /// The first entry of `mounts[]` that has them.
    pub index: usize,
    /// The maps.
    pub maps: IdMaps,
}

/// The maps that an entry names, unless they are those of the container.
fn own_maps(mount: &Mount, spec: &Spec) -> Option<IdMaps> {
    let (uids, gids) = *mount.mappings?;
    let maps = IdMaps { uids, gids, ..IdMaps::default() };
    let linux = &spec.linux;
    let container = (maps.uids, maps.gids) == (linux.uid_mappings, linux.gid_mappings);
    (!maps.uids.is_empty() && !container).then_some(maps)
}

/// The maps that need a user namespace of their own, each once.
pub fn of_their_own(spec: &Spec) -> List<MountMaps> {
    let mut all: Vec<MountMaps> = Vec::new();
    for (index, mount) in spec.mounts.iter().enumerate() {
        if let Some(maps) = own_maps(mount, spec) {
            if all.iter().all(|other| other.maps != maps) {
                all.push(MountMaps { index, maps });
            }
        }
    }
    all.keep()
}

/// The host's preparation for idmapped mounts, if there are any.
pub(super) fn prepare(spec: &Spec, init: &[InitStep]) -> Option<PrepareStep> {
    let index = |step: &InitStep| match step {
        InitStep::Root(RootStep::Mount(mount)) if mount.idmap.is_some() => Some(mount.index),
        _ => None,
    };
    let index = init.iter().find_map(index)?;
    Some(PrepareStep::MakeMaps { index, all: of_their_own(spec) })
}

/// The map of an entry, if it has one.
pub(super) fn of_mount(
    mount: &Mount,
    options: &Options,
    spec: &Spec,
) -> Result<Option<&'static Idmap>, Refused> {
    let named = mount.mappings.is_some();
    let (uids, gids) = mount.mappings.copied().unwrap_or((&[], &[]));
    if !named && !options.idmap {
        return Ok(None);
    }
    let field = if named { "uidMappings" } else { "options" };
    for (field, map) in [("uidMappings", uids), ("gidMappings", gids)] {
        match fault(map) {
            Some(fault) => return Err((field, fault)),
            None if named && map.is_empty() => return Err((field, "is required beside the other mapping")),
            None => {}
        }
    }
    let user = spec.linux.namespace(NamespaceKind::User);
    if !named && user.is_none() {
        let why = "idmap and ridmap need uidMappings and gidMappings, or a user namespace of the container";
        return Err((field, why));
    }
    let joined = || spec.linux.namespaces.iter().filter(|namespace| namespace.path.is_some());
    let carrier = match (own_maps(mount, spec), user) {
        (Some(maps), _) => {
            let made = of_their_own(spec).iter().position(|other| other.maps == maps);
            MapCarrier::Opened(joined().count() + made.unwrap_or_default())
        }
        (None, Some(Namespace { path: Some(_), .. })) => {
            let at = joined().position(|namespace| namespace.kind == NamespaceKind::User);
            MapCarrier::Opened(at.unwrap_or_default())
        }
        (None, _) => MapCarrier::Init,
    };
    Ok(Some(Box::new(Idmap { field, recursive: options.idmap_all, carrier }).keep()))
}

/// Refuses a map of something that cannot have one.
pub(super) fn only_for_a_mount(idmap: Option<&Idmap>, why: fmt::Arguments<'_>) -> Result<(), Refused> {
    idmap.map_or(Ok(()), |idmap| Err(because(idmap.field, why)))
}

impl fmt::Display for Idmap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.recursive { "ridmap by " } else { "idmap by " })?;
        match self.carrier {
            MapCarrier::Init => f.write_str("the container's"),
            MapCarrier::Opened(number) => write!(f, "namespace {number}"),
        }
    }
}

impl fmt::Display for MountMaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mounts[{}] ({})", self.index, self.maps)
    }
}
