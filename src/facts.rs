//! What must be known of the host before planning: read once, a plain struct that a test can fill in.
//!
//! Facts choose the way; they never stand in for a check.

use crate::cgroup::place::layout::Layout;
use crate::error::{Context, Result};
use crate::seccomp::compile::Support;
use crate::seccomp::policy::Policy;
use crate::sys::file::read_text;
use crate::sys::{credentials, seccomp};

/// The facts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostFacts {
    /// The capabilities that this process can pass on: in its permitted and in its bounding set.
    pub capabilities: u64,
    /// The cgroup hierarchies.
    pub cgroups: Layout,
    /// What the kernel knows of seccomp; asked only if there is a policy.
    pub seccomp: Support,
    /// SELinux is enabled: file systems take labels as mount options.
    pub selinux: bool,
}

impl HostFacts {
    /// Everything that the creation of a container asks for.
    pub fn of_host(policy: Option<&Policy>) -> Result<HostFacts> {
        Ok(HostFacts {
            cgroups: Layout::discover()?,
            selinux: has_selinux(),
            ..HostFacts::of_process(policy)?
        })
    }

    /// What an exec asks for: the container's cgroups are in its record.
    pub fn of_process(policy: Option<&Policy>) -> Result<HostFacts> {
        let permitted = credentials::capget().at("capget")?.permitted;
        Ok(HostFacts {
            capabilities: permitted & credentials::bounding(),
            cgroups: Layout::default(),
            seccomp: policy.map(|_| seccomp::support()).unwrap_or_default(),
            selinux: false,
        })
    }
}

/// Whether SELinux is enabled and has a policy.
///
/// The kernel registers selinuxfs only if SELinux was enabled at boot. Without a policy every process is labelled `kernel`.
fn has_selinux() -> bool {
    let read = |path| read_text(path).unwrap_or_default();
    read("/proc/filesystems").split_ascii_whitespace().any(|kind| kind == "selinuxfs")
        && read("/proc/self/attr/current").trim_end_matches(['\0', '\n', ' ']) != "kernel"
}
