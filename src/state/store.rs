//! The directories of containers: made, locked, read, written and removed through their file descriptors.

use std::ffi::CStr;
use std::fmt;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag};
use nix::unistd::{fsync, geteuid};

use super::record::{ProcessMark, Record};
use super::{holder, observe, rebuild};
use crate::bundle::id;
use crate::bundle::load::LONGEST;
use crate::error::{Context, Error, Quoted, Result, engine};
use crate::json::shape::Shape;
use crate::json::value::{self, Json};
use crate::log;
use crate::sys::clock;
use crate::sys::file::{
    FileStat, create, entries, fstat, join, kind, lstatat, make_directories, mkdirat, open, openat, read_all,
    renameat, rmdirat, unlinkat,
};
use crate::sys::lock::Lock;
use crate::sys::start::{write_all, write_text};
use crate::text::Text;

/// How long a command waits for another one that works on the same container. A delete waits up to 10 s for the kernel.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// How long a create waits for the lock of the directory that it has just made.
const A_MOMENT: Duration = Duration::from_millis(500);
/// Larger than any file kept here; what is larger is damaged. A record has the configuration's annotations, and its copy escapes
/// what is escaped in it already.
const LARGEST: usize = 4 * LONGEST;

const RECORD: &str = "record";
const CONFIG: &str = "config.json";
const PUBLIC: &str = "state.json";

/// The state root (`--root`).
pub struct Store {
    dir: OwnedFd,
    path: Text,
}

/// The directory of one container. Holding one says that it was there; not that it still is.
pub struct Entry {
    dir: OwnedFd,
    id: String,
}

/// The same with its exclusive lock, and it is still there. A clone of this process holds the lock as well until it has
/// closed its descriptors.
pub struct Locked {
    lock: Lock<Entry>,
    /// Its init, as soon as there is one: before the record can tell.
    pub init: Option<ProcessMark>,
}

impl Store {
    /// Opens the root for looking at it; `None` if nobody has ever made a container there.
    pub fn open(path: Text) -> Result<Option<Store>> {
        match open(path, directory()) {
            Ok(dir) => Store::check(dir, path).map(Some),
            Err(Errno::ENOENT) => Ok(None),
            Err(e) => Err(Error::os(format_args!("--root {}", path), e)),
        }
    }

    /// Opens the root, making it and its parents if need be.
    pub fn open_or_make(path: Text) -> Result<Store> {
        if let Some(store) = Store::open(path)? {
            return Ok(store);
        }
        // The sticky bit keeps a root in $XDG_RUNTIME_DIR from being cleaned up by age (XDG Base Directory spec).
        let sticky = if geteuid().is_root() { 0 } else { 0o1000 };
        make_directories(path, Mode::from_bits_truncate(0o700 | sticky))
            .about(format_args!("make --root {path}"))?;
        Store::open(path)?.ok_or_else(|| Error::new("vanished").context(path))
    }

    fn check(dir: OwnedFd, path: Text) -> Result<Store> {
        let stat = fstat(&dir)?;
        let refuse = |why: &str| Err(Error::of(format_args!("--root {}: {why}", path)));
        if lstatat(&dir, "..").is_ok_and(|up| same(&up, &stat)) {
            return refuse("must not be the root directory \"/\"");
        }
        if stat.st_mode & 0o022 != 0 {
            return refuse("is writable by others; containers' state could be forged there (chmod 0700)");
        }
        if stat.st_uid != 0 && stat.st_uid != geteuid().as_raw() {
            return refuse("belongs to another user");
        }
        Ok(Store { dir, path })
    }

