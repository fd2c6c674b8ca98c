//! `exec`: runs another process in a running container.

use super::command::{ExecOptions, Globals};
use super::compile;
use crate::bundle::config;
use crate::bundle::load::read_argument;
use crate::bundle::spec::{Process, Spec};
use crate::error::{Context, Error, Result, engine};
use crate::run::exec::Exec;
use crate::run::foreground::{Signals, supervise};
use crate::state::observe::{Facts, Status, status};
use crate::state::record::ProcessMark;
use crate::state::store::{Entry, Store};
use crate::sys::{interrupt, sealed_exe, stack};
use crate::text::{Keep, List, Text, joined};
use crate::{log, trace};

/// Executes a process and returns its exit status (128 + n after signal n).
///
/// Like in runc, it is 0 if detached, and 255 if the process could not be executed.
pub fn run(globals: &Globals, options: &ExecOptions) -> Result<u8> {
    exec(globals, options).map_err(|e| e.context(format_args!("exec in {}", options.id)).exit_with(255))
}

fn exec(globals: &Globals, options: &ExecOptions) -> Result<u8> {
    sealed_exe::ensure()?;
    interrupt::block()?;
    trace::step(&"find the container");
    let store = Store::open(globals.root)?.ok_or_else(|| Error::new(engine::NOT_EXIST))?;
    let entry = store.entry(options.id)?;
    let record = entry.record()?.ok_or_else(|| Error::new(engine::NOT_EXIST))?;
    may_exec(status(&record, &Facts::read(&record, &entry)?), options.ignore_paused)?;
    let spec = snapshot(&entry)?;
    // The limit on open files may be low, so close descriptors early.
    drop((store, entry));
    let process = process(&spec, options)?;
    let signals = if options.detach { None } else { Some(Signals::block()?) };
    let init = record.init;
    let launched = compile::execution(globals.delegated, record, &spec, &process, options)
        .and_then(Exec::perform)
        .map_err(|e| unless_ended(init, e))?;
    let Some(signals) = signals else { return Ok(0) };
    trace::step(&"wait for the program to end");
    stack::give_back();
    let ended = supervise(&signals, &launched.child, launched.terminal, None)?;
    Ok(ended.status())
}

/// Replaces the error if the container has just ended.
///
/// The kernel's error would be misleading then: a missing namespace, no memory for a process, a killed process.
fn unless_ended(init: Option<ProcessMark>, e: Error) -> Error {
    match init {
        Some(init) if !init.can_be_entered() => {
            log::debug(|| format!("exec in a container that has ended: {e}"));
            Error::new(engine::NOT_RUNNING)
        }
        _ => e,
    }
}

fn may_exec(status: Status, ignore_paused: bool) -> Result<()> {
    match status {
        Status::Created | Status::Running => Ok(()),
        Status::Paused if ignore_paused => Ok(()),
        Status::Paused => Err(Error::new(engine::EXEC_PAUSED)),
        Status::Creating | Status::Stopped => Err(Error::new(engine::EXEC_STOPPED)),
    }
}

fn snapshot(entry: &Entry) -> Result<Box<Spec>> {
    config::parse_for_exec(entry.config()?)
}

/// The process of `--process`, or the config's as changed by the command line.
fn process(spec: &Spec, options: &ExecOptions) -> Result<Box<Process>> {
    let mut p = match options.process {
        Some(file) => {
            let read = || config::process(read_argument(file)?.keep());
            let mut p = read().about(format_args!("--process {}", file))?;
            p.terminal |= options.tty;
            if let Some(own) = spec.process.as_deref() {
                stay_confined(&mut p, own);
            }
            return Ok(p);
        }
        None => {
            let process = spec.process.clone();
            process.ok_or_else(|| Error::new("process: is absent from config.json; use --process"))?
        }
    };
    p.args = joined(&[], &options.args);
    p.terminal = options.tty;
    // The size in the config is that of another terminal.
    p.console_size = None;
    p.env = joined(p.env, &options.env);
    if let Some(cwd) = options.cwd {
        p.cwd = cwd;
    }
    if let Some((uid, gid)) = options.user {
        p.user.uid = uid;
        p.user.gid = gid.unwrap_or(p.user.gid);
    }
    p.user.additional_gids = joined(p.user.additional_gids, &options.additional_gids);
    p.apparmor_profile = options.apparmor_profile.or(p.apparmor_profile);
    p.selinux_label = options.selinux_label.or(p.selinux_label);
    p.no_new_privileges |= options.no_new_privs;
    add_capabilities(&mut p, &options.caps);
    Ok(p)
}

/// Gives a process that names no profile or label that of the container, like crun.
///
/// runc does so with the label only, and leaves the process without a profile.
fn stay_confined(p: &mut Process, own: &Process) {
    p.apparmor_profile = p.apparmor_profile.or(own.apparmor_profile);
    p.selinux_label = p.selinux_label.or(own.selinux_label);
}

/// Adds the capabilities of `exec --cap` to a process's sets, like runc.
///
/// They are added to the bounding, effective and permitted sets, never to the inheritable one, which would pass them to files
/// that a container's user made (CVE-2022-29162).
fn add_capabilities(process: &mut Process, names: &[Text]) {
    let caps = &mut process.capabilities;
    let add = |set: &mut List<Text>, name| {
        if !set.contains(name) {
            *set = joined(set, std::slice::from_ref(name));
        }
    };
    for name in names {
        for set in [&mut caps.bounding, &mut caps.effective, &mut caps.permitted] {
            add(set, name);
        }
        // Like runc: a capability that is inheritable in the config also becomes ambient, so that a non-root user keeps it.
        if caps.inheritable.contains(name) {
            add(&mut caps.ambient, name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[Text]) -> List<Text> {
        list.to_vec().keep()
    }

    #[test]
    fn exec_cap_adds_to_the_ambient_ones_what_the_config_lets_be_inherited() {
        let mut p = Process::default();
        p.capabilities.inheritable = names(&["CAP_KILL"]);
        add_capabilities(&mut p, names(&["CAP_KILL", "CAP_CHOWN"]));
        let caps = p.capabilities;
        assert_eq!((caps.inheritable, caps.ambient), (names(&["CAP_KILL"]), names(&["CAP_KILL"])));
        assert_eq!(caps.permitted, ["CAP_KILL", "CAP_CHOWN"]);
        let mut p = Process::default();
        add_capabilities(&mut p, names(&["CAP_KILL"]));
        add_capabilities(&mut p, names(&["CAP_KILL"]));
        let caps = p.capabilities;
        assert_eq!(caps.bounding, ["CAP_KILL"]);
        assert_eq!((caps.effective, caps.permitted), (caps.bounding, caps.bounding));
        assert!(caps.inheritable.is_empty() && caps.ambient.is_empty());
    }
}
