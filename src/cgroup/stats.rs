//! A container's usage, as the JSON of runc's `events`.
//!
//! Times are nanoseconds, sizes bytes. A missing file or controller leaves its member out. On v2 the members keep v1's meaning
//! where it has a counterpart (swap is memory and swap together).

use nix::fcntl::OFlag;

use super::Cgroup;
use super::hierarchy::Hierarchy;
use crate::json::value::Json;
use crate::names;
use crate::sys::file::{entries, open};
use crate::text::names::NameTable;
use crate::text::{Keep, Text};

type StatMembers = Vec<(&'static str, Json)>;

// Numbers from a controller's files, one to a line: the member's name, the end of the file's name, and if the file has more than
// a number, its key in it. The unit follows if it is not 1.

/// Processor time from v1's cpuacct, whose stat counts hundredths of a second.
const CPUACCT: Text = "total usage\n\
    kernel stat system 10000000\n\
    user stat user 10000000";
const CPU_V2: Text = "total stat usage_usec 1000\n\
    kernel stat system_usec 1000\n\
    user stat user_usec 1000";
const THROTTLING_V1: Text = "periods stat nr_periods\n\
    throttledPeriods stat nr_throttled\n\
    throttledTime stat throttled_time";
const THROTTLING_V2: Text = "periods stat nr_periods\n\
    throttledPeriods stat nr_throttled\n\
    throttledTime stat throttled_usec 1000";
const MEMORY_V1: Text = "limit limit_in_bytes\n\
    usage usage_in_bytes\n\
    max max_usage_in_bytes\n\
    failcnt failcnt";
const MEMORY_V2: Text = "limit max\n\
    usage current\n\
    max peak\n\
    failcnt events max";
const HUGETLB_V1: Text = "usage usage_in_bytes\n\
    max max_usage_in_bytes\n\
    failcnt failcnt";
const HUGETLB_V2: Text = "usage current\n\
    failcnt events max";

impl Cgroup {
    /// The `data` of a `stats` event.
    pub fn stats(&self) -> Json {
        static PARTS: NameTable<fn(&Cgroup) -> Json> = names! {
            "cpu" => Cgroup::cpu_stats,
            "cpuset" => Cgroup::cpuset_stats,
            "memory" => Cgroup::memory_stats,
            "pids" => Cgroup::pids_stats,
            "blkio" => Cgroup::block_stats,
            "hugetlb" => Cgroup::hugetlb_stats,
            "intel_rdt" => |_| Json::Object(Vec::new()),
            "network_interfaces" => |_| Json::Null,
        };
        Json::Object(PARTS.pairs().map(|(key, part)| (key, part(self))).collect())
    }

    fn either(&self, v1: &str) -> Option<(&Hierarchy, bool)> {
        self.v1(v1).map(|b| (b, true)).or_else(|| self.v2().map(|b| (b, false)))
    }

    fn psi(&self, members: &mut StatMembers, file: &str) {
        let text = self.v2().and_then(|b| b.read(file).ok());
        members.extend(text.and_then(|text| pressure(&text)).map(|psi| ("psi", psi)));
    }

    fn cpu_stats(&self) -> Json {
        let (mut usage, mut throttling) = (StatMembers::new(), StatMembers::new());
        if let Some(b) = self.v1("cpuacct") {
            usage = counts(b, &["cpuacct."], CPUACCT);
            if let Ok(text) = b.read("cpuacct.usage_percpu") {
                let list = text.split_ascii_whitespace().filter_map(count).map(Json::from).collect();
                usage.push(("percpu", Json::List(list)));
            }
        }
        if let Some((b, v1)) = self.either("cpu") {
            if !v1 {
                usage.append(&mut counts(b, &["cpu."], CPU_V2));
            }
            throttling = counts(b, &["cpu."], if v1 { THROTTLING_V1 } else { THROTTLING_V2 });
        }
        let mut cpu = vec![("usage", Json::object(usage)), ("throttling", Json::object(throttling))];
        self.psi(&mut cpu, "cpu.pressure");
        Json::object(cpu)
    }

    fn cpuset_stats(&self) -> Json {
        let mut members = StatMembers::new();
        if let Some((b, v1)) = self.either("cpuset") {
            let file =
                |name: &str| b.read(&format!("cpuset.{name}{}", if v1 { "" } else { ".effective" })).ok();
            members.extend(file("cpus").map(|text| ("cpus", numbers_of_list(&text))));
            members.extend(file("mems").map(|text| ("mems", numbers_of_list(&text))));
        }
        Json::object(members)
    }

    fn memory_stats(&self) -> Json {
        let Some((b, v1)) = self.either("memory") else { return Json::Object(Vec::new()) };
        let stat = b.read("memory.stat").unwrap_or_default();
        let mut memory = StatMembers::new();
        put(&mut memory, "cache", field(&stat, if v1 { "cache" } else { "file" }));
        if v1 {
            for (key, files) in [
                ("usage", "memory."),
                ("swap", "memory.memsw."),
                ("kernel", "memory.kmem."),
                ("kernelTCP", "memory.kmem.tcp."),
            ] {
                put_counts(&mut memory, key, counts(b, &[files], MEMORY_V1));
            }
        } else {
            put_counts(&mut memory, "usage", counts(b, &["memory."], MEMORY_V2));
            let mut swap = StatMembers::new();
            for (key, swapped, resident) in [
                ("limit", "memory.swap.max", "memory.max"),
                ("usage", "memory.swap.current", "memory.current"),
            ] {
                let both = number(b, swapped).zip(number(b, resident));
                put(&mut swap, key, both.map(|(swapped, resident)| swapped.saturating_add(resident)));
            }
            put_counts(&mut memory, "swap", swap);
        }
        let pairs = stat
            .lines()
            .filter_map(|l| l.split_once(' '))
            .filter_map(|(k, v)| Some((k.to_owned().keep(), Json::from(count(v)?))));
        memory.push(("raw", Json::Object(pairs.collect())));
        self.psi(&mut memory, "memory.pressure");
        Json::object(memory)
    }

    fn pids_stats(&self) -> Json {
        let mut pids = StatMembers::new();
        if let Some((b, _)) = self.either("pids") {
            put(&mut pids, "current", number(b, "pids.current"));
            // No limit is 0 here.
            put(&mut pids, "limit", number(b, "pids.max").map(|n| if n == u64::MAX { 0 } else { n }));
        }
        Json::object(pids)
    }

    fn block_stats(&self) -> Json {
        const FILES: Text = "ioServiceBytesRecursive io_service_bytes_recursive\n\
            ioServicedRecursive io_serviced_recursive\n\
            ioQueueRecursive io_queued_recursive\n\
            ioServiceTimeRecursive io_service_time_recursive\n\
            ioWaitTimeRecursive io_wait_time_recursive\n\
            ioMergedRecursive io_merged_recursive\n\
            ioTimeRecursive time_recursive\n\
            sectorsRecursive sectors_recursive";
        let mut block = StatMembers::new();
        if let Some(b) = self.v1("blkio") {
            for (key, file) in FILES.lines().filter_map(|line| line.split_once(' ')) {
                // The file of CFQ, of BFQ, or of neither.
                let read = |by: &str| {
                    let lines = device_lines(&b.read(&format!("blkio.{by}{file}")).ok()?);
                    (!lines.is_empty()).then_some(lines)
                };
                let entries = read("").or_else(|| read("bfq.")).or_else(|| read("throttle."));
                block.extend(entries.map(|e| (key, Json::List(e))));
            }
        } else if let Some(b) = self.v2() {
            let text = b.read("io.stat").unwrap_or_default();
            for (key, read, write) in
                [("ioServiceBytesRecursive", "rbytes", "wbytes"), ("ioServicedRecursive", "rios", "wios")]
            {
                let entries = io_stat(&text, read, write);
                block.extend((!entries.is_empty()).then_some((key, Json::List(entries))));
            }
        }
        self.psi(&mut block, "io.pressure");
        Json::object(block)
    }

    fn hugetlb_stats(&self) -> Json {
        let mut sizes = Vec::new();
        let pools = open("/sys/kernel/mm/hugepages", OFlag::O_PATH).and_then(entries).unwrap_or_default();
        for pool in pools.iter().filter_map(|(name, _)| name.to_str().ok()) {
            let Some((b, v1)) = self.either("hugetlb") else { break };
            let Some(size) = page_size(pool) else { continue };
            // Reservations, if the kernel counts them (5.7): they are what the limit applies to.
            let files = [format!("hugetlb.{size}.rsvd."), format!("hugetlb.{size}.")];
            let entry = counts(b, &[&files[0], &files[1]], if v1 { HUGETLB_V1 } else { HUGETLB_V2 });
            if !entry.is_empty() {
                sizes.push((size.keep(), Json::object(entry)));
            }
        }
        Json::object(sizes)
    }
}

fn put(members: &mut StatMembers, key: &'static str, n: Option<u64>) {
    members.extend(n.map(|n| (key, Json::from(n))));
}

fn put_counts(members: &mut StatMembers, key: &'static str, counts: StatMembers) {
    if !counts.is_empty() {
        members.push((key, Json::object(counts)));
    }
}

/// The numbers that exist, each from the first file of its name.
///
/// A file that serves several numbers in a row is read once, so that they are consistent.
fn counts(hierarchy: &Hierarchy, starts: &[&str], table: Text) -> StatMembers {
    let mut members = StatMembers::new();
    let (mut name, mut text) = (String::new(), String::new());
    for line in table.lines() {
        let mut words = line.split(' ');
        let mut next = || words.next().unwrap_or("");
        let (member, file, key, unit) = (next(), next(), next(), next());
        let found = starts.iter().find_map(|start| {
            let wanted = format!("{start}{file}");
            if wanted != name {
                text = hierarchy.read(&wanted).unwrap_or_default();
                name = wanted;
            }
            if key.is_empty() { count(&text) } else { field(&text, key) }
        });
        put(&mut members, member, found.map(|n| n.saturating_mul(unit.parse().unwrap_or(1))));
    }
    members
}

/// A number, or `max`.
fn count(text: &str) -> Option<u64> {
    match text.trim_ascii() {
        "max" => Some(u64::MAX),
        n => n.parse().ok(),
    }
}

fn number(hierarchy: &Hierarchy, file: &str) -> Option<u64> {
    count(&hierarchy.read(file).ok()?)
}

/// The number after a key of a flat keyed file.
pub(super) fn field(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|l| count(l.strip_prefix(key)?.strip_prefix(' ')?))
}

