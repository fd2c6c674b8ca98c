//! `linux.resources` as files of cgroup v2 (kernel: admin-guide/cgroup-v2).
//!
//! The conversions are those of the spec. A field without an equivalent is refused.

use super::knob::{Controller, Knob, WithoutFile};
use super::unified::io_weight;
use super::v1::{below_limit, hugepages, pids};
use super::{ResourceField, Resources, Setting};
use crate::error::{Error, Result};
use crate::text::Keep;

/// The writes to the container's cgroup for this controller.
///
/// Errors name the field that cgroup v2 lacks.
pub fn knobs(of: Controller, r: &Resources) -> Result<Vec<Knob>> {
    let mut knobs = Vec::new();
    if of == Controller::Memory {
        knobs.extend(swap(r)?);
    }
    for s in r.of(of) {
        let (field, as_on_v1, n) = (s.what.member().field(), s.what.member().v1(), s.n);
        let (file, value) = match s.what {
            ResourceField::Cpus | ResourceField::Mems | ResourceField::Rdma | ResourceField::Idle => {
                (as_on_v1, s.value())
            }
            ResourceField::Shares => ("cpu.weight", weight_of_shares(n as u64).to_string()),
            ResourceField::Quota if r.number(ResourceField::Period).is_none() => ("cpu.max", bytes(n)),
            ResourceField::Period => {
                let quota = r.number(ResourceField::Quota).map_or("max".to_owned(), bytes);
                knobs.push(Knob::new("cpu.quota", "cpu.max", format!("{quota} {}", s.digits())));
                continue;
            }
            ResourceField::Burst => ("cpu.max.burst", s.digits()),
            ResourceField::Pids => {
                knobs.push(pids(s));
                continue;
            }
            ResourceField::Weight | ResourceField::DeviceWeight => {
                // BFQ takes the weight unchanged; io.weight needs 1 to 10000 for 10 to 1000.
                let knob = Knob::new(field, "io.bfq.weight", s.value());
                let io_weight = Setting { n: io_weight(n as u64) as i64, ..*s }.value().keep();
                knobs.push(Knob { missing: WithoutFile::Use("io.weight", io_weight), ..knob });
                continue;
            }
            ResourceField::ReadBps => ("io.max", rate(s, "rbps")),
            ResourceField::WriteBps => ("io.max", rate(s, "wbps")),
            ResourceField::ReadIops => ("io.max", rate(s, "riops")),
            ResourceField::WriteIops => ("io.max", rate(s, "wiops")),
            ResourceField::Hugepages => {
                knobs.extend(hugepages(s, "max"));
                continue;
            }
            ResourceField::Reservation => ("memory.low", bytes(n)),
            ResourceField::Limit => ("memory.max", bytes(n)),
            ResourceField::DeviceLeafWeight => return Err(inconvertible("blockIO.weightDevice.leafWeight")),
            ResourceField::UseHierarchy if n == 1 => continue,
            ResourceField::DisableOomKiller if n == 0 => continue,
            // Written with the period, before all others.
            ResourceField::Quota | ResourceField::Swap => continue,
            _ => return Err(inconvertible(field)),
        };
        knobs.push(Knob::new(field, file, value));
    }
    Ok(knobs)
}

fn inconvertible(field: &str) -> Error {
    Error::of(format_args!(
        "linux.resources.{field}: cgroup v2 has no such setting; remove it, or boot with cgroup v1"
    ))
}

/// Bytes or microseconds; `max` for a negative number.
fn bytes(n: i64) -> String {
    if n < 0 { "max".to_owned() } else { n.to_string() }
}

/// A line of `io.max`.
fn rate(s: &Setting, key: &str) -> String {
    let rate = if s.n == 0 { "max".to_owned() } else { s.digits() };
    format!("{} {key}={rate}", s.of)
}

/// v2 limits only swap, v1 memory and swap together: swap = together - memory.
fn swap(r: &Resources) -> Result<Option<Knob>> {
    let alone = match (r.number(ResourceField::Swap), r.number(ResourceField::Limit)) {
        (None, Some(-1)) | (Some(-1), _) => -1,
        (None, _) => return Ok(None),
        (Some(_), None | Some(-1)) => {
            return Err(Error::new(
                "linux.resources.memory.swap: needs a memory.limit, it is memory and swap together",
            ));
        }
        (Some(both), Some(limit)) if both < limit => return Err(below_limit(both, limit)),
        (Some(both), Some(limit)) => both - limit,
    };
    let mut knob = Knob::new("memory.swap", "memory.swap.max", bytes(alone));
    // Without the file the kernel has no swap or does not account it, so both 0 and `max` hold already.
    if alone <= 0 {
        knob.missing = WithoutFile::Skips;
    }
    Ok(Some(knob))
}

