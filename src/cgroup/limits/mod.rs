//! `linux.resources` as types: what `config.json` asks for, and what `update --resources` gives.
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

/// What `linux.resources` asks for; the default asks for nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resources {
    /// `devices[]`, in order: a later rule wins over an earlier one.
    pub devices: Vec<DeviceRule>,
    /// What is set: first the members that stand alone, as in [`ResourceField`], then the items of lists, as in the document.
    pub settings: Vec<Setting>,
    /// `unified`: files of cgroup v2 and what to write to them.
    pub unified: Vec<(&'static str, &'static str)>,
}

/// Which devices a [`DeviceRule`] is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RuleKind {
    /// `a` or not given
    #[default]
    All,
    /// `c`
    Char,
    /// `b`
    Block,
}

/// May read (`r`).
pub const READ: u8 = 2;
/// May write (`w`).
pub const WRITE: u8 = 4;
/// May create with mknod(2) (`m`).
pub const MKNOD: u8 = 1;
/// `rwm`
pub const ANY: u8 = READ | WRITE | MKNOD;

/// `devices[]`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceRule {
    /// Allowed, or denied.
    pub allow: bool,
    /// `type`
    pub kind: RuleKind,
    /// Major number; all if `None`.
    pub major: Option<u32>,
    /// Minor number; all if `None`.
    pub minor: Option<u32>,
    /// The accesses, a sum of [`READ`], [`WRITE`] and [`MKNOD`] (the bits of the kernel's `BPF_DEVCG_ACC_…`).
    pub access: u8,
}

/// One value of one member, or of one item of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The member.
    pub what: ResourceField,
    /// What the number is for: a block device (`8:0`), a network interface, a size of huge pages (`2MB`). The whole value
    /// where that is a text: a list of processors (`0-3,7`), the limits of an RDMA device as `rdma.max` takes them.
    pub of: &'static str,
    /// The number; those of members that have no negative ones are kept as the same bits.
    pub n: i64,
}

/// The members of `linux.resources` that set something, in the order in which v1 wants them written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ResourceField {
    /// `cpu.cpus`: a list such as `0-3,7`.
    Cpus,
    /// `cpu.mems`: a list of memory nodes.
    Mems,
    /// `cpu.shares`: relative weight, 2 to 262144.
    Shares,
    /// `cpu.idle`: 1 runs only when nothing else wants to.
    Idle,
    /// `cpu.period`: microseconds.
    Period,
    /// `cpu.quota`: microseconds of processor time a period; -1 is unlimited.
    Quota,
    /// `cpu.burst`: microseconds that may be saved up.
    Burst,
    /// `cpu.realtimePeriod`: microseconds, of v1 only.
    RealtimePeriod,
    /// `cpu.realtimeRuntime`: microseconds, of v1 only.
    RealtimeRuntime,
    /// `pids.limit`: processes and threads; negative is unlimited.
    Pids,
    /// `blockIO.weight`: 10 to 1000.
    Weight,
    /// `blockIO.leafWeight`: 10 to 1000, of v1 only.
    LeafWeight,
    /// `blockIO.weightDevice[].weight`: 10 to 1000.
    DeviceWeight,
    /// `blockIO.weightDevice[].leafWeight`: 10 to 1000, of v1 only.
    DeviceLeafWeight,
    /// `blockIO.throttleReadBpsDevice[]`: bytes a second; 0 lifts the limit.
    ReadBps,
    /// `blockIO.throttleWriteBpsDevice[]`: bytes a second.
    WriteBps,
    /// `blockIO.throttleReadIOPSDevice[]`: operations a second.
    ReadIops,
    /// `blockIO.throttleWriteIOPSDevice[]`: operations a second.
    WriteIops,
    /// `hugepageLimits[]`: bytes.
    Hugepages,
    /// `network.classID`: the tag of packets for traffic control, of v1 only.
    ClassId,
    /// `network.priorities[]`, of v1 only.
    Priority,
    /// `rdma`: limits by device.
    Rdma,
    /// `memory.useHierarchy`, 0 or 1: v2 is always hierarchical.
    UseHierarchy,
    /// `memory.reservation`: the soft limit, in bytes; -1 is unlimited, as for the other two limits.
    Reservation,
    /// `memory.swappiness`: 0 to 100, of v1 only.
    Swappiness,
    /// `memory.disableOOMKiller`, 0 or 1, of v1 only.
    DisableOomKiller,
    /// `memory.limit`: bytes.
    Limit,
    /// `memory.swap`: memory and swap together, in bytes.
    Swap,
    /// `memory.checkBeforeUpdate`, 0 or 1: an update to a limit below the usage is refused instead of tried.
    CheckBeforeUpdate,
    /// `memory.kernel`: obsolete, ignored with a warning.
    Kernel,
    /// `memory.kernelTCP`: obsolete, ignored with a warning.
    KernelTcp,
}

