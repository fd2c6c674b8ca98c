//! How a mount reads in a plan and in an error.

use std::fmt;

use super::{MountObject, MountStep};
use crate::error::Lossy;
use crate::plan::options::FlagNames;

impl fmt::Display for MountStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = &self.target;
        let mut notes = Notes { f, open: false };
        match &self.what {
            MountObject::New(new) => {
                write!(notes.f, "mount {} at {target}", Lossy(new.kind))?;
                notes.add(&FlagNames(new.flags))?;
                notes.add_if(new.late_readonly, "ro at last")?;
                notes.add_if(new.inherit_mode, "mode of the directory")?;
                notes.add_if(new.copy_up, "tmpcopyup")?;
                notes.add(&Lossy(new.data.unwrap_or_default()))?;
                if let Some(label) = new.root_label {
                    notes.add(&format_args!("SELinux label \"{}\"", Lossy(label)))?;
                }
            }
            MountObject::Bind { source, recursive } => {
                write!(notes.f, "bind {} at {target}", Lossy(source))?;
                notes.add_if(*recursive, "rbind")?;
            }
            MountObject::Remount { flags, data } => {
                write!(notes.f, "remount {target}")?;
                notes.add(&FlagNames(*flags))?;
                notes.add(&Lossy(data.unwrap_or_default()))?;
            }
            MountObject::Change => write!(notes.f, "change the mount at {target}")?,
            MountObject::CgroupV1 { flags, data, entries, .. } => {
                write!(notes.f, "mount {} cgroup hierarchies at {target}", entries.len())?;
                notes.add(&FlagNames(*flags))?;
                notes.add_if(*data != c"mode=755", &data.to_string_lossy())?;
                notes.add_if(entries.iter().any(|e| e.data.is_none()), "own directories bound")?;
            }
        }
        for change in self.changes {
            notes.add(change)?;
        }
        if let Some(idmap) = &self.idmap {
            notes.add(idmap)?;
        }
        if notes.open { notes.f.write_str(")") } else { Ok(()) }
    }
}

/// The list in parentheses, unless it is empty.
struct Notes<'a, 'b> {
    f: &'a mut fmt::Formatter<'b>,
    open: bool,
}

impl Notes<'_, '_> {
    fn add(&mut self, note: &dyn fmt::Display) -> fmt::Result {
        let note = note.to_string();
        if note.is_empty() {
            return Ok(());
        }
        let before = if self.open { "," } else { " (" };
        self.open = true;
        write!(self.f, "{before}{note}")
    }

    fn add_if(&mut self, condition: bool, note: &str) -> fmt::Result {
        if condition { self.add(&note) } else { Ok(()) }
    }
}
