//! How a process gets into a user namespace, and what the host does for it.
//!
//! ```text
//! a new one, nothing joined      clone into new user and pid namespaces
//! a new or a joined one, and     clone; join the others with the host's rights, which reach a namespace of any owner; make
//!   others that are joined         or join the user namespace; clone once more into a new pid namespace
//! an exec                        clone; join the others, then the user namespace
//! ```
//!
//! All other new namespaces are made by root of the user namespace, which so owns them and the files in them (the root of an
//! mqueue belongs to the maker of its ipc namespace).
//!
//! A process that is in it has no rights over the host any more. So the host writes what needs them, and opens the files of
//! the host in init's mount namespace when init asks for one of the plan ([`files_of_the_host`]): init itself resolves no path
//! of the host, and its mounts keep the flags that the kernel has locked for the namespace.

use std::ffi::CStr;
use std::fmt;

use super::Launch;
use super::create::CreatePlan;
use super::host_step::{CommonStep, CreateStep, Sync};
use super::idmap;
use super::mounts::{MountObject, MountStep};
use super::recipe::Recipe;
use super::root_step::RootStep;
use super::shared::{join_namespaces, joins};
use super::step::InitStep;
use super::time;
use super::validate::{Refusal, refuse};
use crate::bundle::spec::{DeviceKind, IdMapping, NamespaceKind, Process, Spec};
use crate::error::Lossy;
use crate::facts::{HostFacts, Mappable, OrdinaryUser, SYS_ADMIN};
use crate::text::{Keep, List, Text, c_text};

/// The maps of a user namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdMaps {
    /// `uidMappings`
    pub uids: List<IdMapping>,
    /// `gidMappings`
    pub gids: List<IdMapping>,
    /// The program that maps the uids, if the runtime may not.
    pub uid_helper: Option<Text>,
    /// The same for the gids.
    pub gid_helper: Option<Text>,
}

/// The new owner of a file of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A user of the host.
    Host(u32),
    /// A user of init's user namespace.
    Inside(u32),
}

/// The kernel's limit for one map (4.15).
const MAX_LINES: usize = 340;
/// The kernel takes a map in one write of less than a page, here the smallest.
const MAX_TEXT: usize = 4095;

/// A map as the kernel reads it, one range in each line.
pub fn map_text(map: &[IdMapping]) -> String {
    let line = |m: &IdMapping| format!("{} {} {}\n", m.container_id, m.host_id, m.size);
    map.iter().map(line).collect()
}

/// The reason why the kernel takes no such map.
pub(super) fn fault(map: &[IdMapping]) -> Option<Text> {
    if map.len() > MAX_LINES || map_text(map).len() > MAX_TEXT {
        return Some(format!("the kernel takes {MAX_LINES} ranges and {MAX_TEXT} bytes").keep());
    }
    let i = (1..map.len()).find(|i| map[..*i].iter().any(|other| overlap(&map[*i], other)))?;
    Some(format!("the range at index {i} overlaps one before it").keep())
}

/// Refuses maps that do not fit the namespace or that the kernel does not take.
pub fn validate(spec: &Spec, out: &mut Vec<Refusal>) {
    let linux = &spec.linux;
    let user = spec.process.as_ref().map(|p| p.user).unwrap_or_default();
    let is_new = linux.namespace(NamespaceKind::User).map(|namespace| namespace.path.is_none());
    let gids = [&[user.gid][..], user.additional_gids].concat();
    for (field, map, ids, whose) in [
        ("uidMappings", linux.uid_mappings, &[user.uid][..], "process.user.uid"),
        ("gidMappings", linux.gid_mappings, &gids[..], "process.user.gid and additionalGids"),
    ] {
        let mut no = |what: fmt::Arguments<'_>| refuse(out, format_args!("linux.{field}"), what);
        match (is_new, map) {
            (None | Some(false), []) => continue,
            (None, _) => {
                no(format_args!("needs a user namespace (add {{\"type\": \"user\"}} to linux.namespaces)"));
                continue;
            }
            (Some(true), []) => {
                no(format_args!("is required for a new user namespace"));
                continue;
            }
            (Some(_), _) => {}
        }
        if let Some(fault) = fault(map) {
            no(format_args!("{fault}"));
        }
        if host_id(map, 0).is_none() {
            no(format_args!("must map the id 0 of the container, which prepares it"));
        }
        if let Some(id) = ids.iter().find(|id| **id != 0 && host_id(map, **id).is_none()) {
            no(format_args!("does not map {id}, which {whose} asks for"));
        }
    }
}