/// How a member is read. Where Go's encoders cannot tell "not set" from zero and runc therefore takes zero for "not set",
/// so do we: engines rely on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ValueRule {
    /// A text; empty is not set.
    Text,
    /// `true` is 1.
    Boolean,
    /// A number that may be negative.
    Signed,
    /// The same, and zero is not set.
    SignedOrUnset,
    /// A number.
    Unsigned,
    /// The same, and zero is not set.
    UnsignedOrUnset,
    /// A number of 32 bits.
    Word,
    /// Bytes, -1 for unlimited, 0 for not set.
    Bytes,
    /// Microseconds, negative for unlimited, 0 for not set.
    Time,
    /// 0 or 1.
    Bit,
    /// 0 to 100.
    Percent,
    /// 10 to 1000, 0 for not set.
    Share,
    /// Items of a list, read by themselves.
    Items,
}

/// What is known of a member.
pub(in crate::cgroup) struct Member {
    what: ResourceField,
    /// What it needs; none for one that only tells how to go about it.
    pub(in crate::cgroup) controller: Option<Controller>,
    /// The field, below `linux.resources.`.
    pub(in crate::cgroup) field: &'static str,
    rule: ValueRule,
    /// The file of cgroup v1 that takes it; of huge pages the end of the name.
    pub(in crate::cgroup) v1: &'static str,
}

