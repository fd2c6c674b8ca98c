//! `linux` (config-linux.md), without `resources` and `seccomp`.

use super::process::{Id, each_type_once};
use crate::bundle::spec::{
    Device, DeviceKind, Linux, Namespace, NamespaceKind, NetDevice, Personality, Propagation,
};
use crate::error::Quoted;
use crate::json::read::{Fault, Read};
use crate::json::slot::{
    Bounds, Checked, Each, Later, Listed, Optional, Slot, Texts, Value, Within, Word, absolute, may, must,
};
use crate::names;
use crate::seccomp::policy::{self, Section};
use crate::text::names::NameTable;
use crate::text::{Keep, List, Text};

impl Slot for Linux {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        v.object(&mut [
            may("namespaces", &mut Namespaces(&mut self.namespaces)),
            may("uidMappings", &mut Listed(&mut self.uid_mappings)),
            may("gidMappings", &mut Listed(&mut self.gid_mappings)),
            may("timeOffsets", &mut TimeOffsets(&mut self.time_offsets)),
            may("devices", &mut Listed(&mut self.devices)),
            may("cgroupsPath", &mut self.cgroups_path),
            may("rootfsPropagation", &mut RootPropagation(&mut self.rootfs_propagation)),
            may("sysctl", &mut self.sysctl),
            may("maskedPaths", &mut Texts(&mut self.masked_paths, absolute)),
            may("readonlyPaths", &mut Texts(&mut self.readonly_paths, absolute)),
            may("mountLabel", &mut self.mount_label),
            may("personality", &mut Domain(&mut self.personality)),
            may("memoryPolicy", &mut Optional(&mut self.memory_policy)),
            may("resources", &mut self.resources),
            may("seccomp", &mut Section(&mut self.seccomp)),
            may("intelRdt", &mut Optional(&mut self.intel_rdt)),
            may("netDevices", &mut NetDevices(&mut self.net_devices)),
        ])
    }
}

/// Reads the parts of `linux` that `exec` needs, from the container's copy.
pub(super) fn of_process(linux: &mut Linux, v: Value<'_>) -> Read<()> {
    v.object(&mut [
        may("namespaces", &mut Namespaces(&mut linux.namespaces)),
        may("personality", &mut Domain(&mut linux.personality)),
        may("memoryPolicy", &mut Optional(&mut linux.memory_policy)),
        may("intelRdt", &mut Optional(&mut linux.intel_rdt)),
        may("seccomp", &mut Section(&mut linux.seccomp)),
    ])
}

/// Reads the part of `linux` that names the agent for the filter's listener.
pub(super) fn listener(linux: &mut Linux, v: Value<'_>) -> Read<()> {
    v.object(&mut [may("seccomp", &mut policy::Listener(&mut linux.seccomp))])
}

static NAMESPACES: NameTable<NamespaceKind> = names! {
    "pid" => NamespaceKind::Pid,
    "network" => NamespaceKind::Network,
    "mount" => NamespaceKind::Mount,
    "ipc" => NamespaceKind::Ipc,
    "uts" => NamespaceKind::Uts,
    "user" => NamespaceKind::User,
    "cgroup" => NamespaceKind::Cgroup,
    "time" => NamespaceKind::Time,
};

impl NamespaceKind {
    /// The spec's name of the kind, as in `linux.namespaces[].type`.
    pub fn name(self) -> Text {
        NAMESPACES.name(|kind| kind == self).unwrap_or("")
    }
}

struct Namespaces<'a>(&'a mut List<Namespace>);

impl Slot for Namespaces<'_> {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        Listed(self.0).fill(v)?;
        each_type_once(&mut self.0.iter().map(|namespace| namespace.kind.name()))
    }
}

impl Slot for Namespace {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        v.object(&mut [
            must("type", &mut Word(&mut self.kind, &NAMESPACES)),
            may(
                "path",
                &mut Each(&mut |v| {
                    self.path.fill(v)?;
                    self.path.map_or(Ok(()), absolute)
                }),
            ),
        ])
    }
}