/// How the maps are written.
fn maps(spec: &Spec, facts: &HostFacts) -> IdMaps {
    let (uids, gids) = (spec.linux.uid_mappings, spec.linux.gid_mappings);
    let OrdinaryUser { uids: may_uids, gids: may_gids } = facts.user.unwrap_or_default();
    let helper = |may, map: &[IdMapping]| match may {
        Mappable::One { id, helper } if !is_one(map, id) => helper,
        _ => None,
    };
    IdMaps { uids, gids, uid_helper: helper(may_uids, uids), gid_helper: helper(may_gids, gids) }
}

/// Whether a map has one id, which is this one on the host.
fn is_one(map: &[IdMapping], id: u32) -> bool {
    matches!(map, [IdMapping { host_id, size: 1, .. }] if *host_id == id)
}

/// Whether the kernel takes the map of groups only if setgroups(2) is denied.
///
/// Otherwise the user could drop a group whose members have fewer rights than others.
fn denies_groups(spec: &Spec, facts: &HostFacts) -> bool {
    facts.user.is_some_and(
        |user| matches!(user.gids, Mappable::One { id, .. } if is_one(spec.linux.gid_mappings, id)),
    )
}

/// Refuses a user namespace without pivot_root.
///
/// The host's root would stay below the container's. Root of the namespace, who may unmount and join its mount namespace again,
/// would uncover it.
pub(super) fn validate_pivot(spec: &Spec, no_pivot: bool, out: &mut Vec<Refusal>) {
    if no_pivot && spec.linux.namespace(NamespaceKind::User).is_some() {
        let what = format_args!("cannot be used with --no-pivot: the container could reach the host's root");
        refuse(out, format_args!("linux.namespaces: type \"user\""), what);
    }
}

/// Refuses maps that this caller cannot have.
pub(super) fn validate_caller(spec: &Spec, facts: &HostFacts, out: &mut Vec<Refusal>) {
    let linux = &spec.linux;
    let Some(user) = facts.user else { return };
    match linux.namespace(NamespaceKind::User) {
        Some(namespace) if namespace.path.is_none() => {}
        Some(_) => {
            let what = format_args!("an ordinary user cannot join one (run embrun as root of it)");
            return refuse(out, format_args!("linux.namespaces: type \"user\""), what);
        }
        None if facts.capabilities & SYS_ADMIN != 0 => return,
        None => {
            let what = format_args!(
                "an ordinary user needs a user namespace (run embrun as root, or use a configuration of `embrun spec --rootless`)"
            );
            return refuse(out, format_args!("linux.namespaces"), what);
        }
    }
    for (field, map, may, [program, file]) in [
        ("uidMappings", linux.uid_mappings, user.uids, ["newuidmap", "/etc/subuid"]),
        ("gidMappings", linux.gid_mappings, user.gids, ["newgidmap", "/etc/subgid"]),
    ] {
        match may {
            Mappable::One { id, helper: None } if !map.is_empty() && !is_one(map, id) => {
                let what = format_args!(
                    "an ordinary user can map one id of size 1, {id}, without {program} (install the package uidmap and add ids to {file})"
                );
                refuse(out, format_args!("linux.{field}"), what);
            }
            _ => {}
        }
    }
    if let Some(maps) = idmap::of_their_own(spec).first() {
        let what =
            format_args!("an ordinary user cannot map a mount (the kernel wants root of its file system)");
        refuse(out, format_args!("mounts[{}].uidMappings", maps.index), what);
    }
    if denies_groups(spec, facts) && spec.process.as_ref().is_some_and(|p| !p.user.additional_gids.is_empty())
    {
        let what = format_args!("cannot be set where one group is mapped (map more with newgidmap)");
        refuse(out, format_args!("process.user.additionalGids"), what);
    }
}

/// Whether two ranges have an id in common, inside or outside.
fn overlap(a: &IdMapping, b: &IdMapping) -> bool {
    let meet = |x: u32, y: u32| {
        let ((x, y), (a, b)) = ((u64::from(x), u64::from(y)), (u64::from(a.size), u64::from(b.size)));
        x < y + b && y < x + a
    };
    meet(a.container_id, b.container_id) || meet(a.host_id, b.host_id)
}

/// The host's id of an id inside.
pub fn host_id(map: &[IdMapping], inside: u32) -> Option<u32> {
    let range = map.iter().find(|m| inside.checked_sub(m.container_id).is_some_and(|n| n < m.size))?;
    Some(range.host_id + (inside - range.container_id))
}

