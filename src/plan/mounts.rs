//! `mounts[]`: each entry as a step that is performed as it stands. Pure.

use std::ffi::CStr;
mod display;

use std::fmt;

use super::cgroup_view::CgroupView;
use super::idmap::{self, Idmap, only_for_a_mount};
use super::inside_path::InsidePath;
use super::labels;
use super::options::{self, Change, Options, attr, is_engines, ms};
use super::validate::{Refusal, refuse};
use crate::bundle::spec::{Mount, Spec};
use crate::error::Quoted;
use crate::text::names::words;
use crate::text::search::cut;
use crate::text::{Keep, List, Text, c_text};

/// The facts needed beside the configuration.
#[derive(Clone, Debug, Default)]
pub struct MountFacts {
    /// The bundle's absolute path, where relative sources of bind mounts start.
    pub bundle: Text,
    /// The root file system's absolute path.
    pub rootfs: Text,
    /// The container has its own network namespace.
    ///
    /// A sysfs belongs to one. Without the right to mount it, the host's is bound.
    pub own_network: bool,
    /// The container has its own pid namespace. The same holds for a procfs.
    pub own_pids: bool,
    /// The content of a mount of type `cgroup`.
    pub cgroup: CgroupView,
    /// File systems take SELinux labels.
    pub selinux: bool,
    /// The directory of the notify socket, if there is one.
    pub notify: Option<Text>,
}

/// One entry of `mounts[]`, decided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MountStep {
    /// The index of the entry.
    pub index: usize,
    /// Its destination.
    pub target: InsidePath,
    /// The object that is mounted.
    pub what: MountObject,
    /// The changes of the mount's flags once it is made.
    pub changes: List<Change>,
    /// Its map of ids, if it is an idmapped mount.
    pub idmap: Option<&'static Idmap>,
}

/// The object that a [`MountStep`] mounts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MountObject {
    /// A new mount of a file system.
    New(NewMount),
    /// A bind of a host path; one at `/` replaces the root.
    Bind {
        /// Absolute.
        source: &'static CStr,
        /// `rbind`: with all mounts below it.
        recursive: bool,
    },
    /// No mount: other options for the file system that is mounted there.
    Remount {
        /// `MS_…`
        flags: u32,
        /// Options of the file system.
        data: Option<&'static CStr>,
    },
    /// No mount: only the changes.
    Change,
    /// A tmpfs with a directory for each v1 hierarchy.
    CgroupV1 {
        /// `MS_…` of each mount in it, and of itself.
        flags: u32,
        /// Options of the tmpfs.
        data: &'static CStr,
        /// The hierarchies in it.
        entries: List<CgroupEntry>,
        /// Links with further names of joined controllers, and their targets.
        links: List<(&'static CStr, &'static CStr)>,
    },
}

/// A new mount of a file system.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NewMount {
    /// Its type, as in /proc/filesystems.
    pub kind: &'static CStr,
    /// A device, or any text for a file system that has none.
    pub source: &'static CStr,
    /// `MS_…`
    pub flags: u32,
    /// Options of the file system.
    pub data: Option<&'static CStr>,
    /// No component of the target may be a link.
    ///
    /// A proc or sysfs under another name would deceive programs that rely on it.
    pub plain_target: bool,
    /// The tmpfs gets the mode of the directory that it covers.
    pub inherit_mode: bool,
    /// The tmpfs starts with a copy of the directory that it covers.
    pub copy_up: bool,
    /// Read-only, but only after everything below it is in place.
    pub late_readonly: bool,
    /// The SELinux label of its root directory, if no option can give it.
    pub root_label: Option<&'static CStr>,
    /// A host path to bind instead if the kernel refuses the mount (EPERM, EBUSY).
    pub instead: Option<&'static Replacement>,
}

/// The bind that replaces a refused mount.
#[derive(Clone, Debug, PartialEq)]
pub struct Replacement {
    /// The host path.
    pub source: &'static CStr,
    /// The changes of its flags.
    pub changes: List<Change>,
    /// Those of the mounts below too, which need Linux 5.12.
    pub below: List<Change>,
    /// The path to bind if that does not exist.
    pub otherwise: Option<&'static CStr>,
}

/// A v1 hierarchy in a [`MountObject::CgroupV1`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CgroupEntry {
    /// The directory's name.
    pub directory: &'static CStr,
    /// Mount options, if the hierarchy is mounted afresh.
    pub data: Option<&'static CStr>,
    /// The host path to bind if it cannot be.
    pub source: &'static CStr,
    /// The one to bind if that does not exist.
    pub otherwise: Option<&'static CStr>,
}

