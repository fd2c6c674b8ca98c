//! The steps of the container's init, and of the process of an exec, as data.
//!
//! A step holds no `if`: options, defaults and quirks are settled when the plan is compiled, and the interpreters in
//! [`crate::run`] only perform. The host's lists have types of their own ([`super::host_step`]), so that a step of init cannot
//! be written there. A step's text is what a plan prints and what an error names. Steps that act on the prepared root and
//! steps that change only this process have types of their own.

use std::fmt;

use super::attribute_step::AttributeStep;
use super::host_step::Sync;
use super::root_step::RootStep;
use super::time::{TimeOffset, write_offsets};
use crate::bundle::spec::{HookKind, NamespaceKind, Propagation};
use crate::error::Quoted;
use crate::text::{List, Text};

/// Init's steps. Texts and lists are borrowed, so that a step is small.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum InitStep {
    /// From here on, die with the host process.
    DieWithHost,
    /// The same again, after a change has cleared it.
    DieWithHostStill,
    /// Stop dying with the host process.
    OutliveHost,
    /// Join the v1 cgroups.
    JoinCgroup,
    /// Wait for the host.
    Ask(Sync),
    /// Become the leader of a new session.
    NewSession,
    /// Join the session keyring of this name.
    Keyring(Text),
    /// Give this SELinux label to new keys; `None` means the usual one again.
    KeyLabel(Option<Text>),
    /// Change to this AppArmor profile at the next exec.
    AppArmorProfile(Text),
    /// Add this AppArmor profile to the present one at the next exec.
    StackAppArmorProfile(Text),
    /// Change to this SELinux label at the next exec.
    SelinuxLabel(Text),
    /// Join a namespace that the host has opened.
    JoinNamespace {
        /// Its kind.
        kind: NamespaceKind,
        /// Its index among the opened ones.
        index: usize,
    },
    /// Make further namespaces (`CLONE_NEW…`), once all others are joined.
    Unshare(u64),
    /// Be dumpable: an ordinary user's host process may look into init.
    Show,
    /// Be no longer dumpable.
    Hide,
    /// Find out whether groups can be set in the user namespace.
    CheckGroups,
    /// Become root of the user namespace.
    BecomeRoot,
    /// Continue in a clone, which is the first process of the pid namespace.
    CloneInit,
    /// Make a cgroup namespace rooted at init's cgroup.
    NewCgroupNamespace,
    /// Make a time namespace with these offsets, and join it.
    NewTimeNamespace(List<TimeOffset>),
    /// Join the time namespace that was made for children.
    EnterTimeNamespace,
    /// Bring `lo` up.
    LoopbackUp,
    /// Set the host name.
    Hostname(Text),
    /// Set the NIS domain name.
    Domainname(Text),
    /// Make a terminal and send its master; it becomes streams and /dev/console.
    Terminal {
        /// (rows, columns)
        size: Option<(u16, u16)>,
    },
    /// Make the terminal the controlling one of this session.
    ControllingTerminal,
    /// Look up the user's home directory for the environment, unless that has one.
    Home,
    /// Close everything but the streams, inherited descriptors and the conversation.
    ///
    /// Wipe argv.
    LetGo {
        /// The number of inherited descriptors after the standard streams.
        preserve_fds: u32,
    },
    /// Clone a process into the joined pid namespace; it continues from here.
    EnterPidNamespace,
    /// Run the hooks of a kind here.
    RunHooks(HookKind),
    /// Write a kernel parameter: its file, and the value as in the config.
    Sysctl(&'static (Text, Text)),
    /// Write /proc/self/oom_score_adj.
    OomScoreAdj(i32),
    /// Keep mounts from spreading to the host, and make the root a mount of its own.
    PrepareRoot {
        /// Absolute path on the host.
        rootfs: Text,
        /// `linux.rootfsPropagation`
        propagation: Option<Propagation>,
    },
    /// Take this directory of the host as the root, and mount nothing.
    OpenRoot(Text),
    /// Change to the root of the container's init, which the host has opened.
    EnterRoot {
        /// Its index after the namespaces.
        index: usize,
    },
    /// Act on the prepared root file system.
    Root(RootStep),
    /// Change an attribute of this process.
    Attribute(AttributeStep),
    /// Enter the working directory, if this user may; the next one tries again.
    TryCwd,
    /// Enter the working directory, unless done, and check that it is inside.
    Cwd,
    /// Load the seccomp filter.
    Seccomp,
    /// Close the filter's listener, which the host has by now.
    CloseListener,
    /// Find the program in PATH, as this user.
    FindProgram,
    /// Wait for `start`.
    AwaitStart,
    /// Execute the program.
    Exec,
}

impl fmt::Display for Propagation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, recursive) = match self {
            Propagation::Shared { recursive } => ("shared", recursive),
            Propagation::Slave { recursive } => ("slave", recursive),
            Propagation::Private { recursive } => ("private", recursive),
            Propagation::Unbindable { recursive } => ("unbindable", recursive),
        };
        write!(f, "{}{word}", if *recursive { "r" } else { "" })
    }
}

impl From<RootStep> for InitStep {
    fn from(step: RootStep) -> Self {
        InitStep::Root(step)
    }
}