/// All, in the order of [`ResourceField`].
static MEMBERS: [Member; 31] = {
    use ResourceField::*;
    use ValueRule::*;
    const fn of(
        controller: Controller,
        what: ResourceField,
        field: &'static str,
        rule: ValueRule,
        v1: &'static str,
    ) -> Member {
        Member { what, controller: Some(controller), field, rule, v1 }
    }
    const fn manner(what: ResourceField, field: &'static str, rule: ValueRule) -> Member {
        Member { what, controller: None, field, rule, v1: "" }
    }
    const CPU: Controller = Controller::Cpu;
    const IO: Controller = Controller::BlockIo;
    const MEMORY: Controller = Controller::Memory;
    [
        of(Controller::Cpuset, Cpus, "cpu.cpus", Text, "cpuset.cpus"),
        of(Controller::Cpuset, Mems, "cpu.mems", Text, "cpuset.mems"),
        of(CPU, Shares, "cpu.shares", UnsignedOrUnset, "cpu.shares"),
        of(CPU, Idle, "cpu.idle", Bit, "cpu.idle"),
        of(CPU, Period, "cpu.period", UnsignedOrUnset, "cpu.cfs_period_us"),
        of(CPU, Quota, "cpu.quota", Time, "cpu.cfs_quota_us"),
        of(CPU, Burst, "cpu.burst", Unsigned, "cpu.cfs_burst_us"),
        of(CPU, RealtimePeriod, "cpu.realtimePeriod", UnsignedOrUnset, "cpu.rt_period_us"),
        of(CPU, RealtimeRuntime, "cpu.realtimeRuntime", SignedOrUnset, "cpu.rt_runtime_us"),
        of(Controller::Pids, Pids, "pids.limit", Signed, "pids.max"),
        of(IO, Weight, "blockIO.weight", Share, "blkio.weight"),
        of(IO, LeafWeight, "blockIO.leafWeight", Share, "blkio.leaf_weight"),
        of(IO, DeviceWeight, "blockIO.weightDevice", Items, "blkio.weight_device"),
        of(IO, DeviceLeafWeight, "blockIO.weightDevice", Items, "blkio.leaf_weight_device"),
        of(IO, ReadBps, "blockIO.throttleReadBpsDevice", Items, "blkio.throttle.read_bps_device"),
        of(IO, WriteBps, "blockIO.throttleWriteBpsDevice", Items, "blkio.throttle.write_bps_device"),
        of(IO, ReadIops, "blockIO.throttleReadIOPSDevice", Items, "blkio.throttle.read_iops_device"),
        of(IO, WriteIops, "blockIO.throttleWriteIOPSDevice", Items, "blkio.throttle.write_iops_device"),
        of(Controller::Hugetlb, Hugepages, "hugepageLimits", Items, "limit_in_bytes"),
        of(Controller::NetCls, ClassId, "network.classID", Word, "net_cls.classid"),
        of(Controller::NetPrio, Priority, "network.priorities", Items, "net_prio.ifpriomap"),
        of(Controller::Rdma, Rdma, "rdma", Items, "rdma.max"),
        of(MEMORY, UseHierarchy, "memory.useHierarchy", Boolean, "memory.use_hierarchy"),
        of(MEMORY, Reservation, "memory.reservation", Bytes, "memory.soft_limit_in_bytes"),
        of(MEMORY, Swappiness, "memory.swappiness", Percent, "memory.swappiness"),
        of(MEMORY, DisableOomKiller, "memory.disableOOMKiller", Boolean, "memory.oom_control"),
        of(MEMORY, Limit, "memory.limit", Bytes, "memory.limit_in_bytes"),
        of(MEMORY, Swap, "memory.swap", Bytes, "memory.memsw.limit_in_bytes"),
        manner(CheckBeforeUpdate, "memory.checkBeforeUpdate", Boolean),
        manner(Kernel, "memory.kernel", Bytes),
        manner(KernelTcp, "memory.kernelTCP", Bytes),
    ]
};

impl ResourceField {
    pub(in crate::cgroup) fn member(self) -> &'static Member {
        &MEMBERS[self as usize]
    }
}

impl Setting {
    /// What the file of cgroup v1 takes: the number, or a line with what it is for in front, or the text.
    pub(in crate::cgroup) fn value(&self) -> String {
        match self.what {
            ResourceField::Cpus | ResourceField::Mems | ResourceField::Rdma => self.of.to_owned(),
            ResourceField::Hugepages => self.digits(),
            _ if self.of.is_empty() => self.digits(),
            _ => format!("{} {}", self.of, self.digits()),
        }
    }

    /// The number as it is written.
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
    /// The number of a member that is there once, if it is set.
    pub fn number(&self, what: ResourceField) -> Option<i64> {
        self.settings.iter().find(|s| s.what == what).map(|s| s.n)
    }

    /// The text of a member that is one; empty if it is not set.
    pub fn text(&self, what: ResourceField) -> &'static str {
        self.settings.iter().find(|s| s.what == what).map_or("", |s| s.of)
    }

    /// What is set that needs this controller.
    pub(in crate::cgroup) fn of(&self, controller: Controller) -> impl Iterator<Item = &Setting> {
        self.settings.iter().filter(move |s| s.what.member().controller == Some(controller))
    }

    /// What is accepted and not acted upon, as a line for the log.
    pub fn warning(&self) -> Option<&'static str> {
        self.number(ResourceField::Kernel).or(self.number(ResourceField::KernelTcp))?;
        Some("linux.resources.memory: kernel and kernelTCP are ignored (Linux 6.1 removed them)")
    }
}
