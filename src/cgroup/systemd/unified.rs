//! `linux.resources.unified`, which overrides fields that set the same file.
//!
//! Like in runc and crun, this holds for the files of cgroup v2 and for systemd's properties.

use super::properties::{DEFAULT_PERIOD, mask_of_list, quota_per_second};
use crate::cgroup::limits::unified::io_weight;
use crate::cgroup::place::unit::{Property, PropertyValue};

/// The unit properties that correspond to a file's value.
///
/// The list is empty if the file has no property or the value is malformed. `period` is from the fields.
pub(in crate::cgroup) fn properties(file: &str, value: &str, period: Option<i64>) -> Vec<Property> {
    let value = value.trim_ascii();
    let number = |text: &str| if text == "max" { Some(u64::MAX) } else { text.parse().ok() };
    let one =
        |name: &str, value: Option<PropertyValue>| value.map(|v| (name.to_owned(), v)).into_iter().collect();
    let limit = |name: &str| one(name, number(value).map(PropertyValue::U64));
    let mask = |name: &str| one(name, mask_of_list(value).map(PropertyValue::Bytes));
    match file {
        "memory.high" => limit("MemoryHigh"),
        "memory.low" => limit("MemoryLow"),
        "memory.min" => limit("MemoryMin"),
        "memory.max" => limit("MemoryMax"),
        "memory.swap.max" => limit("MemorySwapMax"),
        "pids.max" => limit("TasksMax"),
        "cpu.weight" => limit("CPUWeight"),
        "io.weight" => one(
            "IOWeight",
            value.strip_prefix("default ").unwrap_or(value).parse().ok().map(PropertyValue::U64),
        ),
        "io.bfq.weight" => {
            let weight = value.strip_prefix("default ").unwrap_or(value).parse().ok();
            one("IOWeight", weight.filter(|n| (10..=1000).contains(n)).map(io_weight).map(PropertyValue::U64))
        }
        "cpu.max" => {
            let mut words = value.split_ascii_whitespace();
            let quota = words.next().and_then(number).map(|n| i64::try_from(n).unwrap_or(-1));
            let period =
                words.next().map_or(Some(period.map_or(DEFAULT_PERIOD, |n| n as u64)), |n| n.parse().ok());
            let (Some(quota), Some(period @ 1..)) = (quota, period) else { return Vec::new() };
            vec![
                ("CPUQuotaPerSecUSec".to_owned(), PropertyValue::U64(quota_per_second(quota, period))),
                ("CPUQuotaPeriodUSec".to_owned(), PropertyValue::U64(period)),
            ]
        }
        "cpuset.cpus" => mask("AllowedCPUs"),
        "cpuset.mems" => mask("AllowedMemoryNodes"),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use crate::cgroup::limits::{Resources, resources};
    use crate::cgroup::planned_limits::{CgroupFacts, PlannedLimits};
    use crate::cgroup::systemd::properties;
    use crate::json::value::Json;

    fn read(text: &str) -> Resources {
        resources(&Json::parse(text.as_bytes()).unwrap()).unwrap()
    }

    /// The final values of the files; per-device lines include their key.
    fn files(r: &Resources) -> Vec<(String, String)> {
        let mut found: Vec<(String, String)> = Vec::new();
        let ground = CgroupFacts { has_v2: true, ..CgroupFacts::default() };
        for knob in PlannedLimits::new(r, &ground).unwrap().all_files() {
            let key = knob.value.split_once(' ').filter(|(key, _)| key.contains(':'));
            let place = key.map_or(knob.file.to_owned(), |(key, _)| format!("{} {key}", knob.file));
            found.retain(|(file, _)| *file != place);
            found.push((place, key.map_or(knob.value, |(_, rest)| rest).to_owned()));
        }
        found
    }

    /// A field, its v2 file, a value for `unified`, and the resulting property.
    const BOTH: &[(&str, &str, &str, &str, &str)] = &[
        (r#""memory":{"limit":33554432}"#, "memory.max", "41943040", "MemoryMax", "U64(41943040)"),
        (r#""memory":{"limit":33554432}"#, "memory.max", "max", "MemoryMax", "U64(18446744073709551615)"),
        (r#""memory":{"reservation":4096}"#, "memory.low", "8192", "MemoryLow", "U64(8192)"),
        (r#""memory":{"limit":4096,"swap":8192}"#, "memory.swap.max", "0", "MemorySwapMax", "U64(0)"),
        (r#""cpu":{"shares":1024}"#, "cpu.weight", "7", "CPUWeight", "U64(7)"),
        (
            r#""cpu":{"quota":50000,"period":100000}"#,
            "cpu.max",
            "20000 50000",
            "CPUQuotaPerSecUSec",
            "U64(400000)",
        ),
        (
            r#""cpu":{"quota":50000,"period":100000}"#,
            "cpu.max",
            "20000 50000",
            "CPUQuotaPeriodUSec",
            "U64(50000)",
        ),
        (r#""cpu":{"quota":50000,"period":200000}"#, "cpu.max", "20000", "CPUQuotaPerSecUSec", "U64(100000)"),
        (
            r#""cpu":{"quota":50000}"#,
            "cpu.max",
            "max 100000",
            "CPUQuotaPerSecUSec",
            "U64(18446744073709551615)",
        ),
        (r#""cpu":{"quota":50000,"burst":2000}"#, "cpu.max.burst", "1000", "", ""),
        (r#""cpu":{"idle":1}"#, "cpu.idle", "0", "", ""),
        (r#""cpu":{"cpus":"0"}"#, "cpuset.cpus", "1", "AllowedCPUs", "Bytes([2])"),
        (r#""cpu":{"mems":"0"}"#, "cpuset.mems", "1", "AllowedMemoryNodes", "Bytes([2])"),
        (r#""pids":{"limit":5}"#, "pids.max", "7", "TasksMax", "U64(7)"),
        (r#""blockIO":{"weight":10}"#, "io.bfq.weight", "1000", "IOWeight", "U64(10000)"),
        (r#""blockIO":{"weight":10}"#, "io.weight", "default 500", "IOWeight", "U64(500)"),
        (r#""hugepageLimits":[{"pageSize":"2MB","limit":4194304}]"#, "hugetlb.2MB.max", "2097152", "", ""),
        (
            r#""hugepageLimits":[{"pageSize":"2MB","limit":4194304}]"#,
            "hugetlb.2MB.rsvd.max",
            "2097152",
            "",
            "",
        ),
    ];

    #[test]
    fn unified_wins_over_every_field() {
        for (field, file, value, property, says) in BOTH {
            let r = read(&format!(r#"{{{field},"unified":{{"{file}":"{value}"}}}}"#));
            let all = files(&r);
            let now = all.iter().find(|(f, _)| f == file).map(|(_, v)| v.as_str());
            assert_eq!(now, Some(*value), "{file} beside {field}: {all:?}");
            let list = properties::properties(&r, true, None);
            let found: Vec<String> =
                list.iter().filter(|(name, _)| name == property).map(|(_, v)| format!("{v:?}")).collect();
            let wanted: Vec<String> = Some(says.to_string()).filter(|s| !s.is_empty()).into_iter().collect();
            assert_eq!(found, wanted, "{property} by {file} beside {field}");
        }
    }

    #[test]
    fn lines_of_other_devices_and_defaults_stay() {
        let r = read(
            r#"{"blockIO":{"weight":10,"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1},{"major":8,"minor":16,"rate":2}]},
                "unified":{"io.max":"8:0 rbps=5 wbps=6","io.bfq.weight":"8:0 300"}}"#,
        );
        let has = |file: &str, value: &str| files(&r).contains(&(file.to_owned(), value.to_owned()));
        assert!(has("io.max 8:0", "rbps=5 wbps=6") && has("io.max 8:16", "rbps=2"), "{:?}", files(&r));
        assert!(has("io.bfq.weight", "10") && has("io.bfq.weight 8:0", "300"), "{:?}", files(&r));
    }

    /// Even briefly, a lower limit would kill processes that the final one permits.
    #[test]
    fn a_value_that_is_replaced_is_not_written() {
        let r = read(r#"{"memory":{"limit":4096},"unified":{"memory.max":"8192","pids.max":"5"}}"#);
        let all =
            PlannedLimits::new(&r, &CgroupFacts { has_v2: true, ..CgroupFacts::default() }).unwrap().memory;
        assert_eq!(all.iter().map(|k| (k.file, k.value)).collect::<Vec<_>>(), [("memory.max", "8192")]);
    }
}
