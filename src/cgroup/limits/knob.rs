//! The files of a cgroup, the values to write, and their controllers.

use std::fmt;

use super::Resources;
use crate::text::Keep;

/// A value for a file of a cgroup, and the field of `config.json` that asks for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knob {
    /// The field below `linux.resources.`, for errors.
    pub field: &'static str,
    /// The file's name in the cgroup's directory.
    pub file: &'static str,
    /// The text to write.
    pub value: &'static str,
    /// The behaviour if the kernel lacks the file.
    pub missing: WithoutFile,
}

impl Knob {
    pub(in crate::cgroup) fn new(field: &'static str, file: &'static str, value: String) -> Knob {
        Knob { field, file, value: value.keep(), missing: WithoutFile::Fails }
    }
}

impl fmt::Display for Knob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.file, self.value)?;
        match self.missing {
            WithoutFile::Fails => Ok(()),
            WithoutFile::Skips => f.write_str(" (if it exists)"),
            WithoutFile::Use(file, value) => write!(f, " (or {file} = {value})"),
        }
    }
}

/// The behaviour if the file of a [`Knob`] does not exist.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum WithoutFile {
    /// Fail.
    Fails,
    /// Skip the write, because the kernel behaves like this anyway.
    Skips,
    /// Write this value to this file instead, which has the same effect.
    Use(&'static str, &'static str),
}

/// The controller that a file of a cgroup belongs to.
pub(in crate::cgroup) fn controller_of(file: &str) -> &str {
    file.split('.').next().unwrap_or_default()
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
    /// All controllers in writing order: memory last, so that little is charged before.
    pub const ALL: [Controller; 9] = {
        use Controller::*;
        [Cpuset, Cpu, Pids, BlockIo, Hugetlb, NetCls, NetPrio, Rdma, Memory]
    };

    /// Its names on v1 and v2 (empty if v2 lacks it), and its field for errors.
    ///
    /// The field is the one below `linux.resources.` that needs the controller.
    pub(in crate::cgroup) fn names(self) -> (&'static str, &'static str, &'static str) {
        [
            ("cpuset", "cpuset", "cpu.cpus"),
            ("cpu", "cpu", "cpu"),
            ("pids", "pids", "pids.limit"),
            ("blkio", "io", "blockIO"),
            ("hugetlb", "hugetlb", "hugepageLimits"),
            ("net_cls", "", "network.classID"),
            ("net_prio", "", "network.priorities"),
            ("rdma", "rdma", "rdma"),
            ("memory", "memory", "memory"),
        ][self as usize]
    }

    /// The controller's name on cgroup v1.
    pub fn v1(self) -> &'static str {
        self.names().0
    }

    /// The controller's name on cgroup v2; empty if v2 lacks it.
    pub fn v2(self) -> &'static str {
        self.names().1
    }

    /// Whether the resources need this controller.
    pub(in crate::cgroup) fn is_asked(self, r: &Resources) -> bool {
        r.of(self).next().is_some()
    }
}
