//! `seccomp record`: runs a bundle and writes the smallest profile that it needs.
//!
//! The container is created and started, not run, so that the profile also has the runtime's own calls under a filter on the
//! longer of the two ways. With no_new_privs that is execve alone.

use std::os::fd::AsFd;

use super::command::{CreateOptions, Globals};
use super::compile::{self, Creation};
use super::create::Mode;
use super::{delete, seccomp, start};
use crate::bundle::load::load;
use crate::error::{Context, Errno, Error, Result};
use crate::run::foreground::{Signals, supervise};
use crate::run::outputs::{can_replace, replace};
use crate::run::recorder::Recorder;
use crate::seccomp::recording::{RecordedProfile, policy};
use crate::seccomp::support::support;
use crate::sys::path::join;
use crate::sys::process::{self, Ended};
use crate::sys::{interrupt, sealed_exe};
use crate::text::Keep;

/// Records a run in the foreground and returns the workload's exit status.
pub fn run(globals: &Globals, bundle: &str, output: Option<&str>, merge: &[&str]) -> Result<u8> {
    sealed_exe::ensure()?;
    interrupt::block()?;
    nix::sys::prctl::set_child_subreaper(true).at("PR_SET_CHILD_SUBREAPER")?;
    let mut profile = RecordedProfile::default();
    for file in merge {
        let merged = profile.merge(&seccomp::read(file)?);
        merged.about(format_args!("--merge {file}"))?;
    }
    let loaded = load(bundle)?;
    let output = output.map_or_else(|| join(loaded.dir, "seccomp.json"), str::to_owned);
    let named = || format!("--output {}", output);
    can_replace(&output).context(named)?;
    can_take_a_listener().map_err(|e| Error::os("recording needs Linux 5.6 (pidfd_getfd)", e))?;
    if loaded.spec.process.as_ref().is_some_and(|process| !process.no_new_privileges) {
        profile.allow_to_enter();
    }
    let id = format!("record-{}", std::process::id());
    let signals = Signals::block()?;
    let options = CreateOptions::default();
    let mode = Mode { await_start: true, detach: false };
    let policy = Box::new(policy(support())).keep();
    let creation = compile::creation(globals, &id, &options, mode, Some(policy), loaded)?;
    let recorder = Recorder::default();
    let ended = perform(globals, &id, creation, &recorder, &signals);
    // An error of the recorder is the cause of the error here.
    recorder.finish(&mut profile)?;
    let ended = ended?;
    replace(&output, (profile.json()?.pretty(4) + "\n").as_bytes()).context(named)?;
    Ok(ended.status())
}

/// A filter on every call leaves its process no way to send the listener.
fn can_take_a_listener() -> std::result::Result<(), Errno> {
    let own = process::pidfd_open(nix::unistd::getpid())?;
    process::pidfd_getfd(own.as_fd(), 0).map(drop)
}

fn perform(
    globals: &Globals,
    id: &str,
    creation: Creation,
    recorder: &Recorder,
    signals: &Signals,
) -> Result<Ended> {
    let hooks = creation.loaded.spec.hooks;
    let launched = creation.launch(globals.root, Some(recorder)).about(format_args!("create {id}"))?;
    let ended = start::start(globals, id, Some(recorder))
        .and_then(|()| supervise(signals, &launched.child, launched.terminal, None));
    delete::at_the_end(globals, &launched.record, &hooks);
    ended
}