/// The files of procfs that may be mounted over, as in runc.
///
/// lxcfs shows a container its own limits there. Mounts over other files could deceive the runtime or the container
/// (CVE-2019-16884).
const OVER_PROC: Text = "proc/cpuinfo proc/diskstats proc/meminfo proc/stat proc/swaps proc/uptime \
    proc/loadavg proc/slabinfo proc/sys/kernel/ns_last_pid proc/sys/crypto/fips_enabled";

/// Whether a path ends in a file of procfs that may be mounted over.
pub fn may_cover_proc(path: &[u8]) -> bool {
    words(OVER_PROC).any(|allowed| {
        path.strip_suffix(allowed.as_bytes()).is_some_and(|start| start.is_empty() || start.ends_with(b"/"))
    })
}

/// mount(2) takes one page of data, including the NUL.
///
/// This is the smallest page, so that a bundle works on every kernel or on none.
pub const MAX_DATA: usize = 4095;

/// The steps for all of `mounts[]`, in order, or all refusals.
pub fn compile(spec: &Spec, facts: &MountFacts) -> Result<List<MountStep>, Vec<Refusal>> {
    let mut steps = Vec::with_capacity(spec.mounts.len() + 1);
    let mut refusals = Vec::new();
    labels::check_of_mounts(spec, &mut refusals);
    // Like runc, after all others, so that none covers it.
    let notify = facts.notify.map(|directory| Mount {
        destination: "/run/notify",
        source: Some(directory),
        options: &["bind", "nosuid", "noexec", "nodev", "ro"],
        ..Mount::default()
    });
    for (index, mount) in spec.mounts.iter().chain(&notify).enumerate() {
        match step(index, mount, spec, facts) {
            Ok(step) => steps.push(step),
            Err((field, why)) => {
                refuse(&mut refusals, format_args!("mounts[{index}].{field}"), format_args!("{why}"));
            }
        }
    }
    for at in 1..steps.len() {
        let (before, rest) = steps.split_at_mut(at);
        postpone(before, &mut rest[0]);
    }
    if refusals.is_empty() { Ok(steps.keep()) } else { Err(refusals) }
}

/// One line for each ignored part of `mounts[]`.
pub fn warnings(spec: &Spec, facts: &MountFacts) -> Vec<String> {
    let mut warnings = Vec::new();
    if spec.linux.mount_label.is_some() && !facts.selinux {
        warnings.push("linux.mountLabel: SELinux is not enabled on this host, it is ignored".to_owned());
    }
    for (index, mount) in spec.mounts.iter().enumerate() {
        for option in mount.options.iter().filter(|option| is_engines(option)) {
            warnings.push(format!("mounts[{index}].options: {option} is for an engine, it is ignored"));
        }
        // The specification passes them on to mount(2), which ignores them for a bind mount.
        let options = Options::parse(mount.options);
        for option in options.data_words().filter(|_| options.set & ms::BIND != 0) {
            warnings.push(format!("mounts[{index}].options: {option} has no effect on a bind mount"));
        }
    }
    warnings
}

/// A later entry decides whether a mount is read-only, delayed or not.
fn postpone(before: &mut [MountStep], step: &mut MountStep) {
    let (readonly, says) = match step.what {
        MountObject::Remount { flags, .. } => (flags & ms::RDONLY != 0, true),
        MountObject::Change => {
            let any = |bits: fn(&Change) -> u32| step.changes.iter().any(|c| bits(c) & attr::RDONLY != 0);
            (any(|c| c.set), any(|c| c.set | c.clear))
        }
        _ => return,
    };
    let Some(earlier) = before.iter_mut().rev().find(|b| b.target == step.target) else { return };
    let MountObject::New(new) = &mut earlier.what else { return };
    if !says || !fills_up(new.kind.to_bytes() == b"tmpfs", &step.target) {
        return;
    }
    new.late_readonly = readonly;
    if let MountObject::Remount { flags, .. } = &mut step.what {
        *flags &= !ms::RDONLY;
    }
    let later = |c: &Change| Change { set: c.set & !attr::RDONLY, ..*c };
    step.changes = step.changes.iter().map(later).collect::<Vec<_>>().keep();
}

/// Whether mount points and device nodes are still to be made in a new mount.
fn fills_up(tmpfs: bool, target: &InsidePath) -> bool {
    tmpfs || target.as_bytes() == b"dev"
}

