//! Writes the values of `linux.resources` into the container's cgroup.

use std::cell::OnceCell;
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::Cgroup;
use super::handle::NOT_DELEGATED;
use super::hierarchy::Hierarchy;
use super::limits::hints;
use super::limits::knob::{Knob, WithoutFile, controller_of};
use super::planned_limits::{self, CgroupFacts, PlannedLimits, UNIFIED};
use crate::error::{Errno, Error, Quoted, Result};
use crate::sys::file::read_text;

impl Cgroup {
    /// Sets the limits of a new container, except memory, and its device rules.
    ///
    /// Errors name the field, the value and the file. The memory files are also checked here, although they are only written
    /// later, after hooks have run.
    pub fn limit(&self, limits: &PlannedLimits) -> Result<()> {
        self.check(limits)?;
        write_all(&self.placed(limits.files.iter())?)?;
        self.enforce(&limits.devices)
    }

    /// Sets the memory limits, when the container's first process is ready.
    ///
    /// Set earlier, they would also limit the start of that process.
    pub fn limit_memory(&self, limits: &PlannedLimits) -> Result<()> {
        write_all(&self.placed(limits.memory.iter())?)
    }

    /// Pairs each file with the hierarchy that has its controller.
    pub(super) fn placed<'a>(
        &'a self,
        knobs: impl Iterator<Item = &'a Knob>,
    ) -> Result<Vec<(&'a Hierarchy, Knob)>> {
        let mut placed = Vec::new();
        for knob in knobs {
            placed.push((self.hierarchy_of(knob).ok_or_else(|| self.unplaced(knob))?, *knob));
        }
        Ok(placed)
    }

    /// The hierarchy of a file.
    ///
    /// v2 has the controllers that no v1 hierarchy uses, and all files of `unified`.
    fn hierarchy_of(&self, knob: &Knob) -> Option<&Hierarchy> {
        let v1 = if knob.field == UNIFIED { None } else { self.v1(controller_of(knob.file)) };
        v1.or(self.v2())
    }

    fn unplaced(&self, knob: &Knob) -> Error {
        planned_limits::missing_for(knob, &|v1, v2, field| self.missing(v1, v2, field))
    }

    /// Checks in the cgroup that controllers are enabled and memory files exist.
    pub(super) fn check(&self, limits: &PlannedLimits) -> Result<()> {
        let on = OnceCell::new();
        let is_on = |v2: &Hierarchy, controller: &str| {
            let on = on.get_or_init(|| v2.read("cgroup.controllers").unwrap_or_default());
            on.split_ascii_whitespace().any(|c| c == controller)
        };
        for (hierarchy, knob) in self.placed(limits.all_files())? {
            let controller = controller_of(knob.file);
            if hierarchy.place.is_v2() && controller != "cgroup" && !is_on(hierarchy, controller) {
                return Err(self.unplaced(&knob));
            }
        }
        let fails = |knob: &&Knob| knob.missing == WithoutFile::Fails;
        for (hierarchy, knob) in self.placed(limits.memory.iter().filter(fails))? {
            if !hierarchy.has_file(knob.file) {
                return Err(explain(hierarchy, &knob, Errno::ENOENT));
            }
        }
        Ok(())
    }

    /// The facts about this cgroup's hierarchies; `root` is from [`Self::v2_root`].
    pub(super) fn ground<'a>(&'a self, root: Option<&'a str>) -> CgroupFacts<'a> {
        let v1 = self.hierarchies.iter().flat_map(|b| &b.place.controllers).map(String::as_str);
        CgroupFacts {
            v1: v1.collect(),
            has_v2: self.v2().is_some(),
            v2: root,
            unit: self.unit.is_some(),
            ..CgroupFacts::default()
        }
    }

    /// The controllers at v2's root, whether enabled in the container's cgroup or not.
    pub(super) fn v2_root(&self) -> Option<String> {
        self.v2().and_then(|b| read_text(&format!("{}/cgroup.controllers", b.place.mount)).ok())
    }

    pub(super) fn missing(&self, v1: &str, v2: &str, field: &str) -> Error {
        if let Some((_, e)) = self.refused.iter().find(|(c, _)| c == v2) {
            return Error::of(format_args!(
                "linux.resources.{field}: the {v1} controller cannot be turned on: {e}"
            ));
        }
        if let Some(e) = &self.denied {
            return Error::of(format_args!(
                "linux.resources.{field}: the {v1} controller is not delegated to this user: {e}"
            ))
            .hint(NOT_DELEGATED);
        }
        let (root, known) = (self.v2_root(), read_text("/proc/cgroups").unwrap_or_default());
        CgroupFacts { known: &known, ..self.ground(root.as_deref()) }.missing(v1, v2, field)
    }
}

