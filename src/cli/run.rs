//! `run`: create and start in one, and without `--detach` stay until the container ends and take it down.

use super::command::{Globals, RunOptions};
use super::create::{Mode, load};
use super::{compile, delete};
use crate::error::{Context, Result, engine};
use crate::log;
use crate::run::foreground::{Signals, supervise};
use crate::sys::process::Ended;
use crate::sys::{interrupt, sealed_exe};

/// Runs a container. The exit status is its process' (128 + n after signal n), or 0 if detached.
pub fn run(globals: &Globals, id: &str, options: &RunOptions) -> Result<u8> {
    sealed_exe::ensure()?;
    interrupt::block()?;
    if !options.no_subreaper && !options.detach {
        // Processes that the container leaves behind (only where it shares a pid namespace) come to us, not to init.
        nix::sys::prctl::set_child_subreaper(true).at("PR_SET_CHILD_SUBREAPER")?;
    }
    // Before the clone, or an early end would go unseen.
    let signals = if options.detach { None } else { Some(Signals::block()?) };
    let mode = Mode { await_start: false, detach: options.detach };
    let loaded = load(id, &options.create)?;
    let creation = compile::creation(globals, id, &options.create, mode, None, loaded)?;
    let hooks = creation.loaded.spec.hooks;
    // Others may look at the container, kill it and delete it while we only wait.
    let launched = creation.launch(globals.root, None)?;
    let Some(signals) = signals else { return Ok(0) };
    let ended = supervise(&signals, &launched.child, launched.terminal);
    if matches!(ended, Ok(Ended::Signalled(libc::SIGKILL)))
        && launched.record.cgroup().oom_kills() > launched.killed_before
    {
        log::warn(engine::INIT_OOM);
    }
    if !options.keep {
        delete::at_the_end(globals, id, &hooks);
    }
    Ok(ended?.status())
}