    /// The ids that have a directory, sorted. What else is there is nobody's concern.
    pub fn ids(&self) -> Result<Vec<Text>> {
        let entries = entries(&self.dir)?.into_iter();
        let mut ids: Vec<Text> =
            entries.filter_map(|(name, _)| name.to_str().ok()).filter(|n| id::check(n).is_ok()).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// Looks at a container without locking it.
    pub fn entry(&self, id: &str) -> Result<Entry> {
        match Entry::open(self.dir.as_fd(), id) {
            Err(e) if e.errno() == Some(Errno::ENOENT) => Err(Error::new(engine::NOT_EXIST)),
            Err(e) if e.errno().is_some() => Err(e.context(join(self.path, id))),
            other => other,
        }
    }

    /// Locks a container that exists, waiting for another command to be done with it.
    pub fn lock(&self, id: &str) -> Result<Locked> {
        self.lock_until(id, clock::after(PATIENCE))
    }

    /// Locks a container that exists, if nobody else has.
    pub fn try_lock(&self, id: &str) -> Result<Locked> {
        self.lock_until(id, Instant::now())
    }

    /// The same with another patience.
    pub fn lock_until(&self, id: &str, deadline: Instant) -> Result<Locked> {
        lock(self.entry(id)?, deadline)?.ok_or_else(|| Error::new(engine::NOT_EXIST))
    }

    /// Makes the directory of a new container and locks it. There is exactly one winner. Taken over is what an interrupted
    /// create or delete left empty, and what is of an earlier boot: nothing of that can be alive.
    pub fn claim(&self, id: &str) -> Result<Locked> {
        id::check(id)?;
        let deadline = clock::after(PATIENCE);
        loop {
            let ours = match mkdirat(&self.dir, id, Mode::from_bits_truncate(0o711)) {
                Ok(()) => true,
                Err(Errno::EEXIST) => false,
                Err(e) => return Err(Error::os(format_args!("mkdir {}", join(self.path, id)), e)),
            };
            match self.take(id, ours) {
                Ok(Some(locked)) => return Ok(locked),
                Ok(None) if !clock::is_past(deadline) => {}
                Ok(None) => return Err(Error::new(engine::ALREADY_EXISTS)),
                Err(e) => {
                    if ours && !e.is(engine::ALREADY_EXISTS) {
                        let _ = rmdirat(&self.dir, id);
                    }
                    return Err(e);
                }
            }
        }
    }

    /// Locks a directory for a new container if it is free for that; `None` if it went away before it was locked.
    fn take(&self, id: &str, ours: bool) -> Result<Option<Locked>> {
        let entry = match self.entry(id) {
            Err(e) if e.is(engine::NOT_EXIST) => return Ok(None),
            other => other?,
        };
        // One that is complete is left alone: not even its lock is disturbed.
        if !ours && !entry.is_reclaimable()? {
            return Err(Error::new(engine::ALREADY_EXISTS));
        }
        // Between making and locking it another create may have taken it, or a delete that will soon be gone.
        let until = clock::after(if ours { A_MOMENT } else { Duration::ZERO });
        let locked = match lock(entry, until) {
            Err(e) if e.errno() == Some(Errno::EAGAIN) => return Err(Error::new(engine::ALREADY_EXISTS)),
            Ok(None) => return Ok(None),
            Ok(Some(locked)) => locked,
            Err(e) => return Err(e),
        };
        if locked.is_blank()? {
            return Ok(Some(locked));
        }
        if !locked.is_reclaimable()? {
            return Err(Error::new(engine::ALREADY_EXISTS));
        }
        log::debug(|| format!("{id}: replaces the container of that id from before the machine was booted"));
        locked.empty()?;
        Ok(Some(locked))
    }
}

/// Waits for the lock; `None` if the directory was removed meanwhile. EAGAIN is at the root of the error if it is held.
pub(super) fn lock(mut entry: Entry, deadline: Instant) -> Result<Option<Locked>> {
    let mut pause = Duration::from_micros(200);
    let lock = loop {
        match Lock::try_exclusive(entry) {
            Ok(lock) => break lock,
            Err((same, Errno::EAGAIN)) if !clock::is_past(deadline) => entry = same,
            Err((same, Errno::EAGAIN)) => return Err(holder::busy(&same)),
            Err((same, Errno::EINTR)) => entry = same,
            Err((_, e)) => return Err(Error::os("flock", e)),
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    };
    let entry = lock.get();
    // A directory that was removed still knows the one above.
    match lstatat(&entry.dir, &*format!("../{}", entry.id)) {
        Ok(s) if same(&s, &fstat(&entry.dir)?) => Ok(Some(Locked { lock, init: None })),
        _ => Ok(None),
    }
}

impl AsFd for Entry {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

impl Entry {
    pub(super) fn open(root: BorrowedFd<'_>, id: &str) -> Result<Entry> {
        id::check(id)?;
        Ok(Entry { dir: openat(root, id, directory() | OFlag::O_NOFOLLOW)?, id: id.to_owned() })
    }

    /// The container's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The directory.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// The numeric user id of the directory's owner.
    pub fn owner(&self) -> Result<u32> {
        Ok(fstat(&self.dir)?.st_uid)
    }

    /// Opens a FIFO in it. EINVAL if it is none: opening it for writing could do something.
    pub fn fifo(&self, name: &CStr, flags: OFlag) -> std::result::Result<OwnedFd, Errno> {
        if kind(&lstatat(&self.dir, name)?) != SFlag::S_IFIFO {
            return Err(Errno::EINVAL);
        }
        openat(&self.dir, name, flags | OFlag::O_NOFOLLOW)
    }

    /// What is kept of the container; `None` if nothing is, because its create has not begun or its delete has ended.
    ///
    /// A record that is damaged, cannot be read or is missing is replaced by the copy in `state.json`: it is as old as `created`, and good
    /// enough to kill and to clean up by. If that is damaged too, the configuration has to do ([`rebuild`]).
    pub fn record(&self) -> Result<Option<Record>> {
        let damage = match self.original() {
            Ok(record) => return Ok(Some(record)),
            Err(e) => e,
        };
        if let Some(record) = self.copy() {
            log::debug(|| format!("{}: {damage}; using the copy in {PUBLIC}", self.id));
            return Ok(Some(record));
        }
        if self.is_blank()? {
            return Ok(None);
        }
        match rebuild::from_config(self) {
            Ok(record) => {
                log::warn(&format!("{}: {damage}; using what {CONFIG} says", self.id));
                Ok(Some(record))
            }
            Err(_) => Err(rebuild::lost(damage)),
        }
    }

    /// The record or its copy, if one of them is whole.
    pub(super) fn kept(&self) -> Option<Record> {
        self.original().ok().or_else(|| self.copy())
    }

    fn original(&self) -> Result<Record> {
        match self.read(RECORD) {
            Ok(bytes) => match Record::decode_kept(bytes)? {
                record if record.id == self.id => Ok(record),
                record => Err(Error::of(format_args!("the record is that of {}", Quoted(record.id)))),
            },
            Err(e) if e.errno() == Some(Errno::ENOENT) => Err(Error::new("the record is missing")),
            Err(e) => Err(e),
        }
    }

    fn copy(&self) -> Option<Record> {
        static COPY: Shape = Shape::Object(&[("record", &Shape::Text)]);
        let json = Json::parse_as(self.read(PUBLIC).ok()?, &COPY).ok()?;
        let Json::Str(text) = json.get("record")? else { return None };
        Record::decode_kept(text.as_bytes()).ok().filter(|r| r.id == self.id)
    }

    /// The configuration as it was when the container was created.
    pub fn config(&self) -> Result<&'static [u8]> {
        self.read(CONFIG)
    }

    /// Whether nothing of it can be alive: it is blank, or of an earlier boot.
    fn is_reclaimable(&self) -> Result<bool> {
        match self.record() {
            Ok(None) => Ok(true),
            Ok(Some(record)) => Ok(record.boot_id != observe::boot_id()?),
            Err(_) => Ok(false),
        }
    }

    /// Whether there is nothing in it but what an interrupted first write may leave.
    fn is_blank(&self) -> Result<bool> {
        Ok(names(self.dir())?.iter().all(|n| *n == temporary(RECORD)))
    }

    pub(super) fn read(&self, name: &str) -> Result<&'static [u8]> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let fd = openat(&self.dir, name, flags).at(name)?;
        let stat = fstat(&fd)?;
        if kind(&stat) != SFlag::S_IFREG || stat.st_size as u64 > LARGEST as u64 {
            return Err(Error::of(format_args!("{name}: is not a file of this program")));
        }
        Ok(read_all(&fd, LARGEST).at(name)?.leak())
    }
}

impl Deref for Locked {
    type Target = Entry;
    fn deref(&self) -> &Entry {
        self.lock.get()
    }
}

impl Locked {
    /// Gives the lock up.
    pub(super) fn unlock(self) -> Entry {
        self.lock.unlock()
    }

