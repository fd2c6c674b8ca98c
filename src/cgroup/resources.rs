//! `linux.resources` as types, read strictly: what `config.json` asks for, and what `update --resources` gives.
//!
//! Source: OCI runtime spec 1.3, config-linux.md, "Control groups". Where Go's encoders cannot tell "not set" from zero
//! and runc therefore takes zero for "not set" (limits in bytes, shares, periods), so do we: engines rely on it.

use crate::bundle::json::Json;
use crate::bundle::read::{Fault, Read, Whole, boolean, integer, object, string};
use crate::error::Quoted;

/// What `linux.resources` asks for; the default asks for nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resources {
    /// `devices[]`, in order: a later rule wins over an earlier one.
    pub devices: Vec<DeviceRule>,
    /// `memory`
    pub memory: Memory,
    /// `cpu`
    pub cpu: Cpu,
    /// `pids.limit`: processes and threads; negative is unlimited.
    pub pids_limit: Option<i64>,
    /// `blockIO`
    pub block_io: BlockIo,
    /// `hugepageLimits[]`: (pageSize such as `2MB`, bytes).
    pub hugepage_limits: Vec<(String, u64)>,
    /// `network`, of cgroup v1 only.
    pub network: Network,
    /// `rdma`: limits by device name.
    pub rdma: Vec<(String, Rdma)>,
    /// `unified`: files of cgroup v2 and what to write to them.
    pub unified: Vec<(String, String)>,
}

/// Which devices a [`DeviceRule`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleKind {
    /// `a` or not given
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// `memory`: bytes, -1 is unlimited.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// `limit`
    pub limit: Option<i64>,
    /// `reservation`: the soft limit.
    pub reservation: Option<i64>,
    /// `swap`: memory and swap together.
    pub swap: Option<i64>,
    /// `kernel` or `kernelTCP` is given: obsolete, ignored with a warning.
    pub kernel: bool,
    /// `swappiness`: 0 to 100, of v1 only.
    pub swappiness: Option<u64>,
    /// `disableOOMKiller`, of v1 only.
    pub disable_oom_killer: Option<bool>,
    /// `useHierarchy`: v2 is always hierarchical.
    pub use_hierarchy: Option<bool>,
    /// `checkBeforeUpdate`: an update to a limit below the usage is refused instead of tried.
    pub check_before_update: bool,
}

/// `cpu`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cpu {
    /// `shares`: relative weight, 2 to 262144.
    pub shares: Option<u64>,
    /// `quota`: microseconds of processor time a period; -1 is unlimited.
    pub quota: Option<i64>,
    /// `burst`: microseconds that may be saved up.
    pub burst: Option<u64>,
    /// `period`: microseconds.
    pub period: Option<u64>,
    /// `realtimeRuntime`: microseconds, of v1 only.
    pub realtime_runtime: Option<i64>,
    /// `realtimePeriod`: microseconds, of v1 only.
    pub realtime_period: Option<u64>,
    /// `cpus`: a list such as `0-3,7`.
    pub cpus: Option<String>,
    /// `mems`: a list of memory nodes.
    pub mems: Option<String>,
    /// `idle`: 1 runs only when nothing else wants to.
    pub idle: Option<u8>,
}

/// `blockIO`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BlockIo {
    /// `weight`: 10 to 1000.
    pub weight: Option<u16>,
    /// `leafWeight`: 10 to 1000, of v1 only.
    pub leaf_weight: Option<u16>,
    /// `weightDevice[]`
    pub weight_device: Vec<WeightDevice>,
    /// `throttleReadBpsDevice[]`
    pub read_bps: Vec<Throttle>,
    /// `throttleWriteBpsDevice[]`
    pub write_bps: Vec<Throttle>,
    /// `throttleReadIOPSDevice[]`
    pub read_iops: Vec<Throttle>,
    /// `throttleWriteIOPSDevice[]`
    pub write_iops: Vec<Throttle>,
}

