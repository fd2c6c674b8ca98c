//! `linux` (config-linux.md), but for `resources` and `seccomp`, which their rooms read.

use super::process::id;
use super::{absolute, id_mapping, list, string, text};
use crate::bundle::json::Json;
use crate::bundle::read::{Fault, Read, integer, object, word};
use crate::bundle::spec::{
    Device, DeviceKind, Linux, List, Namespace, NamespaceKind, Personality, Propagation, Text,
};
use crate::cgroup::resources::resources;
use crate::error::Quoted;
use crate::seccomp::policy::policy;

/// Sections that this version does not perform; their presence is passed on for planning to refuse.
const UNSUPPORTED: [&str; 3] = ["intelRdt", "memoryPolicy", "netDevices"];

pub(super) fn linux(v: &Json) -> Read<Linux> {
    object(v)?;
    Ok(Linux {
        namespaces: namespaces(v)?,
        uid_mappings: list(v, "uidMappings", id_mapping)?,
        gid_mappings: list(v, "gidMappings", id_mapping)?,
        time_offsets: time_offsets(v)?,
        devices: list(v, "devices", device)?,
        cgroups_path: text(v, "cgroupsPath")?,
        resources: v.or_default("resources", resources)?,
        rootfs_propagation: text(v, "rootfsPropagation")?.map(propagation).transpose()?,
        seccomp: v.optional("seccomp", policy)?,
        sysctl: v
            .map("sysctl", string)?
            .into_iter()
            .map(|(key, value)| (&*key.leak(), value))
            .collect::<Vec<_>>()
            .leak(),
        masked_paths: list(v, "maskedPaths", absolute)?,
        readonly_paths: list(v, "readonlyPaths", absolute)?,
        mount_label: text(v, "mountLabel")?,
        personality: v.optional("personality", personality)?,
        unsupported: UNSUPPORTED
            .into_iter()
            .filter(|key| v.get(key).is_some_and(|section| *section != Json::Object(Vec::new())))
            .collect::<Vec<_>>()
            .leak(),
    })
}

const NAMESPACES: [(&str, NamespaceKind); 8] = [
    ("pid", NamespaceKind::Pid),
    ("network", NamespaceKind::Network),
    ("mount", NamespaceKind::Mount),
    ("ipc", NamespaceKind::Ipc),
    ("uts", NamespaceKind::Uts),
    ("user", NamespaceKind::User),
    ("cgroup", NamespaceKind::Cgroup),
    ("time", NamespaceKind::Time),
];

impl NamespaceKind {
    /// The spec's name of the kind, as in `linux.namespaces[].type`.
    pub fn name(self) -> &'static str {
        NAMESPACES.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

fn namespaces(v: &Json) -> Read<List<Namespace>> {
    let all = list(v, "namespaces", namespace)?;
    for (i, one) in all.iter().enumerate() {
        if all[..i].iter().any(|earlier| earlier.kind == one.kind) {
            let what = format!("{} is given twice", Quoted(one.kind.name()));
            return Err(Fault::new(what).at("type").at_index(i).at("namespaces"));
        }
    }
    Ok(all)
}

fn namespace(v: &Json) -> Read<Namespace> {
    object(v)?;
    let kind = v.required("type", |t| word(t, &NAMESPACES))?;
    // Go's encoders write an unset path as "".
    let path = match text(v, "path")? {
        None => None,
        Some(_) => v.optional("path", absolute)?,
    };
    Ok(Namespace { kind, path })
}

fn time_offsets(v: &Json) -> Read<List<(Text, i64, u32)>> {
    let all = v.map("timeOffsets", |offset| {
        object(offset)?;
        let nanosecs = offset.or_default("nanosecs", |n| match integer(n)? {
            n @ 0..=999_999_999 => Ok(n),
            n => Err(Fault::new(format!("{n} is out of range (0 to 999999999)"))),
        })?;
        Ok((offset.or_default("secs", integer)?, nanosecs))
    })?;
    let mut offsets = Vec::new();
    for (clock, (secs, nanosecs)) in all {
        match ["boottime", "monotonic"].into_iter().find(|known| *known == clock) {
            Some(clock) => offsets.push((clock, secs, nanosecs)),
            None => {
                let what = "is not a clock with an offset (known: boottime, monotonic)";
                return Err(Fault::new(what).at(&clock).at("timeOffsets"));
            }
        }
    }
    Ok(offsets.leak())
}

const DEVICES: [(&str, DeviceKind); 4] =
    [("c", DeviceKind::Char), ("u", DeviceKind::Char), ("b", DeviceKind::Block), ("p", DeviceKind::Fifo)];

fn device(v: &Json) -> Read<Device> {
    object(v)?;
    let kind = v.required("type", |t| word(t, &DEVICES))?;
    let fifo = kind == DeviceKind::Fifo;
    // The kernel's device numbers are 12 bits of major and 20 of minor.
    let number = |key, highest| if fifo { Ok(0) } else { v.required(key, |n| below(n, highest)) };
    Ok(Device {
        kind,
        path: v.required("path", absolute)?,
        major: number("major", 0xfff)?,
        minor: number("minor", 0xf_ffff)?,
        file_mode: v.optional("fileMode", file_mode)?,
        uid: v.or_default("uid", id)?,
        gid: v.or_default("gid", id)?,
    })
}

fn below(v: &Json, highest: u32) -> Read<u32> {
    match integer(v)? {
        n if n <= highest => Ok(n),
        n => Err(Fault::new(format!("{n} is out of range (0 to {highest})"))),
    }
}

/// Permission bits. Some engines pass the whole of `st_mode`; the file type in it says nothing new.
fn file_mode(v: &Json) -> Read<u32> {
    Ok(below(v, 0o177_777)? & 0o7777)
}

fn propagation(s: Text) -> Read<Propagation> {
    let (recursive, kind) = match s.strip_prefix('r') {
        Some(kind) => (true, kind),
        None => (false, s),
    };
    match kind {
        "shared" => Ok(Propagation::Shared { recursive }),
        "slave" => Ok(Propagation::Slave { recursive }),
        "private" => Ok(Propagation::Private { recursive }),
        "unbindable" => Ok(Propagation::Unbindable { recursive }),
        _ => {
            let what = format!(
                "unknown {} (known: shared, slave, private, unbindable, each also with an r in front)",
                Quoted(s)
            );
            Err(Fault::new(what).at("rootfsPropagation"))
        }
    }
}

fn personality(v: &Json) -> Read<Personality> {
    object(v)?;
    let table = [("LINUX", Personality::Linux), ("LINUX32", Personality::Linux32)];
    let domain = v.required("domain", |d| word(d, &table))?;
    match list(v, "flags", string)?.first() {
        Some(flag) => {
            Err(Fault::new(format!("{} is not supported (no flag is)", Quoted(flag))).at_index(0).at("flags"))
        }
        None => Ok(domain),
    }
}
