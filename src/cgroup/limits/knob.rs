//! What to write where: the files of a cgroup, and the controllers that they belong to.

use std::fmt;

use super::Resources;
use crate::text::Keep;

/// What to write to one file of a cgroup, and which field of `config.json` wants it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knob {
    /// The field, below `linux.resources.`, for errors.
    pub field: &'static str,
    /// The file's name in the cgroup's directory.
    pub file: &'static str,
    /// What is written.
    pub value: &'static str,
    /// What to do on a kernel without that file.
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

/// What to do if a [`Knob`]'s file is not there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum WithoutFile {
    /// It is an error.
    Fails,
    /// The value is what the kernel does anyway.
    Skips,
    /// This file and value mean the same.
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
    /// All, in the order in which they are set: memory last, so that little is charged before.
    pub const ALL: [Controller; 9] = {
        use Controller::*;
        [Cpuset, Cpu, Pids, BlockIo, Hugetlb, NetCls, NetPrio, Rdma, Memory]
    };

    /// Its name on cgroup v1, its name on v2 (none if it is not there at all), and the field below `linux.resources.` that
    /// needs it, for errors.
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

    /// Its name on cgroup v1.
    pub fn v1(self) -> &'static str {
        self.names().0
    }

    /// Its name on cgroup v2; empty if it is not there at all.
    pub fn v2(self) -> &'static str {
        self.names().1
    }

    /// Something is set that needs it.
    pub(in crate::cgroup) fn is_asked(self, r: &Resources) -> bool {
        r.of(self).next().is_some()
    }
}
