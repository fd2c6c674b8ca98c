//! Reads `config.json` into a [`Spec`].
//!
//! Source: runtime spec, config.md and config-linux.md. Each object is a list of its members and their slots. `null` is absent,
//! and so is `""` where it can only mean "not set"; unknown keys are ignored; an invalid value is an error. Rules about more than
//! one property are in `plan::validate`.

mod linux;
pub mod memory_policy;
mod process;
#[cfg(test)]
mod tests;
mod version;

pub use process::process;

use super::spec::{Hook, HookKind, Hooks, IdMapping, Mount, Root, Spec};
use crate::error::Result;
use crate::json::document;
use crate::json::read::{Fault, Read};
use crate::json::slot::{
    Checked, Each, Listed, Optional, Presence, Slot, Value, absolute, filled, may, must,
};
use crate::json::value::Json;
use crate::text::{Keep, List};

/// Reads a whole document.
pub fn parse(text: &'static [u8]) -> Result<Box<Spec>> {
    let mut spec = Box::<Spec>::default();
    document::read(text, &mut *spec)?;
    Ok(spec)
}

/// Reads a whole document that is already in memory.
pub fn spec(v: &Json) -> Read<Box<Spec>> {
    let mut spec = Box::<Spec>::default();
    document::read_value(v, &mut *spec)?;
    Ok(spec)
}

/// Reads `process`, and the parts of `linux` that `exec` needs.
///
/// `exec` reads them from the container's copy.
pub fn parse_for_exec(text: &'static [u8]) -> Result<Box<Spec>> {
    let mut spec = Box::<Spec>::default();
    let Spec { process, linux, .. } = &mut *spec;
    let read = &mut |v: Value<'_>| {
        v.object(&mut [
            may("process", &mut Optional(process)),
            may("linux", &mut Each(&mut |v| linux::of_process(linux, v))),
        ])
    };
    document::read(text, &mut Each(read))?;
    Ok(spec)
}

/// Reads `hooks`, whether there is a process, and the filter's agent.
///
/// `start` and `delete` read them from the container's copy.
pub fn parse_for_hooks(text: &'static [u8]) -> Result<Box<Spec>> {
    let mut spec = Box::<Spec>::default();
    let mut has_process = false;
    let Spec { hooks, linux, .. } = &mut *spec;
    let read = &mut |v: Value<'_>| {
        v.object(&mut [
            may("process", &mut Presence(&mut has_process)),
            may("hooks", hooks),
            may("linux", &mut Each(&mut |v| linux::listener(linux, v))),
        ])
    };
    document::read(text, &mut Each(read))?;
    spec.process = has_process.then(Box::default);
    Ok(spec)
}

impl Slot for Spec {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        v.object(&mut [
            must("ociVersion", &mut Checked(&mut self.oci_version, version::version)),
            must("root", &mut self.root),
            may("mounts", &mut Listed(&mut self.mounts)),
            may("process", &mut Optional(&mut self.process)),
            may("hostname", &mut self.hostname),
            may("domainname", &mut self.domainname),
            may("hooks", &mut self.hooks),
            may(
                "annotations",
                &mut Each(&mut |v| {
                    self.annotations.fill(v)?;
                    if self.annotations.has_empty_key() {
                        Err(Fault::new("a key must not be empty"))
                    } else {
                        Ok(())
                    }
                }),
            ),
            may("linux", &mut self.linux),
        ])
    }
}

impl Slot for Root {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        v.object(&mut [
            must("path", &mut Checked(&mut self.path, filled)),
            may("readonly", &mut self.readonly),
        ])
    }
}

impl Slot for Mount {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        let (mut uids, mut gids): (List<IdMapping>, List<IdMapping>) = (&[], &[]);
        v.object(&mut [
            must("destination", &mut Checked(&mut self.destination, filled)),
            may("source", &mut self.source),
            may("type", &mut self.kind),
            may("options", &mut self.options),
            may("uidMappings", &mut Listed(&mut uids)),
            may("gidMappings", &mut Listed(&mut gids)),
        ])?;
        match (uids, gids) {
            ([], []) => {}
            ([], _) => return Err(Fault::new("is required beside gidMappings").at("uidMappings")),
            (_, []) => return Err(Fault::new("is required beside uidMappings").at("gidMappings")),
            both => self.mappings = Some(Box::new(both).keep()),
        }
        Ok(())
    }
}

/// One line of a user namespace's map.
///
/// Ids end at 2^32 - 2, because 2^32 - 1 is the kernel's "no id".
impl Slot for IdMapping {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        v.object(&mut [
            must("containerID", &mut self.container_id),
            must("hostID", &mut self.host_id),
            must("size", &mut self.size),
        ])?;
        if self.size == 0 {
            return Err(Fault::new("must be at least 1").at("size"));
        }
        for (key, first) in [("containerID", self.container_id), ("hostID", self.host_id)] {
            if first.checked_add(self.size).is_none() {
                let after = self.size - 1;
                return Err(
                    Fault::of(format_args!("{first} and the {after} ids after it exceed 32 bits")).at(key)
                );
            }
        }
        Ok(())
    }
}

impl Slot for Hooks {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        let mut kinds = self.0.each_mut().map(Listed);
        let mut names = HookKind::NAMES.iter();
        v.object(&mut kinds.each_mut().map(|kind| may(names.next().unwrap_or(&""), kind)))
    }
}

impl Slot for Hook {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        v.object(&mut [
            must("path", &mut Checked(&mut self.path, absolute)),
            may("args", &mut self.args),
            may("env", &mut self.env),
            may(
                "timeout",
                &mut Each(&mut |v| {
                    self.timeout.fill(v)?;
                    if self.timeout != Some(0) {
                        return Ok(());
                    }
                    Err(Fault::new("must be at least 1 second (leave it out for no limit)"))
                }),
            ),
        ])
    }
}
