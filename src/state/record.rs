//! The private record of a container, and its form on disk.
//!
//! The form is one line of JSON: `{"version":1,"crc32":"xxxxxxxx","record":{…}}`. The checksum covers the bytes of
//! the inner object and is compared as text, so a change of any bit in the file is detected. Gateways lose power,
//! and a file that is half old and half new must not decide which process gets a signal.

use std::fmt;

use crate::cgroup::Cgroup;
use crate::cgroup::limits::{DeviceRule, devices};
use crate::cgroup::place::location::Location;
use crate::error::{Error, Result};
use crate::json::document;
use crate::json::pairs::Pairs;
use crate::json::read::Read;
use crate::json::slot::{Each, Optional, Slot, Texts, Value, Word, any, may, must};
use crate::json::value::{Json, JsonObject};
use crate::names;
use crate::text::names::NameTable;
use crate::text::{Keep, List, Text};

/// How far a container has come.
/// The states within `Created` (created, running, stopped) are observed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Only this record exists, and perhaps cgroup directories without processes.
    #[default]
    Planned,
    /// The cgroup and its processes belong to the container.
    /// The creator is still at work or was interrupted.
    Creating,
    /// Everything exists; init waits, runs or has ended.
    Created,
    /// A delete has begun and can only be completed.
    Deleting,
}

static PHASES: NameTable<Phase> = names! {
    "planned" => Phase::Planned,
    "creating" => Phase::Creating,
    "created" => Phase::Created,
    "deleting" => Phase::Deleting,
};

/// Identifies a process even if its pid is reused later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessMark {
    /// Process id in the runtime's pid namespace.
    pub pid: i32,
    /// Start time in clock ticks since boot (field 22 of /proc/PID/stat).
    pub start: u64,
}

/// The stored facts about a container.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// The container's id.
    pub id: Text,
    /// How far the container has come.
    pub phase: Phase,
    /// The boot that its processes and cgroup belong to.
    pub boot_id: Text,
    /// The process that creates it.
    pub creator: ProcessMark,
    /// The container's init, once it exists.
    pub init: Option<ProcessMark>,
    /// Absolute path of the bundle.
    pub bundle: Text,
    /// Absolute path of the root file system.
    pub rootfs: Text,
    /// The creation time, as written by [`crate::log::rfc3339`].
    pub created: Text,
    /// `ociVersion` of the configuration.
    pub oci_version: Text,
    /// `annotations` of the configuration.
    pub annotations: Pairs,
    /// The container's cgroups, and which of their directories were created for it.
    pub cgroup: Location,
    /// Device rules that `update` and `device` added to the configuration's.
    pub device_rules: Vec<DeviceRule>,
    /// The path and device rule of each device node that `device add` created.
    pub device_nodes: Vec<(Text, DeviceRule)>,
    /// The resctrl directories that were made for it, from the outside in.
    pub resctrl: List<Text>,
    /// Whether init is process 1 of its own pid namespace.
    /// The kernel kills all processes of such a container with init.
    pub own_pid_namespace: bool,
    /// The inode of the container's user namespace, if it has one and init is in it.
    pub user_namespace: Option<u64>,
    /// Name of the session keyring, if the container has its own.
    pub keyring: Option<Text>,
    /// Number of poststop hooks that have run.
    pub poststop_done: u32,
    /// The version of embrun that wrote the record.
    pub embrun: Text,
}

