//! `start`: "The runtime runs the user-specified program" (runtime.md, "Start").

use super::args::Globals;
use super::delete;
use crate::bundle::config;
use crate::bundle::spec::HookKind;
use crate::error::{Context, Error, Result, engine};
use crate::hooks;
use crate::run::host::{hook_state, serve_listener};
use crate::run::recorder::Recorder;
use crate::run::start;
use crate::seccomp::notify::Agent;
use crate::state::Observed;
use crate::state::observe::Status;
use crate::state::store::Store;

/// Starts a container that was created.
pub fn run(globals: &Globals, id: &str) -> Result<u8> {
    start(globals, id, None)?;
    Ok(0)
}

/// The same; a recorder gets the listener of its filter.
pub fn start(globals: &Globals, id: &str, recorder: Option<&Recorder>) -> Result<()> {
    go(globals, id, recorder).about(format_args!("start {id}"))
}

fn go(globals: &Globals, id: &str, recorder: Option<&Recorder>) -> Result<()> {
    let store = Store::open(globals.root)?.ok_or_else(|| Error::new(engine::NOT_EXIST))?;
    let created = match Observed::of(store.lock(id)?)? {
        Observed::Created(created) => created,
        other => return Err(refuse(other.status())),
    };
    let dir = &created.0.dir;
    let record = &created.0.record;
    // As it was at create: the bundle may have changed since (runtime.md, "Lifecycle", step 2).
    let spec = config::parse(&dir.config()?)?;
    if spec.process.is_none() {
        return Err(Error::new("process: is required to start; it was absent at create"));
    }
    let agent = spec.linux.seccomp.as_ref().and_then(Agent::of);
    // The count is never set back.
    let cgroup = record.cgroup();
    let killed_before = cgroup.oom_kills();
    start::go(dir, record.init.as_ref(), &|listener| {
        if let Some(recorder) = recorder {
            return recorder.listen(listener);
        }
        let agent = agent.as_ref().ok_or_else(|| Error::new("a listener that nobody asked for"))?;
        serve_listener(
            agent,
            record,
            Status::Creating,
            record.init.as_ref().map_or(0, |init| init.pid),
            listener,
        )
    })?;
    let pid = match &record.init {
        // The program runs, or has run. A memory limit that was too low for it shows only in the kernel's count.
        Some(init) if !init.lives() && cgroup.oom_kills() > killed_before => {
            return Err(Error::new(engine::INIT_OOM));
        }
        init => init.as_ref().map_or(0, |init| init.pid),
    };
    hooks::run_all(&spec.hooks, HookKind::Poststart, &hook_state(record, HookKind::Poststart, pid)).map_err(
        |e| {
            // The spec's way since 1.2.1: the container is stopped and taken down.
            match delete::take_down(created.0) {
                Ok(()) => e,
                Err(left) => e.hint(format_args!("and it could not be deleted: {left}")),
            }
        },
    )
}

fn refuse(status: Status) -> Error {
    Error::new(match status {
        Status::Stopped => engine::START_STOPPED,
        _ => engine::START_RUNNING,
    })
}
