//! `delete`: removes a container, by [`crate::run::take_down`].
//!
//! It waits for a command that works on the container without its lock; with `--force` it stops that command.

use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::command::Globals;
use crate::bundle::spec::Hooks;
use crate::error::{Error, Result, engine};
use crate::log;
use crate::run::take_down::{see_off, take_down_knowing, take_over};
use crate::state::locked::Locked;
use crate::state::mark::{self, wait_for_end};
use crate::state::record::{Phase, Record};
use crate::state::store::Store;
use crate::state::work::Work;
use crate::state::{Held, Observed, holder};
use crate::sys::boot::boot_id;
use crate::sys::clock;

/// How long a delete waits for a command that works on the container.
const PATIENCE: Duration = Duration::from_secs(20);
/// The same with `--force`, for another delete.
///
/// Its poststop hooks may end by themselves.
const GRACE: Duration = Duration::from_secs(3);
/// How long a command may hold the lock against a `delete --force`.
///
/// Its waits under the lock take up to 10 s.
const HOLD: Duration = Duration::from_secs(15);

/// Deletes a container that does not run, or with `force` any, even a missing one.
pub fn run(globals: &Globals, id: &str, force: bool) -> Result<()> {
    delete(globals, id, force, None)
}

/// The same; `own` has the container and the hooks of a `run` that ends.
///
/// With `own` it deletes no other container of the id, stops no other command, and does not read a large config again.
fn delete(globals: &Globals, id: &str, force: bool, own: Option<(&Record, &Hooks)>) -> Result<()> {
    crate::bundle::id::check(id)?;
    let began = Instant::now();
    let urges = force && own.is_none();
    while let Some(observed) = lock(globals, id, force, urges)? {
        let status = observed.status().name();
        let runs = matches!(observed, Observed::Running(_) | Observed::Paused(_));
        let held = observed.held();
        // A record that was rebuilt from the configuration has no creator, and no init once that has ended.
        let is_rebuilt = held.record.creator.pid == 0;
        if own.is_some_and(|(own, _)| own.init != held.record.init && !is_rebuilt) {
            return Ok(());
        }
        let begun = held.record.phase == Phase::Deleting;
        // A delete that has begun can be completed without force.
        if runs && !force && !begun {
            return Err(Error::of(format_args!(
                "cannot delete container {id} that is not stopped: {status}"
            ))
            .hint("kill it first, or use --force"));
        }
        // A hook is not in the container's cgroup: only the note shows it.
        let noted = match held.dir.noted() {
            Err(e) if e.errno().is_some_and(|e| e != Errno::ELOOP) => return Err(e),
            noted => noted.ok().flatten(),
        };
        let work = noted.filter(|_| is_of_this_boot(&held.record));
        let patience = match (&work, force, begun) {
            (Some(work), ..) if work.is_ours() || !work.worker.lives() => Duration::ZERO,
            (None, ..) | (_, true, false) => Duration::ZERO,
            (_, true, true) if urges => GRACE,
            _ => PATIENCE,
        };
        match work {
            Some(work) if began.elapsed() < patience => {
                drop(held);
                wait_for(globals, id, &work, began + patience)?;
            }
            Some(work) if !urges && !patience.is_zero() => {
                return Err(Error::of(format_args!("container {id} is in use by another command"))
                    .hint(format_args!("process {}", work.worker.pid)));
            }
            work => return finish(held, work, own.map(|(_, hooks)| hooks)),
        }
    }
    if force { Ok(()) } else { Err(Error::new(engine::NOT_EXIST)) }
}

/// Deletes a container whose program has ended; failures are warnings.
///
/// The program's status matters more to the caller than remains, which can be deleted later.
pub fn at_the_end(globals: &Globals, record: &Record, hooks: &Hooks) {
    // With force: another command may have been faster.
    if let Err(e) = delete(globals, record.id, true, Some((record, hooks))) {
        log::warn(&e.context(format_args!("delete {}", record.id)).to_string());
    }
}

/// Locks a container; `None` if there is none.
///
/// It removes the remains of an interrupted create or delete, and with force those whose state is unreadable for good.
fn lock(globals: &Globals, id: &str, force: bool, urges: bool) -> Result<Option<Observed>> {
    let Some(store) = Store::open(globals.root)? else { return Ok(None) };
    let locked = if urges { lock_by_force(&store, id) } else { store.lock(id) };
    let dir = match locked {
        Err(e) if e.is(engine::NOT_EXIST) => return Ok(None),
        other => other?,
    };
    match dir.record() {
        Ok(Some(record)) => return Observed::with(dir, record).map(Some),
        Ok(None) => {}
        Err(e) if !force || is_passing(&e) => return Err(e),
        Err(e) => log::warn(&format!("{id}: only its state is removed: {e}")),
    }
    dir.destroy()?;
    Ok(None)
}

/// Kills the command that holds the lock for too long.
///
/// It was stopped, or waits for a file system or a device. A command can be killed at any time.
fn lock_by_force(store: &Store, id: &str) -> Result<Locked> {
    let busy = match store.lock_until(id, clock::after(HOLD)) {
        Err(e) if e.errno() == Some(Errno::EAGAIN) => e,
        other => return other,
    };
    let Some(command) = store.entry(id).ok().and_then(|entry| holder::command(&entry)) else {
        return Err(busy);
    };
    log::warn(&format!("kills the command that keeps the container: {busy}"));
    let _ = mark::signal(&command, libc::SIGKILL);
    store.lock_until(id, clock::after(HOLD))
}

/// Whether a file could not be read for a reason outside the file.
fn is_passing(e: &Error) -> bool {
    use Errno::{EACCES, EMFILE, ENFILE, ENOMEM, EPERM};
    e.errno().is_some_and(|e| [EACCES, EMFILE, ENFILE, ENOMEM, EPERM].contains(&e))
}

fn is_of_this_boot(record: &Record) -> bool {
    boot_id().is_ok_and(|boot| boot == record.boot_id)
}

/// Waits while the other command works on the container.
///
/// It reads little each time, because memory is never freed (`sys::heap`).
fn wait_for(globals: &Globals, id: &str, work: &Work, deadline: Instant) -> Result<()> {
    let Some(store) = Store::open(globals.root)? else { return Ok(()) };
    let goes_on = || store.entry(id).is_ok_and(|entry| entry.work() == Some(*work));
    while goes_on() && !clock::is_past(deadline) {
        let moment = clock::after(Duration::from_millis(50));
        if wait_for_end(&work.worker, moment)? {
            break;
        }
    }
    Ok(())
}

fn finish(mut held: Held, work: Option<Work>, hooks: Option<&Hooks>) -> Result<()> {
    let Some(work) = work else { return take_down_knowing(held, hooks) };
    take_over(&mut held, &work)?;
    take_down_knowing(held, hooks)?;
    see_off(&work);
    Ok(())
}
