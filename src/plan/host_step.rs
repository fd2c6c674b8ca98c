//! The steps of the host process.
//!
//! Each list has its own type, so that a step only stands where it can be performed.
//!
//! ```text
//! a new container                         one more process
//!   reserve the id
//!   make the cgroup
//!   PrepareStep …                           open the namespaces to join
//!   clone init                              clone init
//!   CreateStep …                            ExecStep …
//! ```
//!
//! Before the clone there is no init to talk to. An exec has no lock, no bundle, and no cgroup that it made.

use std::fmt;

use super::attribute_step::AttributeStep;
use super::idmap::MountMaps;
use super::rdt::RdtGroup;
use super::time::{TimeOffset, write_offsets};
use super::user_namespace::{IdMaps, Owner};
use crate::bundle::spec::{HookKind, NetDevice, Rlimit, Scheduler};
use crate::text::{List, Text};

/// A point where init waits for the host.
///
/// Each `Ask` of init has an `Await` and an `Answer` of the host, in order: [`super::order`] checks this for every plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Sync {
    /// Init must be in its cgroup before it goes on.
    Cgroup = 1,
    /// The hooks of the runtime's namespaces run here, before the pivot.
    RuntimeHooks = 2,
    /// Everything except the program is applied, and the host records that.
    Created = 3,
    /// Init is in its user namespace, and waits for the ids there.
    UserNamespace = 4,
}

/// A step between the lists, which every launch of its kind has.
///
/// Later steps can use its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Milestone {
    /// Reserve the id: make its directory, lock it, write the record `creating`.
    Reserve,
    /// Make the cgroup.
    MakeCgroup,
    /// Open the namespaces to join, and verify them.
    OpenNamespaces,
    /// Clone init into new namespaces.
    Spawn,
}

/// A step between the cgroup of a new container and the clone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrepareStep {
    /// Set the cgroup's limits and device rules, all but the memory limit.
    LimitCgroup,
    /// Open the namespaces to join, and verify them.
    OpenNamespaces,
    /// Check for idmapped mounts, and make user namespaces with their maps.
    MakeMaps {
        /// The first entry of `mounts[]` that needs them.
        index: usize,
        /// The maps that differ from the container's.
        all: List<MountMaps>,
    },
    /// Make the resctrl groups, or check an existing class of service.
    MakeRdt(&'static RdtGroup),
    /// Make the directory of the notify socket.
    NotifyDirectory,
    /// Make the notify socket in it.
    NotifySocket,
    /// Make the FIFOs at which init waits for `start`.
    Listen,
}

/// A step of a creation or an exec, while the clone is at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommonStep {
    /// Wait until init asks.
    Await(Sync),
    /// Let init continue.
    Answer(Sync),
    /// Receive the terminal's master from init, and pass it on or keep it.
    TakeTerminal {
        /// The socket that receives the master.
        socket: Option<Text>,
    },
    /// Move init into the v2 cgroup, unless the clone has put it there.
    JoinUnified,
    /// Adopt the process that init has cloned into the pid namespace, in place of init.
    Adopt,
    /// Move init into the resctrl groups; processes that it makes follow.
    JoinRdt(&'static RdtGroup),
    /// Set init's resource limits, which it may not raise in a user namespace.
    LimitProcess(List<Rlimit>),
    /// Set init's scheduler, which a clone into the pid namespace does not inherit.
    Schedule(&'static Scheduler),
    /// Give pipes among the standard streams to a user of the user namespace.
    ///
    /// The user could not open them again otherwise.
    GivePipes(u32),
    /// Send a pidfd of init to a socket.
    SendPidfd(Text),
    /// Write init's pid to a file.
    WritePidFile(Text),
}

/// A step of the creation of a container while its init is at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateStep {
    /// A step that an exec has too.
    Common(CommonStep),
    /// End the process that kept the systemd scope alive until init was in it.
    LetGoOfScope,
    /// Give the container's cgroup to the container's user.
    GiveCgroup(Owner),
    /// Deny setgroups(2) in init's user namespace.
    ///
    /// Only then a caller without rights can map a group.
    DenyGroups,
    /// Write the maps of init's new user namespace.
    MapIds(IdMaps),
    /// Check that the joined user namespace has the maps of the configuration.
    CheckIds(IdMaps),
    /// Write init's oom_score_adj, which it may not write in a user namespace.
    OomScoreAdj(i32),
    /// Write the offsets of init's new time namespace, for init in a user namespace.
    TimeOffsets(List<TimeOffset>),
    /// Move network devices into the container's network namespace.
    MoveNetDevices(List<NetDevice>),
    /// Run the hooks of a kind in the runtime's namespaces.
    RunHooks(HookKind),
    /// Set the memory limit, late, so that it limits the program and not its start.
    LimitMemory,
    /// Write the record `created` durably.
    RecordCreated,
    /// Wait until init has ended this conversation and outlives the host.
    Release,
    /// Wait until the program runs.
    AwaitExec,
}

/// A step of an exec while its process is at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecStep {
    /// A step that a creation has too.
    Common(CommonStep),
    /// Wait until the program runs.
    AwaitExec,
}

impl From<CommonStep> for CreateStep {
    fn from(step: CommonStep) -> Self {
        CreateStep::Common(step)
    }
}

impl From<CommonStep> for ExecStep {
    fn from(step: CommonStep) -> Self {
        ExecStep::Common(step)
    }
}