impl From<AttributeStep> for InitStep {
    fn from(step: AttributeStep) -> Self {
        InitStep::Attribute(step)
    }
}

impl InitStep {
    fn dumpable(&self) -> &'static str {
        if *self == InitStep::Show { "be dumpable" } else { "be no longer dumpable" }
    }

    fn root(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InitStep::PrepareRoot { rootfs, propagation: None } => write!(f, "prepare root {rootfs}"),
            InitStep::PrepareRoot { rootfs, propagation: Some(p) } => {
                write!(f, "prepare root {rootfs} ({p})")
            }
            InitStep::OpenRoot(rootfs) => write!(f, "open root {rootfs}, and mount nothing"),
            _ => f.write_str("chroot to the root of init"),
        }
    }

    /// The kind of namespace that it changes.
    pub fn sets(&self) -> Option<NamespaceKind> {
        match self {
            InitStep::Hostname(_) | InitStep::Domainname(_) => Some(NamespaceKind::Uts),
            InitStep::Sysctl((file, _)) => super::sysctl::owner(file).ok(),
            InitStep::PrepareRoot { .. } => Some(NamespaceKind::Mount),
            InitStep::BecomeRoot => Some(NamespaceKind::User),
            _ => None,
        }
    }
}

impl fmt::Display for InitStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InitStep::DieWithHost => f.write_str("die with the host process"),
            InitStep::DieWithHostStill => f.write_str("still die with the host process"),
            InitStep::OutliveHost => f.write_str("outlive the host process"),
            InitStep::JoinCgroup => f.write_str("join the cgroups of v1"),
            InitStep::Ask(sync) => write!(f, "ask {sync}"),
            InitStep::NewSession => f.write_str("new session"),
            InitStep::Keyring(name) => write!(f, "session keyring {name}"),
            InitStep::KeyLabel(Some(label)) => write!(f, "SELinux label {} for new keys", Quoted(label)),
            InitStep::KeyLabel(None) => f.write_str("usual SELinux label for new keys"),
            InitStep::AppArmorProfile(name) => write!(f, "AppArmor profile {} at exec", Quoted(name)),
            InitStep::StackAppArmorProfile(name) => {
                write!(f, "AppArmor profile {} at exec, on top of the runtime's", Quoted(name))
            }
            InitStep::SelinuxLabel(label) => write!(f, "SELinux label {} at exec", Quoted(label)),
            InitStep::JoinNamespace { kind, .. } => write!(f, "join the {kind} namespace"),
            InitStep::Unshare(flags) => write!(f, "make namespaces: {}", NamespaceKind::names_of(*flags)),
            InitStep::Show | InitStep::Hide => f.write_str(self.dumpable()),
            InitStep::CheckGroups => f.write_str("see whether groups can be set"),
            InitStep::BecomeRoot => f.write_str("become root of the user namespace"),
            InitStep::CloneInit => f.write_str("clone the first process of the pid namespace"),
            InitStep::NewCgroupNamespace => f.write_str("new cgroup namespace"),
            InitStep::NewTimeNamespace(offsets) => {
                f.write_str("new time namespace")?;
                write_offsets(f, offsets)
            }
            InitStep::EnterTimeNamespace => f.write_str("enter the time namespace"),
            InitStep::LoopbackUp => f.write_str("bring lo up"),
            InitStep::Hostname(name) => write!(f, "set hostname {name}"),
            InitStep::Domainname(name) => write!(f, "set domainname {name}"),
            InitStep::Terminal { size: None } => f.write_str("make the terminal"),
            InitStep::Terminal { size: Some((rows, columns)) } => {
                write!(f, "make the terminal ({rows}x{columns})")
            }
            InitStep::ControllingTerminal => f.write_str("take the terminal as the controlling one"),
            InitStep::Home => f.write_str("find the home directory"),
            InitStep::LetGo { preserve_fds: 0 } => f.write_str("let go of the host"),
            InitStep::LetGo { preserve_fds } => {
                write!(f, "let go of the host but for {preserve_fds} descriptors")
            }
            InitStep::EnterPidNamespace => f.write_str("enter the pid namespace"),
            InitStep::RunHooks(kind) => write!(f, "run {kind} hooks"),
            InitStep::Sysctl((file, value)) => write!(f, "set sysctl {file}={value}"),
            InitStep::OomScoreAdj(n) => write!(f, "set oom_score_adj {n}"),
            InitStep::TryCwd => f.write_str("enter the working directory if root may"),
            InitStep::Cwd => f.write_str("enter the working directory"),
            InitStep::Seccomp => f.write_str("load the seccomp filter"),
            InitStep::CloseListener => f.write_str("close the listener"),
            InitStep::FindProgram => f.write_str("find the program"),
            InitStep::AwaitStart => f.write_str("await start"),
            InitStep::Exec => f.write_str("exec"),
            InitStep::PrepareRoot { .. } | InitStep::OpenRoot(_) | InitStep::EnterRoot { .. } => self.root(f),
            InitStep::Root(step) => step.fmt(f),
            InitStep::Attribute(step) => step.fmt(f),
        }
    }
}