    /// Closes it in a clone of the process that holds it, which goes on holding it.
    pub fn leave(self) {
        self.lock.leave();
    }

    /// Replaces the record, durably: what it says holds after a loss of power as well.
    pub fn write_record(&self, record: &Record) -> Result<()> {
        self.write(RECORD, true, &|fd| write_text(fd, &|out| record.write_to(out)))
    }

    /// Keeps the configuration.
    pub fn write_config(&self, bytes: &[u8]) -> Result<()> {
        self.write(CONFIG, true, &|fd| write_all(fd, bytes))
    }

    /// Writes `state.json`: what other programs read, and a copy of the record for the case that the other one is damaged.
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
            record.write_to(&mut Escaped(out))?;
            out.write_str("\"}")
        };
        self.write(PUBLIC, false, &|fd| write_text(fd, &text))
    }

    /// Gives back the space of `state.json`, so that the record can be written on a disk that is full.
    pub fn unpublish(&self) -> Result<()> {
        self.unlink(PUBLIC)
    }

    /// Removes the directory with all that is in it; the record goes last, so that an interrupted delete can go on.
    pub fn destroy(self) -> Result<()> {
        self.empty()?;
        // Its name was checked to be one, and it lies where it was made: nobody but us has access to the root.
        match rmdirat(self.dir(), &*format!("../{}", self.id())) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(e) => Err(Error::os(format_args!("remove the state directory of {}", self.id()), e)),
        }
    }

    fn empty(&self) -> Result<()> {
        for name in names(self.dir())?.iter().filter(|n| **n != RECORD) {
            self.unlink(name)?;
        }
        self.unlink(RECORD)
    }

    fn unlink(&self, name: &str) -> Result<()> {
        match unlinkat(self.dir(), name) {
            Err(Errno::EISDIR) => {
                let dir = openat(self.dir(), name, directory() | OFlag::O_NOFOLLOW)?;
                for inner in names(dir.as_fd())? {
                    unlinkat(&dir, inner).about(format_args!("remove {name}/{inner}"))?;
                }
                rmdirat(self.dir(), name).about(format_args!("remove {name}"))
            }
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(e) => Err(Error::os(format_args!("remove {name}"), e)),
        }
    }

    fn write(&self, name: &str, durable: bool, content: &Content<'_>) -> Result<()> {
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
        durable: bool,
        content: &Content<'_>,
    ) -> Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NOFOLLOW;
        let fd = create(self.dir(), temporary, flags, Mode::from_bits_truncate(0o600))?;
        content(fd.as_fd())?;
        if durable {
            fsync(&fd)?;
        }
        renameat(self.dir(), temporary, name)?;
        if durable {
            fsync(self.dir())?;
        }
        Ok(())
    }
}

/// Writes what a file is to hold.
type Content<'a> = dyn Fn(BorrowedFd<'_>) -> std::result::Result<(), Errno> + 'a;

/// Passes text on, escaped as a part of a JSON string.
struct Escaped<'a>(&'a mut dyn fmt::Write);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        value::escape(self.0, text)
    }
}

fn temporary(name: &str) -> String {
    format!(".{name}.tmp")
}

fn directory() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_DIRECTORY
}

fn same(a: &FileStat, b: &FileStat) -> bool {
    (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
}

fn names(dir: BorrowedFd<'_>) -> Result<Vec<Text>> {
    let utf8 = |_| Error::new("a file in the state directory has a name that is not UTF-8");
    entries(dir)?.into_iter().map(|(name, _)| name.to_str().map_err(utf8)).collect()
}
