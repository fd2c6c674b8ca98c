//! Decides everything that is written for a container's limits.
//!
//! The decision precedes all side effects. `create` and `update` use the same one: from the facts about the host, the requests of
//! `linux.resources` become files with values, device rules in the form of the cgroup version, and properties of the systemd
//! unit. Everything that can be refused without a look at the container's own cgroup is refused here.

use std::fmt;

use super::limits::devices::{self, Whitelist};
use super::limits::knob::{Controller, Knob, WithoutFile, controller_of};
use super::limits::{DeviceRule, Resources, device_program, hints, unified, v1, v2};
use super::place::unit::Property;
use super::systemd::properties;
use crate::error::{Errno, Error, Quoted, Result};
use crate::sys::bpf::Instruction;

/// The writes that set the limits of one container.
#[derive(Default)]
pub struct PlannedLimits {
    /// The files except those of the memory controller.
    pub files: Vec<Knob>,
    /// The files of the memory controller.
    pub memory: Vec<Knob>,
    /// The device rules.
    pub devices: Devices,
    /// The properties of the systemd unit; empty if there is no unit.
    pub properties: Vec<Property>,
}

/// Device rules in the form that the kernel takes.
#[derive(Default)]
pub enum Devices {
    /// Nothing can enforce rules, and they deny nothing or are optional.
    #[default]
    Unenforced,
    /// The rules, and the lists of cgroup v1 that they compile to.
    Lists(Vec<DeviceRule>, Whitelist),
    /// The rules, and the cgroup v2 program that they compile to.
    Program(Vec<DeviceRule>, Vec<Instruction>),
}

/// The facts that decide how limits are written.
#[derive(Clone, Debug, Default)]
pub struct CgroupFacts<'a> {
    /// The controllers of the v1 hierarchies.
    pub v1: Vec<&'a str>,
    /// There is a v2 hierarchy.
    pub has_v2: bool,
    /// `cgroup.controllers` of v2's root; `None` if it is unknown.
    pub v2: Option<&'a str>,
    /// The text of `/proc/cgroups`, which explains why a controller is missing.
    pub known: &'a str,
    /// The memory controller of v1 does not account swap.
    pub no_swap: bool,
    /// The cgroup belongs to a systemd unit.
    pub unit: bool,
    /// The text of `/proc/devices`, if the unit takes device rules.
    pub drivers: Option<&'a str>,
    /// Device rules are left out if nothing can enforce them.
    pub devices_optional: bool,
}

/// The field of files that `unified` names.
pub(super) const UNIFIED: &str = "unified";

impl PlannedLimits {
    /// Decides the writes for these resources.
    ///
    /// Errors name the field whose value has no equivalent, or whose controller or file the host lacks.
    pub fn new(r: &Resources, ground: &CgroupFacts<'_>) -> Result<PlannedLimits> {
        let (files, memory) = (ground.files(r, false)?, ground.files(r, true)?);
        ground.check_unified(r)?;
        let swap = "memory.memsw.limit_in_bytes";
        let needs_swap = |k: &&Knob| k.file == swap && k.missing == WithoutFile::Fails;
        if let Some(knob) = memory.iter().find(needs_swap).filter(|_| ground.no_swap) {
            return Err(Error::of(format_args!("linux.resources.{}: there is no {swap}", knob.field))
                .hint(hints::write(swap, Errno::ENOENT)));
        }
        let devices = ground.devices(&r.devices)?;
        let properties = match ground.unit {
            true => properties::properties(r, ground.v1.is_empty(), ground.drivers),
            false => Vec::new(),
        };
        Ok(PlannedLimits { files, memory, devices, properties })
    }

    /// Prints the initial properties of the unit, one per line.
    pub fn write_properties(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.properties.iter().try_for_each(|(name, value)| writeln!(f, "    unit: {name} = {value}"))
    }

    /// Prints the writes that precede init, one per line.
    pub fn write_files(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_knobs(&self.files, f)?;
        match &self.devices {
            Devices::Unenforced => Ok(()),
            Devices::Lists(_, lists) => write_knobs(&lists.knobs(), f),
            Devices::Program(rules, _) => {
                let rules: Vec<String> = rules.iter().map(DeviceRule::to_string).collect();
                writeln!(f, "    cgroup: device program: {}", rules.join(", "))
            }
        }
    }

    /// Prints the writes to the memory controller's files, one per line.
    pub fn write_memory(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_knobs(&self.memory, f)
    }

    /// All files in writing order.
    pub fn all_files(&self) -> impl Iterator<Item = &Knob> {
        self.files.iter().chain(&self.memory)
    }
}

