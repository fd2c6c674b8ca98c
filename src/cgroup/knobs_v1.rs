//! `linux.resources` as files of cgroup v1 (kernel documentation: admin-guide/cgroup-v1).

use super::resources::{BlockIo, Cpu, Memory, Resources};
use super::{Controller, Knob, shown};

/// What to write into a cgroup of this controller's hierarchy. An order that the kernel refuses with EINVAL only for the
/// values of the moment (a limit above the present memory+swap limit) is right in a second pass.
pub fn knobs(of: Controller, r: &Resources) -> Vec<Knob> {
    match of {
        Controller::Cpuset => cpuset(&r.cpu),
        Controller::Cpu => cpu(&r.cpu),
        Controller::Pids => pids(r.pids_limit),
        Controller::BlockIo => block_io(&r.block_io),
        Controller::Hugetlb => hugetlb(&r.hugepage_limits, "limit_in_bytes"),
        Controller::NetCls => {
            Knob::numbers(&[("network.classID", "net_cls.classid", shown(&r.network.class_id))])
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
pub(super) fn pids(limit: Option<i64>) -> Vec<Knob> {
    let most = limit.map(|n| if n < 0 { "max".to_owned() } else { n.max(1).to_string() });
    Knob::numbers(&[("pids.limit", "pids.max", shown(&most))])
}

pub(super) fn cpuset(cpu: &Cpu) -> Vec<Knob> {
    Knob::numbers(&[
        ("cpu.cpus", "cpuset.cpus", shown(&cpu.cpus)),
        ("cpu.mems", "cpuset.mems", shown(&cpu.mems)),
    ])
}

fn cpu(cpu: &Cpu) -> Vec<Knob> {
    Knob::numbers(&[
        ("cpu.shares", "cpu.shares", shown(&cpu.shares)),
        ("cpu.idle", "cpu.idle", shown(&cpu.idle)),
        ("cpu.period", "cpu.cfs_period_us", shown(&cpu.period)),
        ("cpu.quota", "cpu.cfs_quota_us", shown(&cpu.quota)),
        ("cpu.burst", "cpu.cfs_burst_us", shown(&cpu.burst)),
        ("cpu.realtimePeriod", "cpu.rt_period_us", shown(&cpu.realtime_period)),
        ("cpu.realtimeRuntime", "cpu.rt_runtime_us", shown(&cpu.realtime_runtime)),
    ])
}

fn memory(memory: &Memory) -> Vec<Knob> {
    let hierarchy = memory.use_hierarchy.map(u8::from);
    let no_killer = memory.disable_oom_killer.map(u8::from);
    let mut knobs = Knob::numbers(&[
        ("memory.useHierarchy", "memory.use_hierarchy", shown(&hierarchy)),
        ("memory.reservation", "memory.soft_limit_in_bytes", shown(&memory.reservation)),
        ("memory.swappiness", "memory.swappiness", shown(&memory.swappiness)),
        ("memory.disableOOMKiller", "memory.oom_control", shown(&no_killer)),
        ("memory.limit", "memory.limit_in_bytes", shown(&memory.limit)),
        ("memory.swap", "memory.memsw.limit_in_bytes", shown(&memory.swap)),
    ]);
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
    for (field, file, _, list) in io.throttles() {
        for t in list {
            knobs.push(Knob::new(field, file, format!("{}:{} {}", t.major, t.minor, t.rate)));
        }
    }
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
