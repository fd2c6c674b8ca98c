//! Converts the properties of a process to the kernel's numbers.

use crate::bundle::spec::Capabilities;
use crate::error::Escaped;
use crate::facts::Listening;
use crate::sort::{self, give_back};
use crate::text::{Keep, List, Text, joined};

/// The five capability sets as masks that the kernel accepts (capabilities(7)).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CapabilityMasks {
    /// The superset that limits the others.
    pub bounding: u64,
    /// The set that permission checks use.
    pub effective: u64,
    /// Kept across exec of a file that has it in its inheritable set.
    pub inheritable: u64,
    /// The superset that limits the effective set.
    pub permitted: u64,
    /// Kept across exec of an unprivileged program.
    pub ambient: u64,
}

/// Limits the requested sets to what the kernel grants.
///
/// `available` are the capabilities of the process that applies the sets, and `until_exec` those that it keeps until then: the
/// bounding set decides what a program gets. Unknown capabilities, and those that cannot be granted, are omitted with a warning
/// (config.md, "Linux Process").
pub fn capabilities(
    asked: &Capabilities,
    available: u64,
    until_exec: u64,
    warnings: &mut Vec<String>,
) -> &'static CapabilityMasks {
    let mut set = |field, names, limit, reason| grant(field, names, limit, reason, warnings);
    const UNAVAILABLE: &str = "not available to the runtime";
    let bounding = set("bounding", asked.bounding, available, UNAVAILABLE);
    let permitted = set("permitted", asked.permitted, available, UNAVAILABLE);
    // capset(2): effective must be within permitted; inheritable can only gain capabilities of the bounding set.
    let effective = set("effective", asked.effective, permitted, "not in permitted");
    let inheritable = set("inheritable", asked.inheritable, bounding, "not in bounding");
    // prctl(2), PR_CAP_AMBIENT_RAISE: a capability must be both permitted and inheritable.
    let ambient = set("ambient", asked.ambient, permitted & inheritable, "not in permitted and inheritable");
    let permitted = permitted | until_exec;
    Box::new(CapabilityMasks { bounding, effective, inheritable, permitted, ambient }).keep()
}

#[inline(never)]
fn grant(field: &str, names: &[&str], limit: u64, reason: &str, warnings: &mut Vec<String>) -> u64 {
    let mut granted = 0;
    let (mut unknown, mut refused) = (String::new(), String::new());
    for name in names {
        let left_out = match capability(name) {
            None => &mut unknown,
            Some(bit) if bit & limit == 0 => &mut refused,
            Some(bit) => {
                granted |= bit;
                continue;
            }
        };
        left_out.push_str(if left_out.is_empty() { "" } else { ", " });
        left_out.push_str(name);
    }
    // These are runc's words, for people who search for them.
    let what = if field == "ambient" { "can't raise ambient capability" } else { "left out" };
    for (names, why) in [(unknown, "unknown"), (refused, reason)] {
        if !names.is_empty() {
            warnings.push(format!("process.capabilities.{field}: {what} {}: {why}", Escaped(&names)));
        }
    }
    granted
}

/// The capabilities in the order of their numbers (capability.h), without `CAP_`.
const CAPABILITIES: &str = "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE \
    NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE \
    SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL \
    SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE";

/// The full names of all capabilities, starting with bit 0.
pub fn capability_names() -> impl Iterator<Item = String> {
    CAPABILITIES.split(' ').map(|name| format!("CAP_{name}"))
}

/// The bit of a capability by its full name (`CAP_NET_ADMIN`).
pub fn capability(name: &str) -> Option<u64> {
    let name = name.strip_prefix("CAP_")?;
    CAPABILITIES.split(' ').position(|known| known == name).map(|number| 1 << number)
}

/// The processors of a list such as `0-3,7` (cpuset(7)); `None` if malformed.
///
/// All must be below 1024, the size of the C library's set for sched_setaffinity(2).
pub fn cpu_list(text: &str) -> Option<List<u32>> {
    let number = |digits: &str| {
        let all_digits = digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse::<usize>().ok().filter(|n| all_digits && *n < 1024)
    };
    let mut wanted = [false; 1024];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first.trim_ascii())?, number(last.trim_ascii())?);
        if last < first {
            return None;
        }
        wanted[first..=last].fill(true);
    }
    let mut cpus = Vec::new();
    for (cpu, wanted) in (0..).zip(wanted) {
        if wanted {
            cpus.push(cpu);
        }
    }
    Some(cpus.keep())
}

/// Removes duplicate keys: the last value stays, at the first position.
///
/// Of two entries with one key, C libraries take the first and shells the last; runc passes the last.
pub fn environment(entries: List<Text>) -> List<Text> {
    let key = |i: usize| entries[i].split_once('=').map_or(entries[i], |(key, _)| key);
    let by_key = sort::order(entries.len(), &|a, b| (key(a), a) < (key(b), b));
    let mut kept = entries;
    if by_key.windows(2).any(|pair| key(pair[0]) == key(pair[1])) {
        let mut last_of = vec![usize::MAX; entries.len()];
        for same in by_key.chunk_by(|a, b| key(*a) == key(*b)) {
            last_of[same[0]] = same[same.len() - 1];
        }
        let mut once = Vec::new();
        once.extend(last_of.iter().filter_map(|last| entries.get(*last)));
        give_back(last_of);
        kept = once.keep();
    }
    give_back(by_key);
    kept
}

