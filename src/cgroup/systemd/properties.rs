//! Converts resources to properties of a systemd unit. Pure.

use super::unified;
use crate::cgroup::limits::unified::io_weight;
use crate::cgroup::limits::v2::weight_of_shares;
use crate::cgroup::limits::{ANY, DeviceRule, READ, ResourceField, Resources, RuleKind, WRITE, devices};
use crate::cgroup::place::unit::{Property, PropertyValue};
use crate::error::{Error, Quoted, Result};
use crate::json::pairs::Pairs;
use crate::names;
use crate::text::names::NameTable;
use crate::text::search::cut;

/// Numeric settings with a property, by its names on v2 and v1 (`V2:V1`).
static PROPERTIES: NameTable<ResourceField> = names! {
    "MemoryMax:MemoryLimit" => ResourceField::Limit,
    "CPUWeight:CPUShares" => ResourceField::Shares,
    "TasksMax:TasksMax" => ResourceField::Pids,
    "CPUQuotaPerSecUSec:CPUQuotaPerSecUSec" => ResourceField::Quota,
    "CPUQuotaPeriodUSec:CPUQuotaPeriodUSec" => ResourceField::Period,
    "MemoryLow:" => ResourceField::Reservation,
    "MemorySwapMax:" => ResourceField::Swap,
    "IOWeight:BlockIOWeight" => ResourceField::Weight,
};

/// The kernel's period of a quota, in microseconds.
pub(in crate::cgroup) const DEFAULT_PERIOD: u64 = 100_000;

/// Converts resources to unit properties, so that a reload does not revert them.
///
/// A setting without a property is only in the cgroup's files, where all settings are.
pub(in crate::cgroup) fn properties(
    r: &Resources,
    v2: bool,
    devices: Option<&str>,
) -> Vec<(String, PropertyValue)> {
    let mut list: Vec<Property> = Vec::new();
    let mut set = |name: &str, n: u64| list.push((name.to_owned(), PropertyValue::U64(n)));
    let unlimited = |n: i64| u64::try_from(n).unwrap_or(u64::MAX);
    for (names, what) in PROPERTIES.pairs() {
        let (on_v2, on_v1) = names.split_once(':').unwrap_or_default();
        let name = if v2 { on_v2 } else { on_v1 };
        let Some(n) = r.number(what).filter(|_| !name.is_empty()) else { continue };
        let n = match what {
            ResourceField::Shares if v2 => weight_of_shares(n as u64),
            ResourceField::Pids => unlimited(n).max(1),
            ResourceField::Quota => {
                quota_per_second(n, r.number(ResourceField::Period).map_or(DEFAULT_PERIOD, |n| n as u64))
            }
            ResourceField::Weight if v2 => io_weight(n as u64),
            ResourceField::Swap => match (n, r.number(ResourceField::Limit)) {
                (-1, _) => u64::MAX,
                (both, Some(limit)) if both >= limit => (both - limit) as u64,
                _ => continue,
            },
            ResourceField::Shares | ResourceField::Period => n as u64,
            _ => unlimited(n),
        };
        set(name, n);
    }
    if v2 {
        if r.number(ResourceField::Limit) == Some(-1) && r.number(ResourceField::Swap).is_none() {
            set("MemorySwapMax", u64::MAX);
        }
        for (name, what) in
            [("AllowedCPUs", ResourceField::Cpus), ("AllowedMemoryNodes", ResourceField::Mems)]
        {
            if let Some(mask) = mask_of_list(r.text(what)) {
                list.push((name.to_owned(), PropertyValue::Bytes(mask)));
            }
        }
        for (file, value) in &r.unified {
            let more = unified::properties(file, value, r.number(ResourceField::Period));
            list.retain(|(name, _)| more.iter().all(|(other, _)| name != other));
            list.extend(more);
        }
    }
    if let Some(drivers) = devices {
        list.extend(device_properties(&r.devices, drivers));
    }
    list
}

/// Properties that systemd 242 and 244 introduced.
///
/// An older systemd can do without them, because the cgroup's files have the values.
const LATE: [&str; 3] = ["CPUQuotaPeriodUSec", "AllowedCPUs", "AllowedMemoryNodes"];

/// The properties without the late ones, if systemd's error names one of them.
pub(in crate::cgroup) fn known_of_old<'a>(list: &[&'a Property], answer: &str) -> Option<Vec<&'a Property>> {
    let late = |name: &str| LATE.contains(&name);
    cut(answer, "Cannot set property ")?.1.split_once(',').filter(|(name, _)| late(name))?;
    Some(list.iter().copied().filter(|(name, _)| !late(name)).collect())
}

