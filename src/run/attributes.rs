//! Sets attributes of the calling process: limits, scheduling, user, capabilities.

use nix::errno::Errno;
use nix::sys::stat::Mode;

use super::{stdio, user_namespace};
use crate::bundle::spec::{Personality, Scheduler};
use crate::error::{Context, Error, Result};
use crate::plan::attribute_step::AttributeStep;
use crate::plan::process::CapabilityMasks;
use crate::sys::credentials::{self, CapSets};
use crate::sys::memory_policy;
use crate::sys::process;
use crate::sys::scheduling::{self, SchedAttr};

/// Performs a step.
pub(super) fn set(step: AttributeStep, groups_denied: bool) -> Result<()> {
    match step {
        AttributeStep::Rlimit(l) => process::set_rlimit(l.resource, l.soft, l.hard).map(drop).at("prlimit"),
        AttributeStep::Scheduler(s) => set_scheduler(0, s),
        AttributeStep::IoPriority(io) => scheduling::set_io_priority(io.class, io.priority).at("ioprio_set"),
        AttributeStep::CpuAffinity(cpus) => run_on(cpus).at("sched_setaffinity"),
        AttributeStep::MemoryPolicy { mode, flags, nodes } => set_memory_policy(mode, flags, nodes),
        AttributeStep::Personality(domain) => personality(domain),
        AttributeStep::Umask(mask) => {
            nix::sys::stat::umask(Mode::from_bits_truncate(mask as libc::mode_t));
            Ok(())
        }
        AttributeStep::OwnStdio(uid) => stdio::own(uid),
        AttributeStep::NoNewPrivileges => nix::sys::prctl::set_no_new_privs().at("prctl"),
        AttributeStep::BoundingSet(keep) => credentials::drop_bounding(keep.bounding).at("PR_CAPBSET_DROP"),
        AttributeStep::Ids(user) => {
            let groups = user_namespace::groups(groups_denied, user.additional_gids)?;
            become_user(user.uid, user.gid, groups)
        }
        AttributeStep::Capabilities(masks) => set_capabilities(masks),
    }
}

fn set_capabilities(masks: &CapabilityMasks) -> Result<()> {
    let CapabilityMasks { effective, permitted, inheritable, ambient, .. } = *masks;
    credentials::capset(CapSets { effective, permitted, inheritable }).at("capset")?;
    credentials::set_ambient(ambient).at("PR_CAP_AMBIENT")
}

fn personality(domain: Personality) -> Result<()> {
    let persona = match domain {
        Personality::Linux => nix::sys::personality::Persona::empty(),
        Personality::Linux32 => nix::sys::personality::Persona::from_bits_retain(0x8),
    };
    nix::sys::personality::set(persona).map(drop).at("personality")
}

const SCHED_ISO: u32 = 4;

pub(super) fn set_scheduler(pid: i32, s: &Scheduler) -> Result<()> {
    let attr = SchedAttr {
        policy: s.policy,
        flags: s.flags,
        nice: s.nice,
        priority: s.priority as u32,
        runtime: s.runtime,
        deadline: s.deadline,
        period: s.period,
        ..SchedAttr::default()
    };
    scheduling::set_scheduler(pid, &attr).map_err(|e| {
        let error = Error::os("sched_setattr", e);
        match e {
            // sched(7): a v1 cgroup without a real-time budget cannot contain such a process.
            Errno::EPERM => error.hint("needs CAP_SYS_NICE, and for real time cpu.realtimeRuntime on cgroup v1; a deadline process scheduler can't be used together with AllowedCPUs"),
            Errno::EINVAL if s.policy == SCHED_ISO => error.hint("Linux does not have SCHED_ISO"),
            Errno::EOPNOTSUPP => error.hint("SCHED_FLAG_UTIL_CLAMP_… needs CONFIG_UCLAMP_TASK"),
            _ => error,
        }
    })
}

fn set_memory_policy(mode: u32, flags: u32, nodes: &[u32]) -> Result<()> {
    memory_policy::set_memory_policy(mode | flags, nodes).map_err(|e| {
        let error = Error::os("linux.memoryPolicy: set_mempolicy", e);
        match e {
            Errno::ENOSYS => error.hint("the kernel lacks CONFIG_NUMA"),
            Errno::EINVAL if nodes.is_empty() => error,
            Errno::EINVAL => error.hint(
                "none of the nodes has memory that the cgroup's cpuset allows, or Linux is too old for the mode or a flag",
            ),
            _ => error,
        }
    })
}

fn run_on(cpus: &[u32]) -> nix::Result<()> {
    let mut set = nix::sched::CpuSet::new();
    cpus.iter().try_for_each(|cpu| set.set(*cpu as usize))?;
    if cpus.is_empty() {
        // All processors are requested: the kernel limits them to those of the cgroup.
        (0..nix::sched::CpuSet::count()).try_for_each(|cpu| set.set(cpu))?;
    }
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set)
}

fn become_user(uid: u32, gid: u32, groups: Option<&[u32]>) -> Result<()> {
    credentials::keep_capabilities(true).at("PR_SET_KEEPCAPS")?;
    credentials::set_ids(uid, gid, groups)?;
    credentials::keep_capabilities(false).at("PR_SET_KEEPCAPS")
}
