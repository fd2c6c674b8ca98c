//! From flags to typed values, one for each command.

use super::command::{CreateOptions, ExecOptions, Format, RunOptions, SpecOptions};
use super::lexer::{self, Words, unsupported};
use super::table::{Verb, verbs};
use super::typo;
use super::update_flags::fields;
use super::values::{env_entry, group, user};
use super::{Command, Globals};
use crate::cgroup::planned::CgroupManager;
use crate::error::{Context, Error, Escaped, Quoted, Result};
use crate::log::LogFormat;
use crate::plan::Outputs;
use crate::text::{Keep, Text};

/// A wrong command line: the error, and the help text for stdout before it.
#[derive(Debug)]
pub struct Misuse {
    /// `Incorrect Usage.` and the help text; empty if help would not help.
    pub help: String,
    /// The error.
    pub error: Error,
}

impl From<Error> for Misuse {
    fn from(error: Error) -> Misuse {
        Misuse { help: String::new(), error }
    }
}

impl Misuse {
    /// A misspelt option gets one line, any other wrong usage the help text, too.
    fn usage(verb: Option<Verb>, error: Error) -> Misuse {
        if error.begins(typo::UNDEFINED) {
            return error.into();
        }
        Misuse { help: format!("Incorrect Usage.\n\n{}", super::help::text(verb)), error }
    }
}

/// The caller's properties that [`Globals`] depend on.
#[derive(Default)]
pub struct Caller {
    /// The name by which the program was called.
    pub name: &'static str,
    /// An ordinary user, or root of a user namespace whose name is not root.
    pub rootless: bool,
    /// The same, or root of a user namespace under any name.
    pub delegated: bool,
    /// `$XDG_RUNTIME_DIR`
    pub runtime_dir: Option<Text>,
}

impl Caller {
    /// The default state root: `/run/embrun`, or a user's own runtime directory.
    ///
    /// A program that is installed as `runc` or `crun` uses that runtime's directory, where other programs look for it.
    pub fn default_root(&self) -> Text {
        let dir = self.runtime_dir.filter(|_| self.rootless).unwrap_or("/run");
        crate::sys::path::join(dir, self.runtime()).keep()
    }

    /// The runtime that it is called as: `embrun`, `runc` or `crun`.
    pub fn runtime(&self) -> Text {
        runtime_name(self.name)
    }
}

/// The runtime whose name the program was called by.
pub fn runtime_name(called: &str) -> &'static str {
    match called.rsplit('/').next() {
        Some("runc") => "runc",
        Some("crun") => "crun",
        _ => "embrun",
    }
}