/// `0-2,7` as an array.
fn numbers_of_list(text: &str) -> Json {
    let mut numbers = Vec::new();
    for part in text.trim_ascii().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) {
            numbers.extend((first..=last).map(|n| Json::from(u32::from(n))));
        }
    }
    Json::List(numbers)
}

/// v1: `8:0 Read 4096`, or without the operation; a line without a device is a sum.
fn device_lines(text: &str) -> Vec<Json> {
    let entry = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (device, next, last) = (words.next()?, words.next()?, words.next());
        let (op, value) = last.map_or(("", next), |value| (next, value));
        device_entry(device, op, value)
    };
    text.lines().filter_map(entry).collect()
}

fn device_entry(device: &str, op: &str, value: &str) -> Option<Json> {
    let (major, minor) = device.split_once(':')?;
    let mut members = vec![("major", Json::from(count(major)?)), ("minor", Json::from(count(minor)?))];
    if !op.is_empty() {
        members.push(("op", Json::str(op)));
    }
    members.push(("value", Json::from(count(value)?)));
    Some(Json::object(members))
}

/// v2: `8:0 rbytes=1 wbytes=2 rios=3 wios=4 …`
fn io_stat(text: &str, read: &str, write: &str) -> Vec<Json> {
    let mut entries = Vec::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let device = words.next().unwrap_or_default();
        for (key, value) in words.filter_map(|w| w.split_once('=')) {
            let op = if key == read {
                "Read"
            } else if key == write {
                "Write"
            } else {
                continue;
            };
            entries.extend(device_entry(device, op, value));
        }
    }
    entries
}