/// Microseconds per second; systemd rounds to whole percents.
pub(in crate::cgroup) fn quota_per_second(quota: i64, period: u64) -> u64 {
    match u64::try_from(quota) {
        Err(_) => u64::MAX,
        Ok(quota) => quota.saturating_mul(1_000_000).div_ceil(period).next_multiple_of(10_000),
    }
}

/// Converts `0-2,8` to a bit mask; bit 0 is the first of the first byte.
pub(in crate::cgroup) fn mask_of_list(text: &str) -> Option<Vec<u8>> {
    let mut mask = Vec::new();
    for part in text.trim_ascii().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        for n in first.trim_ascii().parse::<u16>().ok()?..=last.trim_ascii().parse::<u16>().ok()? {
            let byte = usize::from(n / 8);
            mask.resize(mask.len().max(byte + 1), 0u8);
            mask[byte] |= 1 << (n % 8);
        }
    }
    Some(mask)
}

/// Converts device rules to properties; `drivers` is the text of `/proc/devices`.
///
/// A rule that systemd cannot express (everything with exceptions) is left out, because our own rules are enforced anyway.
fn device_properties(rules: &[DeviceRule], drivers: &str) -> Vec<(String, PropertyValue)> {
    let policy = |name: &str| ("DevicePolicy".to_owned(), PropertyValue::Str(name.to_owned()));
    let list = devices::v1(&devices::complete(rules)).ok().filter(|list| !list.allow);
    let Some(list) = list else { return vec![policy("auto"), allow(Vec::new())] };
    let pairs = list.exceptions.iter().filter_map(|rule| {
        let letters = [(READ, 'r'), (WRITE, 'w'), (ANY & !READ & !WRITE, 'm')];
        let access =
            letters.iter().filter(|(bit, _)| rule.access & bit != 0).map(|(_, letter)| letter).collect();
        Some((specifier(rule, drivers)?, access))
    });
    // The empty list comes first, because systemd appends each list to the previous one.
    vec![policy("strict"), allow(Vec::new()), allow(pairs.collect())]
}

fn allow(pairs: Vec<(String, String)>) -> (String, PropertyValue) {
    ("DeviceAllow".to_owned(), PropertyValue::Pairs(pairs))
}

fn specifier(rule: &DeviceRule, drivers: &str) -> Option<String> {
    let block = rule.kind == RuleKind::Block;
    let kind = if block { "block" } else { "char" };
    match (rule.major, rule.minor) {
        (Some(major), Some(minor)) => Some(format!("/dev/{kind}/{major}:{minor}")),
        (None, None) => Some(format!("{kind}-*")),
        (None, Some(_)) => None,
        (Some(major), None) => {
            let (chars, blocks) = cut(drivers, "Block devices:")?;
            let lines = if block { blocks } else { chars }.lines();
            let name =
                lines.filter_map(|l| l.trim_ascii().split_once(' ')).find(|(n, _)| n.parse() == Ok(major))?.1;
            Some(format!("{kind}-{name}"))
        }
    }
}

/// Converts annotations `org.systemd.property.NAME` with a gvariant value.
///
/// The types are those that systemd uses for scopes. Like in runc, `NAMESec` in seconds becomes `NAMEUSec` in microseconds.
/// Errors name the annotation.
pub(in crate::cgroup) fn annotated(annotations: Pairs) -> Result<Vec<(String, PropertyValue)>> {
    let mut list = Vec::new();
    for (key, text) in annotations.iter() {
        let Some(name) = key.strip_prefix("org.systemd.property.") else { continue };
        let refuse = |why: &str| Error::of(format_args!("annotations.{key}: {why}, is {}", Quoted(text)));
        if name.len() < 3 || !name.bytes().all(|b| b.is_ascii_alphabetic()) {
            return Err(Error::of(format_args!("annotations.{key}: is not the name of a property")));
        }
        let seconds = name.strip_suffix("Sec").filter(|rest| !rest.ends_with('U'));
        list.push(match seconds {
            Some(rest) => {
                let n = microseconds(text).ok_or_else(|| refuse("must be a number of seconds"))?;
                (format!("{rest}USec"), PropertyValue::U64(n))
            }
            None => {
                let why =
                    "must be true, false, a number (uint32 5), a string ('x') or an array of strings (['x'])";
                (name.to_owned(), value(text.trim_ascii()).ok_or_else(|| refuse(why))?)
            }
        });
    }
    Ok(list)
}