/// The steps of the host until init is root of its user namespace.
pub(super) fn accompany(
    spec: &Spec,
    facts: &HostFacts,
    plan: &CreatePlan,
    owner: Option<u32>,
    steps: &mut Recipe<CreateStep>,
) {
    let maps = maps(spec, facts);
    steps.add(CommonStep::Await(Sync::UserNamespace));
    if joins(&plan.launch.join, NamespaceKind::User).is_none() {
        steps.add_if(denies_groups(spec, facts), CreateStep::DenyGroups);
        steps.add(CreateStep::MapIds(maps));
    } else {
        steps.add_if(!maps.uids.is_empty() || !maps.gids.is_empty(), CreateStep::CheckIds(maps));
    }
    // An ordinary user can give nothing away, and owns what was delegated.
    let owner = owner.filter(|_| !plan.launch.by_user);
    steps.add_some(owner.map(|uid| CreateStep::GiveCgroup(Owner::Inside(uid))));
    let score = spec.process.as_ref().and_then(|p| p.oom_score_adj);
    steps.add_some(score.map(CreateStep::OomScoreAdj));
    let offsets = time::new_namespace(&spec.linux).filter(|offsets| !offsets.is_empty());
    steps.add_some(offsets.map(CreateStep::TimeOffsets));
    steps.add(CommonStep::Answer(Sync::UserNamespace));
    // A process cannot enter a pid namespace that it has made; its child does.
    let new_pids = spec.linux.namespace(NamespaceKind::Pid).is_some_and(|n| n.path.is_none());
    steps.add_if(!plan.launch.join.is_empty() && new_pids, CommonStep::Adopt);
}

/// The steps of the host for a process in a user namespace that is ready.
pub(super) fn equip<Step>(launch: &Launch, process: Option<&Process>, steps: &mut Recipe<Step>)
where
    CommonStep: Into<Step>,
{
    if let Some(p) = process.filter(|_| launch.user_namespace) {
        steps.add_if(!p.rlimits.is_empty(), CommonStep::LimitProcess(p.rlimits));
        // Init gives those away that an ordinary user owns.
        steps.add_if(!launch.by_user, CommonStep::GivePipes(p.user.uid));
    }
}

/// Init's way into its user namespace.
///
/// `new_time` asks for a time namespace too. It is made before the host writes its offsets, since init may not, and is entered
/// after that.
pub(super) fn enter(launch: &mut Launch, new_time: bool, steps: &mut Recipe<InitStep>) {
    use NamespaceKind::{Pid, User};
    let [user, pid] = [User, Pid].map(NamespaceKind::clone_flag);
    let wanted = std::mem::take(&mut launch.new_namespaces);
    let staged = !launch.join.is_empty();
    if staged {
        // With the host's rights: from inside only namespaces can be joined that it owns.
        join_namespaces(&launch.join, &[Pid, User], steps);
        let joined = joins(&launch.join, User);
        steps.add_some(joined.map(|index| InitStep::JoinNamespace { kind: User, index }));
        steps.add_if(joined.is_none(), InitStep::Unshare(user));
    } else {
        launch.new_namespaces = wanted & (user | pid);
    }
    steps.add_if(new_time, InitStep::Unshare(NamespaceKind::Time.clone_flag()));
    // Its files in procfs belong to root otherwise, and the maps are among them. The namespace is new: nobody is in it who
    // could trace init.
    steps.add_if(launch.by_user, InitStep::Show);
    steps.add(InitStep::Ask(Sync::UserNamespace));
    steps.add(InitStep::CheckGroups);
    steps.add(InitStep::BecomeRoot);
    let others = wanted & !user & !launch.new_namespaces;
    steps.add_if(others != 0, InitStep::Unshare(others));
    steps.add_if(others & pid != 0, InitStep::CloneInit);
    // The change of credentials has cleared it.
    steps.add(InitStep::DieWithHostStill);
    steps.add_if(new_time, InitStep::EnterTimeNamespace);
}

/// The way of an exec.
///
/// It makes no process before it has let go of the host, so the pid namespace can be joined early.
pub(super) fn join(launch: &Launch, steps: &mut Recipe<InitStep>) {
    let user = NamespaceKind::User;
    let joined = joins(&launch.join, user).map(|index| InitStep::JoinNamespace { kind: user, index });
    // An ordinary user has no right to join another kind outside, but as the owner of the user namespace in it.
    steps.add_some(joined.filter(|_| launch.by_user));
    join_namespaces(&launch.join, &[user], steps);
    steps.add_some(joined.filter(|_| !launch.by_user));
    steps.add(InitStep::CheckGroups);
    steps.add(InitStep::BecomeRoot);
    steps.add(InitStep::DieWithHostStill);
}

