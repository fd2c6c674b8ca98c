//! The command line: argv to a command, one file for each command.
//!
//! [`table`] is the data, [`lexer`] reads words by it, [`args`] gives them types, [`help`] prints it.

pub mod args;
pub mod command;
pub mod compile;
pub mod create;
pub mod delete;
pub mod device;
pub mod engine_option;
pub mod events;
pub mod exec;
pub mod features;
pub mod help;
pub mod kill;
pub mod lexer;
pub mod list;
pub mod pause;
pub mod ps;
pub mod run;
pub mod seccomp;
pub mod seccomp_record;
pub mod spec;
pub mod spec_device;
pub mod start;
pub mod state;
pub mod table;
#[cfg(test)]
mod tests;
pub mod typo;
pub mod units;
pub mod update;
pub mod update_flags;
pub mod values;

use std::ffi::CStr;

use nix::sys::signal::Signal;

use crate::error::{Context as _, Error, Result, engine};
use crate::state::store::Store;
use crate::sys::entry::{STDOUT, variable, write_all};
use crate::sys::process::{default_signal, ignore_signal, most_open_files};
use crate::sys::sealed_exe;
use crate::{log, text, trace};
use args::{Caller, Misuse};
use command::{Command, Globals};

/// Runs the program and returns its exit status.
///
/// Only this function reports an error.
pub fn main(argv: impl Iterator<Item = &'static CStr>) -> u8 {
    crate::sys::fault::tell();
    // A closed pipe and a file size limit must be errors of write(2), not the death of this program.
    ignore_signal(Signal::SIGPIPE);
    ignore_signal(Signal::SIGXFSZ);
    // An ignored SIGCHLD would be inherited, and the kernel would reap children before we wait for them.
    default_signal(Signal::SIGCHLD);
    match obey(argv) {
        Ok(status) => status,
        Err(Misuse { help, error }) => {
            if !help.is_empty() {
                let _ = print(&format!("{help}\n"));
            }
            log::error(&error);
            error.exit()
        }
    }
}

fn obey(argv: impl Iterator<Item = &'static CStr>) -> std::result::Result<u8, Misuse> {
    if crate::sys::entry::is_set_id() {
        // The caller chooses the configuration, so any user of the host could become the file's owner.
        return Err(Error::new("set-user-ID and set-group-ID are refused (chmod 0755)").into());
    }
    let mut words: Vec<&'static str> = Vec::new();
    argv.for_each(|word| words.push(text::of(word)));
    let (name, words) = words.split_first().unwrap_or((&"", &[]));
    // These commands execute the program again, so it happens before any work that would be done twice. A container with such a
    // name causes it without need. The log is opened afterwards, because a reader of a FIFO would take its close for the end.
    let may_enter = words.iter().any(|word| matches!(*word, "create" | "run" | "exec"));
    if may_enter && most_open_files() >= LEAST_FILES {
        sealed_exe::ensure()?;
    }
    let (globals, rest) = args::globals(words, &caller(name))?;
    log::open(globals.log, globals.log_format, globals.debug)?;
    globals.trace.map_or(Ok(()), trace::open)?;
    trace::step(&"read the command line");
    let command = args::command(rest)?;
    enough_files(&command)?;
    let done = perform(&globals, command);
    trace::step(&"end");
    Ok(done?)
}

/// With fewer open files, no command that makes something can be completed.
const LEAST_FILES: u64 = 16;

/// Refuses to begin a command that could be neither completed nor undone.
///
/// Both need open files. Commands that only read state or send a signal may try.
fn enough_files(command: &Command) -> Result<()> {
    let status = match command {
        Command::Exec(_) => 255,
        Command::Create { .. } | Command::Run { .. } | Command::Record { .. } => 1,
        Command::Start { .. } | Command::Delete { .. } | Command::Device { .. } => 1,
        Command::Update { .. } | Command::Pause { .. } | Command::Resume { .. } => 1,
        _ => return Ok(()),
    };
    match most_open_files() {
        LEAST_FILES.. => Ok(()),
        few => Err(Error::of(format_args!("the limit of open files is {few}, embrun needs {LEAST_FILES}"))
            .hint("ulimit -n, RLIMIT_NOFILE")
            .exit_with(status)),
    }
}

