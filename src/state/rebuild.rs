//! Rebuilds a record from the configuration if record and copy are damaged.
//!
//! The configuration names the cgroup, and every process in that cgroup belongs to the container. This is good
//! enough to inspect the container, to kill it and to clean up.

use std::os::fd::AsFd as _;

use nix::fcntl::OFlag;
use nix::unistd::geteuid;

use super::observe::Stat;
use super::record::{Phase, ProcessMark, Record};
use super::store::Entry;
use crate::bundle::config;
use crate::bundle::spec::{NamespaceKind, Spec};
use crate::cgroup::place::layout::Layout;
use crate::cgroup::place::location::Location;
use crate::cgroup::planned::{CgroupManager, PlannedCgroup};
use crate::cgroup::{Cgroup, systemd};
use crate::error::{Error, Result};
use crate::sys::boot::boot_id;
use crate::sys::file::{entries, line_of, openat, stat};
use crate::text::Keep;

/// Builds a record from the configuration.
/// Facts that only the lost record had stay empty: the bundle, the creation time, devices added later.
pub(super) fn from_config(entry: &Entry) -> Result<Record> {
    let spec = config::parse(entry.config()?)?;
    let mut cgroup = locate(&spec, entry.id())?;
    if is_anothers(entry, &cgroup) {
        cgroup = Location::default();
    }
    // An existing cgroup was created for the container, since nothing else used it.
    cgroup
        .places
        .iter_mut()
        .filter(|place| stat(&*place.directory()).is_ok())
        .for_each(|place| place.made = 1);
    Ok(Record {
        id: entry.id().to_owned().keep(),
        phase: Phase::Created,
        boot_id: boot_id()?,
        creator: ProcessMark { pid: 0, start: 0 },
        init: first_of(&Cgroup::adopt(&cgroup)),
        bundle: "",
        rootfs: Some(spec.root.path).filter(|path| path.starts_with('/')).unwrap_or_default(),
        created: "0001-01-01T00:00:00Z",
        oci_version: spec.oci_version,
        annotations: spec.annotations,
        cgroup,
        device_rules: Vec::new(),
        device_nodes: Vec::new(),
        resctrl: &[],
        own_pid_namespace: spec.linux.namespace(NamespaceKind::Pid).is_some_and(|n| n.path.is_none()),
        user_namespace: None,
        // Give it a new keyring: an exec must not use the caller's, nor one whose name the container can guess.
        keyring: Some(format!("_ses.{}.{}", entry.id(), line_of("/proc/sys/kernel/random/uuid")?).keep()),
        poststop_done: 0,
        embrun: env!("CARGO_PKG_VERSION"),
    })
}

/// Recomputes the location that `create` chose.
/// A relative path starts at the caller's cgroup, as it did then.
fn locate(spec: &Spec, id: &str) -> Result<Location> {
    let layout = Layout::discover()?;
    let path = spec.linux.cgroups_path;
    let plan = |manager, systemd: &str| {
        let planned = PlannedCgroup::new(manager, systemd, path, id, spec.annotations)?;
        Ok(planned.locate(&layout))
    };
    let scope = || {
        let user = !geteuid().is_root();
        plan(CgroupManager::Systemd { user }, &systemd::own_cgroup(user)?)
    };
    let plain = || plan(CgroupManager::Cgroupfs, "");
    match path {
        Some(unit) if unit.matches(':').count() == 2 => scope().or_else(|_: Error| plain()),
        _ => plain(),
    }
}

/// Whether the record of another container claims this cgroup.
/// If so, this container was never in it.
fn is_anothers(entry: &Entry, cgroup: &Location) -> bool {
    let directories = |location: &Location| location.places.iter().map(|p| p.directory()).collect::<Vec<_>>();
    let wanted = directories(cgroup);
    let others = || -> Result<bool> {
        let root = openat(entry.dir(), "..", OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
        for (name, _) in entries(root.as_fd())? {
            let Some(other) = name.to_str().ok().filter(|name| *name != entry.id()) else { continue };
            let Ok(Some(record)) = Entry::open(root.as_fd(), other).map(|other| other.kept()) else {
                continue;
            };
            if directories(&record.cgroup).iter().any(|directory| wanted.contains(directory)) {
                return Ok(true);
            }
        }
        Ok(false)
    };
    others().unwrap_or(true)
}

/// Returns the oldest process of a cgroup, which is init while it lives.
fn first_of(cgroup: &Cgroup) -> Option<ProcessMark> {
    let mark = |pid: nix::unistd::Pid| {
        let start = Stat::read(pid.as_raw())?.start;
        Some(ProcessMark { pid: pid.as_raw(), start })
    };
    cgroup.pids().ok()?.into_iter().filter_map(mark).min_by_key(|mark| (mark.start, mark.pid))
}

/// The error for a container of which no file is usable.
pub(super) fn lost(damage: Error) -> Error {
    let hint = "its processes and cgroup are unknown; end them, then use delete --force";
    damage.context("record, state.json and config.json").hint(hint)
}
