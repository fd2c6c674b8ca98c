//! `linux.resources` as types, for `config.json` and for `update --resources`.
//!
//! Source: OCI runtime spec 1.3, config-linux.md, "Control groups".

pub mod device_program;
pub mod devices;
pub(super) mod hints;
pub mod knob;
mod read;
#[cfg(test)]
mod tests;
pub(super) mod unified;
pub mod v1;
pub mod v2;

use knob::Controller;
pub use read::{access, resources};

use crate::text::names::word;

/// The requests of `linux.resources`; the default requests nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resources {
    /// `devices[]`, in order: a later rule overrides an earlier one.
    pub devices: Vec<DeviceRule>,
    /// The members that are set.
    ///
    /// First those that occur once, in the order of [`ResourceField`], then the items of lists, in document order.
    pub settings: Vec<Setting>,
    /// `unified`: files of cgroup v2 and the values for them.
    pub unified: Vec<(&'static str, &'static str)>,
}

/// The devices that a [`DeviceRule`] matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RuleKind {
    /// `a`, or absent
    #[default]
    All,
    /// `c`
    Char,
    /// `b`
    Block,
}

/// Permission to read (`r`).
pub const READ: u8 = 2;
/// Permission to write (`w`).
pub const WRITE: u8 = 4;
/// Permission to create with mknod(2) (`m`).
pub const MKNOD: u8 = 1;
/// `rwm`
pub const ANY: u8 = READ | WRITE | MKNOD;

/// `devices[]`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceRule {
    /// The rule allows the accesses, or denies them.
    pub allow: bool,
    /// `type`
    pub kind: RuleKind,
    /// Major number; all if `None`.
    pub major: Option<u32>,
    /// Minor number; all if `None`.
    pub minor: Option<u32>,
    /// The accesses, a sum of [`READ`], [`WRITE`] and [`MKNOD`].
    ///
    /// The bits are those of the kernel's `BPF_DEVCG_ACC_…`.
    pub access: u8,
}

/// One value of a member, or of an item of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The member.
    pub what: ResourceField,
    /// The key of the number, or the whole value of a textual member.
    ///
    /// A key is a block device (`8:0`), a network interface or a huge page size (`2MB`). A text is a list of processors
    /// (`0-3,7`), or the limits of an RDMA device in the form of `rdma.max`.
    pub of: &'static str,
    /// The number; an unsigned one is stored as the same 64 bits.
    pub n: i64,
}

/// The members of `linux.resources` that set something, in v1's writing order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ResourceField {
    /// `cpu.cpus`: a list such as `0-3,7`.
    Cpus,
    /// `cpu.mems`: a list of memory nodes.
    Mems,
    /// `cpu.shares`: relative weight, 2 to 262144.
    Shares,
    /// `cpu.idle`: 1 runs only when nothing else can run.
    Idle,
    /// `cpu.period`: microseconds.
    Period,
    /// `cpu.quota`: microseconds of processor time per period; -1 is unlimited.
    Quota,
    /// `cpu.burst`: microseconds that can be accumulated.
    Burst,
    /// `cpu.realtimePeriod`: microseconds, v1 only.
    RealtimePeriod,
    /// `cpu.realtimeRuntime`: microseconds, v1 only.
    RealtimeRuntime,
    /// `pids.limit`: processes and threads; negative is unlimited.
    Pids,
    /// `blockIO.weight`: 10 to 1000.
    Weight,
    /// `blockIO.leafWeight`: 10 to 1000, v1 only.
    LeafWeight,
    /// `blockIO.weightDevice[].weight`: 10 to 1000.
    DeviceWeight,
    /// `blockIO.weightDevice[].leafWeight`: 10 to 1000, v1 only.
    DeviceLeafWeight,
    /// `blockIO.throttleReadBpsDevice[]`: bytes per second; 0 lifts the limit.
    ReadBps,
    /// `blockIO.throttleWriteBpsDevice[]`: bytes per second.
    WriteBps,
    /// `blockIO.throttleReadIOPSDevice[]`: operations per second.
    ReadIops,
    /// `blockIO.throttleWriteIOPSDevice[]`: operations per second.
    WriteIops,
    /// `hugepageLimits[]`: bytes.
    Hugepages,
    /// `network.classID`: the tag of packets for traffic control, v1 only.
    ClassId,
    /// `network.priorities[]`, v1 only.
    Priority,
    /// `rdma`: limits per device.
    Rdma,
    /// `memory.useHierarchy`, 0 or 1: v2 is always hierarchical.
    UseHierarchy,
    /// `memory.reservation`: the soft limit in bytes; -1 is unlimited.
    Reservation,
    /// `memory.swappiness`: 0 to 100, v1 only.
    Swappiness,
    /// `memory.disableOOMKiller`, 0 or 1, v1 only.
    DisableOomKiller,
    /// `memory.limit`: bytes; -1 is unlimited.
    Limit,
    /// `memory.swap`: memory and swap together, in bytes; -1 is unlimited.
    Swap,
    /// `memory.checkBeforeUpdate`, 0 or 1: refuse a limit below the present usage.
    ///
    /// Without it the kernel is asked to enforce such a limit.
    CheckBeforeUpdate,
    /// `memory.kernel`: obsolete, ignored with a warning.
    Kernel,
    /// `memory.kernelTCP`: obsolete, ignored with a warning.
    KernelTcp,
}

