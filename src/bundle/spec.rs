//! `config.json` as types, read strictly; [`crate::plan`] decides what follows.
//!
//! Only the properties that the runtime acts on are here; unknown ones are ignored (spec: "Extensibility"). A property is an
//! `Option` if its absence differs from its zero value.

use crate::bundle::intel_rdt::IntelRdt;
use crate::cgroup::limits::Resources;
use crate::json::pairs::Pairs;
use crate::seccomp::policy::Policy;
use crate::text::{List, Text};

/// The whole `config.json` (OCI runtime spec 1.3, config.md).
#[derive(Debug, Default, PartialEq)]
pub struct Spec {
    /// `ociVersion`, checked to be SemVer 1.x.
    pub oci_version: Text,
    /// `root`
    pub root: Root,
    /// `mounts[]`, in order.
    pub mounts: List<Mount>,
    /// `process`; required at start, not at create.
    pub process: Option<Box<Process>>,
    /// `hostname`
    pub hostname: Option<Text>,
    /// `domainname`
    pub domainname: Option<Text>,
    /// `hooks`
    pub hooks: Hooks,
    /// `annotations`, in order.
    pub annotations: Pairs,
    /// `linux`
    pub linux: Linux,
}

/// `root`
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Root {
    /// The root file system, absolute or relative to the bundle.
    pub path: Text,
    /// The container sees its root read-only.
    pub readonly: bool,
}

/// `mounts[]`
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mount {
    /// Path inside the container; a relative one starts at `/`.
    pub destination: Text,
    /// Source of the mount; for a bind mount absolute or relative to the bundle.
    pub source: Option<Text>,
    /// The file system's type.
    pub kind: Option<Text>,
    /// Flags by their names in mount(8), and data for the file system.
    pub options: List<Text>,
    /// `uidMappings` and `gidMappings` of an idmapped mount, which few mounts have.
    pub mappings: Option<&'static (List<IdMapping>, List<IdMapping>)>,
}

/// `process`, of the config or of `exec --process`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    /// A terminal is attached.
    pub terminal: bool,
    /// (height, width) in characters; only with a terminal.
    pub console_size: Option<(u16, u16)>,
    /// The ids of the process.
    pub user: User,
    /// The program and its arguments; at least one.
    pub args: List<Text>,
    /// `KEY=VALUE`
    pub env: List<Text>,
    /// The absolute working directory inside the container.
    pub cwd: Text,
    /// The five capability sets; an absent set is empty.
    pub capabilities: Capabilities,
    /// Resource limits, each type once.
    pub rlimits: List<Rlimit>,
    /// `noNewPrivileges`
    pub no_new_privileges: bool,
    /// `oomScoreAdj`, written exactly if given.
    pub oom_score_adj: Option<i32>,
    /// The AppArmor profile to change to on exec.
    pub apparmor_profile: Option<Text>,
    /// The SELinux label to change to on exec.
    pub selinux_label: Option<Text>,
    /// `scheduler`
    pub scheduler: Option<&'static Scheduler>,
    /// `ioPriority`: (class, priority)
    pub io_priority: Option<IoPriority>,
    /// `execCPUAffinity`, for exec only.
    pub exec_cpu_affinity: Option<CpuAffinity>,
}

/// `process.user`
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct User {
    /// User id inside the container.
    pub uid: u32,
    /// Group id inside the container.
    pub gid: u32,
    /// The file mode creation mask; absent leaves the caller's.
    pub umask: Option<u32>,
    /// Supplementary groups; the process has exactly these.
    pub additional_gids: List<u32>,
}

/// `process.capabilities`: names as written, known or not.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Capabilities {
    /// The superset that limits the others.
    pub bounding: List<Text>,
    /// The set that permission checks use.
    pub effective: List<Text>,
    /// Kept across exec of a file that has it in its inheritable set.
    pub inheritable: List<Text>,
    /// The superset that limits the effective set.
    pub permitted: List<Text>,
    /// Kept across exec of an unprivileged program.
    pub ambient: List<Text>,
}

/// `process.rlimits[]`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rlimit {
    /// The kernel's number of the resource (`RLIMIT_NOFILE` is 7).
    pub resource: u32,
    /// The enforced limit.
    pub soft: u64,
    /// The ceiling of the soft limit.
    pub hard: u64,
}

