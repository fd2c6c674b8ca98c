//! `mounts[].options`: all options of the specification and of mount(8). Pure.

use std::fmt;

use crate::names;
use crate::text::names::{NameTable, position};
use crate::text::{Keep, List, Text};

/// `MS_…` of mount(2), the same on every architecture; libc lacks some.
pub mod ms {
    #![allow(missing_docs)]
    pub const RDONLY: u32 = 1;
    pub const NOSUID: u32 = 2;
    pub const NODEV: u32 = 4;
    pub const NOEXEC: u32 = 8;
    pub const SYNCHRONOUS: u32 = 0x10;
    pub const REMOUNT: u32 = 0x20;
    pub const MANDLOCK: u32 = 0x40;
    pub const DIRSYNC: u32 = 0x80;
    pub const NOSYMFOLLOW: u32 = 0x100;
    pub const NOATIME: u32 = 0x400;
    pub const NODIRATIME: u32 = 0x800;
    pub const BIND: u32 = 0x1000;
    pub const MOVE: u32 = 0x2000;
    pub const REC: u32 = 0x4000;
    pub const SILENT: u32 = 0x8000;
    pub const POSIXACL: u32 = 1 << 16;
    pub const UNBINDABLE: u32 = 1 << 17;
    pub const PRIVATE: u32 = 1 << 18;
    pub const SLAVE: u32 = 1 << 19;
    pub const SHARED: u32 = 1 << 20;
    pub const RELATIME: u32 = 1 << 21;
    pub const I_VERSION: u32 = 1 << 23;
    pub const STRICTATIME: u32 = 1 << 24;
    pub const LAZYTIME: u32 = 1 << 25;
}

/// `MOUNT_ATTR_…` of mount_setattr(2). Access times are one field: 0 is relatime.
pub mod attr {
    #![allow(missing_docs)]
    pub const RDONLY: u32 = 1;
    pub const NOSUID: u32 = 2;
    pub const NODEV: u32 = 4;
    pub const NOEXEC: u32 = 8;
    pub const ATIME: u32 = 0x70;
    pub const NOATIME: u32 = 0x10;
    pub const STRICTATIME: u32 = 0x20;
    pub const NODIRATIME: u32 = 0x80;
    pub const NOSYMFOLLOW: u32 = 0x20_0000;
    pub const PLAIN: u32 = RDONLY | NOSUID | NODEV | NOEXEC | NOSYMFOLLOW;
}

/// The effect of one option.
#[derive(Clone, Copy)]
enum Effect {
    Set(u32),
    Clear(u32),
    Propagation(u32),
    SetAll(u32),
    ClearAll(u32),
    CopyUp,
    Idmap,
    IdmapAll,
    Nothing,
}

use Effect::{Clear, ClearAll, Propagation, Set, SetAll};

