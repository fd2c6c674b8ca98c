//! The end of a cgroup: its processes, then its directories.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

use super::hierarchy::{Hierarchy, wait_for_event};
use super::{Cgroup, systemd, walk};
use crate::error::{Errno, Error, Result};
use crate::sys::file::{AT_FDCWD, rmdirat};
use crate::sys::{clock, process};

impl Cgroup {
    /// The processes in the cgroup and below it; none if it is gone.
    pub fn pids(&self) -> Result<Vec<Pid>> {
        match self.main() {
            None => Ok(Vec::new()),
            Some(hierarchy) => pids(hierarchy),
        }
    }

    /// The hierarchy to look for processes.
    ///
    /// V2, which reports their end, else the first.
    fn main(&self) -> Option<&Hierarchy> {
        self.v2().or(self.hierarchies.first())
    }

    /// Kills every process in the cgroup, frozen or forking, and waits for their end.
    ///
    /// It uses `cgroup.kill` (Linux 5.14), else SIGKILL while all are frozen. All are signalled before any is thawed, so that
    /// none can freeze others again. It fails if some are left at the deadline (in an uninterruptible wait).
    pub fn kill(&self, deadline: Instant) -> Result<()> {
        let Some(main) = self.main() else { return Ok(()) };
        match (main.dir(), main.write("cgroup.kill", "1")) {
            (Ok(dir), Ok(())) => self.wait_for_killed(main, dir, deadline)?,
            _ => self.kill_one_by_one(main, deadline)?,
        }
        // The payload may have moved processes out of that hierarchy.
        let others = self.hierarchies.iter().filter(|b| !std::ptr::eq(*b, main));
        others.into_iter().try_for_each(|hierarchy| self.kill_one_by_one(hierarchy, deadline))
    }

    fn wait_for_killed(&self, hierarchy: &Hierarchy, dir: BorrowedFd<'_>, deadline: Instant) -> Result<()> {
        let mut pause = Duration::from_millis(1);
        loop {
            // Again, because a write to the freezer that was in progress may arrive after the first time.
            self.thaw_all(deadline);
            let now = Instant::now();
            if wait_for_event(dir, "populated 0", deadline.min(now + pause)).unwrap_or(false) {
                return Ok(());
            }
            if now >= deadline {
                break;
            }
            pause = (pause * 2).min(Duration::from_millis(100));
        }
        match pids(hierarchy)?.as_slice() {
            [] => Ok(()),
            left => Err(survivors(left)),
        }
    }

    /// Thaws v1's freezer, also in cgroups below, so that killed processes die.
    pub fn let_die(&self) {
        self.thaw_all(clock::after(Duration::from_millis(100)));
    }