struct NetDevices<'a>(&'a mut List<NetDevice>);

impl Slot for NetDevices<'_> {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        let mut all = Vec::new();
        v.each_member(&mut |host, v| {
            let mut name = None;
            v.object(&mut [may("name", &mut name)])?;
            all.push(NetDevice { host, name });
            Ok(())
        })?;
        *self.0 = all.keep();
        Ok(())
    }
}

struct TimeOffsets<'a>(&'a mut List<(Text, i64, u32)>);

impl Slot for TimeOffsets<'_> {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        let mut all = Vec::new();
        v.each_member(&mut |clock, v| {
            let (mut seconds, mut nanoseconds) = (0, 0);
            let below = &Bounds(0, 999_999_999, "is out of range (0 to 999999999)");
            v.object(&mut [
                may("secs", &mut seconds),
                may("nanosecs", &mut Within(&mut nanoseconds, below)),
            ])?;
            if !["boottime", "monotonic"].contains(&clock) {
                return Err(Fault::new("is not a clock with an offset (known: boottime, monotonic)"));
            }
            all.push((clock, seconds, nanoseconds));
            Ok(())
        })?;
        *self.0 = all.keep();
        Ok(())
    }
}

static DEVICES: NameTable<DeviceKind> = names! {"c" => DeviceKind::Char, "u" => DeviceKind::Char, "b" => DeviceKind::Block, "p" => DeviceKind::Fifo};

impl Slot for Device {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        let (mut major, mut minor) = (Later::<Major>::new("major"), Later::<Minor>::new("minor"));
        let mode = &Bounds(0, 0o177_777, "is out of range (0 to 65535)");
        v.object(&mut [
            must("type", &mut Word(&mut self.kind, &DEVICES)),
            must("path", &mut Checked(&mut self.path, absolute)),
            may("fileMode", &mut Within(&mut self.file_mode, mode)),
            may("uid", &mut Id(&mut self.uid)),
            may("gid", &mut Id(&mut self.gid)),
            major.field(),
            minor.field(),
        ])?;
        // Some engines pass all of st_mode, but `type` already gives the file type.
        self.file_mode = self.file_mode.map(|mode| mode & 0o7777);
        if self.kind != DeviceKind::Fifo {
            (self.major, self.minor) = (major.required()?.0, minor.required()?.0);
        }
        Ok(())
    }
}

/// A major number: the kernel's have 12 bits, its minor numbers 20.
#[derive(Default)]
struct Major(u32);

impl Slot for Major {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        Within(&mut self.0, &Bounds(0, 0xfff, "is out of range (0 to 4095)")).fill(v)
    }
}

#[derive(Default)]
struct Minor(u32);

impl Slot for Minor {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        Within(&mut self.0, &Bounds(0, 0xf_ffff, "is out of range (0 to 1048575)")).fill(v)
    }
}

struct RootPropagation<'a>(&'a mut Option<Propagation>);

impl Slot for RootPropagation<'_> {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        let s = v.text()?;
        *self.0 = propagation(s);
        if self.0.is_some() || s.is_empty() {
            return Ok(());
        }
        Err(Fault::of(format_args!(
            "unknown {} (known: shared, slave, private, unbindable, each also with an r in front)",
            Quoted(s)
        )))
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

/// `personality`
struct Domain<'a>(&'a mut Option<Personality>);

impl Slot for Domain<'_> {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        static DOMAINS: NameTable<Personality> =
            names! {"LINUX" => Personality::Linux, "LINUX32" => Personality::Linux32};
        let (mut domain, mut flags) = (Personality::default(), List::default());
        v.object(&mut [
            must("domain", &mut Word(&mut domain, &DOMAINS)),
            may("flags", &mut Texts(&mut flags, no_flag)),
        ])?;
        *self.0 = Some(domain);
        Ok(())
    }
}

fn no_flag(flag: Text) -> Read<()> {
    Err(Fault::of(format_args!("{} is not supported (no flag is)", Quoted(flag))))
}
