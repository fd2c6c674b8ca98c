//! The facts about the host that planning needs; a test can fill them in.
//!
//! Facts choose between alternatives; they never replace a check.

use crate::bundle::spec::{Process, Spec};
use crate::cgroup::limits::ResourceField;
use crate::cgroup::limits::knob::Controller;
use crate::cgroup::place::layout::Layout;
use crate::cgroup::planned::CgroupManager;
use crate::cgroup::planned_limits::CgroupFacts;
use crate::cgroup::systemd;
use crate::error::{Context, Errno, Result};
use crate::seccomp::policy::Policy;
use crate::seccomp::support::{Support, support};
use crate::sys::credentials;
use crate::sys::entry::variable;
use crate::sys::file::{read_text, stat};
use crate::text::{Keep, Text};

/// The facts, read once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostFacts {
    /// The capabilities both permitted to this process and in its bounding set.
    pub capabilities: u64,
    /// The capabilities that the kernel has.
    pub known_capabilities: u64,
    /// The caller, if it has not all rights that a user namespace takes.
    pub user: Option<OrdinaryUser>,
    /// The cgroup hierarchies.
    pub cgroups: Layout,
    /// The cgroup of systemd itself; read only if systemd makes the container's.
    pub systemd: String,
    /// The seccomp features of the kernel; read only if there is a policy.
    pub seccomp: Support,
    /// SELinux is enabled; asked only if the config has a label.
    pub selinux: bool,
    /// AppArmor; asked only if the config has a profile.
    pub apparmor: AppArmor,
    /// The listening sockets that the caller passes on.
    pub listening: Listening,
    /// `cgroup.controllers` of v2's root; read only if the config needs it.
    pub v2_controllers: Option<String>,
    /// The text of `/proc/cgroups`; read only if a needed controller is missing.
    pub known_controllers: String,
    /// The memory controller of v1 does not account swap; read only if swap is limited.
    pub no_swap: bool,
    /// The text of `/proc/devices`; read only if a systemd unit takes device rules.
    pub drivers: Option<String>,
}

/// A caller without all rights that a user namespace takes.
///
/// It can map few ids without help, and cannot look into a process that is not dumpable.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OrdinaryUser {
    /// The user ids that it may map.
    pub uids: Mappable,
    /// The group ids that it may map.
    pub gids: Mappable,
}

/// The ids that a caller may map in a new user namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Mappable {
    /// All.
    #[default]
    All,
    /// One without help.
    One {
        /// The effective id.
        id: u32,
        /// `newuidmap` or `newgidmap`.
        ///
        /// It maps the ids that `/etc/subuid` or `/etc/subgid` gives to the user.
        helper: Option<Text>,
    },
}

impl OrdinaryUser {
    /// The caller with these capabilities, unless they suffice.
    fn of_caller(capabilities: u64) -> Option<OrdinaryUser> {
        if capabilities & NAMESPACE_RIGHTS == NAMESPACE_RIGHTS {
            return None;
        }
        let mappable = |capability: u64, id: u32, name| match capabilities & capability {
            0 => Mappable::One { id, helper: helper(name) },
            _ => Mappable::All,
        };
        Some(OrdinaryUser {
            uids: mappable(SETUID, nix::unistd::geteuid().as_raw(), "newuidmap"),
            gids: mappable(SETGID, nix::unistd::getegid().as_raw(), "newgidmap"),
        })
    }
}

/// The capabilities that a user namespace takes.
const NAMESPACE_RIGHTS: u64 = SETGID | SETUID | SYS_PTRACE | SYS_ADMIN;
const SETGID: u64 = 1 << 6;
const SETUID: u64 = 1 << 7;
/// CAP_SYS_PTRACE
pub const SYS_PTRACE: u64 = 1 << 19;
/// CAP_SYS_ADMIN
pub const SYS_ADMIN: u64 = 1 << 21;

/// A helper's path.
///
/// It has set-user-ID rights, so it is not looked for where the caller's PATH leads.
fn helper(name: &str) -> Option<Text> {
    let directories = ["/usr/bin", "/usr/local/bin", "/bin", "/run/wrappers/bin"];
    let mut paths = directories.iter().map(|directory| format!("{directory}/{name}"));
    paths.find(|path| stat(&**path).is_ok()).map(Keep::keep)
}

/// The confinement of the runtime by AppArmor.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum AppArmor {
    /// The kernel lacks it, or it is not enabled.
    #[default]
    Off,
    /// The runtime is not confined and may choose any profile.
    Unconfined,
    /// The runtime has a profile, which decides about changes.
    Confined,
    /// The runtime has a profile and no_new_privs: it can only add to it.
    ConfinedForGood,
}

