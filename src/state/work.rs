//! Work at a container without its lock: a command that waits for a process that is not its own (a hook, or init, which runs
//! hooks too) lets other commands at the container meanwhile.
//!
//! Before it gives the lock up it writes down, in the file `work`, which process it is and which ones it waits for. When it has
//! the lock again it looks there. Its own mark says that nothing else was begun; anything else, or another directory, says that
//! a `delete --force` has taken the container over: then the command ends with an error and touches nothing more, since the id
//! may be another container's by now. Whoever takes over finds there what is to be killed, also after a SIGKILL of the command.
//!
//! The file is written in place and not durably: after a loss of power none of these processes is alive.

use std::os::fd::AsFd as _;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::record::ProcessMark;
use super::store::{Entry, Locked, PATIENCE, lock};
use crate::error::{Error, Result};
use crate::sys::clock;
use crate::sys::file::create;
use crate::sys::start::write_all;

/// The file's name in the container's directory.
pub(super) const FILE: &str = "work";
/// The file's size: three lines and then spaces, so that what is written later needs no space on a full disk.
const SIZE: usize = 128;

/// Work that goes on at a container without its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// The command.
    pub worker: ProcessMark,
    /// The init that it has made, if the record does not name it yet.
    pub init: Option<ProcessMark>,
    /// The hook that it waits for.
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

    /// Anything else than whole lines is none: it was written by halves, before anything was begun.
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

    /// Whether the calling process was started by the hook. That one must not be killed by it.
    pub fn is_ours(&self) -> bool {
        self.hook.is_some_and(|hook| nix::unistd::getsid(None).is_ok_and(|sid| sid.as_raw() == hook.pid))
    }
}

impl Entry {
    /// The work at it. That of a command that was killed stays there.
    pub fn work(&self) -> Option<Work> {
        Work::decode(std::str::from_utf8(self.read(FILE).ok()?).ok()?)
    }
}

/// A container whose lock was given up for a while.
struct Away {
    entry: Entry,
    work: Work,
}

impl Locked {
    /// Notes that nothing goes on. Whoever waits learns from it, when it has the lock again, that it was taken over.
    pub fn clear_work(&self) -> Result<()> {
        self.write_work("")
    }

    fn write_work(&self, text: &str) -> Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_NOFOLLOW;
        let file = create(self.dir(), FILE, flags, Mode::from_bits_truncate(0o600))?;
        Ok(write_all(file.as_fd(), format!("{text:SIZE$}").as_bytes())?)
    }

    /// Gives the lock up, unless that cannot be noted: then other commands wait.
    fn let_go(self, hook: Option<ProcessMark>) -> std::result::Result<Away, Locked> {
        let Ok(worker) = ProcessMark::of(std::process::id() as i32) else { return Err(self) };
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
        let lost = || Error::new("the container was deleted by another command");
        let Away { entry, work } = self;
        let mut locked = lock(entry, clock::after(PATIENCE))?.ok_or_else(lost)?;
        if locked.work() != Some(work) {
            return Err(lost());
        }
        locked.init = work.init;
        // On a disk that has become read-only it stays, as that of a command that was killed does.
        let _ = locked.clear_work();
        Ok(locked)
    }
}

/// Waits for something while other commands may have the container. If one of them has taken it over there is none after that,
/// and what was waited for is an error.
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

// These two are no part of the above: that is made anew for everything that is waited for.
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
    fn work_comes_back_as_it_was_written_and_fits() {
        for (init, hook) in
            [(None, None), (Some(A), None), (None, Some(B)), (Some(B), Some(A)), (Some(A), Some(A))]
        {
            let work = Work { worker: A, init, hook };
            let text = format!("{:SIZE$}", work.encode());
            assert_eq!((text.len(), Work::decode(&text)), (SIZE, Some(work)));
        }
    }

    #[test]
    fn what_is_no_work_is_none() {
        for text in ["", "   ", "\n", "hook 1 2\n", "worker 1\n", "worker x 2\n", "worker 1 2\nother 3 4\n"] {
            assert_eq!(Work::decode(text), None, "{text:?}");
        }
    }
}