fn perform(globals: &Globals, command: Command) -> Result<u8> {
    let done = match command {
        Command::Delete { id, force } => about("delete", id, delete::run(globals, id, force)),
        Command::Device { verb, id, device, mode, as_path } => {
            device::run(globals, verb, id, device, mode, as_path)
                .about(format_args!("device {verb} {id} {device}"))
        }
        Command::Events { id, stats, interval } => {
            about("events", id, events::run(globals, id, stats, interval))
        }
        Command::Features => features::run(),
        Command::Help(text) => print(&text),
        Command::Kill { id, signal, all } => about("kill", id, kill::run(globals, id, signal, all)),
        Command::List { format, quiet } => list::run(globals, format, quiet),
        Command::Pause { id } => about("pause", id, pause::pause(globals, id)),
        Command::Ps { id, format, options } => about("ps", id, ps::run(globals, id, format, &options)),
        Command::Resume { id } => about("resume", id, pause::resume(globals, id)),
        Command::Seccomp { words, arch } => {
            seccomp::run(&words, arch).at("seccomp").and_then(|text| print(&text))
        }
        Command::Spec(options) => spec::run(&options),
        Command::State { id } => about("state", id, state::run(globals, id)),
        Command::Update { id, resources, flags } => {
            about("update", id, update::run(globals, id, resources, &flags))
        }
        Command::Version => print(&version(globals)),
        Command::Record { bundle, output, merge } => {
            return about("seccomp", "record", seccomp_record::run(globals, bundle, output, &merge));
        }
        Command::Create { id, options } => return about("create", id, create::run(globals, id, &options)),
        Command::Run { id, options } => return about("run", id, run::run(globals, id, &options)),
        Command::Start { id } => return start::run(globals, id),
        Command::Exec(options) => return exec::run(globals, &options),
    };
    done.map(|()| 0)
}

/// Adds the command and the container in front of an error.
fn about<T>(verb: &str, id: &str, done: Result<T>) -> Result<T> {
    done.map_err(|e| {
        let e = if e.begins(engine::IN_INIT) { e.context(format_args!("runc {verb} failed")) } else { e };
        e.context(format_args!("{verb} {id}"))
    })
}

/// The state root, which exists if there is any container.
fn store(globals: &Globals) -> Result<Store> {
    Store::open(globals.root)?.ok_or_else(|| Error::new(engine::NOT_EXIST))
}

/// Prints to stdout. A failure is an error.
///
/// A state that could not be written was not reported.
pub fn print(text: &str) -> Result<()> {
    write_all(STDOUT, text.as_bytes()).at("write to stdout")
}

/// The output of `--version`.
///
/// Engines and scanners read the version of a program that is installed as `runc` or `crun`: it is the release whose command
/// line and security fixes embrun has. No other line contains the word "version", because dockerd splits every line that does.
fn version(globals: &Globals) -> String {
    let Globals { runtime, root, .. } = globals;
    let (version, note) = match *runtime {
        "runc" => ("1.5.1+embrun.", String::new()),
        "crun" => ("1.30+embrun.", format!("rundir: {root}\n")),
        _ => ("", String::new()),
    };
    let (own, commit) = (env!("CARGO_PKG_VERSION"), env!("COMMIT"));
    let features = if *runtime == "crun" { "+SYSTEMD +SELINUX +APPARMOR +CAP +SECCOMP +EBPF\n" } else { "" };
    format!("{runtime} version {version}{own}\ncommit: {commit}\n{note}spec: {SPEC_VERSION}\n{features}")
}

/// The newest supported version of the runtime spec.
pub const SPEC_VERSION: &str = "1.3.0";

fn caller(name: &'static str) -> Caller {
    let runtime_dir = variable("XDG_RUNTIME_DIR").filter(|d| !d.is_empty());
    let root = nix::unistd::geteuid().is_root();
    let in_user_namespace = crate::sys::namespace::are_ids_mapped();
    let calls_himself_root = variable("USER") == Some("root");
    let rootless = !root || (runtime_dir.is_some() && !calls_himself_root && in_user_namespace);
    Caller { name, rootless, delegated: !root || in_user_namespace, runtime_dir }
}
