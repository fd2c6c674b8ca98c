//! Processes moved into the container's cgroup.

use nix::unistd::Pid;

use super::handle::no_place;
use super::hierarchy::Hierarchy;
use super::{Cgroup, systemd};
use crate::error::{Errno, Error, Result};

impl Cgroup {
    /// Moves a process into the v2 cgroup, unless `CLONE_INTO_CGROUP` has.
    pub fn join_v2(&self, pid: Pid, in_v2: bool) -> Result<()> {
        let left = self.v2().filter(|_| !in_v2);
        left.map_or(Ok(()), |hierarchy| self.join_hierarchy(hierarchy, pid))
    }

    /// Moves the calling process into the cgroup in every v1 hierarchy.
    ///
    /// It writes `0` into `tasks`, which moves a thread, and it has no other. The kernel need not stop the threads of all
    /// processes then (cgroup_attach_lock, Linux 5.19); for `cgroup.procs` it waits for an RCU grace period, 6 to 10 ms.
    ///
    /// Joining from inside also avoids a kernel fault. Before Linux 6.6, a *sleeping new* task that its parent moves into a busy cgroup
    /// keeps the virtual time of its old queue, because vruntime_normalized (kernel/sched/fair.c) takes a task that was never
    /// charged for a new one, and it may not be scheduled for a long time. A running task has its time adjusted to both queues.
    pub fn join_v1(&self) -> Result<()> {
        let own = self.hierarchies.iter().filter(|b| !b.place.is_v2());
        own.into_iter().try_for_each(|hierarchy| {
            let joined = hierarchy.write("tasks", "0").or_else(|_| hierarchy.write("cgroup.procs", "0"));
            let joined = joined.or_else(|e| self.join_beside(hierarchy, "0", e));
            joined.map_err(|e| unjoined("join", hierarchy, e))
        })
    }

    fn join_hierarchy(&self, hierarchy: &Hierarchy, pid: Pid) -> Result<()> {
        let text = pid.to_string();
        let joined = match (hierarchy.write("cgroup.procs", &text), &self.unit) {
            (Err(Errno::EACCES | Errno::EPERM), Some(unit)) => systemd::attach(unit, pid).map(Ok)?,
            (done, _) => done.or_else(|e| self.join_beside(hierarchy, &text, e)),
        };
        joined.map_err(|e| unjoined(&format!("adding pid {pid} to"), hierarchy, e))
    }
}

/// The error of a process that could not join a cgroup, in runc's words.
fn unjoined(what: &str, hierarchy: &Hierarchy, e: Errno) -> Error {
    let e = Error::os(format_args!("{what} cgroups {}/cgroup.procs", hierarchy.place.directory()), e);
    match e.errno() {
        Some(Errno::ENOSPC) => e.hint("cpuset.cpus or cpuset.mems is empty"),
        _ => no_place(e),
    }
}
