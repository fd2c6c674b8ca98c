//! Processes moved into the container's cgroup.

use nix::unistd::Pid;

use super::handle::no_place;
use super::hierarchy::Branch;
use super::{Cgroup, systemd};
use crate::error::{Errno, Error, Result};

impl Cgroup {
    /// Moves a process into the cgroup, in every hierarchy, or in all of v1's if it was cloned into v2's already.
    ///
    /// On v1 each write waits for a grace period of the kernel; a hierarchy with joined controllers is one write.
    pub fn join(&self, pid: Pid, in_v2: bool) -> Result<()> {
        let left = self.branches.iter().filter(|b| !(in_v2 && b.place.is_v2()));
        left.into_iter().try_for_each(|branch| self.join_branch(branch, pid))?;
        self.let_go();
        Ok(())
    }

    /// The same for v2 alone: what joins v1's by itself is missing there only.
    pub fn join_v2(&self, pid: Pid, in_v2: bool) -> Result<()> {
        let left = self.v2().filter(|_| !in_v2);
        left.map_or(Ok(()), |branch| self.join_branch(branch, pid))
    }

    /// Moves the calling process into the cgroup in every hierarchy of v1.
    ///
    /// Before Linux 6.6 a new process that sleeps, and that another moves into the cgroup of a busy container, may not run for
    /// ages: it keeps the virtual time of the queue that it leaves (vruntime_normalized in kernel/sched/fair.c takes one that
    /// was never charged for new). One that runs has its time taken relative to both queues.
    pub fn join_v1(&self) -> Result<()> {
        let own = self.branches.iter().filter(|b| !b.place.is_v2());
        own.into_iter().try_for_each(|branch| {
            let joined = branch.write("cgroup.procs", "0").or_else(|e| self.join_beside(branch, "0", e));
            joined.map_err(|e| unjoined(branch, e))
        })
    }

    fn join_branch(&self, branch: &Branch, pid: Pid) -> Result<()> {
        let text = pid.to_string();
        let joined = match (branch.write("cgroup.procs", &text), &self.unit) {
            (Err(Errno::EACCES | Errno::EPERM), Some(unit)) => systemd::attach(unit, pid).map(Ok)?,
            (done, _) => done.or_else(|e| self.join_beside(branch, &text, e)),
        };
        joined.map_err(|e| unjoined(branch, e))
    }
}

fn unjoined(branch: &Branch, e: Errno) -> Error {
    let e = Error::os(format_args!("join cgroup {}", branch.place.directory()), e);
    match e.errno() {
        Some(Errno::ENOSPC) => e.hint("cpuset.cpus or cpuset.mems is empty"),
        _ => no_place(e),
    }
}
