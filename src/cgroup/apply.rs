//! Writing what `linux.resources` asks for into the container's cgroup.

use std::os::fd::OwnedFd;
use std::time::Duration;

use super::Cgroup;
use super::handle::NOT_DELEGATED;
use super::hierarchy::Branch;
use super::limits::knob::{Controller, Knob, Missing};
use super::limits::{Resources, hints, unified, v1, v2};
use crate::error::{Errno, Error, Quoted, Result};
use crate::sys::file::read_text;

/// Which of the resources to set. A memory limit set after the container's first process is ready counts against the
/// container only; set before, it bounds that process' start too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All.
    All,
    /// All but memory.
    ButMemory,
    /// Memory only.
    Memory,
}

impl Part {
    pub(super) fn has(self, controller: Controller) -> bool {
        self.takes(controller == Controller::Memory)
    }

    fn has_file(self, file: &str) -> bool {
        self.takes(controller_of(file) == Controller::Memory.v2())
    }

    fn takes(self, memory: bool) -> bool {
        self == Part::All || memory == (self == Part::Memory)
    }
}

impl Cgroup {
    /// Sets a new container's resources, device rules included (everything is denied but what the rules and the default
    /// devices allow, also if there are no rules).
    ///
    /// Each error names the field, the value and the file; a controller that is not there is named with what brings it.
    pub fn apply(&self, resources: &Resources, part: Part) -> Result<()> {
        write_all(&self.knobs(resources, part)?)?;
        if part != Part::Memory {
            self.allow_devices(&resources.devices)?;
        }
        Ok(())
    }

    /// What to write where, all controllers found and all values converted before anything is written.
    pub(super) fn knobs(&self, resources: &Resources, part: Part) -> Result<Vec<(&Branch, Knob)>> {
        let mut all = Vec::new();
        for controller in Controller::ALL.into_iter().filter(|c| part.has(*c) && c.is_asked(resources)) {
            let (v1, v2, field) = controller.names();
            if let Some(branch) = self.v1(v1) {
                all.append(&mut on(branch, &v1::knobs(controller, resources)));
                continue;
            }
            match self.v2().filter(|_| v2.is_empty() || self.v2_offers(v2)) {
                Some(branch) => all.append(&mut on(branch, &v2::knobs(controller, resources)?)),
                None => return Err(self.missing(v1, v2, field)),
            }
        }
        self.check_unified(resources)?;
        let Some(branch) = self.v2() else { return Ok(all) };
        let (on_v2, mut rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|(b, _)| b.place.is_v2());
        let fields = on_v2.into_iter().map(|(_, knob)| knob).collect();
        rest.append(&mut on(branch, &with_unified(fields, resources, part)));
        Ok(rest)
    }

    /// The controllers of `unified`'s files, known to us or not, are there.
    fn check_unified(&self, resources: &Resources) -> Result<()> {
        for (file, _) in &resources.unified {
            if self.v2().is_none() {
                return Err(Error::of(format_args!(
                    "linux.resources.unified.{file}: there is no cgroup v2 here"
                ))
                .hint("unified is for cgroup v2 only; use the fields of v1, or boot with cgroup v2"));
            }
            let controller = controller_of(file);
            if controller != "cgroup" && !self.v2_offers(controller) {
                let v1 = Controller::of_v2(controller).map_or(controller, Controller::v1);
                return Err(self.missing(v1, controller, "unified").context(format_args!(
                    "unified resource {} can't be set: controller {controller} not available",
                    Quoted(file),
                    controller = Quoted(controller)
                )));
            }
        }
        Ok(())
    }

    /// The controller is on in the container's cgroup of v2.
    fn v2_offers(&self, controller: &str) -> bool {
        let on = self.v2().and_then(|b| b.read("cgroup.controllers").ok());
        on.is_some_and(|text| text.split_ascii_whitespace().any(|c| c == controller))
    }

    /// The controller is v2's here, on in the container's cgroup or not.
    fn v2_could(&self, controller: &str) -> bool {
        let root = self.v2().and_then(|b| read_text(&format!("{}/cgroup.controllers", b.place.mount)).ok());
        root.is_some_and(|text| text.split_ascii_whitespace().any(|c| c == controller))
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
        let known = read_text("/proc/cgroups").unwrap_or_default();
        let host = match self.branches.is_empty() {
            true => hints::Host::Bare,
            _ if self.v1(v1).is_some() => hints::Host::Taken,
            // Beside v1, too: v2 has what no hierarchy of v1 has taken.
            _ if self.is_v2_only() || self.v2_could(v2) => hints::Host::V2,
            _ => hints::Host::V1,
        };
        Error::of(format_args!("linux.resources.{field}: {}", hints::missing(v1, v2, host, &known)))
    }
}