/// Converts v1's shares (2 to 262144) to `cpu.weight` (1 to 10000).
///
/// This is the spec's formula, whose quadratic meets both ends and the defaults (1024 is 100): `ceil(10^((log2(x)^2 + 125 *
/// log2(x)) / 612 - 7 / 34))`. In integers, the result is the smallest weight whose logarithm is not below the exponent.
pub fn weight_of_shares(shares: u64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    let l = log2(shares);
    // Both sides are multiplied by 612 * 34 * log2(10), in units of 2^-2*FRACTION.
    let exponent = (34 * (l * l + ((125 * l) << FRACTION))) - ((7 * 612) << (2 * FRACTION));
    let exponent = (exponent >> FRACTION) * log2(10);
    let enough = |weight: u64| ((612 * 34 * log2(weight) + (1 << 20)) << FRACTION) >= exponent;
    let (mut low, mut high) = (1, 10_000);
    while low < high {
        let middle = (low + high) / 2;
        if enough(middle) { high = middle } else { low = middle + 1 }
    }
    low
}

/// The number of binary digits after the point in [`log2`].
const FRACTION: u32 = 40;

/// The binary logarithm, computed bit by bit: squaring the mantissa doubles it.
fn log2(n: u64) -> u128 {
    let mut mantissa = u128::from(n) << n.leading_zeros();
    let mut result = u128::from(63 - n.leading_zeros());
    for _ in 0..FRACTION {
        mantissa = (mantissa * mantissa) >> 63;
        let digit = mantissa >> 64;
        mantissa >>= digit;
        result = result << 1 | digit;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::limits::v1;
    use crate::json::value::Json;

    /// The (file, value) pairs of all controllers.
    ///
    /// `file|file2` has an alternative, and `file?` is optional.
    fn brief(knobs: impl IntoIterator<Item = Knob>) -> Vec<(String, String)> {
        let one = |k: Knob| match k.missing {
            WithoutFile::Fails => (k.file.to_owned(), k.value.to_owned()),
            WithoutFile::Skips => (format!("{}?", k.file), k.value.to_owned()),
            WithoutFile::Use(file, value) => (format!("{}|{file}", k.file), format!("{}|{value}", k.value)),
        };
        knobs.into_iter().map(one).collect()
    }

    fn read(text: &str) -> Resources {
        crate::cgroup::limits::resources(&Json::parse(text.as_bytes()).unwrap()).unwrap()
    }

    fn v1(r: &Resources) -> Vec<(String, String)> {
        brief(Controller::ALL.into_iter().flat_map(|c| v1::knobs(c, r).unwrap()))
    }

    fn v2(r: &Resources) -> Result<Vec<(String, String)>> {
        let asked = Controller::ALL.into_iter().filter(|c| c.is_asked(r));
        let lists: Result<Vec<Vec<Knob>>> = asked.map(|c| knobs(c, r)).collect();
        Ok(brief(lists?.into_iter().flatten()))
    }

    /// Resources, the writes on v1, and the writes on v2 or the field that v2 lacks.
    type Case = (
        &'static str,
        &'static [(&'static str, &'static str)],
        std::result::Result<&'static [(&'static str, &'static str)], &'static str>,
    );

    const CASES: &[Case] = &[
        ("{}", &[], Ok(&[])),
        (r#"{"pids":{"limit":100}}"#, &[("pids.max", "100")], Ok(&[("pids.max", "100")])),
        (r#"{"pids":{"limit":-1}}"#, &[("pids.max", "max")], Ok(&[("pids.max", "max")])),
        (r#"{"pids":{"limit":0}}"#, &[("pids.max", "1")], Ok(&[("pids.max", "1")])),
        (
            r#"{"memory":{"limit":100,"swap":300,"reservation":50}}"#,
            &[
                ("memory.soft_limit_in_bytes", "50"),
                ("memory.limit_in_bytes", "100"),
                ("memory.memsw.limit_in_bytes", "300"),
            ],
            Ok(&[("memory.swap.max", "200"), ("memory.low", "50"), ("memory.max", "100")]),
        ),
        (
            r#"{"memory":{"limit":100,"swap":100}}"#,
            &[("memory.limit_in_bytes", "100"), ("memory.memsw.limit_in_bytes", "100")],
            Ok(&[("memory.swap.max?", "0"), ("memory.max", "100")]),
        ),
        (
            r#"{"memory":{"limit":-1}}"#,
            &[("memory.limit_in_bytes", "-1"), ("memory.memsw.limit_in_bytes?", "-1")],
            Ok(&[("memory.swap.max?", "max"), ("memory.max", "max")]),
        ),
        (
            r#"{"memory":{"limit":5,"swap":-1}}"#,
            &[("memory.limit_in_bytes", "5"), ("memory.memsw.limit_in_bytes", "-1")],
            Ok(&[("memory.swap.max?", "max"), ("memory.max", "5")]),
        ),
        (r#"{"memory":{"swap":5}}"#, &[("memory.memsw.limit_in_bytes", "5")], Err("memory.swap: needs")),
        (
            r#"{"memory":{"swappiness":0}}"#,
            &[("memory.swappiness", "0")],
            Err("memory.swappiness: cgroup v2 has no"),
        ),
        (
            r#"{"memory":{"disableOOMKiller":true}}"#,
            &[("memory.oom_control", "1")],
            Err("memory.disableOOMKiller"),
        ),
        (r#"{"memory":{"disableOOMKiller":false}}"#, &[("memory.oom_control", "0")], Ok(&[])),
        (r#"{"memory":{"useHierarchy":true}}"#, &[("memory.use_hierarchy", "1")], Ok(&[])),
        (
            r#"{"memory":{"useHierarchy":false}}"#,
            &[("memory.use_hierarchy", "0")],
            Err("memory.useHierarchy"),
        ),
        (r#"{"memory":{"kernel":7,"checkBeforeUpdate":true}}"#, &[], Ok(&[])),
        (
            r#"{"cpu":{"shares":1024,"quota":50000,"period":100000,"burst":2000,"idle":0}}"#,
            &[
                ("cpu.shares", "1024"),
                ("cpu.idle", "0"),
                ("cpu.cfs_period_us", "100000"),
                ("cpu.cfs_quota_us", "50000"),
                ("cpu.cfs_burst_us", "2000"),
            ],
            Ok(&[
                ("cpu.weight", "100"),
                ("cpu.idle", "0"),
                ("cpu.max", "50000 100000"),
                ("cpu.max.burst", "2000"),
            ]),
        ),
        (r#"{"cpu":{"quota":-1}}"#, &[("cpu.cfs_quota_us", "-1")], Ok(&[("cpu.max", "max")])),
        (r#"{"cpu":{"quota":7}}"#, &[("cpu.cfs_quota_us", "7")], Ok(&[("cpu.max", "7")])),
        (r#"{"cpu":{"period":7}}"#, &[("cpu.cfs_period_us", "7")], Ok(&[("cpu.max", "max 7")])),
        (r#"{"cpu":{"realtimeRuntime":7}}"#, &[("cpu.rt_runtime_us", "7")], Err("cpu.realtimeRuntime")),
        (r#"{"cpu":{"realtimePeriod":7}}"#, &[("cpu.rt_period_us", "7")], Err("cpu.realtimePeriod")),
        (
            r#"{"cpu":{"cpus":"0-1","mems":"0"}}"#,
            &[("cpuset.cpus", "0-1"), ("cpuset.mems", "0")],
            Ok(&[("cpuset.cpus", "0-1"), ("cpuset.mems", "0")]),
        ),
        (
            r#"{"blockIO":{"weight":10,"weightDevice":[{"major":8,"minor":0,"weight":1000}]}}"#,
            &[
                ("blkio.weight|blkio.bfq.weight", "10|10"),
                ("blkio.weight_device|blkio.bfq.weight_device", "8:0 1000|8:0 1000"),
            ],
            Ok(&[("io.bfq.weight|io.weight", "10|1"), ("io.bfq.weight|io.weight", "8:0 1000|8:0 10000")]),
        ),
        (r#"{"blockIO":{"leafWeight":10}}"#, &[("blkio.leaf_weight", "10")], Err("blockIO.leafWeight")),
        (
            r#"{"blockIO":{"weightDevice":[{"major":8,"minor":0,"leafWeight":10}]}}"#,
            &[("blkio.leaf_weight_device", "8:0 10")],
            Err("blockIO.weightDevice.leafWeight"),
        ),
        (
            r#"{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1}],
                "throttleWriteBpsDevice":[{"major":8,"minor":0,"rate":2}],
                "throttleReadIOPSDevice":[{"major":8,"minor":0,"rate":3}],
                "throttleWriteIOPSDevice":[{"major":8,"minor":16,"rate":0}]}}"#,
            &[
                ("blkio.throttle.read_bps_device", "8:0 1"),
                ("blkio.throttle.write_bps_device", "8:0 2"),
                ("blkio.throttle.read_iops_device", "8:0 3"),
                ("blkio.throttle.write_iops_device", "8:16 0"),
            ],
            Ok(&[
                ("io.max", "8:0 rbps=1"),
                ("io.max", "8:0 wbps=2"),
                ("io.max", "8:0 riops=3"),
                ("io.max", "8:16 wiops=max"),
            ]),
        ),
        (
            r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}]}"#,
            &[("hugetlb.2MB.limit_in_bytes", "4194304"), ("hugetlb.2MB.rsvd.limit_in_bytes?", "4194304")],
            Ok(&[("hugetlb.2MB.max", "4194304"), ("hugetlb.2MB.rsvd.max?", "4194304")]),
        ),
        (r#"{"network":{"classID":1048577}}"#, &[("net_cls.classid", "1048577")], Err("network.classID")),
        (
            r#"{"network":{"priorities":[{"name":"eth0","priority":5}]}}"#,
            &[("net_prio.ifpriomap", "eth0 5")],
            Err("network.priorities"),
        ),
        (
            r#"{"rdma":{"m":{"hcaHandles":3,"hcaObjects":4},"n":{"hcaObjects":5}}}"#,
            &[("rdma.max", "m hca_handle=3 hca_object=4"), ("rdma.max", "n hca_object=5")],
            Ok(&[("rdma.max", "m hca_handle=3 hca_object=4"), ("rdma.max", "n hca_object=5")]),
        ),
    ];

    #[test]
    fn every_field_converts_or_is_refused_by_name() {
        let own = |list: &[(&str, &str)]| {
            list.iter().map(|(f, v)| ((*f).to_owned(), (*v).to_owned())).collect::<Vec<_>>()
        };
        for (text, on_v1, on_v2) in CASES {
            let r = read(text);
            assert_eq!(v1(&r), own(on_v1), "v1 of {text}");
            match (v2(&r), on_v2) {
                (Ok(found), Ok(wanted)) => assert_eq!(found, own(wanted), "v2 of {text}"),
                (Err(e), Err(says)) => {
                    assert!(e.to_string().starts_with(&format!("linux.resources.{says}")), "{text}: {e}");
                }
                (found, wanted) => panic!("v2 of {text}: {found:?}, not {wanted:?}"),
            }
        }
    }

    #[test]
    fn swap_below_the_limit_of_memory_is_refused_on_both() {
        let r = read(r#"{"memory":{"limit":99000000,"swap":5}}"#);
        for e in [v1::knobs(Controller::Memory, &r), knobs(Controller::Memory, &r)] {
            let says = "linux.resources.memory.swap: 5 is memory and swap together, and less than memory.limit, 99000000";
            assert_eq!(e.unwrap_err().to_string(), says);
        }
        // v1's kernel compares pages.
        assert!(
            v1::knobs(Controller::Memory, &read(r#"{"memory":{"limit":67108865,"swap":67108864}}"#)).is_ok()
        );
        let unlimited = v1::knobs(Controller::Memory, &read(r#"{"memory":{"limit":-1,"swap":67108864}}"#));
        assert!(unlimited.unwrap_err().to_string().ends_with("less than memory.limit, unlimited"));
    }

    #[test]
    fn shares_become_weights_by_the_formula() {
        for (shares, weight) in
            [(0, 1), (2, 1), (3, 2), (1024, 100), (1025, 101), (262_144, 10_000), (u64::MAX, 10_000)]
        {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
        for shares in 3..262_144 {
            let l = (shares as f64).log2();
            let weight = 10f64.powf((l * l + 125.0 * l) / 612.0 - 7.0 / 34.0).ceil();
            assert_eq!(weight_of_shares(shares), weight as u64, "{shares}");
        }
    }
}