/// Converts seconds, such as `5`, `uint64 5` or `1.5`, to microseconds.
fn microseconds(text: &str) -> Option<u64> {
    let number = text.trim_ascii().rsplit(' ').next()?;
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(part) || part.len() > 6 {
        return None;
    }
    let part: u64 = format!("{part:0<6}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(part)
}

fn value(text: &str) -> Option<PropertyValue> {
    match text.split_once(' ') {
        Some(("int32", n)) => return n.parse().ok().map(PropertyValue::I32),
        Some(("uint32", n)) => return n.parse().ok().map(PropertyValue::U32),
        Some(("int64", n)) => return n.parse().ok().map(PropertyValue::I64),
        Some(("uint64", n)) => return n.parse().ok().map(PropertyValue::U64),
        Some(("@as", list)) => return value(list),
        _ => {}
    }
    match text {
        "true" => Some(PropertyValue::Bool(true)),
        "false" => Some(PropertyValue::Bool(false)),
        _ if text.starts_with(['\'', '"']) => {
            let (string, rest) = quoted(text)?;
            rest.is_empty().then_some(PropertyValue::Str(string))
        }
        _ => match text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
            Some(items) => strings(items.trim_ascii()).map(PropertyValue::Strs),
            None => text.parse().ok().map(PropertyValue::I32),
        },
    }
}

fn strings(mut rest: &str) -> Option<Vec<String>> {
    let mut list = Vec::new();
    while !rest.is_empty() {
        let (string, after) = quoted(rest)?;
        list.push(string);
        rest = after.trim_ascii_start();
        match rest.strip_prefix(',') {
            Some(more) if !more.trim_ascii().is_empty() => rest = more.trim_ascii_start(),
            Some(_) => return None,
            None if rest.is_empty() => {}
            None => return None,
        }
    }
    Some(list)
}