impl AppArmor {
    /// Reads the confinement of this process.
    fn of_process() -> AppArmor {
        let read = |path| read_text(path).unwrap_or_default();
        if !read("/sys/module/apparmor/parameters/enabled").starts_with('Y') {
            return AppArmor::Off;
        }
        // Since Linux 5.8 each security module has files of its own.
        let current = read_text("/proc/self/attr/apparmor/current");
        let current = current.unwrap_or_else(|_| read("/proc/self/attr/current"));
        match current.trim_end_matches(['\0', '\n']) {
            // A profile can also confine nothing: `NAME (unconfined)`.
            name if name == "unconfined" || name.ends_with(" (unconfined)") => AppArmor::Unconfined,
            _ if nix::sys::prctl::get_no_new_privs() == Ok(true) => AppArmor::ConfinedForGood,
            _ => AppArmor::Confined,
        }
    }
}

/// The listening sockets among the inherited descriptors, from 3 on.
///
/// `LISTEN_FDS` gives their number (sd_listen_fds(3)).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Listening {
    /// The number of sockets.
    pub count: u32,
    /// `$LISTEN_FDNAMES`, if there are sockets.
    pub names: Option<Text>,
}

impl Listening {
    /// The sockets that are passed to this process, not to another one.
    fn of_caller() -> Listening {
        let for_us = variable("LISTEN_PID").is_some_and(|pid| pid == std::process::id().to_string());
        let count = variable("LISTEN_FDS").filter(|_| for_us).and_then(|n| n.parse().ok()).unwrap_or(0);
        Listening { count, names: variable("LISTEN_FDNAMES").filter(|_| count > 0) }
    }
}

impl HostFacts {
    /// The facts for creating a container.
    pub fn of_host(spec: &Spec, policy: Option<&Policy>, manager: CgroupManager) -> Result<HostFacts> {
        let linux = &spec.linux;
        let mut facts = HostFacts {
            cgroups: Layout::discover()?,
            systemd: match manager {
                CgroupManager::Systemd { user } => systemd::own_cgroup(user)?,
                CgroupManager::Cgroupfs | CgroupManager::Disabled => String::new(),
            },
            // A user's manager may not set device rules.
            drivers: (manager == CgroupManager::Systemd { user: false })
                .then(|| read_text("/proc/devices").unwrap_or_default()),
            ..HostFacts::of_process(spec.process.as_deref(), policy)?
        };
        if facts.cgroup_facts().asks_v2(&linux.resources) {
            facts.v2_controllers = facts.cgroups.v2_controllers();
        }
        facts.selinux |= linux.mount_label.is_some() && has_selinux();
        if facts.cgroup_facts().lacks(&linux.resources) {
            facts.known_controllers = read_text("/proc/cgroups").unwrap_or_default();
        }
        facts.no_swap = linux.resources.number(ResourceField::Swap).is_some() && lacks_swap(&facts.cgroups);
        Ok(facts)
    }

    /// The facts that decide how limits are written.
    pub fn cgroup_facts(&self) -> CgroupFacts<'_> {
        let v1 =
            self.cgroups.hierarchies.iter().flat_map(|hierarchy| &hierarchy.controllers).map(String::as_str);
        CgroupFacts {
            v1: v1.collect(),
            has_v2: self.cgroups.v2().is_some(),
            v2: self.v2_controllers.as_deref(),
            known: &self.known_controllers,
            no_swap: self.no_swap,
            drivers: self.drivers.as_deref(),
            ..CgroupFacts::default()
        }
    }

    /// The facts for an exec, without cgroups: the container's are in its record.
    pub fn of_process(process: Option<&Process>, policy: Option<&Policy>) -> Result<HostFacts> {
        let permitted = credentials::capget().at("capget")?.permitted;
        let (bounding, known_capabilities) = credentials::bounding();
        let capabilities = permitted & bounding;
        Ok(HostFacts {
            capabilities,
            user: OrdinaryUser::of_caller(capabilities),
            known_capabilities,
            seccomp: policy.map(|_| support()).unwrap_or_default(),
            listening: Listening::of_caller(),
            selinux: process.is_some_and(|p| p.selinux_label.is_some()) && has_selinux(),
            apparmor: match process.and_then(|p| p.apparmor_profile) {
                Some(_) => AppArmor::of_process(),
                None => AppArmor::Off,
            },
            ..HostFacts::default()
        })
    }
}

/// Whether v1 has the memory controller, but no file for memory and swap together.
fn lacks_swap(layout: &Layout) -> bool {
    let hierarchy = layout.hierarchies.iter().find(|hierarchy| hierarchy.has(Controller::Memory.v1()));
    let file = hierarchy.map(|hierarchy| format!("{}/memory.memsw.limit_in_bytes", hierarchy.mount));
    file.is_some_and(|file| stat(&*file).is_err_and(|e| e == Errno::ENOENT))
}

/// Whether SELinux is enabled and has a policy.
///
/// The kernel registers selinuxfs only if SELinux was enabled at boot. Without a policy every process is labelled `kernel`.
fn has_selinux() -> bool {
    let read = |path| read_text(path).unwrap_or_default();
    read("/proc/filesystems").split_ascii_whitespace().any(|kind| kind == "selinuxfs")
        && read("/proc/self/attr/current").trim_end_matches(['\0', '\n', ' ']) != "kernel"
}