/// `blockIO.weightDevice[]`
#[derive(Clone, Debug, PartialEq)]
pub struct WeightDevice {
    /// Major number of the block device.
    pub major: u32,
    /// Minor number of the block device.
    pub minor: u32,
    /// `weight`: 10 to 1000.
    pub weight: Option<u16>,
    /// `leafWeight`: 10 to 1000, of v1 only.
    pub leaf_weight: Option<u16>,
}

/// `blockIO.throttle…Device[]`
#[derive(Clone, Debug, PartialEq)]
pub struct Throttle {
    /// Major number of the block device.
    pub major: u32,
    /// Minor number of the block device.
    pub minor: u32,
    /// Bytes or operations a second; 0 lifts the limit.
    pub rate: u64,
}

/// `network`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Network {
    /// `classID`: the tag of packets for traffic control.
    pub class_id: Option<u32>,
    /// `priorities[]`: (interface, priority).
    pub priorities: Vec<(String, u32)>,
}

/// `rdma.*`
#[derive(Clone, Debug, PartialEq)]
pub struct Rdma {
    /// `hcaHandles`
    pub handles: Option<u32>,
    /// `hcaObjects`
    pub objects: Option<u32>,
}

impl Memory {
    /// Something is set that the controller is needed for.
    pub(super) fn has_limits(&self) -> bool {
        let Memory {
            limit,
            reservation,
            swap,
            swappiness,
            disable_oom_killer,
            use_hierarchy,
            kernel: _,
            check_before_update: _,
        } = self;
        limit.or(*reservation).or(*swap).is_some()
            || swappiness.is_some()
            || disable_oom_killer.or(*use_hierarchy).is_some()
    }
}

impl Cpu {
    /// Something is set that is about the time, not the place.
    pub(super) fn has_time(&self) -> bool {
        let Cpu { shares, quota, burst, period, realtime_runtime, realtime_period, idle, cpus: _, mems: _ } =
            self;
        quota.or(*realtime_runtime).is_some()
            || shares.or(*burst).or(*period).or(*realtime_period).is_some()
            || idle.is_some()
    }
}

impl BlockIo {
    /// Nothing is set.
    pub(super) fn is_idle(&self) -> bool {
        let lists = [&self.read_bps, &self.write_bps, &self.read_iops, &self.write_iops];
        self.weight.or(self.leaf_weight).is_none()
            && self.weight_device.is_empty()
            && lists.iter().all(|list| list.is_empty())
    }