/// In alphabetical order, as `features` prints them.
static OPTIONS: NameTable<Effect> = names! {
    "acl" => Set(ms::POSIXACL),
    "async" => Clear(ms::SYNCHRONOUS),
    "atime" => Clear(ms::NOATIME),
    "bind" => Set(ms::BIND),
    "defaults" => Effect::Nothing,
    "dev" => Clear(ms::NODEV),
    "diratime" => Clear(ms::NODIRATIME),
    "dirsync" => Set(ms::DIRSYNC),
    "exec" => Clear(ms::NOEXEC),
    "idmap" => Effect::Idmap,
    "iversion" => Set(ms::I_VERSION),
    "lazytime" => Set(ms::LAZYTIME),
    "loud" => Clear(ms::SILENT),
    "mand" => Set(ms::MANDLOCK),
    "noacl" => Clear(ms::POSIXACL),
    "noatime" => Set(ms::NOATIME),
    "nodev" => Set(ms::NODEV),
    "nodiratime" => Set(ms::NODIRATIME),
    "noexec" => Set(ms::NOEXEC),
    "noiversion" => Clear(ms::I_VERSION),
    "nolazytime" => Clear(ms::LAZYTIME),
    "nomand" => Clear(ms::MANDLOCK),
    "norelatime" => Clear(ms::RELATIME),
    "nostrictatime" => Clear(ms::STRICTATIME),
    "nosuid" => Set(ms::NOSUID),
    "nosymfollow" => Set(ms::NOSYMFOLLOW),
    "private" => Propagation(ms::PRIVATE),
    "ratime" => ClearAll(attr::ATIME),
    "rbind" => Set(ms::BIND | ms::REC),
    "rdev" => ClearAll(attr::NODEV),
    "rdiratime" => ClearAll(attr::NODIRATIME),
    "relatime" => Set(ms::RELATIME),
    "remount" => Set(ms::REMOUNT),
    "rexec" => ClearAll(attr::NOEXEC),
    "ridmap" => Effect::IdmapAll,
    "rnoatime" => SetAll(attr::NOATIME),
    "rnodev" => SetAll(attr::NODEV),
    "rnodiratime" => SetAll(attr::NODIRATIME),
    "rnoexec" => SetAll(attr::NOEXEC),
    // relatime has been the kernel's only default since 2.6.30.
    "rnorelatime" => Effect::Nothing,
    "rnostrictatime" => ClearAll(attr::ATIME),
    "rnosuid" => SetAll(attr::NOSUID),
    "rnosymfollow" => SetAll(attr::NOSYMFOLLOW),
    "ro" => Set(ms::RDONLY),
    "rprivate" => Propagation(ms::PRIVATE | ms::REC),
    "rrelatime" => ClearAll(attr::ATIME),
    "rro" => SetAll(attr::RDONLY),
    "rrw" => ClearAll(attr::RDONLY),
    "rshared" => Propagation(ms::SHARED | ms::REC),
    "rslave" => Propagation(ms::SLAVE | ms::REC),
    "rstrictatime" => SetAll(attr::STRICTATIME),
    "rsuid" => ClearAll(attr::NOSUID),
    "rsymfollow" => ClearAll(attr::NOSYMFOLLOW),
    "runbindable" => Propagation(ms::UNBINDABLE | ms::REC),
    "rw" => Clear(ms::RDONLY),
    "shared" => Propagation(ms::SHARED),
    "silent" => Set(ms::SILENT),
    "slave" => Propagation(ms::SLAVE),
    "strictatime" => Set(ms::STRICTATIME),
    "suid" => Clear(ms::NOSUID),
    "symfollow" => Clear(ms::NOSYMFOLLOW),
    "sync" => Set(ms::SYNCHRONOUS),
    "tmpcopyup" => Effect::CopyUp,
    "unbindable" => Propagation(ms::UNBINDABLE),
};

/// Options that engines handle themselves and sometimes leave in the list.
///
/// They relabel, change owners, make an overlay, fill a new volume, or cache: buildah leaves the `z` of a cache mount.
const ENGINES: Text = "O U Z cached consistent copy delegated nocopy z";

/// Whether an option is for engines only.
pub fn is_engines(option: &str) -> bool {
    position(ENGINES, option).is_some()
}