/// An object of the host for a process that has no rights to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HostObject {
    /// A file, by its path.
    File(&'static CStr),
    /// An idmapped mount, which needs rights over its file system.
    Mount(&'static MountStep),
}

/// The objects of the host that the steps of init need, each once.
pub fn files_of_the_host(steps: &[InitStep]) -> List<HostObject> {
    let mut all: Vec<HostObject> = Vec::new();
    for step in steps {
        if let InitStep::Root(RootStep::Mount(mount)) = step {
            if mount.idmap.is_some() {
                all.push(HostObject::Mount(mount));
                continue;
            }
        }
        let mut add = |path: Option<&'static CStr>| {
            all.extend(path.map(HostObject::File).filter(|object| !all.contains(object)));
        };
        match step {
            InitStep::PrepareRoot { rootfs, .. } => {
                add(Some(c"/proc"));
                add(c_text(rootfs.as_bytes()));
            }
            InitStep::Root(RootStep::Mount(mount)) => of_mount(mount, &mut add),
            // mknod(2) makes no device in a user namespace: the host's is bound.
            InitStep::Root(RootStep::Devices(devices)) => {
                for node in devices.nodes.iter().filter(|node| node.kind != DeviceKind::Fifo) {
                    add(c_text(node.path.to_string().as_bytes()));
                }
            }
            InitStep::Root(RootStep::MaskedPaths(_)) => add(Some(c"/dev/null")),
            _ => {}
        }
    }
    all.keep()
}

fn of_mount(mount: &MountStep, add: &mut impl FnMut(Option<&'static CStr>)) {
    match &mount.what {
        MountObject::Bind { source, .. } => add(Some(source)),
        MountObject::New(new) => {
            let instead = new.instead.map_or([None, None], |r| [Some(r.source), r.otherwise]);
            instead.into_iter().for_each(add)
        }
        MountObject::CgroupV1 { entries, .. } => {
            for entry in entries.iter().filter(|entry| entry.data.is_none()) {
                [Some(entry.source), entry.otherwise].into_iter().for_each(&mut *add);
            }
        }
        MountObject::Remount { .. } | MountObject::Change => {}
    }
}

impl fmt::Display for IdMaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, map, helper) in
            [("uids", self.uids, self.uid_helper), (", gids", self.gids, self.gid_helper)]
        {
            f.write_str(kind)?;
            map.iter().try_for_each(|m| write!(f, " {}:{}:{}", m.container_id, m.host_id, m.size))?;
            helper.map_or(Ok(()), |helper| write!(f, " by {helper}"))?;
        }
        Ok(())
    }
}

impl fmt::Display for HostObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostObject::File(path) => Lossy(path).fmt(f),
            HostObject::Mount(step) => write!(f, "mounts[{}]", step.index),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::Host(uid) => write!(f, "user {uid}"),
            Owner::Inside(uid) => write!(f, "user {uid} inside"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(container_id: u32, host_id: u32, size: u32) -> IdMapping {
        IdMapping { container_id, host_id, size }
    }

    #[test]
    fn ids_are_found_in_the_range_that_holds_them() {
        let map = [range(0, 1000, 1), range(1, 100_000, 65_535), range(u32::MAX - 1, 5, 1)];
        for (inside, outside) in [
            (0, Some(1000)),
            (1, Some(100_000)),
            (65_535, Some(165_534)),
            (65_536, None),
            (u32::MAX - 1, Some(5)),
            (u32::MAX, None),
        ] {
            assert_eq!(host_id(&map, inside), outside, "{inside}");
        }
        assert_eq!(map_text(&map[..2]), "0 1000 1\n1 100000 65535\n");
    }

    #[test]
    fn ranges_overlap_inside_or_outside() {
        let one = range(10, 1000, 10);
        for (other, meets) in [
            (range(20, 1010, 10), false),
            (range(0, 990, 10), false),
            (range(19, 5000, 10), true),
            (range(5000, 1009, 1), true),
            (range(0, 5000, 11), true),
            (range(0, 0, u32::MAX), true),
        ] {
            assert_eq!(overlap(&one, &other), meets, "{other:?}");
            assert_eq!(overlap(&other, &one), meets, "{other:?}");
        }
    }
}
