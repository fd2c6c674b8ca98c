//! `run`: creates and starts a container.
//!
//! Without `--detach` it waits for the container's end and deletes the container.

use std::os::fd::AsFd;

use super::command::{Globals, RunOptions};
use super::create::{Mode, load};
use super::{compile, delete};
use crate::error::{Context, Result, engine};
use crate::run::foreground::{Signals, supervise};
use crate::run::notify::Readiness;
use crate::sys::process::Ended;
use crate::sys::{interrupt, sealed_exe, stack};
use crate::{log, trace};

/// Runs a container; returns its process's exit status, or 0 if detached.
///
/// The status is 128 + n after signal n.
pub fn run(globals: &Globals, id: &str, options: &RunOptions) -> Result<u8> {
    sealed_exe::ensure()?;
    interrupt::block()?;
    if !options.no_subreaper && !options.detach {
        // Orphans of a container that shares a pid namespace become our children, not init's.
        nix::sys::prctl::set_child_subreaper(true).at("PR_SET_CHILD_SUBREAPER")?;
    }
    // Signals are blocked before the clone, so that an early end is not missed.
    let signals = if options.detach { None } else { Some(Signals::block()?) };
    let mode = Mode { await_start: false, detach: options.detach };
    let loaded = load(id, &options.create)?;
    let creation = compile::creation(globals, id, &options.create, mode, None, loaded)?;
    let hooks = creation.loaded.spec.hooks;
    // Other commands may inspect, kill and delete the container while we only wait.
    let launched = creation.launch(globals.root, None)?;
    // A service in the background is the container's process, one in the foreground this one.
    let main_pid = if options.detach { launched.child.pid.as_raw() } else { std::process::id() as i32 };
    let readiness = launched.notify.and_then(|socket| Readiness::new(socket, main_pid));
    let Some(signals) = signals else {
        if let Some(readiness) = readiness {
            interrupt::heed();
            let pidfd = launched.child.pidfd.as_ref().map(AsFd::as_fd);
            readiness.until_ready(launched.record.init, pidfd)?;
        }
        return Ok(0);
    };
    trace::step(&"wait for the program to end");
    stack::give_back();
    let ended = supervise(&signals, &launched.child, launched.terminal, readiness);
    if matches!(ended, Ok(Ended::Signalled(libc::SIGKILL)))
        && launched.record.cgroup().oom_kills() > launched.killed_before
    {
        log::warn(engine::INIT_OOM);
    }
    if !options.keep {
        trace::step(&"delete the container");
        delete::at_the_end(globals, &launched.record, &hooks);
    }
    Ok(ended?.status())
}