/// A change to an existing mount, as mount_setattr(2) takes it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Change {
    /// Includes the mounts below (Linux 5.12, unless only the propagation changes).
    pub recursive: bool,
    /// `MOUNT_ATTR_…` to set.
    pub set: u32,
    /// `MOUNT_ATTR_…` to clear, before those are set.
    pub clear: u32,
    /// `MOUNT_ATTR_…` to clear unless the kernel has locked them.
    ///
    /// No option names them. A user namespace cannot clear flags that the mount had outside.
    pub unasked: u32,
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE` or `MS_UNBINDABLE`, or 0.
    pub propagation: u32,
}

/// The options of one mount.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// `MS_…` that the last option naming them sets.
    pub set: u32,
    /// `MS_…` that the last option naming them clears.
    pub clear: u32,
    /// Changes to all mounts of a tree.
    pub all: Change,
    /// Propagation types in order, each with `MS_REC` or without.
    pub propagation: Vec<u32>,
    /// `tmpcopyup`
    pub copy_up: bool,
    /// `idmap` or `ridmap`
    pub idmap: bool,
    /// `ridmap`
    pub idmap_all: bool,
    /// Options of the file system, comma-joined.
    pub data: String,
}

impl Options {
    /// Reads the options in order: the later of two contradicting ones counts.
    pub fn parse(options: &[&str]) -> Options {
        let mut out = Options { all: Change { recursive: true, ..Change::default() }, ..Options::default() };
        for option in options {
            match OPTIONS.get(option) {
                None if is_engines(option) => {}
                None if out.data.is_empty() => out.data.push_str(option),
                None => {
                    out.data.push(',');
                    out.data.push_str(option);
                }
                Some(effect) => out.take(effect),
            }
        }
        out
    }

    /// The options of the file system, one by one.
    pub fn data_words(&self) -> impl Iterator<Item = &str> {
        self.data.split(',').filter(|word| !word.is_empty())
    }

    fn take(&mut self, effect: Effect) {
        let all = &mut self.all;
        // The settings for access times exclude each other, and the kernel clears them together.
        let field = |bits: u32| if bits & attr::ATIME == 0 { bits } else { bits | attr::ATIME };
        match effect {
            Set(bits) => (self.set, self.clear) = (self.set | bits, self.clear & !bits),
            Clear(bits) => (self.set, self.clear) = (self.set & !bits, self.clear | bits),
            SetAll(bits) => {
                all.set = all.set & !field(bits) | bits;
                all.clear = all.clear & !bits | field(bits) & attr::ATIME;
            }
            ClearAll(bits) => (all.set, all.clear) = (all.set & !bits, all.clear | bits),
            Propagation(kind) => self.propagation.push(kind),
            Effect::CopyUp => self.copy_up = true,
            Effect::Idmap => (self.idmap, self.idmap_all) = (true, false),
            Effect::IdmapAll => (self.idmap, self.idmap_all) = (true, true),
            Effect::Nothing => {}
        }
    }

    /// The changes to an existing or cloned mount, in as few calls as possible.
    ///
    /// They are its own flags, the propagation, and last the attributes of the whole tree, which are more specific.
    /// propagation, and then, as they are the more special, the attributes of the whole tree.
    pub fn changes(&self) -> List<Change> {
        self.merged(self.set, self.clear).keep()
    }

    /// The same for a mount whose own flags, except these, are set in other ways.
    pub fn changes_beside(&self, but: u32) -> List<Change> {
        self.merged(self.set & but, 0).keep()
    }

    fn merged(&self, set: u32, clear: u32) -> Vec<Change> {
        let (set, clear) = attributes(set, clear);
        let mut out = Vec::new();
        add(&mut out, Change { set, clear, ..Change::default() });
        for kind in &self.propagation {
            let (recursive, propagation) = (kind & ms::REC != 0, kind & !ms::REC);
            add(&mut out, Change { recursive, propagation, ..Change::default() });
        }
        add(&mut out, self.all);
        out
    }

    /// The same for a new bind mount.
    ///
    /// If the options name any flag, the mount loses the flags of its source that they do not name, as with runc's remount.
    pub fn bind_changes(&self) -> List<Change> {
        let mut changes = self.merged(self.set, self.clear);
        if self.set & !(ms::BIND | ms::REC) | self.clear == 0 {
            return changes.keep();
        }
        let is_own = |c: &Change| !c.recursive && c.set | c.clear != 0;
        let at = changes.iter().position(is_own).unwrap_or_else(|| {
            changes.insert(0, Change::default());
            0
        });
        let own = &mut changes[at];
        let times = if own.clear & attr::ATIME == 0 { 0 } else { attr::NODIRATIME };
        own.unasked = (attr::PLAIN | times) & !(own.set | own.clear);
        changes.keep()
    }
}

/// Adds a change, to the one before if one call does both.
fn add(changes: &mut Vec<Change>, next: Change) {
    if next.set | next.clear | next.propagation == 0 {
        return;
    }
    match changes.last_mut() {
        Some(last)
            if last.recursive == next.recursive
                && (last.propagation == 0 || next.propagation == 0)
                && (last.set | last.clear == 0 || next.set | next.clear == 0) =>
        {
            last.set |= next.set;
            last.clear |= next.clear;
            last.propagation |= next.propagation;
        }
        _ => changes.push(next),
    }
}

/// The flags of mount(2) that belong to the mount, as attributes.
const ATTRIBUTES: [(u32, u32); 6] = [
    (ms::RDONLY, attr::RDONLY),
    (ms::NOSUID, attr::NOSUID),
    (ms::NODEV, attr::NODEV),
    (ms::NOEXEC, attr::NOEXEC),
    (ms::NODIRATIME, attr::NODIRATIME),
    (ms::NOSYMFOLLOW, attr::NOSYMFOLLOW),
];

/// Flags set and cleared, as attributes to set and to clear.
///
/// Flags of the file system (`sync`, `mand`, …) have no meaning for a file system that is already mounted elsewhere; the
/// kernel ignores them, and so does embrun.
fn attributes(set: u32, clear: u32) -> (u32, u32) {
    let of =
        |flags: u32| ATTRIBUTES.iter().filter(|(flag, _)| flags & flag != 0).fold(0, |all, (_, a)| all | a);
    let (mut on, mut off) = (of(set), of(clear));
    // As in a remount by the kernel: a mount keeps its access times unless one of these is set, which unsets the others. An
    // option that only clears one changes nothing by itself.
    if set & (ms::STRICTATIME | ms::NOATIME | ms::RELATIME | ms::NODIRATIME) == 0 {
        return (on, off & !attr::NODIRATIME);
    }
    if set & ms::STRICTATIME != 0 {
        on |= attr::STRICTATIME;
    } else if set & ms::NOATIME != 0 {
        on |= attr::NOATIME;
    }
    off |= attr::ATIME;
    (on, off)
}

/// The names of all options, in alphabetical order.
pub fn names() -> impl Iterator<Item = &'static str> {
    OPTIONS.names()
}

/// Writes flags by their names: `ro,nosuid`.
pub struct FlagNames(pub u32);

impl fmt::Display for FlagNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_names(
            f,
            &|effect| matches!(effect, Set(bits) if bits & (ms::BIND | ms::REMOUNT) == 0 && self.0 & bits != 0),
        )
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.set | self.clear | self.propagation == 0 {
            return f.write_str("no flags");
        }
        let (deep, r) = if self.recursive { (ms::REC, "r") } else { (0, "") };
        let mut comma = if self.unasked == 0 { "" } else { "only " };
        for (names, bit) in NAMES.pairs() {
            let (on, off) = names.split_once(':').unwrap_or_default();
            let name = match (self.set & bit != 0, self.clear & bit != 0) {
                (true, _) => on,
                (false, true) => off,
                (false, false) => continue,
            };
            write!(f, "{comma}{r}{name}")?;
            comma = ",";
        }
        let time = match (self.set & attr::ATIME, self.clear & attr::ATIME) {
            (attr::NOATIME, _) => "noatime",
            (attr::STRICTATIME, _) => "strictatime",
            (_, 0) => "",
            _ => "relatime",
        };
        if !time.is_empty() {
            write!(f, "{comma}{r}{time}")?;
            comma = ",";
        }
        if self.propagation != 0 {
            f.write_str(comma)?;
            let kind = self.propagation | deep;
            write_names(f, &|effect| matches!(effect, Propagation(bits) if bits == kind))?;
        }
        Ok(())
    }
}

/// Attributes by their options; those of a whole tree have an `r` in front.
static NAMES: NameTable<u32> = names! {
    "ro:rw" => attr::RDONLY,
    "nosuid:suid" => attr::NOSUID,
    "nodev:dev" => attr::NODEV,
    "noexec:exec" => attr::NOEXEC,
    "nodiratime:diratime" => attr::NODIRATIME,
    "nosymfollow:symfollow" => attr::NOSYMFOLLOW,
};

fn write_names(f: &mut fmt::Formatter<'_>, wanted: &dyn Fn(Effect) -> bool) -> fmt::Result {
    let mut comma = "";
    for (name, effect) in OPTIONS.pairs() {
        if wanted(effect) {
            write!(f, "{comma}{name}")?;
            comma = ",";
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
