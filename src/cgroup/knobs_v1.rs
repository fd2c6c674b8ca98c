//! `linux.resources` as files of cgroup v1 (kernel documentation: admin-guide/cgroup-v1).

use super::resources::{BlockIo, Cpu, Memory, Resources, Throttle};
use super::{Controller, Knob};

/// What to write into a cgroup of this controller's hierarchy. An order that the kernel refuses with EINVAL only for the
/// values of the moment (a limit above the present memory+swap limit) is right in a second pass.
pub fn knobs(of: Controller, r: &Resources) -> Vec<Knob> {
    match of {
        Controller::Cpuset => cpuset(&r.cpu),
        Controller::Cpu => cpu(&r.cpu),
        Controller::Pids => {
            r.pids_limit.map(|n| Knob::new("pids.limit", "pids.max", pids_max(n))).into_iter().collect()
        }
        Controller::BlockIo => block_io(&r.block_io),
        Controller::Hugetlb => hugetlb(&r.hugepage_limits, "limit_in_bytes"),
        Controller::NetCls => {
            let class = |id: u32| Knob::new("network.classID", "net_cls.classid", id.to_string());
            r.network.class_id.map(class).into_iter().collect()
        }
        Controller::NetPrio => {
            let priority = |(name, n): &(String, u32)| {
                Knob::new("network.priorities", "net_prio.ifpriomap", format!("{name} {n}"))
            };
            r.network.priorities.iter().map(priority).collect()
        }
        Controller::Rdma => rdma(r),
        Controller::Memory => memory(&r.memory),
    }
}

/// `pids.max`. 0 becomes 1: the two mean the same to a container, whose first process is never refused by the limit, but a
/// clone straight into the cgroup (`CLONE_INTO_CGROUP`) is.
pub(super) fn pids_max(limit: i64) -> String {
    match limit {
        ..0 => "max".to_owned(),
        0 => "1".to_owned(),
        n => n.to_string(),
    }
}

pub(super) fn cpuset(cpu: &Cpu) -> Vec<Knob> {
    let knob = |field, file, list: &Option<String>| list.clone().map(|l| Knob::new(field, file, l));
    let cpus = knob("cpu.cpus", "cpuset.cpus", &cpu.cpus);
    cpus.into_iter().chain(knob("cpu.mems", "cpuset.mems", &cpu.mems)).collect()
}

fn cpu(cpu: &Cpu) -> Vec<Knob> {
    let mut knobs = Vec::new();
    let mut set = |field, file: &'static str, value: Option<String>| {
        knobs.extend(value.map(|v| Knob::new(field, file, v)));
    };
    set("cpu.shares", "cpu.shares", cpu.shares.map(|n| n.to_string()));
    set("cpu.idle", "cpu.idle", cpu.idle.map(|n| n.to_string()));
    set("cpu.period", "cpu.cfs_period_us", cpu.period.map(|n| n.to_string()));
    set("cpu.quota", "cpu.cfs_quota_us", cpu.quota.map(|n| n.to_string()));
    set("cpu.burst", "cpu.cfs_burst_us", cpu.burst.map(|n| n.to_string()));
    set("cpu.realtimePeriod", "cpu.rt_period_us", cpu.realtime_period.map(|n| n.to_string()));
    set("cpu.realtimeRuntime", "cpu.rt_runtime_us", cpu.realtime_runtime.map(|n| n.to_string()));
    knobs
}

fn memory(memory: &Memory) -> Vec<Knob> {
    let mut knobs = Vec::new();
    let mut set = |field, file: &'static str, value: Option<String>| {
        knobs.extend(value.map(|v| Knob::new(field, file, v)));
    };
    set("memory.useHierarchy", "memory.use_hierarchy", memory.use_hierarchy.map(|b| u8::from(b).to_string()));
    set("memory.reservation", "memory.soft_limit_in_bytes", memory.reservation.map(|n| n.to_string()));
    set("memory.swappiness", "memory.swappiness", memory.swappiness.map(|n| n.to_string()));
    set(
        "memory.disableOOMKiller",
        "memory.oom_control",
        memory.disable_oom_killer.map(|b| u8::from(b).to_string()),
    );
    set("memory.limit", "memory.limit_in_bytes", memory.limit.map(|n| n.to_string()));
    set("memory.swap", "memory.memsw.limit_in_bytes", memory.swap.map(|n| n.to_string()));
    // Without a limit of memory there is none of memory and swap (as in runc), where swap is accounted at all.
    if memory.limit == Some(-1) && memory.swap.is_none() {
        knobs.push(Knob::new("memory.limit", "memory.memsw.limit_in_bytes", "-1").or_skip());
    }
    knobs
}

fn block_io(io: &BlockIo) -> Vec<Knob> {
    // Linux 5.0 replaced CFQ by BFQ, which has files of its own for the same weights and none for leaves.
    const WEIGHT: &str = "blockIO.weight";
    const DEVICE: &str = "blockIO.weightDevice";
    let mut knobs = Vec::new();
    if let Some(n) = io.weight {
        knobs
            .push(Knob::new(WEIGHT, "blkio.weight", n.to_string()).or_use("blkio.bfq.weight", n.to_string()));
    }
    if let Some(n) = io.leaf_weight {
        knobs.push(Knob::new("blockIO.leafWeight", "blkio.leaf_weight", n.to_string()));
    }
    for d in &io.weight_device {
        let line = |n: u16| format!("{}:{} {n}", d.major, d.minor);
        if let Some(n) = d.weight {
            let knob = Knob::new(DEVICE, "blkio.weight_device", line(n));
            knobs.push(knob.or_use("blkio.bfq.weight_device", line(n)));
        }
        knobs.extend(d.leaf_weight.map(|n| Knob::new(DEVICE, "blkio.leaf_weight_device", line(n))));
    }
    let mut throttle = |field, file: &'static str, list: &[Throttle]| {
        knobs.extend(
            list.iter().map(|t| Knob::new(field, file, format!("{}:{} {}", t.major, t.minor, t.rate))),
        );
    };
    throttle("blockIO.throttleReadBpsDevice", "blkio.throttle.read_bps_device", &io.read_bps);
    throttle("blockIO.throttleWriteBpsDevice", "blkio.throttle.write_bps_device", &io.write_bps);
    throttle("blockIO.throttleReadIOPSDevice", "blkio.throttle.read_iops_device", &io.read_iops);
    throttle("blockIO.throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", &io.write_iops);
    knobs
}

/// The limit of reservations covers faults without one too; a kernel before 5.7 has only the limit of faults.
pub(super) fn hugetlb(limits: &[(String, u64)], suffix: &str) -> Vec<Knob> {
    let knob = |(size, limit): &(String, u64)| {
        let file = |rsvd: &str| format!("hugetlb.{size}.{rsvd}{suffix}");
        Knob::new("hugepageLimits", file("rsvd."), limit.to_string()).or_use(file(""), limit.to_string())
    };
    limits.iter().map(knob).collect()
}

/// `rdma.max`, the same on both versions.
pub(super) fn rdma(r: &Resources) -> Vec<Knob> {
    let knob = |(name, limits): &(String, super::resources::Rdma)| {
        let mut line = name.clone();
        let mut add = |key: &str, n: Option<u32>| {
            if let Some(n) = n {
                line.push_str(&format!(" {key}={n}"));
            }
        };
        add("hca_handle", limits.handles);
        add("hca_object", limits.objects);
        Knob::new("rdma", "rdma.max", line)
    };
    r.rdma.iter().map(knob).collect()
}