/// Reads the flags before the command; the rest begins with the command.
pub fn globals(words: &[&'static str], caller: &Caller) -> std::result::Result<(Globals, Words), Misuse> {
    let found = lexer::globals(words).map_err(|e| Misuse::usage(None, e))?;
    let log_format = match found.text("log-format") {
        None | Some("" | "text") => LogFormat::Text,
        Some("json") => LogFormat::Json,
        Some(other) => return Err(Error::of(format_args!("invalid log-format: {other}")).into()),
    };
    let rootless = match found.text("rootless").filter(|r| !r.is_empty() && !r.eq_ignore_ascii_case("auto")) {
        None => None,
        Some(text) => Some(lexer::boolean(text).ok_or_else(|| {
            Error::of(format_args!("--rootless: must be true, false or auto, is {}", Quoted(text)))
        })?),
    };
    let systemd = CgroupManager::Systemd { user: rootless.unwrap_or(caller.rootless) };
    let cgroup_manager = match found.text("cgroup-manager") {
        Some("systemd") => systemd,
        Some("disabled") => CgroupManager::Disabled,
        Some("cgroupfs") => CgroupManager::Cgroupfs,
        None if found.on("systemd-cgroup") => systemd,
        None => CgroupManager::Cgroupfs,
        Some(other) => {
            let wants = "must be cgroupfs, systemd or disabled";
            return Err(Error::of(format_args!("--cgroup-manager: {wants}, is {}", Quoted(other))).into());
        }
    };
    let root = match found.text("root") {
        Some(dir) if !dir.is_empty() => absolute("--root", dir)?,
        _ => caller.default_root(),
    };
    let is_root_given = found.text("root").is_some_and(|dir| !dir.is_empty());
    if root == "/" {
        return Err(Error::new("--root: must not be the root directory \"/\"").into());
    }
    let globals = Globals {
        runtime: caller.runtime(),
        root,
        is_root_given,
        // conmon-rs passes crun's names for logs other than files. Such messages go to stderr.
        log: path(&found, "log").filter(|l| !l.starts_with("journald:") && !l.starts_with("syslog:")),
        log_format,
        trace: path(&found, "trace"),
        debug: found.on("debug") || matches!(found.text("log-level"), Some("debug" | "trace")),
        cgroup_manager,
        delegated: rootless.unwrap_or(caller.delegated),
    };
    Ok((globals, found))
}

/// Reads a command: `rest` is the rest that [`globals`] left.
pub fn command(rest: Words) -> std::result::Result<Command, Misuse> {
    if rest.on("help") {
        return Ok(Command::Help(super::help::text(None)));
    }
    if rest.on("version") {
        return Ok(Command::Version);
    }
    let Some((name, words)) = rest.args.split_first() else {
        return Ok(Command::Help(super::help::text(None)));
    };
    let asks = words.iter().any(|word| matches!(*word, "-h" | "--help"));
    let verb = verb_named(name).map_err(|e| if asks { no_help(name) } else { e })?;
    // This precedes the check of the flags, because engines detect features by the wording of flag errors. podman and CRI-O take
    // the success of `--help` for support, so only `-h` prints the page, which says that the command is not supported.
    if let Some(why) = verb.line().refused().filter(|_| words != ["-h"]) {
        return Err(unsupported(verb.name(), why).into());
    }
    let words = lexer::command(verb, words).map_err(|e| Misuse::usage(Some(verb), e))?;
    if words.on("help") {
        return Ok(Command::Help(super::help::text(Some(verb))));
    }
    Ok(meaning(verb.name(), &words)?)
}

/// runc's words.
fn no_help(name: &str) -> Error {
    Error::of(format_args!("No help topic for '{}'", Escaped(name))).hint("embrun --help lists the commands")
}

fn verb_named(name: &str) -> Result<Verb> {
    let name = if name == "h" { "help" } else { name };
    verbs().find(|v| v.name() == name).ok_or_else(|| typo::command(name))
}

fn meaning(verb: &str, w: &Words) -> Result<Command> {
    let id = w.args.first().copied().unwrap_or("");
    let args = w.args.get(1..).unwrap_or(&[]);
    Ok(match verb {
        "create" => Command::Create { id, options: create(w)? },
        "delete" => Command::Delete { id, force: w.on("force") },
        "device" => {
            let &[verb, id, device] = &w.args[..] else { return Err(unsupported(verb, "")) };
            Command::Device { verb, id, device, mode: w.text("mode"), as_path: w.text("as") }
        }
        "events" => Command::Events { id, stats: w.on("stats"), interval: w.text("interval") },
        // As in runc: a faulty process is a failed exec.
        "exec" => Command::Exec(exec(id, args, w).map_err(|e| e.exit_with(255))?),
        "features" => Command::Features,
        "help" if id.is_empty() => Command::Help(super::help::text(None)),
        "help" => Command::Help(super::help::text(Some(verb_named(id)?))),
        "kill" => {
            let signal = args.first().filter(|s| !s.is_empty()).unwrap_or(&"TERM");
            Command::Kill { id, signal, all: w.on("all") }
        }
        "list" => Command::List { format: format(w)?, quiet: w.on("quiet") },
        "pause" => Command::Pause { id },
        "ps" => Command::Ps { id, format: format(w)?, options: args.to_vec() },
        "resume" => Command::Resume { id },
        "run" => Command::Run {
            id,
            options: RunOptions {
                create: create(w)?,
                detach: w.on("detach"),
                keep: w.on("keep"),
                no_subreaper: w.on("no-subreaper"),
            },
        },
        "seccomp" if id == "record" => {
            let &[bundle] = args else {
                return Err(Error::new("seccomp record: takes one bundle"));
            };
            if w.text("arch").is_some() {
                return Err(Error::new("seccomp record: takes no --arch: what runs is recorded"));
            }
            Command::Record { bundle, output: path(w, "output"), merge: w.all("merge") }
        }
        "seccomp" if w.text("output").is_some() || w.text("merge").is_some() => {
            return Err(Error::of(format_args!("seccomp {id}: --output and --merge are of record")));
        }
        "seccomp" => Command::Seccomp { words: w.args.clone(), arch: w.text("arch") },
        "spec" => Command::Spec(spec(w)?),
        "start" => Command::Start { id },
        "state" => Command::State { id },
        "update" => {
            let flags = fields().filter_map(|(name, ..)| Some((name, w.text(name)?))).collect();
            Command::Update { id, resources: w.text("resources"), flags }
        }
        other => return Err(unsupported(other, "")),
    })
}

fn create(w: &Words) -> Result<CreateOptions> {
    Ok(CreateOptions {
        bundle: bundle(w)?,
        config: path(w, "config").map(|file| absolute("--config", file)).transpose()?,
        outputs: outputs(w),
        no_pivot: w.on("no-pivot"),
        no_new_keyring: w.on("no-new-keyring"),
        preserve_fds: preserve_fds(w)?,
    })
}

fn exec(id: &'static str, args: &[&'static str], w: &Words) -> Result<ExecOptions> {
    let process = path(w, "process");
    if args.is_empty() && process.is_none() {
        return Err(
            Error::new("exec: process args cannot be empty").hint("name a command, or --process FILE")
        );
    }
    let env = w.all("env");
    env.iter().try_for_each(|entry| env_entry(entry)).at("exec")?;
    let mut additional_gids = Vec::new();
    for gid in w.all("additional-gids") {
        additional_gids.push(group(gid).at("exec")?);
    }
    let cwd = path(w, "cwd");
    if let Some(relative) = cwd.filter(|dir| !dir.starts_with('/')) {
        let what = format!("exec: --cwd: must be an absolute path, is {}", Quoted(relative));
        return Err(Error::new(what));
    }
    Ok(ExecOptions {
        id,
        args: args.to_vec(),
        outputs: outputs(w),
        cwd,
        env,
        tty: w.on("tty"),
        user: user_of(w).at("exec")?,
        additional_gids,
        process,
        detach: w.on("detach"),
        selinux_label: path(w, "process-label"),
        apparmor_profile: path(w, "apparmor"),
        no_new_privs: w.on("no-new-privs"),
        caps: w.all("cap"),
        preserve_fds: preserve_fds(w)?,
        cgroups: w.all("cgroup"),
        ignore_paused: w.on("ignore-paused"),
    })
}