impl CgroupFacts<'_> {
    fn has_on_v1(&self, controller: &str) -> bool {
        self.v1.contains(&controller)
    }

    fn has_on_v2(&self, controller: &str) -> bool {
        self.has_v2 && self.v2.is_none_or(|all| all.split_ascii_whitespace().any(|c| c == controller))
    }

    fn has(&self, controller: Controller) -> bool {
        let (v1, v2, _) = controller.names();
        // The conversion to v2 refuses a controller that v2 does not have at all, and names the field.
        self.has_on_v1(v1) || if v2.is_empty() { self.has_v2 } else { self.has_on_v2(v2) }
    }

    fn has_unified(&self, file: &str) -> bool {
        match controller_of(file) {
            "cgroup" => self.has_v2,
            controller => self.has_on_v2(controller),
        }
    }

    /// Whether the resources need controllers or files of v2.
    pub fn asks_v2(&self, r: &Resources) -> bool {
        let of_v2 = |c: Controller| c.is_asked(r) && !self.has_on_v1(c.v1());
        self.has_v2 && (!r.unified.is_empty() || Controller::ALL.into_iter().any(of_v2))
    }

    /// Whether the resources need a missing controller.
    ///
    /// [`CgroupFacts::known`] explains why it is missing.
    pub fn lacks(&self, r: &Resources) -> bool {
        Controller::ALL.into_iter().any(|c| c.is_asked(r) && !self.has(c))
            || r.unified.iter().any(|(file, _)| !self.has_unified(file))
    }

    /// Explains why a controller is missing; `field` needs it.
    pub fn missing(&self, v1: &str, v2: &str, field: &str) -> Error {
        let host = match (self.v1.is_empty(), self.has_v2) {
            (true, false) => hints::HostCgroups::Bare,
            _ if self.has_on_v1(v1) => hints::HostCgroups::Taken,
            // On a hybrid host v2 has the controllers that no v1 hierarchy uses.
            (true, true) => hints::HostCgroups::V2,
            _ if self.v2.is_some() && self.has_on_v2(v2) => hints::HostCgroups::V2,
            _ => hints::HostCgroups::V1,
        };
        Error::of(format_args!("linux.resources.{field}: {}", hints::missing(v1, v2, host, self.known)))
    }

    /// The files of the memory controller, or all other files.
    fn files(&self, r: &Resources, memory: bool) -> Result<Vec<Knob>> {
        let (mut on_v1, mut on_v2) = (Vec::new(), Vec::new());
        for c in Controller::ALL.into_iter().filter(|c| (*c == Controller::Memory) == memory && c.is_asked(r))
        {
            let (v1, v2, field) = c.names();
            match self.has_on_v1(v1) {
                true => on_v1.append(&mut v1::knobs(c, r)?),
                false if self.has(c) => on_v2.append(&mut v2::knobs(c, r)?),
                false => return Err(self.missing(v1, v2, field)),
            }
        }
        on_v1.append(&mut with_unified(on_v2, r, memory));
        Ok(on_v1)
    }

    /// Refuses files of `unified` whose controller is missing.
    fn check_unified(&self, r: &Resources) -> Result<()> {
        for (file, _) in &r.unified {
            if !self.has_v2 {
                return Err(Error::of(format_args!(
                    "linux.resources.unified.{file}: there is no cgroup v2 here"
                ))
                .hint("unified is for cgroup v2 only; use the fields of v1, or boot with cgroup v2"));
            }
            if !self.has_unified(file) {
                let knob = unified_knob(file, "");
                return Err(missing_for(&knob, &|v1, v2, field| self.missing(v1, v2, field)));
            }
        }
        Ok(())
    }

    /// The rules of a container, followed by the default devices.
    pub(super) fn devices(&self, rules: &[DeviceRule]) -> Result<Devices> {
        let all = devices::complete(rules);
        if self.has_on_v1("devices") {
            let lists = devices::v1(&all)?;
            return Ok(Devices::Lists(all, lists));
        }
        if self.has_v2 {
            let program = device_program::compile(&all)?;
            return Ok(Devices::Program(all, program));
        }
        match rules.is_empty() || self.devices_optional {
            true => Ok(Devices::Unenforced),
            false => Err(self.missing("devices", "", "devices")),
        }
    }
}

/// Explains why the controller of a file is missing.
pub(super) fn missing_for(knob: &Knob, missing: &dyn Fn(&str, &str, &str) -> Error) -> Error {
    let controller = controller_of(knob.file);
    let known = Controller::ALL.into_iter().find(|c| c.v1() == controller || c.v2() == controller);
    let (v1, v2, field) = known.map_or((controller, controller, knob.field), Controller::names);
    if knob.field != UNIFIED {
        return missing(v1, v2, field);
    }
    missing(v1, controller, knob.field).context(format_args!(
        "invalid configuration: unified resource {} can't be set: controller {controller} not available",
        Quoted(knob.file),
        controller = Quoted(controller)
    ))
}

/// A write to a file of `unified`.
fn unified_knob(file: &'static str, value: &'static str) -> Knob {
    Knob { field: UNIFIED, file, value, missing: WithoutFile::Fails }
}

/// Merges the v2 files of the fields with those of `unified`.
///
/// A file of `unified` replaces the field's value or follows it.
pub(super) fn with_unified(mut all: Vec<Knob>, resources: &Resources, memory: bool) -> Vec<Knob> {
    let of_memory = |file: &str| controller_of(file) == Controller::Memory.v2();
    for (file, value) in resources.unified.iter().filter(|(file, _)| of_memory(file) == memory) {
        all.retain(|knob| !unified::replaces(file, value, knob));
        // Per-device files take one line per write.
        for line in value.split_inclusive('\n') {
            all.push(unified_knob(file, line.trim_end_matches('\n')));
        }
    }
    all
}

fn write_knobs(knobs: &[Knob], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    knobs.iter().try_for_each(|knob| writeln!(f, "    cgroup: {knob}"))
}
