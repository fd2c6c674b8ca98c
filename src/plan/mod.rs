//! The pure compiler from a bundle and the host's facts to lists of steps.
//!
//! | file | contents |
//! |---|---|
//! | [`create`], [`exec`], `shared` | the recipes, from top to bottom |
//! | [`recipe`] | how a list of steps is put together |
//! | [`host_step`], [`step`], [`root_step`], [`attribute_step`] | the steps and their texts |
//! | [`order`] | the laws that every recipe keeps |
//! | [`validate`] | the contradictions that a spec may have |
//! | [`mounts`], [`cgroup_view`], [`options`], [`devices`] | the file systems |
//! | `chroot` | a container without a mount namespace |
//! | [`privileges`], [`process`] | users, capabilities, limits, the filter |
//! | `labels` | AppArmor profiles and SELinux labels |
//! | [`user_namespace`] | how a process gets into its user namespace, and what the host does for it |
//! | [`memory_policy`] | the nodes that memory comes from |
//! | [`net_devices`] | the network devices that move into the container |
//! | [`rdt`] | the class of service of Intel RDT |
//! | [`sysctl`] | the kernel parameters that belong to the container |
//! | [`time`] | the clocks of a time namespace |

pub mod attribute_step;
pub mod cgroup_view;
mod chroot;
pub mod create;
pub mod devices;
pub mod exec;
pub mod host_step;
pub mod idmap;
pub mod inside_path;
mod labels;
pub mod memory_policy;
pub mod mounts;
pub mod net_devices;
pub mod options;
pub mod order;
pub mod patience;
pub mod privileges;
pub mod process;
pub mod rdt;
pub mod recipe;
pub mod root_step;
mod shared;
pub mod step;
pub mod sysctl;
pub mod time;
pub mod user_namespace;
pub mod validate;

use std::fmt::{self, Write as _};

use crate::bundle::spec::{NamespaceKind, Process};
use crate::error::{Error, Quoted};
use crate::facts::Listening;
use crate::seccomp::compile::Filter;
use crate::seccomp::notify::Agent;
use crate::text::{List, Text};
use step::InitStep;
use user_namespace::HostObject;
use validate::Refusal;

/// The clone's part of a plan: its namespaces, its steps and its program.
#[derive(Default)]
pub struct Launch {
    /// Its steps.
    pub init: Vec<InitStep>,
    /// `CLONE_NEW…` flags of the clone.
    pub new_namespaces: u64,
    /// Namespaces to join: kind and path, opened by the host in this order.
    pub join: Vec<(NamespaceKind, Text)>,
    /// It enters a user namespace, in which it has no rights over the host.
    pub user_namespace: bool,
    /// The caller is an ordinary user, who has rights over init only if it is dumpable.
    pub by_user: bool,
    /// The objects of the host that the host process opens for it on request.
    pub opens: List<HostObject>,
    /// The program that it executes.
    pub program: Program,
    /// The seccomp filter of the program.
    pub filter: Option<Filter>,
    /// The agent that gets the filter's listener, if it has one.
    pub agent: Option<Agent>,
    /// Warnings for the user, which do not stop the launch.
    pub warnings: Vec<String>,
}

/// The destinations of a launch's results.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outputs {
    /// The file that receives the pid.
    pub pid_file: Option<Text>,
    /// The socket that receives the terminal's master.
    pub console_socket: Option<Text>,
    /// The socket that receives a pidfd.
    pub pidfd_socket: Option<Text>,
}

/// The program to execute.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Program {
    /// argv
    pub args: List<Text>,
    /// The environment, with each name once.
    pub env: List<Text>,
    /// The working directory.
    pub cwd: Text,
    /// The user whose home directory becomes HOME, if the environment has none.
    pub uid: u32,
}

impl Program {
    fn of(p: &Process, listening: &Listening, notify: bool) -> Program {
        let env = process::environment(process::announced(p.env, listening, notify));
        Program { args: p.args, env, cwd: p.cwd, uid: p.user.uid }
    }
}

/// Joins all refusals into one error on one line.
pub fn refused(refusals: Vec<Refusal>) -> Error {
    let mut all = String::new();
    for Refusal { field, what } in refusals {
        let _ = write!(all, "{}{field}: {what}", if all.is_empty() { "" } else { "; " });
    }
    Error::new(all)
}

impl fmt::Display for Launch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "init (new namespaces: {}):", NamespaceKind::names_of(self.new_namespaces))?;
        self.init.iter().enumerate().try_for_each(|(i, s)| writeln!(f, "  {i:2} {s}"))?;
        if !self.opens.is_empty() {
            f.write_str("the host opens for init:")?;
            self.opens.iter().try_for_each(|object| write!(f, " {object}"))?;
            writeln!(f)?;
        }
        let args: Vec<_> = self.program.args.iter().map(|arg| Quoted(arg)).collect();
        writeln!(f, "program: {args:?} in {}", self.program.cwd)?;
        self.warnings.iter().try_for_each(|w| writeln!(f, "warning: {w}"))
    }
}