fn spec(w: &Words) -> Result<SpecOptions> {
    Ok(SpecOptions {
        bundle: bundle(w)?,
        rootless: w.on("rootless"),
        role: w.text("role"),
        user: user_of(w).at("spec")?,
        devices: w.all("device"),
    })
}

#[inline(never)]
fn user_of(w: &Words) -> Result<Option<(u32, Option<u32>)>> {
    w.text("user").map(user).transpose()
}

fn outputs(w: &Words) -> Outputs {
    Outputs {
        pid_file: path(w, "pid-file"),
        console_socket: path(w, "console-socket"),
        pidfd_socket: path(w, "pidfd-socket"),
    }
}

fn path(w: &Words, name: &str) -> Option<Text> {
    w.text(name).filter(|s| !s.is_empty())
}

fn absolute(flag: &str, path: &str) -> Result<Text> {
    Ok(crate::sys::path::absolute(path).about(format_args!("{flag} {path}"))?.keep())
}

fn bundle(w: &Words) -> Result<Text> {
    absolute("--bundle", w.text("bundle").filter(|s| !s.is_empty()).unwrap_or("."))
}

fn preserve_fds(w: &Words) -> Result<u32> {
    w.text("preserve-fds").map_or(Ok(0), |n| number("--preserve-fds", n))
}

fn number(flag: &str, text: &str) -> Result<u32> {
    text.parse().map_err(|_| Error::of(format_args!("{flag}: must be a number, is {}", Quoted(text))))
}

fn format(w: &Words) -> Result<Format> {
    match w.text("format") {
        None | Some("table") => Ok(Format::Table),
        Some("json") => Ok(Format::Json),
        Some(other) => Err(Error::of(format_args!(
            "--format: must be table or json, is {} (invalid format option)",
            Quoted(other)
        ))),
    }
}