/// Pairs each write with this hierarchy.
#[inline(never)]
pub(super) fn on<'a>(hierarchy: &'a Hierarchy, knobs: &[Knob]) -> Vec<(&'a Hierarchy, Knob)> {
    knobs.iter().map(|k| (hierarchy, *k)).collect()
}

/// Writes all values, and at the end those again that the kernel refused.
///
/// A value may be invalid only until another one is written (a limit above one that is about to be raised). The values for one
/// file stay in order.
pub(super) fn write_all(knobs: &[(&Hierarchy, Knob)]) -> Result<()> {
    let mut again: Vec<&(&Hierarchy, Knob)> = Vec::new();
    let mut last = LastFile::default();
    for pair in knobs {
        let same = |(hierarchy, knob): &&(&Hierarchy, Knob)| {
            std::ptr::eq(*hierarchy, pair.0) && knob.file == pair.1.file
        };
        if again.iter().any(same) {
            again.push(pair);
            continue;
        }
        match write_one(pair.0, &pair.1, &mut last) {
            Ok(()) => {}
            Err(Errno::EINVAL) => again.push(pair),
            Err(e) => return Err(explain(pair.0, &pair.1, e)),
        }
    }
    again.iter().try_for_each(|(hierarchy, knob)| {
        write_one(hierarchy, knob, &mut last).map_err(|e| explain(hierarchy, knob, e))
    })
}

/// The number of tries for a limit below the present usage.
const PATIENCE: u32 = 10;

/// The last written file, still open.
///
/// A list of devices takes a dozen writes to one file.
#[derive(Default)]
struct LastFile(Option<(String, OwnedFd)>);

impl LastFile {
    fn write(&mut self, hierarchy: &Hierarchy, file: &str, value: &str) -> std::result::Result<(), Errno> {
        let fd = match self.0.take() {
            Some((path, fd)) if path.strip_suffix(file) == Some(&hierarchy.place.mount) => fd,
            _ => hierarchy.open(file)?,
        };
        let done = nix::unistd::write(&fd, value.as_bytes());
        self.0 = Some((format!("{}{file}", hierarchy.place.mount), fd));
        done.map(drop)
    }
}

fn write_one(hierarchy: &Hierarchy, knob: &Knob, last: &mut LastFile) -> std::result::Result<(), Errno> {
    let mut done = last.write(hierarchy, knob.file, knob.value);
    // Each processor charges up to a quarter of a MiB in advance. The kernel returns it shortly after it has refused the first
    // limit (v1; drain_all_stock in mm/memcontrol.c).
    for _ in 0..PATIENCE {
        if done != Err(Errno::EBUSY) {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
        done = last.write(hierarchy, knob.file, knob.value);
    }
    match (done, knob.missing) {
        (Err(Errno::ENOENT), WithoutFile::Skips) => Ok(()),
        (Err(Errno::ENOENT), WithoutFile::Use(file, value)) => last.write(hierarchy, file, value),
        (done, _) => done,
    }
}

fn explain(hierarchy: &Hierarchy, knob: &Knob, errno: Errno) -> Error {
    let directory = hierarchy.place.directory();
    let (field, value) = (knob.field, knob.value);
    let gone = matches!(errno, Errno::ENOENT | Errno::ENODEV) && hierarchy.read("cgroup.procs").is_err();
    if gone {
        return Error::of(format_args!("linux.resources.{field}: the cgroup {directory} is gone"));
    }
    let e =
        Error::os(format_args!("write {value} to {directory}/{}", knob.file, value = Quoted(value)), errno);
    let e = match (knob.field, errno) {
        ("memory.limit", Errno::EBUSY | Errno::EINVAL) => {
            let read = |v1: &str, v2: &str| {
                let text = hierarchy.read(if hierarchy.place.is_v2() { v2 } else { v1 });
                text.map_or("unknown".to_owned(), |t| t.trim_ascii().to_owned())
            };
            let usage = read("memory.usage_in_bytes", "memory.current");
            let peak = read("memory.max_usage_in_bytes", "memory.peak");
            e.context(format_args!(
                "unable to set memory limit to {value} (current usage: {usage}, peak usage: {peak})"
            ))
        }
        _ => e,
    };
    let e = e.context(format_args!("linux.resources.{field}"));
    match hints::write(knob.file, errno) {
        "" => e,
        hint => e.hint(hint),
    }
}
