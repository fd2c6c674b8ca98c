//! `linux` (config-linux.md), but for `resources` and `seccomp`, which their rooms read.

use super::process::{ID, each_type_once};
use super::{Also, ID_MAPPING, ListOf, Map, Object, Path, Plain, id_mapping};
use crate::bundle::spec::{Device, DeviceKind, Linux, Namespace, NamespaceKind, Personality, Propagation};
use crate::cgroup::limits::resources;
use crate::error::Quoted;
use crate::json::read::{Fault, Read, items};
use crate::json::shape::I64;
use crate::json::shape::Shape::{self, Any, Later, Must, Number, Word};
use crate::json::value::Json;
use crate::seccomp::policy::{POLICY, section};
use crate::text::{List, Text};

pub(super) static LINUX: Shape = Object(&[
    ("namespaces", &Also(&ListOf(&NAMESPACE), each_type_once)),
    ("uidMappings", &ListOf(&ID_MAPPING)),
    ("gidMappings", &ListOf(&ID_MAPPING)),
    ("timeOffsets", &Also(&Map(&TIME_OFFSET), clocks_with_an_offset)),
    ("devices", &ListOf(&DEVICE)),
    ("cgroupsPath", &Plain),
    ("rootfsPropagation", &Also(&Plain, known_propagation)),
    ("sysctl", &Map(&Plain)),
    ("maskedPaths", &ListOf(&Path)),
    ("readonlyPaths", &ListOf(&Path)),
    ("mountLabel", &Plain),
    ("personality", &PERSONALITY),
    ("resources", &Any),
    ("seccomp", &Later(&POLICY)),
    (UNSUPPORTED[0], &Any),
    (UNSUPPORTED[1], &Any),
    (UNSUPPORTED[2], &Any),
]);

/// The parts of `linux` that `exec` reads from the container's copy.
pub(super) static OF_PROCESS: Shape = Object(&[
    ("namespaces", &Also(&ListOf(&NAMESPACE), each_type_once)),
    ("personality", &PERSONALITY),
    ("seccomp", &Later(&POLICY)),
]);

/// The part of `linux` that names the agent for the filter's listener.
pub(super) static LISTENER: Shape = Object(&[(
    "seccomp",
    &Later(&Object(&[
        ("defaultAction", &Any),
        ("defaultErrnoRet", &Any),
        ("listenerPath", &Any),
        ("listenerMetadata", &Any),
    ])),
)]);

/// Sections that this version does not perform; their presence is passed on for planning to refuse.
const UNSUPPORTED: [Text; 3] = ["intelRdt", "memoryPolicy", "netDevices"];

/// Takes what is there, checked but for the sections of other rooms.
#[inline(never)]
pub(super) fn fill(linux: &mut Linux, v: &Json) -> Read<()> {
    linux.namespaces = v.all("namespaces", namespace);
    linux.uid_mappings = v.all("uidMappings", id_mapping);
    linux.gid_mappings = v.all("gidMappings", id_mapping);
    linux.time_offsets = time_offsets(v.members("timeOffsets"));
    linux.devices = v.all("devices", device);
    linux.cgroups_path = v.text("cgroupsPath");
    linux.rootfs_propagation = v.text("rootfsPropagation").and_then(propagation);
    linux.sysctl = v.pairs("sysctl");
    linux.masked_paths = v.texts("maskedPaths");
    linux.readonly_paths = v.texts("readonlyPaths");
    linux.mount_label = v.text("mountLabel");
    linux.personality = v.get("personality").map(personality);
    linux.unsupported = unsupported(v);
    if let Some(v) = v.get("resources") {
        linux.resources = resources(v).map_err(|f| f.at("resources"))?;
    }
    linux.seccomp = v.optional("seccomp", section)?.flatten();
    Ok(())
}

fn unsupported(v: &Json) -> List<Text> {
    let mut there = Vec::new();
    for key in UNSUPPORTED {
        match v.get(key) {
            // No devices to move. The other two ask for something even when they are empty.
            Some(Json::Object(members)) if members.is_empty() && key == "netDevices" => {}
            Some(_) => there.push(key),
            None => {}
        }
    }
    there.leak()
}

static NAMESPACES: [(Text, u32); 8] = [
    ("pid", NamespaceKind::Pid as u32),
    ("network", NamespaceKind::Network as u32),
    ("mount", NamespaceKind::Mount as u32),
    ("ipc", NamespaceKind::Ipc as u32),
    ("uts", NamespaceKind::Uts as u32),
    ("user", NamespaceKind::User as u32),
    ("cgroup", NamespaceKind::Cgroup as u32),
    ("time", NamespaceKind::Time as u32),
];

impl NamespaceKind {
    /// The spec's name of the kind, as in `linux.namespaces[].type`.
    pub fn name(self) -> Text {
        NAMESPACES.iter().find(|(_, kind)| *kind == self as u32).map_or("", |(name, _)| name)
    }
}

