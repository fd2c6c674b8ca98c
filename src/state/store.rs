//! Creates, locks, reads, writes and removes the containers' directories.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag};
use nix::unistd::geteuid;

use super::locked::temporary;
use super::record::Record;
use super::{Locked, holder, rebuild};
use crate::bundle::id;
use crate::bundle::load::LONGEST;
use crate::error::{Context, Error, Quoted, Result, engine};
use crate::json::document;
use crate::json::slot::{Each, Value, must};
use crate::log;
use crate::sys::boot::boot_id;
use crate::sys::clock;
use crate::sys::file::{
    FileStat, entries, fstat, kind, lstatat, make_directories, mkdirat, open, openat, read_sized, rmdirat,
};
use crate::sys::lock::Lock;
use crate::sys::path::join;
use crate::text::{Keep, Text};

/// How long a command waits for another one that holds the container's lock.
/// A delete waits up to 10 s for the kernel.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// How long a create waits for the lock of the directory that it just created.
const A_MOMENT: Duration = Duration::from_millis(500);
/// Size limit for all files; a larger one is damaged.
/// A record contains the configuration's annotations, and its copy escapes their escapes once more.
const LARGEST: usize = 4 * LONGEST;

pub(super) const RECORD: &str = "record";
pub(super) const CONFIG: &str = "config.json";
pub(super) const PUBLIC: &str = "state.json";

/// The state root (`--root`).
pub struct Store {
    dir: OwnedFd,
    path: Text,
}

/// The directory of one container, which may have been removed after opening.
pub struct Entry {
    dir: OwnedFd,
    id: String,
}

/// Adds the fix to the error of a user who may not use the default root.
fn of_a_user(e: Error) -> Error {
    match e.errno() {
        Some(Errno::EACCES) if !geteuid().is_root() => {
            e.hint("run embrun as root; an ordinary user needs a directory of its own: set XDG_RUNTIME_DIR or --root")
        }
        _ => e,
    }
}

impl Store {
    /// Opens the root for reading; `None` if it does not exist.
    pub fn open(path: Text) -> Result<Option<Store>> {
        match open(path, directory()) {
            Ok(dir) => Store::check(dir, path).map(Some),
            Err(Errno::ENOENT) => Ok(None),
            Err(e) => Err(of_a_user(Error::os(format_args!("--root {}", path), e))),
        }
    }

