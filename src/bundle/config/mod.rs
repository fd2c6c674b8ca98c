//! `config.json` to [`Spec`]: for each object of the file a [`Shape`] that says what may be in it, and a function that takes
//! what is there (runtime spec, config.md and config-linux.md).
//!
//! The rules that hold everywhere: `null` is absent, and so is `""` where it can only mean "not set"; unknown keys are
//! ignored; a value that is invalid is an error. Rules over more than one property are in `plan::validate`.

mod linux;
mod process;
#[cfg(test)]
mod tests;
mod version;

use super::spec::{Hook, HookKind, IdMapping, Mount, Spec};
use crate::error::Result;
use crate::json::read::{Fault, Read};
use crate::json::shape::Shape::{
    self, Also, Filled, Flag, List as ListOf, Many, Map, Must, Object, Path, Text as Plain,
};
use crate::json::shape::U32;
use crate::json::value::Json;

pub use process::{PROCESS, process};

static SPEC: Shape = Object(&[
    ("ociVersion", &Must(&Also(&Plain, version::version))),
    ("root", &Must(&Object(&[("path", &Must(&Filled)), ("readonly", &Flag)]))),
    ("mounts", &Many(&MOUNT)),
    ("process", &PROCESS),
    ("hostname", &Plain),
    ("domainname", &Plain),
    ("hooks", &HOOKS),
    ("annotations", &Also(&Map(&Plain), no_key_is_empty)),
    ("linux", &linux::LINUX),
]);

/// Reads the text of the whole document.
pub fn parse(text: &'static [u8]) -> Result<Box<Spec>> {
    Ok(spec(&Json::parse_as(text, &SPEC)?)?)
}

/// Parses `process` and the parts of `linux` that `exec` needs from the copy.
pub fn parse_for_exec(text: &'static [u8]) -> Result<Box<Spec>> {
    static OF_EXEC: Shape = Object(&[("process", &PROCESS), ("linux", &linux::OF_PROCESS)]);
    parse_part(text, &OF_EXEC)
}

/// Parses `hooks`, whether there is a process, and the agent of the filter.
///
/// `start` and `delete` read these from the container's copy.
pub fn parse_for_hooks(text: &'static [u8]) -> Result<Box<Spec>> {
    static OF_START: Shape =
        Object(&[("process", &Object(&[])), ("hooks", &HOOKS), ("linux", &linux::LISTENER)]);
    parse_part(text, &OF_START)
}

fn parse_part(text: &'static [u8], shape: &'static Shape) -> Result<Box<Spec>> {
    let v = Json::parse_as(text, shape)?;
    shape.check(&v)?;
    Ok(take(&v)?)
}

/// Reads the whole document.
pub fn spec(v: &Json) -> Read<Box<Spec>> {
    SPEC.check(v)?;
    take(v)
}

fn take(v: &Json) -> Read<Box<Spec>> {
    let mut spec = Box::<Spec>::default();
    spec.oci_version = v.text("ociVersion").unwrap_or_default();
    let root = v.section("root");
    spec.root.path = root.text("path").unwrap_or_default();
    spec.root.readonly = root.flag("readonly");
    spec.mounts = v.all("mounts", mount);
    spec.process = v.get("process").map(process::taken);
    spec.hostname = v.text("hostname");
    spec.domainname = v.text("domainname");
    let hooks = v.section("hooks");
    for (kind, name) in spec.hooks.0.iter_mut().zip(HookKind::NAMES) {
        *kind = hooks.all(name, hook);
    }
    spec.annotations = v.as_pairs("annotations");
    linux::fill(&mut spec.linux, v.section("linux")).map_err(|f| f.at("linux"))?;
    Ok(spec)
}

static MOUNT: Shape = Also(
    &Object(&[
        ("destination", &Must(&Filled)),
        ("source", &Plain),
        ("type", &Plain),
        ("options", &ListOf(&Plain)),
        ("uidMappings", &ListOf(&ID_MAPPING)),
        ("gidMappings", &ListOf(&ID_MAPPING)),
    ]),
    both_mappings,
);

fn both_mappings(v: &Json) -> Read<()> {
    match (v.items("uidMappings"), v.items("gidMappings")) {
        ([], [_, ..]) => Err(Fault::new("is required beside gidMappings").at("uidMappings")),
        ([_, ..], []) => Err(Fault::new("is required beside uidMappings").at("gidMappings")),
        _ => Ok(()),
    }
}

fn mount(v: &Json) -> Mount {
    Mount {
        destination: v.text("destination").unwrap_or_default(),
        source: v.text("source"),
        kind: v.text("type"),
        options: v.texts("options"),
        uid_mappings: v.all("uidMappings", id_mapping),
        gid_mappings: v.all("gidMappings", id_mapping),
    }
}

static ID_MAPPING: Shape = Also(
    &Object(&[("containerID", &Must(&U32)), ("hostID", &Must(&U32)), ("size", &Must(&U32))]),
    within_32_bits,
);

/// One line of a user namespace's map. The kernel knows ids up to 2^32 - 2 (2^32 - 1 is "no id").
fn within_32_bits(v: &Json) -> Read<()> {
    let m = id_mapping(v);
    if m.size == 0 {
        return Err(Fault::new("must be at least 1").at("size"));
    }
    for (key, first) in [("containerID", m.container_id), ("hostID", m.host_id)] {
        if first.checked_add(m.size).is_none() {
            return Err(Fault::of(format_args!(
                "{first} and the {} ids after it exceed 32 bits",
                m.size - 1
            ))
            .at(key));
        }
    }
    Ok(())
}

fn id_mapping(v: &Json) -> IdMapping {
    IdMapping { container_id: v.number("containerID"), host_id: v.number("hostID"), size: v.number("size") }
}

static HOOKS: Shape = Object(&[
    (HookKind::NAMES[0], &ListOf(&HOOK)),
    (HookKind::NAMES[1], &ListOf(&HOOK)),
    (HookKind::NAMES[2], &ListOf(&HOOK)),
    (HookKind::NAMES[3], &ListOf(&HOOK)),
    (HookKind::NAMES[4], &ListOf(&HOOK)),
    (HookKind::NAMES[5], &ListOf(&HOOK)),
]);

static HOOK: Shape = Object(&[
    ("path", &Must(&Path)),
    ("args", &ListOf(&Plain)),
    ("env", &ListOf(&Plain)),
    ("timeout", &Also(&U32, some_time)),
]);

fn some_time(v: &Json) -> Read<()> {
    match v {
        Json::Number("0") => Err(Fault::new("must be at least 1 second (leave it out for no limit)")),
        _ => Ok(()),
    }
}

fn hook(v: &Json) -> Hook {
    Hook {
        path: v.text("path").unwrap_or_default(),
        args: v.texts("args"),
        env: v.texts("env"),
        timeout: v.number_if_any("timeout"),
    }
}

fn no_key_is_empty(v: &Json) -> Read<()> {
    match v {
        Json::Pairs(all) if all.tokens().step_by(2).any(|key| key == "\"\"") => {
            Err(Fault::new("a key must not be empty"))
        }
        Json::Object(all) if all.iter().any(|(key, _)| key.is_empty()) => {
            Err(Fault::new("a key must not be empty"))
        }
        _ => Ok(()),
    }
}
