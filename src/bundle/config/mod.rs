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
use super::read::{Fault, Read, absolute, boolean, integer, non_empty, object, string, strings};
use super::spec::{Hook, Hooks, IdMapping, Mount, Root, Spec};

pub use process::process;

/// Reads the whole document.
pub fn spec(v: &Json) -> Read<Spec> {
    object(v)?;
    Ok(Spec {
        oci_version: v.required("ociVersion", version::version)?,
        root: v.required("root", root)?,
        mounts: v.list("mounts", mount)?,
        process: v.optional("process", process)?,
        hostname: v.text("hostname")?,
        domainname: v.text("domainname")?,
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
        source: v.text("source")?,
        kind: v.text("type")?,
        options: v.or_default("options", strings)?,
        uid_mappings: v.list("uidMappings", id_mapping)?,
        gid_mappings: v.list("gidMappings", id_mapping)?,
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
    Ok(Hooks {
        prestart: v.list("prestart", hook)?,
        create_runtime: v.list("createRuntime", hook)?,
        create_container: v.list("createContainer", hook)?,
        start_container: v.list("startContainer", hook)?,
        poststart: v.list("poststart", hook)?,
        poststop: v.list("poststop", hook)?,
    })
}

fn hook(v: &Json) -> Read<Hook> {
    object(v)?;
    Ok(Hook {
        path: v.required("path", absolute)?,
        args: v.or_default("args", strings)?,
        env: v.or_default("env", strings)?,
        timeout: v.optional("timeout", |t| match integer(t)? {
            0 => Err(Fault::new("must be at least 1 second (leave it out for no limit)")),
            seconds => Ok(seconds),
        })?,
    })
}

fn annotations(v: &Json) -> Read<Vec<(String, String)>> {
    let all = v.map("annotations", string)?;
    if all.iter().any(|(key, _)| key.is_empty()) {
        return Err(Fault::new("a key must not be empty").at("annotations"));
    }
    Ok(all)
}