    /// Opens the root, and creates it with its parents if necessary.
    pub fn open_or_make(path: Text) -> Result<Store> {
        if let Some(store) = Store::open(path)? {
            return Ok(store);
        }
        // The sticky bit protects a root in $XDG_RUNTIME_DIR from clean-up by age (XDG Base Directory spec).
        let sticky = if geteuid().is_root() { 0 } else { 0o1000 };
        make_directories(path, Mode::from_bits_truncate(0o700 | sticky))
            .about(format_args!("make --root {path}"))
            .map_err(of_a_user)?;
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

    /// Returns the ids that have a directory, sorted; other entries are ignored.
    pub fn ids(&self) -> Result<Vec<Text>> {
        let entries = entries(&self.dir)?.into_iter();
        let mut ids: Vec<Text> =
            entries.filter_map(|(name, _)| name.to_str().ok()).filter(|n| id::check(n).is_ok()).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// Opens a container without locking it.
    pub fn entry(&self, id: &str) -> Result<Entry> {
        match Entry::open(self.dir.as_fd(), id) {
            Err(e) if e.errno() == Some(Errno::ENOENT) => Err(Error::new(engine::NOT_EXIST)),
            Err(e) if e.errno().is_some() => Err(e.context(join(self.path, id))),
            other => other,
        }
    }

    /// Locks an existing container; waits while another command holds it.
    pub fn lock(&self, id: &str) -> Result<Locked> {
        self.lock_until(id, clock::after(PATIENCE))
    }

    /// Locks an existing container, if no other command holds it.
    pub fn try_lock(&self, id: &str) -> Result<Locked> {
        self.lock_until(id, Instant::now())
    }

    /// Locks an existing container; waits until `deadline`.
    pub fn lock_until(&self, id: &str, deadline: Instant) -> Result<Locked> {
        lock(self.entry(id)?, deadline)?.ok_or_else(|| Error::new(engine::NOT_EXIST))
    }

    /// Creates and locks the directory of a new container; exactly one caller wins.
    /// A directory is taken over if an interrupted create or delete left it empty, or if it is from an earlier
    /// boot, since nothing in it can be alive.
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

    /// Locks a directory for a new container if it is free.
    /// Returns `None` if the directory was removed before it was locked.
    fn take(&self, id: &str, ours: bool) -> Result<Option<Locked>> {
        let entry = match self.entry(id) {
            Err(e) if e.is(engine::NOT_EXIST) => return Ok(None),
            other => other?,
        };
        // Do not even lock the directory of a complete container.
        if !ours && !entry.is_reclaimable()? {
            return Err(Error::new(engine::ALREADY_EXISTS));
        }
        // Between mkdir and lock, another create or a short-lived delete may have locked it.
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
        log::debug(|| format!("{id}: replaces a container of this id from an earlier boot"));
        locked.empty()?;
        Ok(Some(locked))
    }
}

/// Waits for the lock; `None` if the directory was removed meanwhile.
/// The error is caused by EAGAIN if another command still holds the lock.
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
    // `..` still works in a directory that was removed.
    match lstatat(&entry.dir, &*format!("../{}", entry.id)) {
        Ok(s) if same(&s, &fstat(&entry.dir)?) => Ok(Some(Locked { lock, init: None })),
        Ok(_) | Err(Errno::ENOENT) => Ok(None),
        Err(e) => Err(e.into()),
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

    /// Opens a FIFO in it; EINVAL for other files, since opening one could act.
    pub fn fifo(&self, name: &CStr, flags: OFlag) -> std::result::Result<OwnedFd, Errno> {
        if kind(&lstatat(&self.dir, name)?) != SFlag::S_IFIFO {
            return Err(Errno::EINVAL);
        }
        openat(&self.dir, name, flags | OFlag::O_NOFOLLOW)
    }

    /// Returns the record; `None` before create begins or after delete has ended.
    ///
    /// If the record is damaged, unreadable or missing, the copy in `state.json` is used: it dates from `created`,
    /// which is good enough to kill and to clean up. If that is damaged too, the record is rebuilt from the
    /// configuration ([`rebuild`]).
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

    /// Whether the record is intact and the container's; it is not decoded.
    pub fn is_intact(&self) -> bool {
        // The id comes first, and needs no escapes.
        let begin = format!(r#"{{"id":"{}","#, self.id);
        let is_ours = |bytes| Record::intact(bytes).is_ok_and(|inner| inner.starts_with(begin.as_bytes()));
        self.read(RECORD).is_ok_and(is_ours)
    }

    /// Returns the record or its copy, if one of them is intact.
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
        let mut text = "";
        let read = &mut |v: Value<'_>| v.object(&mut [must("record", &mut text)]);
        document::read(self.read(PUBLIC).ok()?, &mut Each(read)).ok()?;
        Record::decode_kept(text.as_bytes()).ok().filter(|r| r.id == self.id)
    }

    /// The configuration at the time of create.
    pub fn config(&self) -> Result<&'static [u8]> {
        self.read(CONFIG)
    }

    /// Whether nothing of it can be alive: it is empty or from an earlier boot.
    fn is_reclaimable(&self) -> Result<bool> {
        match self.record() {
            Ok(None) => Ok(true),
            Ok(Some(record)) => Ok(record.boot_id != boot_id()?),
            Err(_) => Ok(false),
        }
    }

    /// Whether it contains at most the leftover of an interrupted first write.
    fn is_blank(&self) -> Result<bool> {
        Ok(names(self.dir())?.iter().all(|n| *n == temporary(RECORD)))
    }

    pub(super) fn read(&self, name: &str) -> Result<&'static [u8]> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let fd = openat(&self.dir, name, flags).at(name)?;
        let stat = fstat(&fd)?;
        if kind(&stat) != SFlag::S_IFREG || stat.st_size as u64 > LARGEST as u64 {
            return Err(Error::of(format_args!("{name}: is not a regular file, or is too large")));
        }
        Ok(read_sized(fd.as_fd(), stat.st_size as usize, LARGEST).at(name)?.keep())
    }
}

pub(super) fn directory() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_DIRECTORY
}

fn same(a: &FileStat, b: &FileStat) -> bool {
    (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
}

pub(super) fn names(dir: BorrowedFd<'_>) -> Result<Vec<Text>> {
    let utf8 = |_| Error::new("a file in the state directory has a name that is not UTF-8");
    entries(dir)?.into_iter().map(|(name, _)| name.to_str().map_err(utf8)).collect()
}