    fn kill_one_by_one(&self, hierarchy: &Hierarchy, deadline: Instant) -> Result<()> {
        let mut pause = Duration::from_millis(1);
        loop {
            let left = pids(hierarchy)?;
            if left.is_empty() {
                return Ok(());
            }
            if clock::is_past(deadline) {
                return Err(survivors(&left));
            }
            // Frozen processes cannot fork while they are listed. If freezing fails, more rounds help.
            let soon = deadline.min(clock::after(Duration::from_millis(100)));
            let _ = self.freeze(soon);
            let last = signal_all(hierarchy)?;
            self.thaw_all(deadline);
            wait_for_one(&last, pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    /// Removes the cgroup, its descendants, and the parents that were made for it.
    ///
    /// Parents that others use by now stay, and so does a cgroup that existed before. Processes that are still in it are
    /// killed. The kernel may take a moment to release dead processes; it fails if that lasts beyond the deadline.
    pub fn remove(&self, deadline: Instant) -> Result<()> {
        let mut first_error = None;
        self.let_go();
        if let Some(unit) = &self.unit {
            first_error = systemd::stop(unit, deadline.max(clock::after(Duration::from_secs(1)))).err();
        }
        for hierarchy in self.hierarchies.iter().filter(|b| b.place.made > 0) {
            if let Err(e) = self.remove_hierarchy(hierarchy, deadline) {
                first_error.get_or_insert(e);
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Removes the directories that were made for a container that never joined them.
    ///
    /// Processes in them are strangers and are left alone.
    pub fn remove_unused(&self) {
        for place in self.hierarchies.iter().map(|b| &b.place) {
            for (directory, _) in place.levels().iter().rev().take_while(|(_, ours)| *ours) {
                let _ = remove_dir(directory);
            }
        }
    }

    fn remove_hierarchy(&self, hierarchy: &Hierarchy, deadline: Instant) -> Result<()> {
        let directory = hierarchy.place.directory();
        let mut pause = Duration::from_millis(1);
        loop {
            let refused = |e| Error::os(format_args!("rmdir {directory}"), e);
            match remove_dir(&directory) {
                Ok(()) | Err(Errno::ENOENT) => break,
                Err(Errno::EBUSY | Errno::ENOTEMPTY) => {}
                Err(e) => return Err(refused(e)),
            }
            let e = match hierarchy.dir() {
                Ok(dir) => {
                    if !pids(hierarchy)?.is_empty() {
                        self.kill_one_by_one(hierarchy, deadline)?;
                    }
                    let _ = walk::remove_below(dir);
                    match remove_dir(&directory) {
                        Ok(()) | Err(Errno::ENOENT) => break,
                        Err(e) => refused(e),
                    }
                }
                // Removed by another process meanwhile, which the next round sees, or busy for good.
                Err(Errno::ENOENT) => refused(Errno::EBUSY).hint("something is mounted over it"),
                Err(e) => return Err(Error::os(format_args!("open {directory}"), e)),
            };
            if clock::is_past(deadline) {
                return Err(e);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
        let mut levels = hierarchy.place.levels();
        levels.pop();
        for (parent, _) in levels.iter().rev().take_while(|(_, ours)| *ours) {
            if !matches!(remove_dir(parent), Ok(()) | Err(Errno::ENOENT)) {
                break;
            }
        }
        Ok(())
    }
}

fn remove_dir(path: &str) -> std::result::Result<(), Errno> {
    rmdirat(AT_FDCWD, path)
}

fn pids(hierarchy: &Hierarchy) -> Result<Vec<Pid>> {
    match hierarchy.dir().and_then(walk::pids) {
        Err(Errno::ENOENT) => Ok(Vec::new()),
        other => {
            other.map_err(|e| Error::os(format_args!("read {}/cgroup.procs", hierarchy.place.directory()), e))
        }
    }
}

/// Sends SIGKILL to a cgroup's processes, and returns the last one to wait for.
///
/// Each is opened before it is seen in the cgroup a second time: if its pid was reused by then, no signal is sent.
fn signal_all(hierarchy: &Hierarchy) -> Result<Vec<OwnedFd>> {
    let mut last = Vec::new();
    // A fork bomb has more processes than this process may have open files.
    for some in pids(hierarchy)?.chunks(256) {
        let held: Vec<(Pid, std::result::Result<OwnedFd, Errno>)> =
            some.iter().filter(|p| **p != Pid::this()).map(|p| (*p, process::pidfd_open(*p))).collect();
        let there = pids(hierarchy)?;
        last.clear();
        for (pid, pidfd) in held.into_iter().filter(|(pid, _)| there.contains(pid)) {
            match pidfd {
                Ok(pidfd) => {
                    let _ = process::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
                    last.push(pidfd);
                }
                // Linux before 5.3: while the cgroup is frozen, no pid in it is reused.
                Err(Errno::ENOSYS) => drop(process::kill(pid, libc::SIGKILL)),
                Err(_) => {}
            }
        }
    }
    Ok(last)
}

/// Waits until one of the processes has ended, for a bounded time.
fn wait_for_one(held: &[OwnedFd], longest: Duration) {
    let fds: Vec<BorrowedFd<'_>> = held.iter().map(AsFd::as_fd).collect();
    let mut fds: Vec<PollFd<'_>> = fds.into_iter().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    let _ = poll(&mut fds, PollTimeout::try_from(longest).unwrap_or(PollTimeout::ZERO));
}

fn survivors(pids: &[Pid]) -> Error {
    let (n, first) = (pids.len(), pids[0]);
    Error::of(format_args!("{n} process(es) of the container do not die, the first is {first}"))
        .hint("an uninterruptible wait in the kernel, see /proc/PID/stack; try again later")
}