/// Announces the listening and notify sockets in the environment, if there are any.
///
/// The program must take itself for the process that they were passed to, so `LISTEN_PID` is 1, its pid in its container.
pub fn announced(env: List<Text>, listening: &Listening, notify: bool) -> List<Text> {
    let mut entries: Vec<Text> = Vec::new();
    if listening.count > 0 {
        entries.extend([format!("LISTEN_FDS={}", listening.count).keep(), "LISTEN_PID=1"]);
        if let Some(names) = listening.names {
            entries.push(format!("LISTEN_FDNAMES={names}").keep());
        }
    }
    if notify {
        entries.push("NOTIFY_SOCKET=/run/notify/notify.sock");
    }
    if entries.is_empty() { env } else { joined(env, &entries) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHOWN: u64 = 1;
    const KILL: u64 = 1 << 5;
    const CHECKPOINT_RESTORE: u64 = 1 << 40;
    const ALL: u64 = (1 << 41) - 1;

    fn names(list: &[Text]) -> List<Text> {
        list.to_vec().keep()
    }

    fn granted(asked: Capabilities, available: u64) -> (CapabilityMasks, Vec<String>) {
        let mut warnings = Vec::new();
        (*capabilities(&asked, available, 0, &mut warnings), warnings)
    }

    #[test]
    fn absent_capabilities_are_none() {
        assert_eq!(granted(Capabilities::default(), ALL), (CapabilityMasks::default(), vec![]));
    }

    #[test]
    fn known_names_are_bits() {
        let list = names(&["CAP_CHOWN", "CAP_KILL", "CAP_CHECKPOINT_RESTORE"]);
        let asked = Capabilities {
            bounding: list,
            effective: list,
            inheritable: list,
            permitted: list,
            ambient: list,
        };
        let (sets, warnings) = granted(asked, ALL);
        let all = CHOWN | KILL | CHECKPOINT_RESTORE;
        assert_eq!(
            sets,
            CapabilityMasks { bounding: all, effective: all, inheritable: all, permitted: all, ambient: all }
        );
        assert_eq!(warnings, [""; 0]);
    }

    #[test]
    fn the_caps_crate_has_the_same_names_and_numbers() {
        let all = caps::all();
        assert_eq!(capability_names().count(), all.len());
        for cap in all {
            assert_eq!(capability(&cap.to_string()), Some(cap.bitmask()), "{cap}");
        }
        for name in ["", "CAP_", "CHOWN", "cap_chown", "CAP_CHOWN ", "CAP_CHOWN DAC_OVERRIDE"] {
            assert_eq!(capability(name), None, "{name:?}");
        }
    }

    #[test]
    fn what_is_unknown_or_cannot_be_granted_is_left_out_with_a_warning() {
        let asked = Capabilities {
            bounding: names(&["CAP_CHOWN", "CAP_NO_SUCH", "chown"]),
            permitted: names(&["CAP_CHECKPOINT_RESTORE", "CAP_CHOWN"]),
            effective: names(&["CAP_KILL"]),
            inheritable: names(&["CAP_KILL", "CAP_CHOWN"]),
            ambient: names(&["CAP_KILL", "CAP_CHOWN"]),
        };
        let (sets, warnings) = granted(asked, CHOWN | KILL);
        assert_eq!(
            sets,
            CapabilityMasks {
                bounding: CHOWN,
                effective: 0,
                inheritable: CHOWN,
                permitted: CHOWN,
                ambient: CHOWN
            }
        );
        assert_eq!(
            warnings,
            [
                "process.capabilities.bounding: left out CAP_NO_SUCH, chown: unknown",
                "process.capabilities.permitted: left out CAP_CHECKPOINT_RESTORE: not available to the runtime",
                "process.capabilities.effective: left out CAP_KILL: not in permitted",
                "process.capabilities.inheritable: left out CAP_KILL: not in bounding",
                "process.capabilities.ambient: can't raise ambient capability CAP_KILL: not in permitted and inheritable",
            ]
        );
    }

    #[test]
    fn listening_sockets_are_announced_to_process_1() {
        let env = names(&["A=1"]);
        assert!(std::ptr::eq(announced(env, &Listening::default(), false), env), "a large one is not copied");
        let listening = Listening { count: 2, names: Some("http:https") };
        let notify = "NOTIFY_SOCKET=/run/notify/notify.sock";
        assert_eq!(announced(env, &Listening::default(), true), ["A=1", notify]);
        let announced = announced(env, &listening, true);
        assert_eq!(announced, ["A=1", "LISTEN_FDS=2", "LISTEN_PID=1", "LISTEN_FDNAMES=http:https", notify]);
    }

    #[test]
    fn lists_of_processors() {
        assert_eq!(cpu_list("0"), Some(&[0][..]));
        assert_eq!(cpu_list("0-2,7,1-3, 1023"), Some(&[0, 1, 2, 3, 7, 1023][..]));
        for text in ["", ",", "1,", "-1", "1-", "3-1", "0-1024", "65536", "a", "+1", "1--2", "0-3:2"] {
            assert_eq!(cpu_list(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_last_value_of_a_key_is_passed_once() {
        let env = names(&["PATH=/bin", "A=1", "PATH=/sbin", "AB=2", "A=3"]);
        assert_eq!(environment(env), ["PATH=/sbin", "A=3", "AB=2"]);
    }
}
