//! `config.json` to [`Spec`]: one reader per object of the file (runtime spec, config.md and config-linux.md).
//!
//! The rules that hold everywhere: `null` is absent, and so is `""` where it can only mean "not set"; unknown keys are
//! ignored; a value that is invalid is an error. What needs more than one property to judge is
//! `plan::validate`'s.

mod linux;
mod process;
#[cfg(test)]
mod tests;
mod version;

use super::json::Json;
use super::read::{self, Fault, Read, boolean, integer, object};
use super::spec::{Hook, HookKind, Hooks, IdMapping, List, Mount, Root, Spec, Text};

pub use process::process;

fn string(v: &Json) -> Read<Text> {
    read::string(v).map(|text| &*text.leak())
}

fn non_empty(v: &Json) -> Read<Text> {
    read::non_empty(v).map(|text| &*text.leak())
}

fn absolute(v: &Json) -> Read<Text> {
    read::absolute(v).map(|text| &*text.leak())
}

/// A string member; `""` counts as absent.
fn text(v: &Json, key: &str) -> Read<Option<Text>> {
    Ok(v.text(key)?.map(|text| &*text.leak()))
}

/// An array member; absent is empty.
fn list<T>(v: &Json, key: &str, item: fn(&Json) -> Read<T>) -> Read<List<T>> {
    Ok(v.list(key, item)?.leak())
}

/// Reads the whole document.
pub fn spec(v: &Json) -> Read<Spec> {
    object(v)?;
    Ok(Spec {
        oci_version: v.required("ociVersion", version::version)?,
        root: v.required("root", root)?,
        mounts: list(v, "mounts", mount)?,
        process: v.optional("process", process)?,
        hostname: text(v, "hostname")?,
        domainname: text(v, "domainname")?,
        hooks: v.or_default("hooks", hooks)?,
        annotations: annotations(v)?,
        linux: v.or_default("linux", linux::linux)?,
    })
}

fn root(v: &Json) -> Read<Root> {
    object(v)?;
    Ok(Root { path: v.required("path", non_empty)?, readonly: v.or_default("readonly", boolean)? })
}

fn mount(v: &Json) -> Read<Mount> {
    object(v)?;
    let m = Mount {
        destination: v.required("destination", non_empty)?,
        source: text(v, "source")?,
        kind: text(v, "type")?,
        options: list(v, "options", string)?,
        uid_mappings: list(v, "uidMappings", id_mapping)?,
        gid_mappings: list(v, "gidMappings", id_mapping)?,
    };
    match (m.uid_mappings.is_empty(), m.gid_mappings.is_empty()) {
        (true, false) => Err(Fault::new("is required beside gidMappings").at("uidMappings")),
        (false, true) => Err(Fault::new("is required beside uidMappings").at("gidMappings")),
        _ => Ok(m),
    }
}

/// One line of a user namespace's map. The kernel knows ids up to 2^32 - 2 (2^32 - 1 is "no id").
fn id_mapping(v: &Json) -> Read<IdMapping> {
    object(v)?;
    let m = IdMapping {
        container_id: v.required("containerID", integer)?,
        host_id: v.required("hostID", integer)?,
        size: v.required("size", integer)?,
    };
    if m.size == 0 {
        return Err(Fault::new("must be at least 1").at("size"));
    }
    for (key, first) in [("containerID", m.container_id), ("hostID", m.host_id)] {
        if first.checked_add(m.size).is_none() {
            return Err(
                Fault::new(format!("{first} and the {} ids after it exceed 32 bits", m.size - 1)).at(key)
            );
        }
    }
    Ok(m)
}

fn hooks(v: &Json) -> Read<Hooks> {
    object(v)?;
    let mut hooks = Hooks::default();
    for (kind, name) in hooks.0.iter_mut().zip(HookKind::NAMES) {
        *kind = list(v, name, hook)?;
    }
    Ok(hooks)
}

fn hook(v: &Json) -> Read<Hook> {
    object(v)?;
    Ok(Hook {
        path: v.required("path", absolute)?,
        args: list(v, "args", string)?,
        env: list(v, "env", string)?,
        timeout: v.optional("timeout", |t| match integer(t)? {
            0 => Err(Fault::new("must be at least 1 second (leave it out for no limit)")),
            seconds => Ok(seconds),
        })?,
    })
}

fn annotations(v: &Json) -> Read<Vec<(String, String)>> {
    let all = v.map("annotations", read::string)?;
    if all.iter().any(|(key, _)| key.is_empty()) {
        return Err(Fault::new("a key must not be empty").at("annotations"));
    }
    Ok(all)
}
