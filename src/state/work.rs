//! Work on a container without its lock.
//!
//! A command that waits for a process that is not its own (a hook, or init, which also runs hooks) lets other
//! commands use the container meanwhile. Before it releases the lock it writes to the file `work` its own process
//! mark and those of the processes it waits for. When it has the lock again, it checks the file. If its own mark is
//! there, nothing else has happened. If the content differs, or the directory is another one, a `delete --force`
//! has taken the container over. The command then fails and touches nothing more, because the id may belong to
//! another container by now. The file also shows the command that takes over which processes to kill, even if this
//! command was killed with SIGKILL.
//!
//! The file is written in place and not durably: after a power loss none of these processes is alive.

use std::os::fd::AsFd as _;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::locked::Locked;
use super::record::ProcessMark;
use super::store::{Entry, PATIENCE, lock};
use crate::error::{Error, Result};
use crate::sys::clock;
use crate::sys::entry::write_all;
use crate::sys::file::create;

/// The file's name in the container's directory.
pub(super) const FILE: &str = "work";
/// The file's size: three lines, padded with spaces.
/// A later write then needs no new space, which a full disk would not have.
const SIZE: usize = 128;

/// The error of a command whose container another one has deleted.
pub const TAKEN_OVER: &str = "the container was deleted by another command";

/// Work on a container without its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// The command that works.
    pub worker: ProcessMark,
    /// The init that the command created, if the record does not name it yet.
    pub init: Option<ProcessMark>,
    /// The hook that the command waits for.
    pub hook: Option<ProcessMark>,
}

impl Work {
    fn encode(&self) -> String {
        let mut text = String::new();
        for (key, mark) in [("worker", Some(self.worker)), ("init", self.init), ("hook", self.hook)] {
            if let Some(ProcessMark { pid, start }) = mark {
                text += &format!("{key} {pid} {start}\n");
            }
        }
        text
    }

    /// Decodes whole lines only.
    /// A half-written file means that the work had not begun.
    fn decode(text: &str) -> Option<Work> {
        let (mut worker, mut init, mut hook) = (None, None, None);
        for line in text.trim_end_matches(' ').split_terminator('\n') {
            let mut words = line.split(' ');
            let slot = match words.next()? {
                "worker" => &mut worker,
                "init" => &mut init,
                "hook" => &mut hook,
                _ => return None,
            };
            *slot =
                Some(ProcessMark { pid: words.next()?.parse().ok()?, start: words.next()?.parse().ok()? });
        }
        Some(Work { worker: worker?, init, hook })
    }

    /// Whether the calling process does this work, or its hook started it.
    ///
    /// The caller must not kill itself then. Its own note remains if it could not be cleared, for example while the disk was
    /// read-only.
    pub fn is_ours(&self) -> bool {
        let started = |hook: ProcessMark| nix::unistd::getsid(None).is_ok_and(|sid| sid.as_raw() == hook.pid);
        self.hook.is_some_and(started) || ProcessMark::own().is_ok_and(|own| own == self.worker)
    }
}

impl Entry {
    /// Returns the noted work, which may be that of a killed command.
    pub fn work(&self) -> Option<Work> {
        self.noted().ok()?
    }

    /// The same, with the error of a file that cannot be read.
    pub fn noted(&self) -> Result<Option<Work>> {
        match self.read(FILE) {
            Ok(bytes) => Ok(std::str::from_utf8(bytes).ok().and_then(Work::decode)),
            Err(e) if e.errno() == Some(Errno::ENOENT) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// A container whose lock was released for a while.
struct Away {
    entry: Entry,
    work: Work,
}

impl Locked {
    /// Notes that no work is going on.
    /// A command that waits sees from it, once it has the lock again, that the container was taken over.
    pub fn clear_work(&self) -> Result<()> {
        self.write_work("")
    }

    fn write_work(&self, text: &str) -> Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_NOFOLLOW;
        let file = create(self.dir(), FILE, flags, Mode::from_bits_truncate(0o600))?;
        Ok(write_all(file.as_fd(), format!("{text:SIZE$}").as_bytes())?)
    }

    /// Releases the lock, or keeps it if the work cannot be noted.
    /// Other commands then have to wait.
    fn let_go(self, hook: Option<ProcessMark>) -> std::result::Result<Away, Locked> {
        let Ok(worker) = ProcessMark::own() else { return Err(self) };
        let work = Work { worker, init: self.init, hook };
        match self.write_work(&work.encode()) {
            Ok(()) => Ok(Away { entry: self.unlock(), work }),
            Err(_) => Err(self),
        }
    }
}

impl Away {
    /// Takes the lock again.
    fn take_back(self) -> Result<Locked> {
        let lost = || Error::new(TAKEN_OVER);
        let Away { entry, work } = self;
        let mut locked = lock(entry, clock::after(PATIENCE))?.ok_or_else(lost)?;
        // An error in reading the note does not prove that another command works on the container.
        if locked.noted()? != Some(work) {
            return Err(lost());
        }
        locked.init = work.init;
        // On a disk that has become read-only the note remains, like that of a killed command.
        let _ = locked.clear_work();
        Ok(locked)
    }
}

/// Waits for something while other commands may use the container.
/// If one of them took it over, `slot` stays empty and even a successful wait is an error.
pub fn outside<T>(
    slot: &mut Option<Locked>,
    hook: Option<ProcessMark>,
    wait: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let away = leave(slot, hook);
    let waited = wait();
    match (come_back(slot, away), waited) {
        (Ok(()), waited) => waited,
        (Err(lost), Ok(_)) => Err(lost),
        (Err(lost), Err(e)) => Err(e.hint(lost)),
    }
}

// Separate functions, because `outside` is compiled anew for every closure.
#[inline(never)]
fn leave(slot: &mut Option<Locked>, hook: Option<ProcessMark>) -> Option<Away> {
    match slot.take()?.let_go(hook) {
        Ok(away) => Some(away),
        Err(locked) => {
            *slot = Some(locked);
            None
        }
    }
}

#[inline(never)]
fn come_back(slot: &mut Option<Locked>, away: Option<Away>) -> Result<()> {
    if let Some(away) = away {
        *slot = Some(away.take_back()?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ProcessMark = ProcessMark { pid: 4_194_304, start: u64::MAX };
    const B: ProcessMark = ProcessMark { pid: 2, start: 7 };

    #[test]
    fn encoded_work_decodes_and_fits_the_file() {
        for (init, hook) in
            [(None, None), (Some(A), None), (None, Some(B)), (Some(B), Some(A)), (Some(A), Some(A))]
        {
            let work = Work { worker: A, init, hook };
            let text = format!("{:SIZE$}", work.encode());
            assert_eq!((text.len(), Work::decode(&text)), (SIZE, Some(work)));
        }
    }

    #[test]
    fn malformed_text_decodes_to_no_work() {
        for text in ["", "   ", "\n", "hook 1 2\n", "worker 1\n", "worker x 2\n", "worker 1 2\nother 3 4\n"] {
            assert_eq!(Work::decode(text), None, "{text:?}");
        }
    }
}