impl Record {
    /// Encodes the record as it is stored on disk.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        let _ = self.write_to(&mut text);
        text
    }

    /// Writes the encoded record in pieces.
    /// It is written twice: first for the checksum, which stands at the front, then for the file.
    pub fn write_to(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let json = self.to_json();
        let mut crc = Crc(!0);
        json.write_to(&mut crc)?;
        out.write_str(&head(!crc.0))?;
        json.write_to(out)?;
        out.write_char('}')
    }

    /// Decodes a record; the error describes the damage.
    pub fn decode(bytes: &[u8]) -> Result<Record> {
        Record::decode_kept(bytes.to_vec().keep())
    }

    /// Decodes a record from bytes that stay in memory, without a copy.
    pub fn decode_kept(bytes: &'static [u8]) -> Result<Record> {
        let mut record = Record::default();
        document::read(Record::intact(bytes)?, &mut record)?;
        Ok(record)
    }

    /// Returns the inner object if the checksum is right.
    pub(super) fn intact(bytes: &[u8]) -> Result<&[u8]> {
        let torn = || Error::new("the record is torn or damaged (checksum)");
        let (start, rest) = bytes.split_at_checked(HEAD).ok_or_else(torn)?;
        let inner = rest.strip_suffix(b"}").ok_or_else(torn)?;
        let mut crc = Crc(!0);
        crc.add(inner);
        if start == head(!crc.0).as_bytes() { Ok(inner) } else { Err(torn()) }
    }

    /// Returns a handle to its cgroup, which may no longer exist.
    pub fn cgroup(&self) -> Cgroup {
        Cgroup::adopt(&self.cgroup)
    }

    fn to_json(&self) -> Json {
        let node = |(path, rule): &(Text, DeviceRule)| (*path, rule.to_json());
        let mut record = JsonObject::default();
        record.text("id", self.id);
        record.text("phase", PHASES.name(|phase| phase == self.phase).unwrap_or(""));
        record.text("bootId", self.boot_id);
        record.put("creator", mark_to_json(&self.creator));
        record.put("init", self.init.as_ref().map_or(Json::Null, mark_to_json));
        record.text("bundle", self.bundle);
        record.text("rootfs", self.rootfs);
        record.text("created", self.created);
        record.text("ociVersion", self.oci_version);
        record.put("annotations", Json::Pairs(self.annotations));
        record.put("cgroup", self.cgroup.to_json());
        record.put("deviceRules", devices::to_json(&self.device_rules));
        record.put("deviceNodes", Json::Object(self.device_nodes.iter().map(node).collect()));
        record.put("resctrl", Json::strs(self.resctrl.iter().copied()));
        record.put("ownPidNamespace", self.own_pid_namespace.into());
        record.put("userNamespace", self.user_namespace.map_or(Json::Null, Json::from));
        record.put("keyring", self.keyring.map_or(Json::Null, Json::Str));
        record.put("poststopDone", self.poststop_done.into());
        record.text("embrun", self.embrun);
        record.end()
    }
}

const PREFIX: &str = r#"{"version":1,"crc32":""#;
const MIDDLE: &str = r#"","record":"#;

const HEAD: usize = PREFIX.len() + 8 + MIDDLE.len();

/// The text before the inner object.
fn head(crc: u32) -> String {
    format!("{PREFIX}{crc:08x}{MIDDLE}")
}

/// CRC-32 as in zlib and Ethernet, to be inverted at the end.
struct Crc(u32);

impl Crc {
    fn add(&mut self, bytes: &[u8]) {
        // The table of bytes is linear, so the halves of a byte are looked up independently, which the processor does at once.
        for byte in bytes {
            let byte = (self.0 ^ u32::from(*byte)) as usize;
            self.0 = self.0 >> 8 ^ HALVES[byte & 15] ^ HALVES[16 | byte >> 4 & 15];
        }
    }
}

impl fmt::Write for Crc {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.add(text.as_bytes());
        Ok(())
    }
}

/// The CRC of each lower and each upper half of a byte.
/// A table for whole bytes is eight times as large.
static HALVES: [u32; 32] = {
    let (mut table, mut n) = ([0; 32], 0);
    while n < 32 {
        let (mut crc, mut bit) = (if n < 16 { n as u32 } else { (n as u32 & 15) << 4 }, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[n] = crc;
        n += 1;
    }
    table
};

fn mark_to_json(mark: &ProcessMark) -> Json {
    Json::fields([("pid", mark.pid.into()), ("start", mark.start.into())])
}

impl Slot for ProcessMark {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        v.object(&mut [must("pid", &mut self.pid), must("start", &mut self.start)])
    }
}

