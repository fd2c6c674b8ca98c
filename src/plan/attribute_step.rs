//! The steps of init that change an attribute of the process, and nothing else.

use std::fmt;

use super::process::CapabilityMasks;
use crate::bundle::spec::{IoPriority, Personality, Rlimit, Scheduler, User};
use crate::text::List;

/// A step that changes an attribute of the process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AttributeStep {
    /// Set a resource limit.
    Rlimit(&'static Rlimit),
    /// Set the scheduling policy.
    Scheduler(&'static Scheduler),
    /// Set the I/O priority.
    IoPriority(IoPriority),
    /// Run on these processors only.
    CpuAffinity(List<u32>),
    /// Set the NUMA memory policy.
    MemoryPolicy {
        /// The kernel's number of the mode.
        mode: u32,
        /// The kernel's bits of the flags.
        flags: u32,
        /// The memory nodes.
        nodes: List<u32>,
    },
    /// Set the execution domain.
    Personality(Personality),
    /// Set the file mode creation mask.
    Umask(u32),
    /// Give terminals and pipes among the standard streams to the container's user.
    OwnStdio(u32),
    /// Set no_new_privs.
    NoNewPrivileges,
    /// Drop all capabilities except those of `bounding` from the bounding set.
    BoundingSet(&'static CapabilityMasks),
    /// Become the container's user: all user ids, all group ids, exactly these groups.
    Ids(&'static User),
    /// Set the capability sets, except the bounding one.
    Capabilities(&'static CapabilityMasks),
}

impl fmt::Display for AttributeStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttributeStep::Rlimit(limit) => write!(f, "set {limit}"),
            AttributeStep::Scheduler(s) => write!(
                f,
                "set scheduler policy={} flags={:x} nice={} priority={} runtime={} deadline={} period={}",
                s.policy, s.flags, s.nice, s.priority, s.runtime, s.deadline, s.period
            ),
            AttributeStep::IoPriority(io) => {
                write!(f, "set io priority class={} level={}", io.class, io.priority)
            }
            AttributeStep::CpuAffinity([]) => f.write_str("run on every processor of the cgroup"),
            AttributeStep::CpuAffinity(cpus) => numbers(f, format_args!("run on processors"), cpus),
            AttributeStep::MemoryPolicy { mode, flags, nodes } => {
                numbers(f, format_args!("set memory policy mode={mode} flags={flags:x} nodes"), nodes)
            }
            AttributeStep::Personality(Personality::Linux) => f.write_str("set personality LINUX"),
            AttributeStep::Personality(Personality::Linux32) => f.write_str("set personality LINUX32"),
            AttributeStep::Umask(mask) => write!(f, "set umask {mask:04o}"),
            AttributeStep::OwnStdio(uid) => write!(f, "give the standard streams to {uid}"),
            AttributeStep::NoNewPrivileges => f.write_str("set no_new_privs"),
            AttributeStep::BoundingSet(sets) => write!(f, "bounding set {:x}", sets.bounding),
            AttributeStep::Ids(user) => {
                let ids = format_args!("become {}:{} groups", user.uid, user.gid);
                numbers(f, ids, user.additional_gids)
            }
            AttributeStep::Capabilities(s) => write!(
                f,
                "capabilities effective={:x} permitted={:x} inheritable={:x} ambient={:x}",
                s.effective, s.permitted, s.inheritable, s.ambient
            ),
        }
    }
}

/// A verb, and its numbers in brackets.
fn numbers(f: &mut fmt::Formatter<'_>, act: fmt::Arguments<'_>, numbers: &[u32]) -> fmt::Result {
    write!(f, "{act} [")?;
    for (i, number) in numbers.iter().enumerate() {
        write!(f, "{}{number}", if i == 0 { "" } else { ", " })?;
    }
    f.write_str("]")
}

impl fmt::Display for Rlimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} soft={} hard={}", self.name(), Limit(self.soft), Limit(self.hard))
    }
}

/// A limit as prlimit(1) prints it.
struct Limit(u64);

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == u64::MAX { f.write_str("unlimited") } else { write!(f, "{}", self.0) }
    }
}