/// Splits a string in either kind of quotes from the rest.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut chars = text.char_indices();
    let quote = chars.next().map(|(_, c)| c).filter(|c| matches!(c, '\'' | '"'))?;
    let mut string = String::new();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => string.push(match chars.next()?.1 {
                'n' => '\n',
                't' => '\t',
                other => other,
            }),
            c if c == quote => return Some((string, &text[at + 1..])),
            c => string.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::place::unit::slice_path;
    use crate::cgroup::systemd::Unit;
    use crate::json::value::Json;

    #[test]
    fn paths_name_units() {
        for (path, user, slice, name) in [
            (None, false, "system.slice", "embrun-web.scope"),
            (None, true, "user.slice", "embrun-web.scope"),
            (Some("machine.slice:libpod:abc"), false, "machine.slice", "libpod-abc.scope"),
            (Some(":docker:abc"), false, "system.slice", "docker-abc.scope"),
            (Some("a-b.slice::abc"), false, "a-b.slice", "abc.scope"),
            (Some("-:x:abc"), false, "-.slice", "x-abc.scope"),
        ] {
            let unit = Unit::new(path, "web", user).unwrap();
            assert_eq!((unit.slice.as_str(), unit.name.as_str()), (slice, name), "{path:?}");
        }
        for path in [
            "",
            "/a/b",
            "a:b",
            "a.slice:b:",
            "a:b:c",
            "a.slice:b:c:d",
            "a--b.slice:p:n",
            "a.slice:b/..:c",
            ":p:x.slice",
        ] {
            let e = Unit::new(Some(path), "web", false).unwrap_err().to_string();
            assert!(e.starts_with("linux.cgroupsPath: "), "{e}");
        }
        assert_eq!(slice_path("a-b-c.slice").unwrap(), "/a.slice/a-b.slice/a-b-c.slice");
        assert_eq!(slice_path("-.slice").unwrap(), "");
    }

    fn shown(list: Vec<(String, PropertyValue)>) -> Vec<String> {
        list.into_iter().map(|(name, value)| format!("{name}={value:?}")).collect()
    }

    fn read(text: &str) -> Resources {
        crate::cgroup::limits::resources(&Json::parse(text.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn resources_become_properties() {
        let r = read(
            r#"{"memory":{"limit":100,"swap":300,"reservation":50},"cpu":{"shares":1024,"quota":50500,"period":200000,"cpus":"0-1,9"},
                "pids":{"limit":0},"blockIO":{"weight":1000},"unified":{"memory.high":"max","memory.min":"1"}}"#,
        );
        assert_eq!(
            shown(properties(&r, true, None)),
            [
                "MemoryMax=U64(100)",
                "CPUWeight=U64(100)",
                "TasksMax=U64(1)",
                "CPUQuotaPerSecUSec=U64(260000)",
                "CPUQuotaPeriodUSec=U64(200000)",
                "MemoryLow=U64(50)",
                "MemorySwapMax=U64(200)",
                "IOWeight=U64(10000)",
                "AllowedCPUs=Bytes([3, 2])",
                "MemoryHigh=U64(18446744073709551615)",
                "MemoryMin=U64(1)",
            ]
        );
        assert_eq!(
            shown(properties(&r, false, None)),
            [
                "MemoryLimit=U64(100)",
                "CPUShares=U64(1024)",
                "TasksMax=U64(1)",
                "CPUQuotaPerSecUSec=U64(260000)",
                "CPUQuotaPeriodUSec=U64(200000)",
                "BlockIOWeight=U64(1000)",
            ]
        );
        assert_eq!(quota_per_second(-1, 100_000), u64::MAX);
        // The kernel's default is set, too, because the unit may have had another value before.
        let back = read(r#"{"cpu":{"quota":50000,"period":100000}}"#);
        let both = ["CPUQuotaPerSecUSec=U64(500000)", "CPUQuotaPeriodUSec=U64(100000)"];
        assert_eq!(shown(properties(&back, false, None)), both);
    }

    #[test]
    fn late_properties_are_left_out_for_an_old_systemd() {
        let list = properties(&read(r#"{"cpu":{"quota":50000,"period":200000,"cpus":"0"}}"#), true, None);
        let list: Vec<&Property> = list.iter().collect();
        let says = "StartTransientUnit: Cannot set property AllowedCPUs, or unknown property. (org.freedesktop.DBus.Error.PropertyReadOnly)";
        let left = known_of_old(&list, says).unwrap();
        assert_eq!(shown(left.into_iter().cloned().collect()), ["CPUQuotaPerSecUSec=U64(250000)"]);
        for other in
            ["Cannot set property Bogus, or unknown property.", "AllowedCPUs is out of range", "no answer"]
        {
            assert_eq!(known_of_old(&list, other), None, "{other}");
        }
    }

    #[test]
    fn device_rules_become_properties() {
        let drivers = "Character devices:\n  1 mem\n188 ttyUSB\n136 pts\n\nBlock devices:\n  8 sd\n";
        let rules = r#"{"devices":[{"allow":false},{"allow":true,"type":"c","major":188,"access":"rw"},
            {"allow":true,"type":"b","major":8,"minor":0,"access":"r"},{"allow":true,"type":"b","major":77,"access":"r"}]}"#;
        let list = properties(&read(rules), true, Some(drivers));
        assert_eq!(shown(list[..2].to_vec()), ["DevicePolicy=Str(\"strict\")", "DeviceAllow=Pairs([])"]);
        let PropertyValue::Pairs(pairs) = &list[2].1 else { panic!("{list:?}") };
        let pairs: Vec<String> = pairs.iter().map(|(a, b)| format!("{a} {b}")).collect();
        assert_eq!(pairs[..4], ["char-ttyUSB rw", "/dev/block/8:0 r", "char-* m", "block-* m"]);
        assert!(
            pairs.contains(&"char-pts rwm".to_owned()) && pairs.contains(&"/dev/char/1:3 rwm".to_owned())
        );
        let list = properties(&read(r#"{"devices":[{"allow":true,"access":"rwm"}]}"#), true, Some(drivers));
        assert_eq!(shown(list), ["DevicePolicy=Str(\"auto\")", "DeviceAllow=Pairs([])"]);
    }

    #[test]
    fn annotations_become_properties() {
        let one = |key: &str, text: &str| {
            annotated(Pairs::new(&[(&format!("org.systemd.property.{key}"), text)])).map(|mut l| l.remove(0))
        };
        for (key, text, name, value) in [
            (
                "CollectMode",
                "'inactive-or-failed'",
                "CollectMode",
                PropertyValue::Str("inactive-or-failed".into()),
            ),
            ("TimeoutStopSec", "123", "TimeoutStopUSec", PropertyValue::U64(123_000_000)),
            ("TimeoutStopSec", "uint64 1.5", "TimeoutStopUSec", PropertyValue::U64(1_500_000)),
            ("TimeoutStopUSec", "uint64 5", "TimeoutStopUSec", PropertyValue::U64(5)),
            ("SendSIGHUP", "true", "SendSIGHUP", PropertyValue::Bool(true)),
            ("Nice", "-5", "Nice", PropertyValue::I32(-5)),
            ("TasksMax", "uint64 7", "TasksMax", PropertyValue::U64(7)),
            (
                "Wants",
                "['a.service', \"b's\"]",
                "Wants",
                PropertyValue::Strs(vec!["a.service".into(), "b's".into()]),
            ),
            ("Wants", "@as []", "Wants", PropertyValue::Strs(vec![])),
        ] {
            assert_eq!(one(key, text).unwrap(), (name.to_owned(), value), "{key} {text}");
        }
        for (key, text) in [
            ("X", "1"),
            ("A.b", "1"),
            ("Nice", "'x"),
            ("Nice", "'x' y"),
            ("Wants", "['a' 'b']"),
            ("Wants", "['a',]"),
            ("StopSec", "x"),
            ("Nice", "uint32 -1"),
        ] {
            let e = one(key, text).unwrap_err().to_string();
            assert!(e.starts_with(&format!("annotations.org.systemd.property.{key}: ")), "{e}");
        }
        assert_eq!(annotated(Pairs::new(&[("org.other", "1")])).unwrap(), []);
    }
}
