//! Walks a cgroup and its descendants by descriptors, never by a path.
//!
//! A payload may have made any number of them, at any depth. One descriptor is held at a time.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use std::time::Instant;

use nix::fcntl::OFlag;
use nix::unistd::Pid;

use super::hierarchy::{read, write};
use crate::error::Errno;
use crate::sys::clock;
use crate::sys::file::{entries, fstat, openat, read_text, rmdirat};
use crate::text::search::cut;

type Result<T> = std::result::Result<T, Errno>;

fn open(dir: impl AsFd, name: &CStr) -> Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    openat(dir, name, flags)
}

/// The names of the child cgroups.
fn children(dir: impl AsFd) -> Result<Vec<&'static CStr>> {
    // cgroupfs counts a link for each.
    if fstat(&dir)?.st_nlink == 2 {
        return Ok(Vec::new());
    }
    Ok(entries(dir)?.into_iter().filter_map(|(name, directory)| directory.then_some(name)).collect())
}

/// Visits every cgroup below `top`, children before parents.
///
/// Each visit gets the parent directory and the name. `enter` decides whether to descend first.
fn below(
    top: BorrowedFd<'_>,
    enter: &mut dyn FnMut(BorrowedFd<'_>, &CStr) -> bool,
    leave: &mut dyn FnMut(BorrowedFd<'_>, &CStr),
) -> Result<()> {
    let mut here = open(top, c".")?;
    let mut todo = vec![children(&here)?];
    let mut way: Vec<&CStr> = Vec::new();
    while let Some(names) = todo.last_mut() {
        if let Some(name) = names.pop() {
            if !enter(here.as_fd(), name) {
                continue;
            }
            // A cgroup that is gone by now needs no visit.
            let Ok(child) = open(&here, name) else { continue };
            let Ok(names) = children(&child) else { continue };
            todo.push(names);
            way.push(name);
            here = child;
        } else {
            todo.pop();
            if let Some(name) = way.pop() {
                here = open(&here, c"..")?;
                leave(here.as_fd(), name);
            }
        }
    }
    Ok(())
}

/// The processes in the cgroup and below it that this pid namespace sees.
///
/// A cgroup that is gone has none.
pub(super) fn pids(top: BorrowedFd<'_>) -> Result<Vec<Pid>> {
    let mut pids = Vec::new();
    let mut failed = None;
    let mut list = |dir: BorrowedFd<'_>| match read(dir, "cgroup.procs") {
        Ok(text) => {
            let numbers = text.lines().filter_map(|l| l.parse::<i32>().ok()).filter(|n| *n > 0);
            pids.extend(numbers.map(Pid::from_raw));
        }
        Err(Errno::ENODEV | Errno::ENOENT) => {}
        // A threaded cgroup lists threads only. The root of the domain of the container's own threads is above it.
        Err(Errno::EOPNOTSUPP) => pids.extend(processes_of_threads(dir)),
        Err(e) => failed = Some(e),
    };
    list(top);
    let mut enter = |dir: BorrowedFd<'_>, name: &CStr| {
        if let Ok(child) = open(dir, name) {
            list(child.as_fd());
        }
        true
    };
    match below(top, &mut enter, &mut |_, _| {}) {
        Ok(()) | Err(Errno::ENOENT | Errno::ENODEV) => {}
        Err(e) => failed = failed.or(Some(e)),
    }
    pids.sort_unstable();
    pids.dedup();
    match failed {
        Some(e) => Err(e),
        None => Ok(pids),
    }
}

/// The processes that have threads in a threaded cgroup.
fn processes_of_threads(dir: BorrowedFd<'_>) -> Vec<Pid> {
    let process = |thread: &str| {
        let status = read_text(&format!("/proc/{thread}/status")).ok()?;
        let pid = cut(&status, "\nTgid:\t")?.1.lines().next()?.parse().ok()?;
        Some(Pid::from_raw(pid)).filter(|pid| pid.as_raw() > 0)
    };
    read(dir, "cgroup.threads").unwrap_or_default().lines().filter_map(process).collect()
}

/// Writes a file of every cgroup below `top`, children first, ignoring errors.
///
/// It descends no further after the deadline, because a payload may make cgroups meanwhile.
pub(super) fn write_below(top: BorrowedFd<'_>, file: &str, value: &str, deadline: Instant) -> Result<()> {
    let mut leave = |dir: BorrowedFd<'_>, name: &CStr| {
        let _ = open(dir, name).and_then(|child| write(child.as_fd(), file, value));
    };
    below(top, &mut |_, _| !clock::is_past(deadline), &mut leave)
}

/// Removes the cgroups below `top` as far as possible.
pub(super) fn remove_below(top: BorrowedFd<'_>) -> Result<()> {
    let gone = |dir: BorrowedFd<'_>, name: &CStr| rmdirat(dir, name).is_ok();
    let mut leave = |dir: BorrowedFd<'_>, name: &CStr| {
        gone(dir, name);
    };
    below(top, &mut |dir, name| !gone(dir, name), &mut leave)
}
