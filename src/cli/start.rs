//! `start`: runs the program of a created container (runtime.md, "Start").

use std::os::fd::OwnedFd;

use super::command::Globals;
use crate::bundle::config;
use crate::bundle::spec::{HookKind, Spec};
use crate::error::{Context, Error, Result, engine};
use crate::run::conversation::{hook_state, serve_listener};
use crate::run::notify::Readiness;
use crate::run::recorder::Recorder;
use crate::run::take_down::take_down;
use crate::run::wire::MessageKind;
use crate::run::{hooks, start_fifo};
use crate::seccomp::notify::Agent;
use crate::state::locked::Locked;
use crate::state::observe::Status;
use crate::state::record::Record;
use crate::state::store::Store;
use crate::state::work::outside;
use crate::state::{Created, Held, Observed};
use crate::trace;

/// Starts a created container.
pub fn run(globals: &Globals, id: &str) -> Result<u8> {
    start(globals, id, None)?;
    Ok(0)
}

/// Starts a created container; a recorder receives the listener of its filter.
pub fn start(globals: &Globals, id: &str, recorder: Option<&Recorder>) -> Result<()> {
    go(globals, id, recorder).about(format_args!("start {id}"))
}

fn go(globals: &Globals, id: &str, recorder: Option<&Recorder>) -> Result<()> {
    trace::step(&"find the container");
    let store = Store::open(globals.root)?.ok_or_else(|| Error::new(engine::NOT_EXIST))?;
    let Held { dir, record } = match Observed::of(store.lock(id)?)? {
        // Another `start` is at work until init has taken its call.
        Observed::Created(Created(held)) if !held.dir.work().is_some_and(|work| work.worker.lives()) => held,
        Observed::Created(_) => return Err(Error::new(engine::START_RUNNING)),
        other => return Err(refuse(other.status())),
    };
    // The configuration is the copy from create: the bundle may have changed since (runtime.md, "Lifecycle", step 2).
    let spec = config::parse_for_hooks(dir.config()?)?;
    if spec.process.is_none() {
        return Err(Error::new("process: is required to start; it was absent at create"));
    }
    // The kernel never resets this count.
    let cgroup = record.cgroup();
    let killed_before = cgroup.oom_kills();
    let pid = record.init.as_ref().map_or(0, |init| init.pid);
    let readiness = if recorder.is_none() { Readiness::of_created(&dir, pid)? } else { None };
    trace::step(&"call init");
    let call = start_fifo::call(&dir, record.init)?;
    let listener = |listener: &OwnedFd| serve(&spec, &record, recorder, listener);
    let mut slot = Some(dir);
    let wait = |slot: &mut _, wanted| outside(slot, None, || call.wait(wanted, &listener));
    wait(&mut slot, MessageKind::Heard).map_err(|e| {
        let killed = e.is(engine::START_STOPPED) && cgroup.oom_kills() > killed_before;
        if killed { Error::new(engine::INIT_OOM) } else { e }
    })?;
    if HookKind::StartContainer.is_in(&spec.hooks) {
        wait(&mut slot, MessageKind::Hooked).map_err(|e| end(&mut slot, e))?;
    }
    trace::step(&"await exec");
    wait(&mut slot, MessageKind::End)?;
    // The program runs or has ended. If the memory limit was too low for it, only the kernel's count shows that.
    if record.init.is_some_and(|init| cgroup.killed_at_start(call.init(), killed_before) && !init.lives()) {
        return Err(Error::new(engine::INIT_OOM));
    }
    let state = hook_state(&record, HookKind::Poststart, pid);
    hooks::run_all(&mut slot, &spec.hooks, HookKind::Poststart, &state).map_err(|e| end(&mut slot, e))?;
    // Other commands may use the container while we only wait.
    drop(slot);
    readiness.map_or(Ok(()), |readiness| readiness.until_ready(record.init, call.init()))
}

/// Passes the filter's listener to the recorder or the agent.
fn serve(spec: &Spec, record: &Record, recorder: Option<&Recorder>, listener: &OwnedFd) -> Result<()> {
    if let Some(recorder) = recorder {
        return recorder.listen(listener);
    }
    let agent = spec.linux.seccomp.as_ref().and_then(Agent::of);
    let agent = agent.as_ref().ok_or_else(|| Error::new("an unexpected listener"))?;
    let pid = record.init.as_ref().map_or(0, |init| init.pid);
    serve_listener(agent, record, Status::Creating, pid, listener)
}

/// Takes the container down after a failed hook.
///
/// See runtime.md, "Lifecycle", steps 8 and 10. Another command may have done so already.
fn end(slot: &mut Option<Locked>, e: Error) -> Error {
    let Some(dir) = slot.take() else { return e };
    // The record is read again, because the hook may have changed it.
    match Observed::of(dir).and_then(|observed| take_down(observed.held())) {
        Ok(()) => e,
        Err(left) => e.hint(format_args!("and it could not be deleted: {left}")),
    }
}

fn refuse(status: Status) -> Error {
    Error::new(match status {
        Status::Stopped => engine::START_STOPPED,
        _ => engine::START_RUNNING,
    })
}