/// How a member is read.
///
/// Go's encoders often cannot tell "not set" from zero. Where runc takes zero for "not set", so do we: engines rely on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ValueRule {
    /// A string; an empty one counts as not set.
    Text,
    /// A boolean; `true` is 1.
    Boolean,
    /// A signed number.
    Signed,
    /// A signed number; zero counts as not set.
    SignedOrUnset,
    /// An unsigned number.
    Unsigned,
    /// An unsigned number; zero counts as not set.
    UnsignedOrUnset,
    /// An unsigned number of 32 bits.
    Word,
    /// Bytes; -1 is unlimited, and 0 counts as not set.
    Bytes,
    /// Microseconds; a negative number is unlimited, and 0 counts as not set.
    Time,
    /// 0 or 1.
    Bit,
    /// 0 to 100.
    Percent,
    /// 10 to 1000; 0 counts as not set.
    Share,
    /// A list whose items have a reader.
    Items,
}

/// The properties of a member.
pub(in crate::cgroup) struct Member {
    what: ResourceField,
    /// The controller that it needs; `None` if it only changes how others are applied.
    pub(in crate::cgroup) controller: Option<Controller>,
    rule: ValueRule,
    /// Its field, and the file of cgroup v1 behind a space.
    names: &'static str,
}

impl Member {
    /// The field below `linux.resources.`.
    pub(in crate::cgroup) fn field(&self) -> &'static str {
        word(self.names, 0)
    }

    /// The file of cgroup v1; for huge pages only the end of its name.
    pub(in crate::cgroup) fn v1(&self) -> &'static str {
        word(self.names, 1)
    }
}

