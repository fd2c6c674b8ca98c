//! Takes a container down: the runtime undoes the create (runtime.md, "Delete").
//!
//! The order allows an interruption anywhere: the record says `deleting` if init lives or hooks have to run; init is killed and
//! waited for; the cgroup is removed with the processes left in it; the poststop hooks run, each noted in the record; the record
//! is removed last. If a step fails, the record stays and the next delete continues there.

use std::time::Duration;

use nix::errno::Errno;

use super::hooks::run_poststop;
use super::rdt;
use crate::bundle::config;
use crate::bundle::spec::{Hook, HookKind, Hooks};
use crate::error::{Error, Result, engine};
use crate::log;
use crate::state::locked::Locked;
use crate::state::observe::Status;
use crate::state::record::{Phase, Record};
use crate::state::work::Work;
use crate::state::{Held, hook_state, mark};
use crate::sys::boot::boot_id;
use crate::sys::clock;

/// The time limit for a killed init to end, and again for the cgroup.
const PATIENCE: Duration = Duration::from_secs(10);
/// The time that init gets to end by itself.
const SOON: Duration = Duration::from_millis(200);
/// The time that a command gets to end after its container was taken over.
const A_MOMENT: Duration = Duration::from_secs(2);

/// Takes a container down, whatever its state.
pub fn take_down(held: Held) -> Result<()> {
    take_down_knowing(held, None)
}

/// The same for a process that has the hooks: a large config is not read twice.
pub fn take_down_knowing(held: Held, hooks: Option<&Hooks>) -> Result<()> {
    let Held { dir, mut record } = held;
    // Nothing is left from an earlier boot. Its pids and cgroups may have been reused.
    let same_boot = boot_id()? == record.boot_id;
    if record.phase == Phase::Planned {
        if same_boot {
            record.cgroup().remove_unused();
        }
        return dir.destroy();
    }
    let lives = same_boot && record.init.is_some_and(|init| init.lives());
    let hooks = hooks.copied().or_else(|| configuration(&dir)).unwrap_or_default();
    let hooks = HookKind::Poststop.of(&hooks);
    record.phase = Phase::Deleting;
    // The note lets a delete without force complete this one, and counts the hooks. A stopped container without
    // hooks looks the same after an interruption at any point: its delete begins anew, and each step can be repeated.
    if lives || !hooks.is_empty() {
        note(&dir, &record)?;
    }
    if same_boot {
        end(&record)?;
    }
    run_poststop_hooks(dir, record, hooks)
}

/// The last part: the hooks, then the record.
pub(super) fn run_poststop_hooks(dir: Locked, mut record: Record, hooks: &[Hook]) -> Result<()> {
    let state = hook_state(&record, Status::Stopped, 0);
    let from = record.poststop_done as usize;
    let mut slot = Some(dir);
    run_poststop(&mut slot, hooks, from, &state, |dir, done| {
        record.poststop_done = done as u32;
        if let Err(e) = note(dir, &record) {
            log::warn(&format!("{}: {e}", record.id));
        }
    })?;
    // The command that has taken the container over deletes it.
    slot.map_or(Ok(()), Locked::destroy)
}

/// Writes the record, also on a full disk.
///
/// On a full disk the space of `state.json`, which is no longer needed, is freed for it. If that is not enough, the delete
/// goes on without: all its steps can be repeated.
pub(super) fn note(dir: &Locked, record: &Record) -> Result<()> {
    match dir.write_record(record) {
        Err(e) if matches!(e.errno(), Some(Errno::ENOSPC | Errno::EDQUOT)) => {
            dir.unpublish()?;
            let _ = dir.write_record(record);
            Ok(())
        }
        other => other,
    }
}

/// Kills all processes of the container and removes its cgroup and resctrl groups.
fn end(record: &Record) -> Result<()> {
    let cgroup = record.cgroup();
    if let Some(init) = record.init.as_ref().filter(|init| init.lives()) {
        match mark::signal(init, libc::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(e) => return Err(Error::os(format_args!("kill process {}", init.pid), e)),
        }
        // Frozen processes of cgroup v1 die when they are thawed, before they run. If other processes freeze them again and
        // again, all are killed together.
        cgroup.let_die();
        let deadline = clock::after(PATIENCE);
        if !mark::wait_for_end(init, clock::after(SOON))? {
            let _ = cgroup.kill(deadline);
        }
        if !mark::wait_for_end(init, deadline)? {
            return Err(Error::new(engine::INIT_STILL_RUNNING)
                .hint(format_args!("process {} is killed and does not go; try again", init.pid)));
        }
    }
    let deadline = clock::after(PATIENCE);
    if !record.own_pid_namespace {
        cgroup.kill(deadline)?;
    }
    cgroup.remove(deadline)?;
    rdt::remove(record)
}

/// The hooks of the saved config.
///
/// There are none to run if the create was interrupted early or the file is damaged.
fn configuration(dir: &Locked) -> Option<Hooks> {
    let read = || config::parse_for_hooks(dir.config()?);
    match read() {
        Ok(spec) => Some(spec.hooks),
        Err(e) if e.errno() == Some(Errno::ENOENT) => None,
        Err(e) => {
            log::warn(&format!("{}: its poststop hooks are not run: {e}", dir.id()));
            None
        }
    }
}

/// Takes a container over from the command that works on it.
///
/// The hook it waits for is killed, and the command notices when it looks again. The caller takes down all that the command
/// has made, including init.
pub fn take_over(held: &mut Held, work: &Work) -> Result<()> {
    if let Some(hook) = work.hook.as_ref().filter(|_| !work.is_ours()) {
        mark::end_session(hook);
    }
    let poststop = held.record.phase == Phase::Deleting && work.hook.is_some();
    if poststop && (work.worker.lives() || work.is_ours()) {
        // A hanging hook has had its turn. If the command was killed, its hook runs once more.
        held.record.poststop_done += 1;
        note(&held.dir, &held.record)?;
    }
    held.record.init = held.record.init.or(work.init);
    held.dir.clear_work()
}

/// Waits briefly for that command to end, then kills it.
pub fn see_off(work: &Work) {
    if !work.is_ours() && matches!(mark::wait_for_end(&work.worker, clock::after(A_MOMENT)), Ok(false)) {
        let _ = mark::signal(&work.worker, libc::SIGKILL);
    }
}
