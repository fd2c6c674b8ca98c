//! Delegates the v2 cgroup to its container (config-linux.md, "Cgroup ownership").
//!
//! The plan decides who may own it.

use nix::unistd::Uid;

use super::Cgroup;
use crate::error::{Context, Errno, Result};
use crate::sys::file::{chown, chownat, read_text};

/// The files of `/sys/kernel/cgroup/delegate`, for kernels without that list.
const FILES: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";

impl Cgroup {
    /// Makes `owner`, a host uid, the owner of the v2 cgroup and its delegatable files.
    ///
    /// See cgroups(7). It does nothing on v1, where delegation is not safe.
    pub fn give(&self, owner: Uid) -> Result<()> {
        let Some(hierarchy) = self.v2() else { return Ok(()) };
        let dir = hierarchy.dir().context(|| format!("open {}", hierarchy.place.directory()))?;
        chown(dir, owner.as_raw()).context(|| format!("chown {}", hierarchy.place.directory()))?;
        let listed = read_text("/sys/kernel/cgroup/delegate");
        for file in listed.as_deref().unwrap_or(FILES).lines().filter(|f| !f.is_empty() && !f.contains('/')) {
            match chownat(dir, file, owner.as_raw(), None) {
                // The kernel may list a file that this cgroup lacks (memory.oom.group without the controller).
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(e) => return Err(e).context(|| format!("chown {}/{file}", hierarchy.place.directory())),
            }
        }
        Ok(())
    }
}