static NAMESPACE: Shape =
    Object(&[("type", &Must(&Word(&NAMESPACES))), ("path", &Also(&Plain, absolute_unless_unset))]);

/// Go's encoders write an unset path as "".
fn absolute_unless_unset(v: &Json) -> Read<()> {
    if matches!(v, Json::Str("")) { Ok(()) } else { Path.check(v) }
}

fn namespace(v: &Json) -> Namespace {
    let kind = v.word("type", &NAMESPACES);
    Namespace {
        kind: NamespaceKind::ALL.into_iter().find(|k| *k as u32 == kind).unwrap_or(NamespaceKind::User),
        path: v.text("path"),
    }
}

static TIME_OFFSET: Shape =
    Object(&[("nanosecs", &Number(&(0, 999_999_999, "is out of range (0 to 999999999)"))), ("secs", &I64)]);

fn clocks_with_an_offset(v: &Json) -> Read<()> {
    let Json::Object(all) = v else { return Ok(()) };
    match all.iter().find(|(clock, _)| !["boottime", "monotonic"].contains(clock)) {
        Some((clock, _)) => {
            Err(Fault::new("is not a clock with an offset (known: boottime, monotonic)").at(clock))
        }
        None => Ok(()),
    }
}

fn time_offsets(all: &[(Text, Json)]) -> List<(Text, i64, u32)> {
    let offset = |(clock, v): &(Text, Json)| (*clock, v.long("secs") as i64, v.number("nanosecs"));
    all.iter().map(offset).collect::<Vec<_>>().leak()
}

static DEVICES: [(Text, u32); 4] = [
    ("c", DeviceKind::Char as u32),
    ("u", DeviceKind::Char as u32),
    ("b", DeviceKind::Block as u32),
    ("p", DeviceKind::Fifo as u32),
];

/// Of the mode the permission bits count. Some engines pass the whole of `st_mode`; the file type in it says nothing new.
static DEVICE: Shape = Also(
    &Object(&[
        ("type", &Must(&Word(&DEVICES))),
        ("path", &Must(&Path)),
        ("fileMode", &Number(&(0, 0o177_777, "is out of range (0 to 65535)"))),
        ("uid", &ID),
        ("gid", &ID),
        ("major", &Any),
        ("minor", &Any),
    ]),
    device_numbers,
);

/// Needed for all but a FIFO. The kernel's device numbers are 12 bits of major and 20 of minor.
fn device_numbers(v: &Json) -> Read<()> {
    static NUMBERS: Shape = Object(&[
        ("major", &Must(&Number(&(0, 0xfff, "is out of range (0 to 4095)")))),
        ("minor", &Must(&Number(&(0, 0xf_ffff, "is out of range (0 to 1048575)")))),
    ]);
    if v.text("type") == Some("p") { Ok(()) } else { NUMBERS.check(v) }
}

fn device(v: &Json) -> Device {
    let kind = match v.text("type") {
        Some("p") => DeviceKind::Fifo,
        Some("b") => DeviceKind::Block,
        _ => DeviceKind::Char,
    };
    let number = |key| if kind == DeviceKind::Fifo { 0 } else { v.number(key) };
    Device {
        kind,
        path: v.text("path").unwrap_or_default(),
        major: number("major"),
        minor: number("minor"),
        file_mode: v.number_if_any("fileMode").map(|mode| mode & 0o7777),
        uid: v.number("uid"),
        gid: v.number("gid"),
    }
}

fn known_propagation(v: &Json) -> Read<()> {
    match v {
        Json::Str(s) if !s.is_empty() && propagation(s).is_none() => Err(Fault::of(format_args!(
            "unknown {} (known: shared, slave, private, unbindable, each also with an r in front)",
            Quoted(s)
        ))),
        _ => Ok(()),
    }
}

fn propagation(s: Text) -> Option<Propagation> {
    let (recursive, kind) = match s.strip_prefix('r') {
        Some(kind) => (true, kind),
        None => (false, s),
    };
    match kind {
        "shared" => Some(Propagation::Shared { recursive }),
        "slave" => Some(Propagation::Slave { recursive }),
        "private" => Some(Propagation::Private { recursive }),
        "unbindable" => Some(Propagation::Unbindable { recursive }),
        _ => None,
    }
}

static PERSONALITY: Shape = Object(&[
    ("domain", &Must(&Word(&[("LINUX", 0), ("LINUX32", 1)]))),
    ("flags", &Also(&ListOf(&Plain), no_flag)),
]);

fn no_flag(v: &Json) -> Read<()> {
    items(v, &mut |flag| match flag {
        Json::Str(flag) => Err(Fault::of(format_args!("{} is not supported (no flag is)", Quoted(flag)))),
        _ => Ok(()),
    })
}

fn personality(v: &Json) -> Personality {
    if v.text("domain") == Some("LINUX32") { Personality::Linux32 } else { Personality::Linux }
}