/// `process.scheduler` (sched_setattr(2))
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scheduler {
    /// The kernel's number of the policy (`SCHED_FIFO` is 1).
    pub policy: u32,
    /// Niceness of SCHED_OTHER and SCHED_BATCH.
    pub nice: i32,
    /// Static priority of SCHED_FIFO and SCHED_RR.
    pub priority: i32,
    /// The kernel's bits of the `SCHED_FLAG_…`.
    pub flags: u64,
    /// Runtime in nanoseconds, for SCHED_DEADLINE.
    pub runtime: u64,
    /// Deadline in nanoseconds, for SCHED_DEADLINE.
    pub deadline: u64,
    /// Period in nanoseconds, for SCHED_DEADLINE.
    pub period: u64,
}

/// `process.ioPriority` (ioprio_set(2))
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct IoPriority {
    /// The kernel's number of the class (`IOPRIO_CLASS_BE` is 2).
    pub class: u8,
    /// 0 (highest) to 7.
    pub priority: u8,
}

/// `process.execCPUAffinity`: CPU lists such as `0-3,7`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CpuAffinity {
    /// The processors before the process joins the cgroup.
    pub initial: Option<Text>,
    /// The processors after the process has joined the cgroup.
    pub last: Option<Text>,
}

/// `hooks`: a list for each kind, in the order of [`HookKind::NAMES`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Hooks(pub [List<Hook>; 6]);

/// `hooks.*[]`
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Hook {
    /// Absolute path of the program.
    pub path: Text,
    /// argv including argv\[0\]; only the path if empty.
    pub args: List<Text>,
    /// The whole environment.
    pub env: List<Text>,
    /// Seconds after which the hook is killed.
    pub timeout: Option<u32>,
}

/// The kinds of hooks, by where the spec runs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookKind {
    /// Deprecated; in create, before createRuntime, in the runtime's namespaces.
    Prestart,
    /// In create, before the pivot, in the runtime's namespaces.
    CreateRuntime,
    /// In create, before the pivot, in the container's namespaces.
    CreateContainer,
    /// In start, before the program, in the container.
    StartContainer,
    /// In start, after the program began, in the runtime's namespaces.
    Poststart,
    /// In delete, after the container is gone, in the runtime's namespaces.
    Poststop,
}

impl HookKind {
    /// The spec's names of the kinds, in their order.
    pub const NAMES: [&'static str; 6] =
        ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

    /// The hooks of this kind.
    pub fn of(self, hooks: &Hooks) -> List<Hook> {
        hooks.0[self as usize]
    }

    /// Whether the configuration has hooks of this kind.
    pub fn is_in(self, hooks: &Hooks) -> bool {
        !self.of(hooks).is_empty()
    }
}

impl std::fmt::Display for HookKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(HookKind::NAMES[*self as usize])
    }
}

/// `linux`
#[derive(Debug, Default, PartialEq)]
pub struct Linux {
    /// Namespaces to make or join, each type at most once; others are the runtime's.
    pub namespaces: List<Namespace>,
    /// Uid mappings of a new user namespace.
    pub uid_mappings: List<IdMapping>,
    /// Gid mappings of a new user namespace.
    pub gid_mappings: List<IdMapping>,
    /// Offsets of a new time namespace: (clock, seconds, nanoseconds).
    pub time_offsets: List<(Text, i64, u32)>,
    /// Device nodes to make besides the default ones.
    pub devices: List<Device>,
    /// The cgroup's path, or `slice:prefix:name` for systemd.
    ///
    /// An absolute path is below the cgroup mount, a relative one below the runtime's parent.
    pub cgroups_path: Option<Text>,
    /// `resources`
    pub resources: Resources,
    /// Propagation of the container's root mount.
    pub rootfs_propagation: Option<Propagation>,
    /// `seccomp`
    pub seccomp: Option<Policy>,
    /// Kernel parameters, in order.
    pub sysctl: List<(Text, Text)>,
    /// Paths that the container cannot read.
    pub masked_paths: List<Text>,
    /// Paths that the container cannot write.
    pub readonly_paths: List<Text>,
    /// SELinux context of the mounts.
    pub mount_label: Option<Text>,
    /// Execution domain.
    pub personality: Option<Personality>,
    /// `memoryPolicy`
    pub memory_policy: Option<MemoryPolicy>,
    /// `netDevices`
    pub net_devices: List<NetDevice>,
    /// `intelRdt`
    pub intel_rdt: Option<IntelRdt>,
}

/// The kind of a namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum NamespaceKind {
    #[default]
    User,
    Pid,
    Network,
    Mount,
    Ipc,
    Uts,
    Cgroup,
    Time,
}

impl NamespaceKind {
    /// All kinds, in an order in which they can be joined one after the other.
    pub const ALL: [NamespaceKind; 8] = [
        NamespaceKind::User,
        NamespaceKind::Pid,
        NamespaceKind::Network,
        NamespaceKind::Ipc,
        NamespaceKind::Uts,
        NamespaceKind::Cgroup,
        NamespaceKind::Time,
        NamespaceKind::Mount,
    ];

