//! Reports of the OOM killer.
//!
//! V2's `memory.events`, which can be polled, or v1's eventfd.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Cgroup;
use super::stats::field;
use crate::error::{Context, Errno, Error, Result};
use crate::sys::event;
use crate::sys::file::openat;

/// Watches a cgroup for kills by the OOM killer.
pub struct OomWatch {
    /// The file with the count; on v2 it also reports its changes.
    file: OwnedFd,
    /// v1's counter of events.
    counter: Option<OwnedFd>,
    /// Kills so far.
    kills: u64,
}

/// The events since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oom {
    /// None.
    Quiet,
    /// The OOM killer has killed.
    Killed,
    /// The cgroup is gone: there will be no more events.
    Gone,
}

impl Cgroup {
    /// The number of the cgroup's processes that the OOM killer has killed.
    ///
    /// It is in `memory.events` on v2 and in `memory.oom_control` on v1 since Linux 4.13; 0 if the kernel does not report it.
    pub fn oom_kills(&self) -> u64 {
        let (hierarchy, file) = match self.v1("memory") {
            Some(hierarchy) => (Some(hierarchy), "memory.oom_control"),
            None => (self.v2(), "memory.events"),
        };
        hierarchy.and_then(|b| field(&b.read(file).ok()?, "oom_kill")).unwrap_or(0)
    }

    /// Whether the killer has killed since its count, taken at exec, was `before`.
    ///
    /// It is asked after the exec has succeeded. With too little memory the kernel kills during the exec, or a moment later.
    pub fn killed_at_start(&self, init: Option<BorrowedFd<'_>>, before: u64) -> bool {
        // The count is raised before the kill, and the kill happens before the end.
        if self.oom_kills() <= before && !self.is_tight() {
            return false;
        }
        let timeout = PollTimeout::from(100u8);
        let mut fd = init.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        let _ = poll(fd.as_mut_slice(), timeout);
        self.oom_kills() > before
    }

    /// Whether the limit is below the needs of any program.
    fn is_tight(&self) -> bool {
        const LITTLE: u64 = 1 << 20;
        let (hierarchy, file) = match self.v1("memory") {
            Some(hierarchy) => (Some(hierarchy), "memory.limit_in_bytes"),
            None => (self.v2(), "memory.max"),
        };
        let limit = hierarchy.and_then(|b| b.read(file).ok()?.trim_ascii().parse::<u64>().ok());
        limit.is_some_and(|limit| limit < LITTLE)
    }

    /// Starts watching. Fails without a memory controller.
    pub fn watch_oom(&self) -> Result<OomWatch> {
        let v1 = self.v1("memory");
        let file = if v1.is_some() { "memory.oom_control" } else { "memory.events" };
        let hierarchy =
            v1.or(self.v2()).ok_or_else(|| Error::new("watch for oom: there is no memory controller"))?;
        let open = || {
            let file = openat(hierarchy.dir()?, file, OFlag::O_RDONLY)?;
            let counter = v1.map(|_| event::counter()).transpose()?;
            if let Some(counter) = &counter {
                hierarchy
                    .write("cgroup.event_control", &event::cgroup_v1_event(counter.as_fd(), file.as_fd()))?;
            }
            Ok::<OomWatch, Errno>(OomWatch { file, counter, kills: 0 })
        };
        let mut watch = open().context(|| format!("watch {}/{file}", hierarchy.place.directory()))?;
        watch.look();
        Ok(watch)
    }
}

impl OomWatch {
    /// The descriptor and the events to poll.
    pub fn poll(&self) -> (BorrowedFd<'_>, PollFlags) {
        match &self.counter {
            Some(counter) => (counter.as_fd(), PollFlags::POLLIN),
            None => (self.file.as_fd(), PollFlags::POLLPRI),
        }
    }

    /// Reads the events since the last look. Never waits.
    pub fn look(&mut self) -> Oom {
        let mut text = [0; 512];
        let Ok(n) = nix::sys::uio::pread(&self.file, &mut text, 0) else { return Oom::Gone };
        if let Some(counter) = &self.counter {
            // Also if the killer is disabled and the processes wait.
            let told = nix::unistd::read(counter, &mut [0; 8]).is_ok();
            return if told { Oom::Killed } else { Oom::Quiet };
        }
        let kills = field(&String::from_utf8_lossy(&text[..n]), "oom_kill").unwrap_or(0);
        let more = kills > self.kills;
        self.kills = kills;
        if more { Oom::Killed } else { Oom::Quiet }
    }
}
