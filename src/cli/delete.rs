//! `delete`: "The runtime undoes what create did" (runtime.md, "Delete").
//!
//! In an order that can be interrupted anywhere and taken up again: the record says `deleting`; init is killed and waited
//! for; the cgroup goes with whoever is left in it; the poststop hooks run, each noted down; the record goes last. Where a
//! step fails the record stays, and the next delete goes on from there.

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

use super::args::Globals;
use super::kill::signal_process;
use crate::bundle::config;
use crate::bundle::spec::{HookKind, Spec};
use crate::error::{Error, Result, engine};
use crate::hooks;
use crate::log;
use crate::state::observe::{Status, boot_id};
use crate::state::record::{Phase, ProcessMark, Record};
use crate::state::store::{Locked, Store};
use crate::state::{Held, Observed, hook_state};
use crate::sys::process::pidfd_open;

/// How long init may take to go when it is killed, and the same again for the cgroup.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long init is left to go by itself.
const SOON: Duration = Duration::from_millis(200);

/// Deletes a container that does not run, or with `force` any; then one that is not there is no error either.
pub fn run(globals: &Globals, id: &str, force: bool) -> Result<()> {
    crate::bundle::id::check(id)?;
    match lock(globals, id)? {
        None if force => Ok(()),
        None => Err(Error::new(engine::NOT_EXIST)),
        Some(dir) => match Observed::of(dir)? {
            other @ (Observed::Running(_) | Observed::Paused(_)) if !force && !is_begun(&other) => {
                let status = other.status().name();
                Err(Error::new(format!("cannot delete container {id} that is not stopped: {status}"))
                    .hint("kill it first, or use --force"))
            }
            any => take_down(any.held()),
        },
    }
}

/// A delete that was begun can be completed without being forced again.
fn is_begun(observed: &Observed) -> bool {
    matches!(observed, Observed::Running(r) if r.0.record.phase == Phase::Deleting)
        || matches!(observed, Observed::Paused(p) if p.0.record.phase == Phase::Deleting)
}

/// Locks a container; `None` if there is none. What is left of an interrupted create or delete is removed on the way.
fn lock(globals: &Globals, id: &str) -> Result<Option<Locked>> {
    let Some(store) = Store::open(globals.root)? else { return Ok(None) };
    let dir = match store.lock(id) {
        Err(e) if e.is(engine::NOT_EXIST) => return Ok(None),
        other => other?,
    };
    if dir.record()?.is_some() {
        return Ok(Some(dir));
    }
    dir.destroy()?;
    Ok(None)
}

/// Takes a container down, whatever its state.
pub fn take_down(held: Held) -> Result<()> {
    let Held { dir, mut record } = held;
    // Of an earlier boot nothing is left, and its pids and cgroups may be somebody else's by now.
    let same_boot = boot_id()? == record.boot_id;
    if record.phase == Phase::Planned {
        if same_boot {
            record.cgroup().remove_unused();
        }
        return dir.destroy();
    }
    record.phase = Phase::Deleting;
    note(&dir, &record)?;
    if same_boot {
        end(&record)?;
    }
    if let Some(spec) = configuration(&dir) {
        let state = hook_state(&record, Status::Stopped, 0);
        let from = record.poststop_done as usize;
        hooks::run_poststop(HookKind::Poststop.of(&spec.hooks), from, &state, |done| {
            record.poststop_done = done as u32;
            if let Err(e) = note(&dir, &record) {
                log::warn(&format!("{}: {e}", record.id));
            }
        });
    }
    dir.destroy()
}

/// Writes the record. On a disk that is full the space of `state.json`, which nobody needs any more, is given back for
/// it; and if that is not enough the delete goes on without: all it does can be done twice.
fn note(dir: &Locked, record: &Record) -> Result<()> {
    match dir.write_record(record) {
        Err(e) if matches!(e.errno(), Some(Errno::ENOSPC | Errno::EDQUOT)) => {
            dir.unpublish()?;
            let _ = dir.write_record(record);
            Ok(())
        }
        other => other,
    }
}

/// Ends every process of the container and removes its cgroup.
fn end(record: &Record) -> Result<()> {
    let cgroup = record.cgroup();
    if let Some(init) = record.init.as_ref().filter(|init| init.lives()) {
        match signal_process(init, libc::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(e) => return Err(Error::os(format_args!("kill process {}", init.pid), e)),
        }
        // Frozen ones of cgroup v1 die when they are thawed, before they do anything else. Where that does not help at once,
        // others may freeze them again: all die together then.
        cgroup.let_die();
        let deadline = Instant::now() + PATIENCE;
        if !wait_for_end(init, Instant::now() + SOON)? {
            let _ = cgroup.kill(deadline);
        }
        if !wait_for_end(init, deadline)? {
            return Err(Error::new(engine::INIT_STILL_RUNNING)
                .hint(format_args!("process {} is killed and does not go; try again", init.pid)));
        }
    }
    let deadline = Instant::now() + PATIENCE;
    if !record.own_pid_namespace {
        cgroup.kill(deadline)?;
    }
    cgroup.remove(deadline)
}

/// Waits until a process has ended; false when the deadline has passed.
fn wait_for_end(mark: &ProcessMark, deadline: Instant) -> Result<bool> {
    let pidfd = pidfd_open(Pid::from_raw(mark.pid)).ok();
    while mark.lives() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        match &pidfd {
            Some(fd) => {
                let timeout =
                    PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
                match poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], timeout) {
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(e) => return Err(Error::os("poll", e)),
                }
            }
            None => std::thread::sleep(left.min(Duration::from_millis(5))),
        }
    }
    Ok(true)
}

/// The configuration for its hooks. Without it, because the create was interrupted early or the file is damaged, there
/// are none to run.
fn configuration(dir: &Locked) -> Option<Box<Spec>> {
    let read = || config::parse(&dir.config()?);
    match read() {
        Ok(spec) => Some(spec),
        Err(e) if e.errno() == Some(Errno::ENOENT) => None,
        Err(e) => {
            log::warn(&format!("{}: its poststop hooks are not run: {e}", dir.id()));
            None
        }
    }
}