    /// The kernel's flag, its name without `CLONE_`, and the file in `/proc/PID/ns`.
    ///
    /// Source: clone(2), namespaces(7).
    const fn kernel(self) -> (u64, &'static str, &'static str) {
        match self {
            NamespaceKind::User => (0x1000_0000, "NEWUSER", "user"),
            NamespaceKind::Pid => (0x2000_0000, "NEWPID", "pid"),
            NamespaceKind::Network => (0x4000_0000, "NEWNET", "net"),
            NamespaceKind::Mount => (0x0002_0000, "NEWNS", "mnt"),
            NamespaceKind::Ipc => (0x0800_0000, "NEWIPC", "ipc"),
            NamespaceKind::Uts => (0x0400_0000, "NEWUTS", "uts"),
            NamespaceKind::Cgroup => (0x0200_0000, "NEWCGROUP", "cgroup"),
            NamespaceKind::Time => (0x80, "NEWTIME", "time"),
        }
    }

    /// `CLONE_NEW…`
    pub const fn clone_flag(self) -> u64 {
        self.kernel().0
    }

    /// The flag's name in runc's state file: `NEWNET`.
    pub const fn flag_name(self) -> &'static str {
        self.kernel().1
    }

    /// The file in `/proc/PID/ns`.
    pub const fn proc_name(self) -> &'static str {
        self.kernel().2
    }

    /// The names of the kinds of a set of `CLONE_NEW…` flags.
    pub fn names_of(flags: u64) -> String {
        let mut names = String::new();
        for kind in NamespaceKind::ALL {
            if flags & kind.clone_flag() != 0 {
                names.push_str(if names.is_empty() { "" } else { ", " });
                names.push_str(kind.name());
            }
        }
        names
    }
}

impl std::fmt::Display for NamespaceKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// `linux.namespaces[]`
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Namespace {
    /// `type`
    pub kind: NamespaceKind,
    /// Absolute path of the namespace to join; a new one is made if absent.
    pub path: Option<Text>,
}

/// `uidMappings[]`, `gidMappings[]`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdMapping {
    /// First id inside.
    pub container_id: u32,
    /// First id outside.
    pub host_id: u32,
    /// Number of ids.
    pub size: u32,
}

/// `linux.devices[].type`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceKind {
    /// `c` or `u`
    #[default]
    Char,
    /// `b`
    Block,
    /// `p`
    Fifo,
}

/// `linux.devices[]`
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Device {
    /// `type`
    pub kind: DeviceKind,
    /// Absolute path inside the container.
    pub path: Text,
    /// Major number; 0 for a FIFO.
    pub major: u32,
    /// Minor number; 0 for a FIFO.
    pub minor: u32,
    /// Permission bits only; 0666 if absent.
    pub file_mode: Option<u32>,
    /// Owner inside the container.
    pub uid: u32,
    /// Group inside the container.
    pub gid: u32,
}

/// How mounts propagate between a mount and its copies (mount_namespaces(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Propagation {
    Shared { recursive: bool },
    Slave { recursive: bool },
    Private { recursive: bool },
    Unbindable { recursive: bool },
}

/// `linux.netDevices`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetDevice {
    /// The key: its name in the runtime's network namespace.
    pub host: Text,
    /// Its name in the container, or a template with `%d`, if it is another one.
    pub name: Option<Text>,
}

/// `linux.memoryPolicy` (set_mempolicy(2))
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryPolicy {
    /// The kernel's number of the mode (`MPOL_BIND` is 2).
    pub mode: u32,
    /// The kernel's bits of the `MPOL_F_…`.
    pub flags: u32,
    /// A list of nodes such as `0-3,7`.
    pub nodes: Option<Text>,
}

/// Modes and flags, as the kernel numbers them.
#[allow(missing_docs)]
impl MemoryPolicy {
    pub const DEFAULT: u32 = 0;
    pub const PREFERRED: u32 = 1;
    pub const BIND: u32 = 2;
    pub const LOCAL: u32 = 4;
    pub const PREFERRED_MANY: u32 = 5;
    pub const NUMA_BALANCING: u32 = 1 << 13;
    pub const RELATIVE_NODES: u32 = 1 << 14;
    pub const STATIC_NODES: u32 = 1 << 15;
}

/// `linux.personality.domain`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Personality {
    /// `LINUX`
    #[default]
    Linux,
    /// `LINUX32`
    Linux32,
}
