//! The lock of a container, and the files that are written under it.

use std::fmt;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::fsync;

use super::record::{ProcessMark, Record};
use super::store::{CONFIG, Entry, PUBLIC, RECORD, directory, names};
use crate::error::{Context, Error, Result};
use crate::json::value;
use crate::sys::descriptor::close_for_good;
use crate::sys::entry::{write_all, write_text};
use crate::sys::file::{Path, create, entries, openat, rename_between, renameat, rmdirat, unlinkat};
use crate::sys::lock::Lock;

/// The part of a written file that survives a loss of power.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Durability {
    /// Perhaps nothing.
    None,
    /// The content, if the name does: the file is never torn.
    Content,
    /// Both, and all names that the directory got before.
    Name,
}

/// A container's directory with its exclusive lock; it existed when locked.
/// A clone of this process also holds the lock until it closes its descriptors.
pub struct Locked {
    pub(super) lock: Lock<Entry>,
    /// The container's init once it exists, perhaps before the record names it.
    pub init: Option<ProcessMark>,
}

impl Deref for Locked {
    type Target = Entry;
    fn deref(&self) -> &Entry {
        self.lock.get()
    }
}

impl Locked {
    /// Releases the lock.
    pub(super) fn unlock(self) -> Entry {
        self.lock.unlock()
    }

    /// Closes the lock in a clone of the process, which keeps holding it.
    pub fn close_in_clone(&self) {
        close_for_good(self.dir());
    }

    /// Replaces the record durably, so that it survives a loss of power.
    pub fn write_record(&self, record: &Record) -> Result<()> {
        self.write(RECORD, Durability::Name, &|fd| write_text(fd, &|out| record.write_to(out)))
    }

    /// Stores the configuration.
    ///
    /// Its name becomes durable with the next record. Only a damaged record makes the configuration necessary.
    pub fn write_config(&self, bytes: &[u8]) -> Result<()> {
        self.write(CONFIG, Durability::Content, &|fd| write_all(fd, bytes))
    }

    /// Writes `state.json`, which other programs read.
    /// It also contains a copy of the record, in case the record gets damaged.
    ///
    /// `public` writes the members of an object, with a comma after each.
    pub fn publish(
        &self,
        public: &dyn Fn(&mut dyn fmt::Write) -> fmt::Result,
        record: &Record,
    ) -> Result<()> {
        let text = |out: &mut dyn fmt::Write| {
            out.write_char('{')?;
            public(out)?;
            out.write_str("\"record\":\"")?;
            record.write_to(&mut EscapingWriter(out))?;
            out.write_str("\"}")
        };
        self.write(PUBLIC, Durability::None, &|fd| write_text(fd, &text))
    }

    /// Frees the space of `state.json`, to make room for the record on a full disk.
    pub fn unpublish(&self) -> Result<()> {
        self.unlink(PUBLIC)
    }

    /// Removes the directory and its files.
    /// The record goes last, so that an interrupted delete can be continued.
    pub fn destroy(self) -> Result<()> {
        self.empty()?;
        // The id is a checked file name, and only we can move entries of the root.
        match rmdirat(self.dir(), &*format!("../{}", self.id())) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(e) => Err(Error::os(format_args!("remove the state directory of {}", self.id()), e)),
        }
    }

    pub(super) fn empty(&self) -> Result<()> {
        for name in names(self.dir())?.iter().filter(|n| **n != RECORD) {
            self.unlink(name)?;
        }
        self.unlink(RECORD)
    }

    fn unlink(&self, name: &str) -> Result<()> {
        remove(self.dir(), name).about(format_args!("remove {name}"))
    }

    fn write(&self, name: &str, durable: Durability, content: &Content<'_>) -> Result<()> {
        let temporary = temporary(name);
        let result = self.write_and_rename(&temporary, name, durable, content);
        if result.is_err() {
            let _ = self.unlink(&temporary);
        }
        result.about(format_args!("write {name}"))
    }

    fn write_and_rename(
        &self,
        temporary: &str,
        name: &str,
        durable: Durability,
        content: &Content<'_>,
    ) -> Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NOFOLLOW;
        let fd = create(self.dir(), temporary, flags, Mode::from_bits_truncate(0o600))?;
        content(fd.as_fd())?;
        if durable >= Durability::Content {
            fsync(&fd)?;
        }
        renameat(self.dir(), temporary, name)?;
        if durable == Durability::Name {
            fsync(self.dir())?;
        }
        Ok(())
    }
}

/// Removes a file, or a directory with its content.
///
/// A container whose root is our own user can make the directory of its notify socket writable, and put anything there.
fn remove(dir: BorrowedFd<'_>, name: &(impl Path + ?Sized)) -> std::result::Result<(), Errno> {
    match unlinkat(dir, name) {
        Err(Errno::EISDIR) => {
            let inner = openat(dir, name, directory() | OFlag::O_NOFOLLOW)?;
            empty_tree(inner.as_fd())?;
            rmdirat(dir, name)
        }
        Err(Errno::ENOENT) => Ok(()),
        removed => removed,
    }
}

/// Empties a directory of any depth with few descriptors.
///
/// A directory two levels below is moved up, and is removed in the next round.
fn empty_tree(top: BorrowedFd<'_>) -> std::result::Result<(), Errno> {
    let mut number = 0_u64;
    loop {
        let mut deep = false;
        for (entry, _) in entries(top)? {
            match unlinkat(top, entry) {
                Err(Errno::EISDIR) => {}
                Ok(()) | Err(Errno::ENOENT) => continue,
                Err(e) => return Err(e),
            }
            let sub = openat(top, entry, directory() | OFlag::O_NOFOLLOW)?;
            for (below, _) in entries(&sub)? {
                match unlinkat(&sub, below) {
                    Err(Errno::EISDIR) => deep = true,
                    Ok(()) | Err(Errno::ENOENT) => continue,
                    Err(e) => return Err(e),
                }
                // A name that is taken is one of a directory with content, or of a file.
                while let Err(e) = rename_between(sub.as_fd(), below, top, &format!(".{number}")) {
                    if !matches!(e, Errno::ENOTEMPTY | Errno::EEXIST | Errno::ENOTDIR) {
                        return Err(e);
                    }
                    number += 1;
                }
                number += 1;
            }
            rmdirat(top, entry)?;
        }
        if !deep {
            return Ok(());
        }
    }
}

/// Writes the content of a file.
type Content<'a> = dyn Fn(BorrowedFd<'_>) -> std::result::Result<(), Errno> + 'a;

/// Escapes text as a part of a JSON string and passes it on.
struct EscapingWriter<'a>(&'a mut dyn fmt::Write);

impl fmt::Write for EscapingWriter<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        value::escape(self.0, text)
    }
}

pub(super) fn temporary(name: &str) -> String {
    format!(".{name}.tmp")
}