    /// The limits of rates: the field, the names of v1's file and of v2's key, the list.
    #[inline(never)]
    pub(super) fn throttles(&self) -> [(&'static str, &'static str, &'static str, &[Throttle]); 4] {
        [
            ("blockIO.throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps", &self.read_bps),
            ("blockIO.throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps", &self.write_bps),
            ("blockIO.throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops", &self.read_iops),
            (
                "blockIO.throttleWriteIOPSDevice",
                "blkio.throttle.write_iops_device",
                "wiops",
                &self.write_iops,
            ),
        ]
    }
}

impl Resources {
    /// What is accepted and not acted upon, each a line for the log.
    pub fn warnings(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.memory.kernel {
            lines.push(
                "linux.resources.memory: kernel and kernelTCP are ignored (Linux 6.1 removed them)".into(),
            );
        }
        lines
    }
}

/// Reads `linux.resources`, or the document of `update --resources`.
pub fn resources(v: &Json) -> Read<Resources> {
    object(v)?;
    Ok(Resources {
        devices: v.list("devices", device_rule)?,
        memory: v.or_default("memory", memory)?,
        cpu: v.or_default("cpu", cpu)?,
        pids_limit: v.optional("pids", |p| object(p)?.optional("limit", integer))?.flatten(),
        block_io: v.or_default("blockIO", block_io)?,
        hugepage_limits: v.list("hugepageLimits", hugepage_limit)?,
        network: v.or_default("network", network)?,
        rdma: v.map("rdma", rdma)?.into_iter().map(named_device).collect::<Read<_>>()?,
        unified: v.map("unified", string)?.into_iter().map(unified_file).collect::<Read<_>>()?,
    })
}

/// A number that is not set when it is zero.
fn nonzero<T: Whole + Default + PartialEq>(v: &Json, key: &str) -> Read<Option<T>> {
    Ok(v.optional(key, integer::<T>)?.filter(|n| *n != T::default()))
}

/// Bytes, -1 for unlimited, 0 for not set.
fn bytes(v: &Json, key: &str) -> Read<Option<i64>> {
    let n = nonzero::<i64>(v, key)?;
    if n.is_some_and(|n| n < -1) {
        return Err(Fault::new("must be a number of bytes, or -1 for unlimited").at(key));
    }
    Ok(n)
}

/// A rule of `devices[]`.
pub fn device_rule(v: &Json) -> Read<DeviceRule> {
    let number = |v: &Json| match integer::<i64>(v)? {
        -1 => Ok(None),
        n => u32::try_from(n).map(Some).map_err(|_| Fault::new(format!("{n} is no device number"))),
    };
    Ok(DeviceRule {
        allow: object(v)?.required("allow", boolean)?,
        kind: v.optional("type", rule_kind)?.unwrap_or(RuleKind::All),
        major: v.optional("major", number)?.flatten(),
        minor: v.optional("minor", number)?.flatten(),
        access: v.optional("access", |v| access(&string(v)?))?.unwrap_or(ANY),
    })
}

fn rule_kind(v: &Json) -> Read<RuleKind> {
    match string(v)?.as_str() {
        "a" => Ok(RuleKind::All),
        "c" | "u" => Ok(RuleKind::Char),
        "b" => Ok(RuleKind::Block),
        other => Err(Fault::new(format!("unknown {} (known: a, b, c)", Quoted(other)))),
    }
}

/// The bits of an access string such as `rwm`.
pub fn access(text: &str) -> Read<u8> {
    let bits = text.bytes().try_fold(0, |bits, letter| match letter {
        b'r' => Some(bits | READ),
        b'w' => Some(bits | WRITE),
        b'm' => Some(bits | MKNOD),
        _ => None,
    });
    bits.filter(|bits| *bits != 0)
        .ok_or_else(|| Fault::new(format!("must be made of r, w and m, is {}", Quoted(text))))
}

fn memory(v: &Json) -> Read<Memory> {
    let swappiness = object(v)?.optional("swappiness", |v| match integer(v)? {
        n @ 0..=100 => Ok(n),
        n => Err(Fault::new(format!("must be 0 to 100, is {n}"))),
    })?;
    Ok(Memory {
        limit: bytes(v, "limit")?,
        reservation: bytes(v, "reservation")?,
        swap: bytes(v, "swap")?,
        kernel: bytes(v, "kernel")?.is_some() | bytes(v, "kernelTCP")?.is_some(),
        swappiness,
        disable_oom_killer: v.optional("disableOOMKiller", boolean)?,
        use_hierarchy: v.optional("useHierarchy", boolean)?,
        check_before_update: v.or_default("checkBeforeUpdate", boolean)?,
    })
}

fn cpu(v: &Json) -> Read<Cpu> {
    let list = |key| Ok(v.optional(key, string)?.filter(|s| !s.is_empty()));
    let idle = |v: &Json| match integer::<i64>(v)? {
        n @ 0..=1 => Ok(n as u8),
        n => Err(Fault::new(format!("must be 0 or 1, is {n}"))),
    };
    let cpu = Cpu {
        shares: nonzero(object(v)?, "shares")?,
        quota: v.optional("quota", integer::<i64>)?.map(|n| if n <= 0 { -1 } else { n }),
        burst: v.optional("burst", integer)?,
        period: nonzero(v, "period")?,
        realtime_runtime: nonzero(v, "realtimeRuntime")?,
        realtime_period: nonzero(v, "realtimePeriod")?,
        cpus: list("cpus")?,
        mems: list("mems")?,
        idle: v.optional("idle", idle)?,
    };
    match (cpu.burst, cpu.quota) {
        (Some(burst), Some(quota @ 1..)) if burst > quota as u64 => {
            Err(Fault::new(format!("{burst} is more than the quota of {quota}")).at("burst"))
        }
        _ => Ok(cpu),
    }
}

fn weight(v: &Json, key: &str) -> Read<Option<u16>> {
    match nonzero::<u16>(v, key)? {
        None => Ok(None),
        n @ Some(10..=1000) => Ok(n),
        Some(n) => Err(Fault::new(format!("must be 10 to 1000, is {n}")).at(key)),
    }
}

fn block_io(v: &Json) -> Read<BlockIo> {
    let weight_device = |v: &Json| {
        let device = WeightDevice {
            major: object(v)?.required("major", integer)?,
            minor: v.required("minor", integer)?,
            weight: weight(v, "weight")?,
            leaf_weight: weight(v, "leafWeight")?,
        };
        match device.weight.or(device.leaf_weight) {
            None => Err(Fault::new("needs weight or leafWeight")),
            Some(_) => Ok(device),
        }
    };
    let throttle = |v: &Json| {
        Ok(Throttle {
            major: object(v)?.required("major", integer)?,
            minor: v.required("minor", integer)?,
            rate: v.required("rate", integer)?,
        })
    };
    Ok(BlockIo {
        weight: weight(object(v)?, "weight")?,
        leaf_weight: weight(v, "leafWeight")?,
        weight_device: v.list("weightDevice", weight_device)?,
        read_bps: v.list("throttleReadBpsDevice", throttle)?,
        write_bps: v.list("throttleWriteBpsDevice", throttle)?,
        read_iops: v.list("throttleReadIOPSDevice", throttle)?,
        write_iops: v.list("throttleWriteIOPSDevice", throttle)?,
    })
}

/// `2MB`: it becomes part of a file's name, so its form is exact (spec: `<size><unit-prefix>B`, powers of 1024).
fn page_size(v: &Json) -> Read<String> {
    let size = string(v)?;
    let digits = size.strip_suffix("B").and_then(|s| s.strip_suffix(['K', 'M', 'G'])).unwrap_or_default();
    if digits.starts_with(['0', '+']) || digits.parse::<u32>().is_err() {
        return Err(Fault::new(format!("must be a size such as 64KB, 2MB or 1GB, is {}", Quoted(&size))));
    }
    Ok(size)
}

fn hugepage_limit(v: &Json) -> Read<(String, u64)> {
    Ok((object(v)?.required("pageSize", page_size)?, v.required("limit", integer)?))
}

fn network(v: &Json) -> Read<Network> {
    let priority = |v: &Json| Ok((object(v)?.required("name", word)?, v.required("priority", integer)?));
    Ok(Network {
        class_id: object(v)?.optional("classID", integer)?,
        priorities: v.list("priorities", priority)?,
    })
}

fn rdma(v: &Json) -> Read<Rdma> {
    let limits = Rdma {
        handles: object(v)?.optional("hcaHandles", integer)?,
        objects: v.optional("hcaObjects", integer)?,
    };
    match limits.handles.or(limits.objects) {
        None => Err(Fault::new("needs hcaHandles or hcaObjects")),
        Some(_) => Ok(limits),
    }
}

/// A name that shares a line of a cgroup file with other words.
fn word(v: &Json) -> Read<String> {
    let name = string(v)?;
    if name.is_empty() || name.contains(|c: char| c.is_ascii_whitespace() || c == '\x0b') {
        return Err(Fault::new(format!("must be a name without blanks, is {}", Quoted(&name))));
    }
    Ok(name)
}

fn named_device((name, limits): (String, Rdma)) -> Read<(String, Rdma)> {
    let name = word(&Json::str(name.as_str())).map_err(|f| f.at(&name).at("rdma"))?;
    Ok((name, limits))
}

/// A file directly in the cgroup's directory: `..` and `/` would lead out of it.
fn unified_file((file, value): (String, String)) -> Read<(String, String)> {
    if file.contains('/') || !file.contains('.') || file.starts_with('.') {
        return Err(Fault::new("must be the name of a cgroup v2 file, such as memory.high")
            .at(&file)
            .at("unified"));
    }
    Ok((file, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn read(text: &str) -> Result<Resources, String> {
        resources(&Json::parse(text.as_bytes()).unwrap()).map_err(|f| Error::from(f).to_string())
    }

    #[test]
    fn every_field_is_read() {
        let r = read(
            r#"{"devices":[{"allow":false},{"allow":true,"type":"c","major":1,"minor":-1,"access":"rm"}],
            "memory":{"limit":1048576,"reservation":-1,"swap":2097152,"kernel":5,"swappiness":0,"disableOOMKiller":false,
                "useHierarchy":true,"checkBeforeUpdate":true},
            "cpu":{"shares":1024,"quota":50000,"burst":1000,"period":100000,"realtimeRuntime":10,"realtimePeriod":20,
                "cpus":"0-1","mems":"0","idle":1},
            "pids":{"limit":0},
            "blockIO":{"weight":10,"leafWeight":1000,"weightDevice":[{"major":8,"minor":0,"weight":500,"leafWeight":300}],
                "throttleReadBpsDevice":[{"major":8,"minor":0,"rate":600}],"throttleWriteIOPSDevice":[{"major":8,"minor":16,"rate":0}]},
            "hugepageLimits":[{"pageSize":"2MB","limit":9223372036854772000},{"pageSize":"64KB","limit":1}],
            "network":{"classID":1048577,"priorities":[{"name":"eth0","priority":500}]},
            "rdma":{"mlx5_1":{"hcaHandles":3,"hcaObjects":10000}},
            "unified":{"memory.high":"1000"}}"#,
        )
        .unwrap();
        assert_eq!(
            r.devices,
            [
                DeviceRule { allow: false, kind: RuleKind::All, major: None, minor: None, access: ANY },
                DeviceRule {
                    allow: true,
                    kind: RuleKind::Char,
                    major: Some(1),
                    minor: None,
                    access: READ | MKNOD
                },
            ]
        );
        assert_eq!(
            (r.memory.limit, r.memory.reservation, r.memory.swap),
            (Some(1 << 20), Some(-1), Some(2 << 20))
        );
        assert_eq!((r.memory.swappiness, r.memory.disable_oom_killer), (Some(0), Some(false)));
        assert_eq!((r.memory.use_hierarchy, r.memory.check_before_update), (Some(true), true));
        assert_eq!(r.warnings().len(), 1);
        assert_eq!(
            (r.cpu.shares, r.cpu.quota, r.cpu.burst, r.cpu.period),
            (Some(1024), Some(50000), Some(1000), Some(100000))
        );
        assert_eq!(
            (r.cpu.realtime_runtime, r.cpu.realtime_period, r.cpu.idle),
            (Some(10), Some(20), Some(1))
        );
        assert_eq!((r.cpu.cpus.as_deref(), r.cpu.mems.as_deref()), (Some("0-1"), Some("0")));
        assert_eq!(r.pids_limit, Some(0));
        assert_eq!((r.block_io.weight, r.block_io.leaf_weight), (Some(10), Some(1000)));
        assert_eq!(r.block_io.weight_device[0].leaf_weight, Some(300));
        assert_eq!(r.block_io.read_bps[0].rate, 600);
        assert_eq!(r.block_io.write_iops, [Throttle { major: 8, minor: 16, rate: 0 }]);
        assert_eq!(r.hugepage_limits[0], ("2MB".into(), 9223372036854772000));
        assert_eq!((r.network.class_id, &r.network.priorities[0]), (Some(1048577), &("eth0".into(), 500)));
        assert_eq!(r.rdma[0].1, Rdma { handles: Some(3), objects: Some(10000) });
        assert_eq!(r.unified, [("memory.high".to_owned(), "1000".to_owned())]);
    }

    #[test]
    fn zero_is_not_set_where_go_cannot_tell() {
        let r = read(
            r#"{"memory":{"limit":0,"swap":0,"reservation":0},"cpu":{"shares":0,"period":0,"cpus":""},"blockIO":{"weight":0},
                "network":null,"pids":{}}"#,
        );
        assert_eq!(r, Ok(Resources::default()));
        assert_eq!(read(r#"{"cpu":{"quota":0}}"#).unwrap().cpu.quota, Some(-1));
    }

    #[test]
    fn faults_name_the_field() {
        for (text, says) in [
            ("[]", "must be an object, is an array"),
            (r#"{"devices":[{"type":"c"}]}"#, "devices[0].allow: is required"),
            (r#"{"devices":[{"allow":true,"type":"p"}]}"#, "devices[0].type: unknown \"p\" (known: a, b, c)"),
            (
                r#"{"devices":[{"allow":true,"access":"rx"}]}"#,
                "devices[0].access: must be made of r, w and m, is \"rx\"",
            ),
            (
                r#"{"devices":[{"allow":true,"access":""}]}"#,
                "devices[0].access: must be made of r, w and m, is \"\"",
            ),
            (r#"{"devices":[{"allow":true,"major":-2}]}"#, "devices[0].major: -2 is no device number"),
            (r#"{"memory":{"limit":-2}}"#, "memory.limit: must be a number of bytes, or -1 for unlimited"),
            (r#"{"memory":{"swappiness":101}}"#, "memory.swappiness: must be 0 to 100, is 101"),
            (r#"{"cpu":{"idle":2}}"#, "cpu.idle: must be 0 or 1, is 2"),
            (r#"{"cpu":{"shares":"1"}}"#, "cpu.shares: must be an integer, is a string"),
            (r#"{"cpu":{"quota":10,"burst":11}}"#, "cpu.burst: 11 is more than the quota of 10"),
            (r#"{"pids":7}"#, "pids: must be an object, is a number"),
            (r#"{"blockIO":{"weight":9}}"#, "blockIO.weight: must be 10 to 1000, is 9"),
            (
                r#"{"blockIO":{"weightDevice":[{"major":8,"minor":0}]}}"#,
                "blockIO.weightDevice[0]: needs weight or leafWeight",
            ),
            (
                r#"{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0}]}}"#,
                "blockIO.throttleReadBpsDevice[0].rate: is required",
            ),
            (r#"{"rdma":{"a b":{"hcaHandles":1}}}"#, "rdma.a b: must be a name without blanks, is \"a b\""),
            (r#"{"rdma":{"a":{}}}"#, "rdma.a: needs hcaHandles or hcaObjects"),
            (
                r#"{"unified":{"../x.y":"1"}}"#,
                "unified.../x.y: must be the name of a cgroup v2 file, such as memory.high",
            ),
        ] {
            assert_eq!(read(text), Err(says.to_owned()), "{text}");
        }
        for size in ["", "MB", "2M", "2mb", "02MB", "+2MB", "2TB", "../2MB", "2 MB", "2KMB"] {
            let text = format!(r#"{{"hugepageLimits":[{{"pageSize":"{size}","limit":1}}]}}"#);
            assert!(
                read(&text).unwrap_err().starts_with("hugepageLimits[0].pageSize: must be a size"),
                "{size}"
            );
        }
    }
}