/// The destination of an entry; `None` if it holds a NUL.
///
/// Like runc, it accepts the host's path of the place.
pub(super) fn target(mount: &Mount, rootfs: &str) -> Option<InsidePath> {
    let inside = mount.destination.strip_prefix(rootfs).filter(|rest| rest.starts_with('/'));
    InsidePath::new(inside.unwrap_or(mount.destination))
}

/// The refused property, and the reason.
pub(super) type Refused = (&'static str, Text);

/// A refusal that quotes a text.
#[cold]
pub(super) fn because(field: &'static str, why: fmt::Arguments<'_>) -> Refused {
    (field, why.to_string().keep())
}

fn step(index: usize, mount: &Mount, spec: &Spec, facts: &MountFacts) -> Result<MountStep, Refused> {
    let target = target(mount, facts.rootfs).ok_or(("destination", "contains a NUL character"))?;
    let mut options = Options::parse(mount.options);
    if target.is_root() {
        // linux.rootfsPropagation is for the root, whatever is bound there.
        options.propagation.clear();
    }
    let idmap = idmap::of_mount(mount, &options, spec)?;
    let kind = mount.kind.unwrap_or_default();
    let (bind, remount) = (options.set & ms::BIND != 0, options.set & ms::REMOUNT != 0);
    if !remount {
        check_target(target, kind, bind)?;
    }
    if options.copy_up && (bind || remount || kind != "tmpfs") {
        return Err(("options", "tmpcopyup is for a mount of type \"tmpfs\""));
    }
    // A word may be a misspelt flag, or one with a value that runc does not know: `ro=recursive`, `idmap=uids=0-1000-1`.
    let may_be_flag =
        |word: &&str| cut(word, "=").is_none_or(|(name, _)| options::names().any(|n| n == name));
    if let Some(word) = options.data_words().find(|word| bind && may_be_flag(word)) {
        let word = Quoted(word);
        return Err(because("options", format_args!("{word} is no option of a bind mount; remove it")));
    }
    if remount {
        only_for_a_mount(idmap, format_args!("a remount cannot change the map of a mount"))?;
    }
    let label = labels::of_mounts(spec, facts.selinux);
    let (what, changes) = match (remount, bind) {
        (true, true) => (MountObject::Change, options.changes()),
        (true, false) => (
            MountObject::Remount { flags: options.set, data: data(&options.data)? },
            options.changes_beside(0),
        ),
        (false, true) => {
            let recursive = options.set & ms::REC != 0;
            (MountObject::Bind { source: bind_source(mount, facts)?, recursive }, options.bind_changes())
        }
        (false, false) => match kind {
            "bind" => return Err(("options", "a bind mount needs the option \"bind\" or \"rbind\"")),
            "" => return Err(("type", "is required unless the options have \"bind\" or \"rbind\"")),
            "cgroup" if !facts.cgroup.v1.is_empty() => {
                only_for_a_mount(idmap, format_args!("cgroup v1 cannot be idmapped"))?;
                (cgroup_v1(options.set, label, &facts.cgroup)?, options.changes_beside(0))
            }
            // Kernels before 5.10 silently ignore this flag of mount(2).
            _ => (
                MountObject::New(new_mount(mount, target, &options, label, facts)?),
                options.changes_beside(ms::NOSYMFOLLOW),
            ),
        },
    };
    Ok(MountStep { index, target, what, changes, idmap })
}

fn check_target(target: InsidePath, kind: &str, bind: bool) -> Result<(), Refused> {
    if target.is_root() && !bind {
        return Err(("destination", "is the container's root, which root.path gives"));
    }
    // The check that the source of such a bind mount is a procfs needs the opened source.
    let is_proc = target.as_bytes() == b"proc";
    let emulated = words(OVER_PROC).any(|file| file.as_bytes() == target.as_bytes());
    if target.is_within("proc") && !(is_proc && (bind || kind == "proc")) && !emulated {
        let why = "is inside /proc, where only a procfs and a few files that engines emulate are mounted";
        return Err(("destination", why));
    }
    Ok(())
}

fn text(field: &'static str, text: &str) -> Result<&'static CStr, Refused> {
    c_text(text.as_bytes()).ok_or((field, "contains a NUL character"))
}

fn data(options: &str) -> Result<Option<&'static CStr>, Refused> {
    let length = options.len();
    if length > MAX_DATA {
        let why = format_args!("are {length} bytes for the file system, the kernel takes {MAX_DATA}");
        return Err(because("options", why));
    }
    if options.is_empty() { Ok(None) } else { text("options", options).map(Some) }
}

fn bind_source(mount: &Mount, facts: &MountFacts) -> Result<&'static CStr, Refused> {
    match mount.source {
        None | Some("") => Err(("source", "is required for a bind mount")),
        Some(source) if source.starts_with('/') => text("source", source),
        Some(source) => text("source", &format!("{}/{source}", facts.bundle)),
    }
}

