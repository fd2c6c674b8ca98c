//! The steps of the container's init, and of the process of an exec, as data.
//!
//! A step holds no `if`: options, defaults and quirks are settled when the plan is compiled, and the interpreters in
//! [`crate::run`] only perform. The host's lists have types of their own ([`super::host_step`]), so that a step of init cannot
//! be written there. A step's text is what a plan prints and what an error names.

use std::fmt;

use super::devices::DevStep;
use super::host_step::Sync;
use super::inside_path::InsidePath;
use super::mounts::MountStep;
use super::process::CapabilityMasks;
use crate::bundle::spec::{
    HookKind, IoPriority, NamespaceKind, Personality, Propagation, Rlimit, Scheduler, User,
};
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
    /// Join a namespace that the host has opened.
    JoinNamespace {
        /// Its kind.
        kind: NamespaceKind,
        /// Its index among the opened ones.
        index: usize,
    },
    /// Make a cgroup namespace rooted at init's cgroup.
    NewCgroupNamespace,
    /// Bring `lo` up.
    LoopbackUp,
    /// Set the host name.
    Hostname(Text),
    /// Set the NIS domain name.
    Domainname(Text),
    /// Keep mounts from spreading to the host, and make the root a mount of its own.
    PrepareRoot {
        /// Absolute path on the host.
        rootfs: Text,
        /// `linux.rootfsPropagation`
        propagation: Option<Propagation>,
    },
    /// Mount one entry of `mounts[]`.
    Mount(&'static MountStep),
    /// Make the working directory, if it is missing.
    MakeCwd(InsidePath),
    /// Make the device nodes and the links of /dev.
    Devices(DevStep),
    /// Replace the host's /dev/null by the container's among the standard streams.
    StdioNull,
    /// Make a terminal, send its master to the host, use it as standard streams and /dev/console.
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
    /// Clone a process into the joined pid namespace, which continues in place of this one.
    EnterPidNamespace,
    /// Run the hooks of a kind here.
    RunHooks(HookKind),
    /// Write a kernel parameter: its file, and the value as in the config.
    Sysctl(&'static (Text, Text)),
    /// Write /proc/self/oom_score_adj.
    OomScoreAdj(i32),
    /// Make the root mount read-only.
    ReadonlyRoot,
    /// Make paths read-only, where they exist.
    ReadonlyPaths(List<InsidePath>),
    /// Hide paths, where they exist.
    MaskedPaths(List<InsidePath>),
    /// Make those mounts read-only that had to be filled first.
    FinishMounts,
    /// Switch to the new root, with the requested propagation.
    PivotRoot,
    /// The same without pivot_root, for `--no-pivot`.
    MoveRoot,
    /// Set a resource limit.
    Rlimit(&'static Rlimit),
    /// Set the scheduling policy.
    Scheduler(&'static Scheduler),
    /// Set the I/O priority.
    IoPriority(IoPriority),
    /// Run on these processors only.
    CpuAffinity(List<u32>),
    /// Set the execution domain.
    Personality(Personality),
    /// Set the file mode creation mask.
    Umask(u32),
    /// Give terminals and pipes among the standard streams to the container's user.
    OwnStdio(u32),
    /// Enter the working directory, if this user may; the next one tries again.
    TryCwd,
    /// Enter the working directory, unless done, and check that it is inside.
    Cwd,
    /// Set no_new_privs.
    NoNewPrivileges,
    /// Load the seccomp filter.
    Seccomp,
    /// Close the filter's listener, which the host has by now.
    CloseListener,
    /// Drop all capabilities except those of `bounding` from the bounding set.
    BoundingSet(&'static CapabilityMasks),
    /// Become the container's user: all user ids, all group ids, exactly these groups.
    Ids(&'static User),
    /// Set the capability sets, except the bounding one.
    Capabilities(&'static CapabilityMasks),
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

impl InitStep {
    /// The kind of namespace that it changes.
    pub fn sets(&self) -> Option<NamespaceKind> {
        match self {
            InitStep::Hostname(_) | InitStep::Domainname(_) => Some(NamespaceKind::Uts),
            InitStep::Sysctl((file, _)) => super::sysctl::owner(file).ok(),
            InitStep::PrepareRoot { .. } => Some(NamespaceKind::Mount),
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
            InitStep::JoinNamespace { kind, .. } => write!(f, "join the {kind} namespace"),
            InitStep::NewCgroupNamespace => f.write_str("new cgroup namespace"),
            InitStep::LoopbackUp => f.write_str("bring lo up"),
            InitStep::Hostname(name) => write!(f, "set hostname {name}"),
            InitStep::Domainname(name) => write!(f, "set domainname {name}"),
            InitStep::PrepareRoot { rootfs, propagation: None } => write!(f, "prepare root {rootfs}"),
            InitStep::PrepareRoot { rootfs, propagation: Some(p) } => {
                write!(f, "prepare root {rootfs} ({p})")
            }
            InitStep::Mount(mount) => write!(f, "{mount}"),
            InitStep::MakeCwd(path) => write!(f, "make working directory {path}"),
            InitStep::Devices(devices) => write!(f, "{devices}"),
            InitStep::StdioNull => f.write_str("take the container's /dev/null"),
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
            InitStep::ReadonlyRoot => f.write_str("make the root read-only"),
            InitStep::ReadonlyPaths(paths) => list(f, "make read-only", paths),
            InitStep::MaskedPaths(paths) => list(f, "mask", paths),
            InitStep::FinishMounts => f.write_str("finish the mounts"),
            InitStep::PivotRoot => f.write_str("pivot_root"),
            InitStep::MoveRoot => f.write_str("move the root over /"),
            InitStep::Rlimit(l) => {
                write!(f, "set {} soft={} hard={}", l.name(), Limit(l.soft), Limit(l.hard))
            }
            InitStep::Scheduler(s) => write!(
                f,
                "set scheduler policy={} flags={:x} nice={} priority={} runtime={} deadline={} period={}",
                s.policy, s.flags, s.nice, s.priority, s.runtime, s.deadline, s.period
            ),
            InitStep::IoPriority(io) => write!(f, "set io priority class={} level={}", io.class, io.priority),
            InitStep::CpuAffinity([]) => f.write_str("run on every processor of the cgroup"),
            InitStep::CpuAffinity(cpus) => numbers(f, format_args!("run on processors"), cpus),
            InitStep::Personality(Personality::Linux) => f.write_str("set personality LINUX"),
            InitStep::Personality(Personality::Linux32) => f.write_str("set personality LINUX32"),
            InitStep::Umask(mask) => write!(f, "set umask {mask:04o}"),
            InitStep::OwnStdio(uid) => write!(f, "give the standard streams to {uid}"),
            InitStep::TryCwd => f.write_str("enter the working directory if root may"),
            InitStep::Cwd => f.write_str("enter the working directory"),
            InitStep::NoNewPrivileges => f.write_str("set no_new_privs"),
            InitStep::Seccomp => f.write_str("load the seccomp filter"),
            InitStep::CloseListener => f.write_str("close the listener"),
            InitStep::BoundingSet(sets) => write!(f, "bounding set {:x}", sets.bounding),
            InitStep::Ids(user) => {
                let ids = format_args!("become {}:{} groups", user.uid, user.gid);
                numbers(f, ids, user.additional_gids)
            }
            InitStep::Capabilities(s) => write!(
                f,
                "capabilities effective={:x} permitted={:x} inheritable={:x} ambient={:x}",
                s.effective, s.permitted, s.inheritable, s.ambient
            ),
            InitStep::FindProgram => f.write_str("find the program"),
            InitStep::AwaitStart => f.write_str("await start"),
            InitStep::Exec => f.write_str("exec"),
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, act: &str, paths: &[InsidePath]) -> fmt::Result {
    f.write_str(act)?;
    paths.iter().try_for_each(|p| write!(f, " {p}"))
}

/// A verb, and its numbers in brackets.
fn numbers(f: &mut fmt::Formatter<'_>, act: fmt::Arguments<'_>, numbers: &[u32]) -> fmt::Result {
    write!(f, "{act} [")?;
    for (i, number) in numbers.iter().enumerate() {
        write!(f, "{}{number}", if i == 0 { "" } else { ", " })?;
    }
    f.write_str("]")
}

/// A limit as prlimit(1) prints it.
struct Limit(u64);

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == u64::MAX { f.write_str("unlimited") } else { write!(f, "{}", self.0) }
    }
}
