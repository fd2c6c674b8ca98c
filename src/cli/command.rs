//! A command with its options, as types.

use crate::cgroup::planned::CgroupManager;
use crate::log::LogFormat;
use crate::plan::Outputs;
use crate::text::Text;

/// The flags that precede the command.
#[cfg_attr(test, derive(Debug, PartialEq))]
pub struct Globals {
    /// The runtime that it is called as: `embrun`, `runc` or `crun`.
    pub runtime: Text,
    /// The state root: an absolute path, never `/`.
    pub root: Text,
    /// The caller has named the state root.
    pub is_root_given: bool,
    /// The file to which log lines are appended.
    pub log: Option<Text>,
    /// The format of these lines.
    pub log_format: LogFormat,
    /// The file to which the times of the steps are appended.
    pub trace: Option<Text>,
    /// Log details, not only warnings and errors.
    pub debug: bool,
    /// The manager that makes the cgroups of new containers.
    pub cgroup_manager: CgroupManager,
    /// Cgroups were delegated to an ordinary user.
    pub delegated: bool,
}

/// A command with its options.
///
/// Its number is a byte of its own. Otherwise it would be in the capacity of a vector, and take ten bytes of code at each place.
#[repr(u8)]
#[cfg_attr(test, derive(Debug, PartialEq))]
#[allow(missing_docs)]
pub enum Command {
    Create {
        id: &'static str,
        options: CreateOptions,
    },
    Delete {
        id: &'static str,
        force: bool,
    },
    Device {
        verb: &'static str,
        id: &'static str,
        device: &'static str,
        mode: Option<&'static str>,
        as_path: Option<&'static str>,
    },
    Events {
        id: &'static str,
        stats: bool,
        interval: Option<&'static str>,
    },
    Exec(ExecOptions),
    Features,
    /// Print this help text.
    Help(String),
    Kill {
        id: &'static str,
        signal: &'static str,
        all: bool,
    },
    List {
        format: Format,
        quiet: bool,
    },
    Pause {
        id: &'static str,
    },
    Ps {
        id: &'static str,
        format: Format,
        options: Vec<&'static str>,
    },
    /// `seccomp record`
    Record {
        bundle: Text,
        output: Option<Text>,
        merge: Vec<&'static str>,
    },
    Resume {
        id: &'static str,
    },
    Run {
        id: &'static str,
        options: RunOptions,
    },
    Seccomp {
        words: Vec<&'static str>,
        arch: Option<&'static str>,
    },
    Spec(SpecOptions),
    Start {
        id: &'static str,
    },
    State {
        id: &'static str,
    },
    Update {
        id: &'static str,
        resources: Option<&'static str>,
        flags: Vec<(&'static str, &'static str)>,
    },
    Version,
}

/// Options of `create` and `run`.
#[derive(Default)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub struct CreateOptions {
    /// The bundle's absolute path.
    pub bundle: Text,
    /// Absolute path of the configuration; `None` for the bundle's config.json.
    pub config: Option<Text>,
    /// The destinations of the pid, the terminal and the pidfd.
    pub outputs: Outputs,
    /// Move the root mount instead of pivot_root(2).
    pub no_pivot: bool,
    /// Keep the caller's session keyring.
    pub no_new_keyring: bool,
    /// The number of inherited descriptors after stdio and `$LISTEN_FDS`.
    pub preserve_fds: u32,
}

/// Options of `run`.
#[derive(Default)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub struct RunOptions {
    /// The options that `create` has too.
    pub create: CreateOptions,
    /// Return as soon as the process runs.
    pub detach: bool,
    /// Keep the container after its end.
    pub keep: bool,
    /// Do not become the reaper of the container's orphans.
    pub no_subreaper: bool,
}

/// Options of `exec`.
#[derive(Default)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub struct ExecOptions {
    /// The container's id.
    pub id: &'static str,
    /// The program and its arguments; empty only with `process`.
    pub args: Vec<&'static str>,
    /// The destinations of the pid, the terminal and the pidfd.
    pub outputs: Outputs,
    /// Working directory that replaces the config's.
    pub cwd: Option<&'static str>,
    /// `KEY=VALUE` entries, added to the config's.
    pub env: Vec<&'static str>,
    /// Allocate a terminal.
    pub tty: bool,
    /// (uid, gid); like in runc, the default gid is the config's.
    pub user: Option<(u32, Option<u32>)>,
    /// Supplementary groups, added to the config's.
    pub additional_gids: Vec<u32>,
    /// The JSON file that describes the process.
    pub process: Option<Text>,
    /// Return as soon as the process runs.
    pub detach: bool,
    /// SELinux label instead of the config's.
    pub selinux_label: Option<Text>,
    /// AppArmor profile instead of the config's.
    pub apparmor_profile: Option<Text>,
    /// Set no_new_privs.
    pub no_new_privs: bool,
    /// Capabilities, added to the config's.
    pub caps: Vec<&'static str>,
    /// The number of inherited descriptors after stdio and `$LISTEN_FDS`.
    pub preserve_fds: u32,
    /// `[controller[,controller]:]path` of existing sub-cgroups.
    pub cgroups: Vec<&'static str>,
    /// Also execute in a paused container.
    pub ignore_paused: bool,
}

/// Options of `spec`.
#[derive(Default)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub struct SpecOptions {
    /// The bundle's absolute path.
    pub bundle: Text,
    /// For a container that an ordinary user runs.
    pub rootless: bool,
    /// The gateway role.
    pub role: Option<&'static str>,
    /// (uid, gid) of the program; the default gid is the uid.
    pub user: Option<(u32, Option<u32>)>,
    /// The host's devices that the program may use.
    pub devices: Vec<&'static str>,
}

/// `--format`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Format {
    #[default]
    Table,
    Json,
}
