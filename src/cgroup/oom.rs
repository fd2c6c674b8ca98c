//! What the kernel tells of the OOM killer in a cgroup.

use super::fs::Cgroup;

impl Cgroup {
    /// How many processes of the cgroup the OOM killer has killed (`memory.events` on v2, `memory.oom_control` from Linux
    /// 4.13 on v1). 0 where the kernel does not tell.
    pub fn oom_kills(&self) -> u64 {
        let (branch, file) = match self.v1("memory") {
            Some(branch) => (Some(branch), "memory.oom_control"),
            None => (self.v2(), "memory.events"),
        };
        let text = branch.and_then(|b| b.read(file).ok()).unwrap_or_default();
        let mut counts = text.lines().filter_map(|line| line.strip_prefix("oom_kill "));
        counts.next().and_then(|n| n.parse().ok()).unwrap_or(0)
    }
}