/// The controller that a file of v2 belongs to.
fn controller_of(file: &str) -> &str {
    file.split('.').next().unwrap_or_default()
}

/// The fields' knobs of v2, and what `unified` has for this part in place of them or after them.
pub(super) fn with_unified(mut all: Vec<Knob>, resources: &Resources, part: Part) -> Vec<Knob> {
    for (file, value) in resources.unified.iter().filter(|(file, _)| part.has_file(file)) {
        all.retain(|knob| !unified::replaces(file, value, knob));
        // Files by device take a line at a time.
        for line in value.split_inclusive('\n') {
            let value = line.trim_end_matches('\n');
            all.push(Knob { field: "unified", file, value, missing: Missing::Fails });
        }
    }
    all
}

/// The knobs, each to be written there.
#[inline(never)]
pub(super) fn on<'a>(branch: &'a Branch, knobs: &[Knob]) -> Vec<(&'a Branch, Knob)> {
    knobs.iter().map(|k| (branch, *k)).collect()
}

/// Writes all, and what the kernel refuses for the values of the moment (a limit above one that is about to be raised) once
/// more at the end. The order of what goes to one file is kept.
pub(super) fn write_all(knobs: &[(&Branch, Knob)]) -> Result<()> {
    let mut again: Vec<&(&Branch, Knob)> = Vec::new();
    let mut last = LastFile::default();
    for pair in knobs {
        let same =
            |(branch, knob): &&(&Branch, Knob)| std::ptr::eq(*branch, pair.0) && knob.file == pair.1.file;
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
    again.iter().try_for_each(|(branch, knob)| {
        write_one(branch, knob, &mut last).map_err(|e| explain(branch, knob, e))
    })
}

/// How often a limit that is below what is in use is tried again.
const PATIENCE: u32 = 10;

/// The file that was written last, open still: lists of devices are a dozen writes to one.
#[derive(Default)]
struct LastFile(Option<(String, OwnedFd)>);

impl LastFile {
    fn write(&mut self, branch: &Branch, file: &str, value: &str) -> std::result::Result<(), Errno> {
        let fd = match self.0.take() {
            Some((path, fd)) if path.strip_suffix(file) == Some(&branch.place.mount) => fd,
            _ => branch.open(file)?,
        };
        let done = nix::unistd::write(&fd, value.as_bytes());
        self.0 = Some((format!("{}{file}", branch.place.mount), fd));
        done.map(drop)
    }
}

fn write_one(branch: &Branch, knob: &Knob, last: &mut LastFile) -> std::result::Result<(), Errno> {
    let mut done = last.write(branch, knob.file, knob.value);
    // What each processor has counted in advance, a quarter of a MiB, is given back only a moment after a first limit was
    // refused (v1; drain_all_stock in mm/memcontrol.c).
    for _ in 0..PATIENCE {
        if done != Err(Errno::EBUSY) {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
        done = last.write(branch, knob.file, knob.value);
    }
    match (done, knob.missing) {
        (Err(Errno::ENOENT), Missing::Skips) => Ok(()),
        (Err(Errno::ENOENT), Missing::Use(file, value)) => last.write(branch, file, value),
        (done, _) => done,
    }
}

fn explain(branch: &Branch, knob: &Knob, errno: Errno) -> Error {
    let directory = branch.place.directory();
    let (field, value) = (knob.field, knob.value);
    let gone = matches!(errno, Errno::ENOENT | Errno::ENODEV) && branch.read("cgroup.procs").is_err();
    if gone {
        return Error::of(format_args!("linux.resources.{field}: the cgroup {directory} is gone"));
    }
    let e =
        Error::os(format_args!("write {value} to {directory}/{}", knob.file, value = Quoted(value)), errno);
    let e = match (knob.field, errno) {
        ("memory.limit", Errno::EBUSY | Errno::EINVAL) => {
            let read = |v1: &str, v2: &str| {
                let text = branch.read(if branch.place.is_v2() { v2 } else { v1 });
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