/// All members, in the order of [`ResourceField`].
static MEMBERS: [Member; 31] = {
    use ResourceField::*;
    use ValueRule::*;
    const fn of(controller: Controller, what: ResourceField, rule: ValueRule, names: &'static str) -> Member {
        Member { what, controller: Some(controller), rule, names }
    }
    const fn manner(what: ResourceField, rule: ValueRule, names: &'static str) -> Member {
        Member { what, controller: None, rule, names }
    }
    const CPU: Controller = Controller::Cpu;
    const IO: Controller = Controller::BlockIo;
    const MEMORY: Controller = Controller::Memory;
    [
        of(Controller::Cpuset, Cpus, Text, "cpu.cpus cpuset.cpus"),
        of(Controller::Cpuset, Mems, Text, "cpu.mems cpuset.mems"),
        of(CPU, Shares, UnsignedOrUnset, "cpu.shares cpu.shares"),
        of(CPU, Idle, Bit, "cpu.idle cpu.idle"),
        of(CPU, Period, UnsignedOrUnset, "cpu.period cpu.cfs_period_us"),
        of(CPU, Quota, Time, "cpu.quota cpu.cfs_quota_us"),
        of(CPU, Burst, Unsigned, "cpu.burst cpu.cfs_burst_us"),
        of(CPU, RealtimePeriod, UnsignedOrUnset, "cpu.realtimePeriod cpu.rt_period_us"),
        of(CPU, RealtimeRuntime, SignedOrUnset, "cpu.realtimeRuntime cpu.rt_runtime_us"),
        of(Controller::Pids, Pids, Signed, "pids.limit pids.max"),
        of(IO, Weight, Share, "blockIO.weight blkio.weight"),
        of(IO, LeafWeight, Share, "blockIO.leafWeight blkio.leaf_weight"),
        of(IO, DeviceWeight, Items, "blockIO.weightDevice blkio.weight_device"),
        of(IO, DeviceLeafWeight, Items, "blockIO.weightDevice blkio.leaf_weight_device"),
        of(IO, ReadBps, Items, "blockIO.throttleReadBpsDevice blkio.throttle.read_bps_device"),
        of(IO, WriteBps, Items, "blockIO.throttleWriteBpsDevice blkio.throttle.write_bps_device"),
        of(IO, ReadIops, Items, "blockIO.throttleReadIOPSDevice blkio.throttle.read_iops_device"),
        of(IO, WriteIops, Items, "blockIO.throttleWriteIOPSDevice blkio.throttle.write_iops_device"),
        of(Controller::Hugetlb, Hugepages, Items, "hugepageLimits limit_in_bytes"),
        of(Controller::NetCls, ClassId, Word, "network.classID net_cls.classid"),
        of(Controller::NetPrio, Priority, Items, "network.priorities net_prio.ifpriomap"),
        of(Controller::Rdma, Rdma, Items, "rdma rdma.max"),
        of(MEMORY, UseHierarchy, Boolean, "memory.useHierarchy memory.use_hierarchy"),
        of(MEMORY, Reservation, Bytes, "memory.reservation memory.soft_limit_in_bytes"),
        of(MEMORY, Swappiness, Percent, "memory.swappiness memory.swappiness"),
        of(MEMORY, DisableOomKiller, Boolean, "memory.disableOOMKiller memory.oom_control"),
        of(MEMORY, Limit, Bytes, "memory.limit memory.limit_in_bytes"),
        of(MEMORY, Swap, Bytes, "memory.swap memory.memsw.limit_in_bytes"),
        manner(CheckBeforeUpdate, Boolean, "memory.checkBeforeUpdate"),
        manner(Kernel, Bytes, "memory.kernel"),
        manner(KernelTcp, Bytes, "memory.kernelTCP"),
    ]
};

impl ResourceField {
    pub(in crate::cgroup) fn member(self) -> &'static Member {
        &MEMBERS[self as usize]
    }
}

impl Setting {
    /// The value for the file of cgroup v1: text, number, or key and number.
    pub(in crate::cgroup) fn value(&self) -> String {
        match self.what {
            ResourceField::Cpus | ResourceField::Mems | ResourceField::Rdma => self.of.to_owned(),
            ResourceField::Hugepages => self.digits(),
            _ if self.of.is_empty() => self.digits(),
            _ => format!("{} {}", self.of, self.digits()),
        }
    }

    /// The number in decimal.
    pub(in crate::cgroup) fn digits(&self) -> String {
        match self.what.member().rule {
            ValueRule::Signed | ValueRule::SignedOrUnset | ValueRule::Bytes | ValueRule::Time => {
                self.n.to_string()
            }
            _ => (self.n as u64).to_string(),
        }
    }
}

impl Resources {
    /// The number of a member that occurs once, if it is set.
    pub fn number(&self, what: ResourceField) -> Option<i64> {
        self.settings.iter().find(|s| s.what == what).map(|s| s.n)
    }

    /// The text of a textual member; empty if it is not set.
    pub fn text(&self, what: ResourceField) -> &'static str {
        self.settings.iter().find(|s| s.what == what).map_or("", |s| s.of)
    }

    /// The settings that need this controller.
    pub(in crate::cgroup) fn of(&self, controller: Controller) -> impl Iterator<Item = &Setting> {
        self.settings.iter().filter(move |s| s.what.member().controller == Some(controller))
    }

    /// A warning for the log about settings that are accepted but ignored.
    pub fn warning(&self) -> Option<&'static str> {
        self.number(ResourceField::Kernel).or(self.number(ResourceField::KernelTcp))?;
        Some("linux.resources.memory: kernel and kernelTCP are ignored (Linux 6.1 removed them)")
    }
}