/// Pressure stall information.
///
/// `some avg10=0.12 avg60=0.00 avg300=0.00 total=12345`.
fn pressure(text: &str) -> Option<Json> {
    let line = |line: &str| {
        let (kind, rest) = line.split_once(' ')?;
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let value = |word: &str| {
            let (key, value) = word.split_once('=').filter(|(_, value)| digits(value))?;
            let value = count(value).map_or_else(|| Json::digits(value), Json::from);
            Some((key.to_owned().keep(), value))
        };
        Some((kind.to_owned().keep(), Json::Object(rest.split(' ').map(value).collect::<Option<_>>()?)))
    };
    let lines: Vec<_> = text.lines().filter_map(line).collect();
    (!lines.is_empty()).then(|| Json::object(lines))
}

/// `hugepages-2048kB` is `2MB` in the names of files.
fn page_size(pool: &str) -> Option<String> {
    let mut n: u64 = pool.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
    let mut unit = "KMG".chars();
    let mut letter = unit.next()?;
    while n >= 1024 {
        (n, letter) = (n / 1024, unit.next()?);
    }
    Some(format!("{n}{letter}B"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_as_the_kernel_writes_them() {
        assert_eq!(field("usage_usec 12\nuser_usec 7\n", "user_usec"), Some(7));
        assert_eq!(field("usage_usec 12\n", "usage"), None);
        assert_eq!(numbers_of_list("0-2,7\n").compact(), "[0,1,2,7]");
        assert_eq!(numbers_of_list("\n").compact(), "[]");
        let v1 = device_lines("8:0 Read 4096\n8:0 Total 9\n8:16 77\nTotal 9\n");
        assert_eq!(
            Json::List(v1).compact(),
            r#"[{"major":8,"minor":0,"op":"Read","value":4096},{"major":8,"minor":0,"op":"Total","value":9},{"major":8,"minor":16,"value":77}]"#
        );
        let v2 = io_stat("8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n", "rios", "wios");
        assert_eq!(
            Json::List(v2).compact(),
            r#"[{"major":8,"minor":0,"op":"Read","value":3},{"major":8,"minor":0,"op":"Write","value":4}]"#
        );
        assert_eq!(
            pressure("some avg10=0.12 avg60=0.00 avg300=1.50 total=12345\n").unwrap().compact(),
            r#"{"some":{"avg10":0.12,"avg60":0.00,"avg300":1.50,"total":12345}}"#
        );
        assert_eq!(pressure(""), None);
        for (pool, size) in
            [("hugepages-64kB", "64KB"), ("hugepages-2048kB", "2MB"), ("hugepages-1048576kB", "1GB")]
        {
            assert_eq!(page_size(pool).as_deref(), Some(size));
        }
    }
}