impl Slot for Record {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        v.object(&mut [
            must("id", &mut self.id),
            must("phase", &mut Word(&mut self.phase, &PHASES)),
            must("bootId", &mut self.boot_id),
            must("creator", &mut self.creator),
            may("init", &mut Optional(&mut self.init)),
            must("bundle", &mut self.bundle),
            must("rootfs", &mut self.rootfs),
            must("created", &mut self.created),
            must("ociVersion", &mut self.oci_version),
            may("annotations", &mut self.annotations),
            may("cgroup", &mut self.cgroup),
            may("deviceRules", &mut self.device_rules),
            may(
                "deviceNodes",
                &mut Each(&mut |v| {
                    v.each_member(&mut |path, v| {
                        let mut rule = DeviceRule::default();
                        rule.fill(v)?;
                        self.device_nodes.push((path, rule));
                        Ok(())
                    })
                }),
            ),
            may("resctrl", &mut Texts(&mut self.resctrl, any)),
            must("ownPidNamespace", &mut self.own_pid_namespace),
            may("userNamespace", &mut Optional(&mut self.user_namespace)),
            may("keyring", &mut self.keyring),
            must("poststopDone", &mut self.poststop_done),
            must("embrun", &mut self.embrun),
        ])
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::cgroup::place::location::Place;

    pub(crate) fn sample() -> Record {
        Record {
            id: "web",
            phase: Phase::Created,
            boot_id: "7d2a5d1c-0000-4000-8000-000000000000",
            creator: ProcessMark { pid: 10, start: 99 },
            init: Some(ProcessMark { pid: 12, start: u64::MAX }),
            bundle: "/b/ü\"\\",
            rootfs: "/b/rootfs",
            created: "2024-01-01T00:00:00.5Z",
            oci_version: "1.0.2",
            annotations: Pairs::new(&[("a", "1\n"), ("b", "")]),
            cgroup: Location {
                unit: None,
                places: vec![Place {
                    mount: "/sys/fs/cgroup/cpu".into(),
                    path: "/a/web".into(),
                    controllers: vec!["cpu".into()],
                    made: 1,
                }],
            },
            device_rules: vec![devices::DEFAULTS[1]],
            device_nodes: vec![("/dev/ttyUSB0", devices::DEFAULTS[3])],
            resctrl: &["/sys/fs/resctrl/web"],
            own_pid_namespace: true,
            user_namespace: Some(4026531837),
            keyring: Some("_ses.web.0"),
            poststop_done: 2,
            embrun: "0.1.0",
        }
    }

    #[test]
    fn encoded_records_decode_to_the_same_record() {
        let without =
            Record { init: None, cgroup: Location::default(), annotations: Pairs::new(&[]), ..sample() };
        for r in [sample(), without] {
            assert_eq!(Record::decode(r.encode().as_bytes()).unwrap(), r);
        }
    }

    #[test]
    fn every_torn_prefix_is_detected() {
        let whole = sample().encode().into_bytes();
        for end in 0..whole.len() {
            assert!(Record::decode(&whole[..end]).is_err(), "prefix of {end} bytes");
            let mut zeroes = whole.clone();
            zeroes[end..].fill(0);
            assert!(Record::decode(&zeroes).is_err(), "NUL from byte {end} on");
        }
        let longer = [&whole[..], b"\n"].concat();
        assert!(Record::decode(&longer).is_err());
    }

    #[test]
    fn every_flipped_bit_is_detected() {
        let whole = sample().encode().into_bytes();
        for bit in 0..whole.len() * 8 {
            let mut bad = whole.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::decode(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn record_half_old_half_new_is_detected() {
        let (old, new) = (sample(), Record { phase: Phase::Deleting, poststop_done: 3, ..sample() });
        let (old, new) = (old.encode().into_bytes(), new.encode().into_bytes());
        for cut in 1..old.len().min(new.len()) {
            let mixed = [&new[..cut], &old[cut..]].concat();
            if mixed != old && mixed != new {
                assert!(Record::decode(&mixed).is_err(), "cut at {cut}");
            }
        }
    }

    #[test]
    fn checksum_equals_that_of_zlib() {
        let mut crc = Crc(!0);
        crc.add(b"123456789");
        assert_eq!(!crc.0, 0xcbf4_3926);
    }

    #[test]
    fn record_of_another_version_is_refused() {
        let other = sample().encode().replacen("\"version\":1", "\"version\":2", 1);
        assert!(Record::decode(other.as_bytes()).is_err());
    }
}
