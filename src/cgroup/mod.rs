//! Control groups: layouts, knobs, device rules.
//!
//! What is asked for ([`resources::Resources`]) becomes, by pure conversions of each cgroup version ([`knobs_v1`],
//! [`knobs_v2`], [`devices`]), files and values ([`Knob`]); a handle on the container's cgroup writes them.

mod access;
pub mod apply;
mod dbus;
mod delegate;
pub mod devices;
mod freeze;
pub mod fs;
mod hints;
mod inner;
mod kill;
pub mod knobs_v1;
pub mod knobs_v2;
pub mod layout;
pub mod location;
pub mod oom;
pub mod path;
pub mod resources;
mod stats;
mod systemd;
mod unit;
mod update;
mod walk;

use std::borrow::Cow;
use std::fmt::Display;

use resources::Resources;

/// What to write to one file of a cgroup, and which field of `config.json` wants it.
#[derive(Clone, Debug, PartialEq)]
pub struct Knob {
    /// The field, below `linux.resources.`, for errors.
    pub field: &'static str,
    /// The file's name in the cgroup's directory.
    pub file: Cow<'static, str>,
    /// What is written.
    pub value: String,
    /// What to do on a kernel without that file.
    pub missing: Missing,
}

/// What to do if a [`Knob`]'s file is not there.
#[derive(Clone, Debug, PartialEq)]
pub enum Missing {
    /// It is an error.
    Fails,
    /// The value is what the kernel does anyway.
    Skips,
    /// This file and value mean the same.
    Use(Cow<'static, str>, String),
}

impl Knob {
    fn new(field: &'static str, file: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Knob {
        Knob { field, file: file.into(), value: value.into(), missing: Missing::Fails }
    }

    /// Those of plain numbers that are set.
    fn numbers(rows: &[(&'static str, &'static str, Option<&dyn Display>)]) -> Vec<Knob> {
        let mut knobs = Vec::new();
        for (field, file, number) in rows {
            if let Some(n) = number {
                knobs.push(Knob::new(field, *file, n.to_string()));
            }
        }
        knobs
    }

    fn or_skip(self) -> Knob {
        Knob { missing: Missing::Skips, ..self }
    }

    fn or_use(self, file: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Knob {
        Knob { missing: Missing::Use(file.into(), value.into()), ..self }
    }
}

/// A number that may be set, for [`Knob::numbers`].
fn shown<T: Display>(n: &Option<T>) -> Option<&dyn Display> {
    n.as_ref().map(|n| n as &dyn Display)
}

/// A controller that a field of `linux.resources` needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Controller {
    Cpuset,
    Cpu,
    Pids,
    BlockIo,
    Hugetlb,
    NetCls,
    NetPrio,
    Rdma,
    Memory,
}

impl Controller {
    /// All, in the order in which they are set: memory last, so that little is charged before.
    pub const ALL: [Controller; 9] = {
        use Controller::*;
        [Cpuset, Cpu, Pids, BlockIo, Hugetlb, NetCls, NetPrio, Rdma, Memory]
    };

    /// Its name on cgroup v1.
    pub fn v1(self) -> &'static str {
        match self {
            Controller::BlockIo => "blkio",
            Controller::NetCls => "net_cls",
            Controller::NetPrio => "net_prio",
            other => other.v2().unwrap_or_default(),
        }
    }

    /// Its name on cgroup v2, if it is there at all.
    pub fn v2(self) -> Option<&'static str> {
        match self {
            Controller::Cpuset => Some("cpuset"),
            Controller::Cpu => Some("cpu"),
            Controller::Pids => Some("pids"),
            Controller::BlockIo => Some("io"),
            Controller::Hugetlb => Some("hugetlb"),
            Controller::NetCls | Controller::NetPrio => None,
            Controller::Rdma => Some("rdma"),
            Controller::Memory => Some("memory"),
        }
    }

    /// The field below `linux.resources.` that needs it, if there is one that is set.
    #[inline(never)]
    pub fn asked(self, r: &Resources) -> Option<&'static str> {
        let (set, field) = match self {
            Controller::Cpuset => (r.cpu.cpus.is_some() || r.cpu.mems.is_some(), "cpu.cpus"),
            Controller::Cpu => (r.cpu.has_time(), "cpu"),
            Controller::Pids => (r.pids_limit.is_some(), "pids.limit"),
            Controller::BlockIo => (!r.block_io.is_idle(), "blockIO"),
            Controller::Hugetlb => (!r.hugepage_limits.is_empty(), "hugepageLimits"),
            Controller::NetCls => (r.network.class_id.is_some(), "network.classID"),
            Controller::NetPrio => (!r.network.priorities.is_empty(), "network.priorities"),
            Controller::Rdma => (!r.rdma.is_empty(), "rdma"),
            Controller::Memory => (r.memory.has_limits(), "memory"),
        };
        set.then_some(field)
    }
}