impl CommonStep {
    fn waits(self) -> bool {
        match self {
            CommonStep::Await(_) | CommonStep::TakeTerminal { .. } | CommonStep::Adopt => true,
            CommonStep::Answer(_)
            | CommonStep::JoinUnified
            | CommonStep::JoinRdt(_)
            | CommonStep::LimitProcess(_)
            | CommonStep::Schedule(_)
            | CommonStep::GivePipes(_)
            | CommonStep::SendPidfd(_)
            | CommonStep::WritePidFile(_) => false,
        }
    }
}

impl CreateStep {
    /// The step, if an exec can have it too.
    pub fn common(&self) -> Option<CommonStep> {
        if let CreateStep::Common(step) = self { Some(*step) } else { None }
    }

    /// Whether the step waits for a message of init.
    pub fn waits(&self) -> bool {
        use CreateStep::*;
        match self {
            Common(step) => step.waits(),
            Release | AwaitExec => true,
            LetGoOfScope | GiveCgroup(_) | DenyGroups | MapIds(_) | CheckIds(_) | OomScoreAdj(_)
            | TimeOffsets(_) | RunHooks(_) | MoveNetDevices(_) | LimitMemory | RecordCreated => false,
        }
    }
}

impl ExecStep {
    /// The step, if a creation can have it too.
    pub fn common(&self) -> Option<CommonStep> {
        if let ExecStep::Common(step) = self { Some(*step) } else { None }
    }

    /// Whether the step waits for a message of the process.
    pub fn waits(&self) -> bool {
        match self {
            ExecStep::Common(step) => step.waits(),
            ExecStep::AwaitExec => true,
        }
    }
}

impl fmt::Display for Sync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Sync::Cgroup => "cgroup",
            Sync::RuntimeHooks => "runtime hooks",
            Sync::Created => "created",
            Sync::UserNamespace => "user namespace",
        })
    }
}

impl fmt::Display for Milestone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Milestone::Reserve => "reserve the id",
            Milestone::MakeCgroup => "make the cgroup",
            Milestone::OpenNamespaces => "open the namespaces to join",
            Milestone::Spawn => "clone init",
        })
    }
}

impl fmt::Display for PrepareStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PrepareStep::LimitCgroup => f.write_str("set the cgroup's limits"),
            PrepareStep::OpenNamespaces => Milestone::OpenNamespaces.fmt(f),
            PrepareStep::MakeMaps { all: [], .. } => f.write_str("check for idmapped mounts"),
            PrepareStep::MakeMaps { all, .. } => {
                f.write_str("make user namespaces for mounts:")?;
                all.iter().try_for_each(|maps| write!(f, " {maps}"))
            }
            PrepareStep::MakeRdt(group) => write!(f, "prepare {group}"),
            PrepareStep::NotifyDirectory => f.write_str("make the directory of the notify socket"),
            PrepareStep::NotifySocket => f.write_str("make the notify socket"),
            PrepareStep::Listen => f.write_str("listen for start"),
        }
    }
}

impl fmt::Display for CommonStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommonStep::Await(sync) => write!(f, "await {sync}"),
            CommonStep::Answer(sync) => write!(f, "answer {sync}"),
            CommonStep::TakeTerminal { .. } => f.write_str("take the terminal"),
            CommonStep::JoinUnified => f.write_str("put init into the cgroup of v2"),
            CommonStep::Adopt => f.write_str("adopt the process in the pid namespace"),
            CommonStep::JoinRdt(group) => write!(f, "put init into {group}"),
            CommonStep::LimitProcess(limits) => {
                f.write_str("limit init:")?;
                limits.iter().try_for_each(|limit| write!(f, " {limit}"))
            }
            CommonStep::Schedule(s) => AttributeStep::Scheduler(s).fmt(f),
            CommonStep::GivePipes(uid) => write!(f, "give pipes to user {uid} inside"),
            CommonStep::SendPidfd(_) => f.write_str("send the pidfd"),
            CommonStep::WritePidFile(_) => f.write_str("write the pid file"),
        }
    }
}

impl fmt::Display for CreateStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CreateStep::Common(step) => step.fmt(f),
            CreateStep::LetGoOfScope => f.write_str("let go of the systemd scope"),
            CreateStep::GiveCgroup(owner) => write!(f, "give {owner} the cgroup"),
            CreateStep::DenyGroups => f.write_str("deny setgroups"),
            CreateStep::MapIds(maps) => write!(f, "map ids: {maps}"),
            CreateStep::CheckIds(maps) => write!(f, "check ids: {maps}"),
            CreateStep::OomScoreAdj(n) => write!(f, "set oom_score_adj {n}"),
            CreateStep::TimeOffsets(offsets) => {
                f.write_str("set time offsets")?;
                write_offsets(f, offsets)
            }
            CreateStep::MoveNetDevices(devices) => {
                f.write_str("move network devices")?;
                for (i, device) in devices.iter().enumerate() {
                    write!(f, "{} {}", if i == 0 { "" } else { "," }, device.host)?;
                    device.name.map_or(Ok(()), |name| write!(f, " as {name}"))?;
                }
                Ok(())
            }
            CreateStep::RunHooks(kind) => write!(f, "run {kind} hooks"),
            CreateStep::LimitMemory => f.write_str("set the memory limit"),
            CreateStep::RecordCreated => f.write_str("record created"),
            CreateStep::Release => f.write_str("release init"),
            CreateStep::AwaitExec => f.write_str("await exec"),
        }
    }
}

impl fmt::Display for ExecStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExecStep::Common(step) => step.fmt(f),
            ExecStep::AwaitExec => f.write_str("await exec"),
        }
    }
}
