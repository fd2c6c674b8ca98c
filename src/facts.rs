//! What must be known of the host before planning: read once, a plain struct that a test can fill in.
//!
//! Facts choose the way; they never stand in for a check.

use crate::cgroup::place::layout::Layout;
use crate::cgroup::planned::CgroupManager;
use crate::cgroup::systemd;
use crate::error::{Context, Result};
use crate::seccomp::policy::Policy;
use crate::seccomp::support::{Support, support};
use crate::sys::credentials;
use crate::sys::entry::variable;
use crate::sys::file::read_text;
use crate::text::Text;

/// The facts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostFacts {
    /// The capabilities that this process can pass on: in its permitted and in its bounding set.
    pub capabilities: u64,
    /// The cgroup hierarchies.
    pub cgroups: Layout,
    /// The cgroup of systemd itself; asked only if it makes the container's.
    pub systemd: String,
    /// What the kernel knows of seccomp; asked only if there is a policy.
    pub seccomp: Support,
    /// SELinux is enabled: file systems take labels as mount options.
    pub selinux: bool,
    /// The listening sockets that the caller passes on.
    pub listening: Listening,
    /// The caller waits for readiness at `$NOTIFY_SOCKET`.
    pub notify_socket: bool,
}

/// Listening sockets among the inherited descriptors, from 3 on: `LISTEN_FDS` (sd_listen_fds(3)).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Listening {
    /// How many there are.
    pub count: u32,
    /// `$LISTEN_FDNAMES`, if there are any.
    pub names: Option<Text>,
}

impl Listening {
    /// The sockets that are passed to this process and not to another one.
    fn of_caller() -> Listening {
        let for_us = variable("LISTEN_PID").is_some_and(|pid| pid == std::process::id().to_string());
        let count = variable("LISTEN_FDS").filter(|_| for_us).and_then(|n| n.parse().ok()).unwrap_or(0);
        Listening { count, names: variable("LISTEN_FDNAMES").filter(|_| count > 0) }
    }
}

impl HostFacts {
    /// Everything that the creation of a container asks for.
    pub fn of_host(policy: Option<&Policy>, manager: CgroupManager) -> Result<HostFacts> {
        Ok(HostFacts {
            cgroups: Layout::discover()?,
            systemd: match manager {
                CgroupManager::Systemd { user } => systemd::own_cgroup(user)?,
                CgroupManager::Cgroupfs | CgroupManager::Disabled => String::new(),
            },
            selinux: has_selinux(),
            notify_socket: variable("NOTIFY_SOCKET").is_some_and(|socket| !socket.is_empty()),
            ..HostFacts::of_process(policy)?
        })
    }

    /// What an exec asks for: the container's cgroups are in its record.
    pub fn of_process(policy: Option<&Policy>) -> Result<HostFacts> {
        let permitted = credentials::capget().at("capget")?.permitted;
        Ok(HostFacts {
            capabilities: permitted & credentials::bounding(),
            seccomp: policy.map(|_| support()).unwrap_or_default(),
            listening: Listening::of_caller(),
            ..HostFacts::default()
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