fn new_mount(
    mount: &Mount,
    target: InsidePath,
    options: &Options,
    label: Option<Text>,
    facts: &MountFacts,
) -> Result<NewMount, Refused> {
    let kind = mount.kind.unwrap_or_default();
    let (kind, instead) = match kind {
        "cgroup" => match &facts.cgroup.v2 {
            Some(source) => ("cgroup2", Some(source.own.as_str())),
            None => {
                let why = "the host has no cgroups mounted (mount -t cgroup2 cgroup2 /sys/fs/cgroup)";
                return Err(("type", why));
            }
        },
        "sysfs" if !facts.own_network => (kind, Some("/sys")),
        "proc" if !facts.own_pids => (kind, Some("/proc")),
        other => (other, None),
    };
    let for_fs = labels::with_context(kind, &options.data, label);
    let tmpfs = kind == "tmpfs";
    let late_readonly = options.set & ms::RDONLY != 0 && fills_up(tmpfs, &target);
    Ok(NewMount {
        source: text("source", mount.source.unwrap_or(kind))?,
        flags: options.set & !ms::NOSYMFOLLOW & if late_readonly { !ms::RDONLY } else { !0 },
        plain_target: matches!(kind, "proc" | "sysfs"),
        inherit_mode: tmpfs && !for_fs.split(',').any(|o| o.starts_with("mode=")),
        copy_up: options.copy_up,
        late_readonly,
        instead: match instead {
            Some(path) => Some(replacement(kind, path, options, facts)?),
            None => None,
        },
        data: data(&for_fs)?,
        // It cannot be an option: init makes the mount of an ipc namespace that may have others.
        root_label: match label.filter(|_| kind == "mqueue") {
            Some(label) => Some(text("options", label)?),
            None => None,
        },
        kind: text("type", kind)?,
    })
}

fn optional(path: Option<&str>) -> Result<Option<&'static CStr>, Refused> {
    path.map(|path| text("type", path)).transpose()
}

fn replacement(
    kind: &str,
    path: &str,
    options: &Options,
    facts: &MountFacts,
) -> Result<&'static Replacement, Refused> {
    let otherwise = match &facts.cgroup.v2 {
        Some(source) if kind == "cgroup2" => optional(source.otherwise.as_deref())?,
        _ => None,
    };
    // The mounts below show more of the host: its cgroups and security file systems are below /sys.
    let below = match options.set & ms::RDONLY {
        0 => &[][..],
        _ => &[Change { recursive: true, ..READONLY }],
    };
    let source = text("source", path)?;
    Ok(Box::new(Replacement { source, changes: options.changes(), below, otherwise }).keep())
}

fn cgroup_v1(set: u32, label: Option<Text>, view: &CgroupView) -> Result<MountObject, Refused> {
    let flags = ms::NOSUID | ms::NODEV | ms::NOEXEC | (set & ms::RDONLY);
    let mut entries = Vec::with_capacity(view.v1.len());
    let mut links = Vec::new();
    for hierarchy in &view.v1 {
        let directory = text("type", &hierarchy.directory)?;
        let names = hierarchy.controllers.join(",");
        entries.push(CgroupEntry {
            directory,
            data: if view.own_namespace { Some(text("type", &names)?) } else { None },
            source: text("type", &hierarchy.source.own)?,
            otherwise: optional(hierarchy.source.otherwise.as_deref())?,
        });
        for name in &hierarchy.controllers {
            if !name.starts_with("name=") && *name != hierarchy.directory {
                links.push((text("type", name)?, directory));
            }
        }
    }
    let data = text("options", &labels::with_context("tmpfs", "mode=755", label))?;
    Ok(MountObject::CgroupV1 { flags, data, entries: entries.keep(), links: links.keep() })
}

/// The attribute of a mount that is made read-only at the end.
pub const READONLY: Change =
    Change { recursive: false, set: attr::RDONLY, clear: 0, unasked: 0, propagation: 0 };

#[cfg(test)]
mod tests;
