//! The record of a container: torn, damaged and mixed forms.
//!
//! No damage may yield a pid: a record without its checksum is refused, and one of another boot is stopped.

use embrun::bundle::id;
use embrun::json::pairs::Pairs;
use embrun::state::observe::{Facts, Status, status};
use embrun::state::record::{Phase, ProcessMark, Record};

use crate::draw::Draw;
use crate::heap::limited;

/// Decodes the input, the input with a right checksum, and damaged records.
pub fn judge(input: &[u8]) {
    whole(input);
    let mut draw = Draw(input);
    match draw.below(3) {
        0 => whole(&signed(draw.0)),
        1 => damaged(&mut draw),
        _ => mixed(&mut draw),
    }
}

const HEAD: usize = r#"{"version":1,"crc32":"xxxxxxxx","record":"#.len();

/// Puts a text into the envelope, with its checksum.
fn signed(inner: &[u8]) -> Vec<u8> {
    let head = format!(r#"{{"version":1,"crc32":"{:08x}","record":"#, crc(inner));
    [head.as_bytes(), inner, b"}"].concat()
}

/// CRC-32, bit by bit.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| crc >> 1 ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

fn whole(bytes: &[u8]) {
    let Ok(record) = limited(bytes.len(), 64, || Record::decode(bytes)) else { return };
    let inner = &bytes[HEAD..bytes.len() - 1];
    assert_eq!(bytes, signed(inner), "a record with a wrong checksum is accepted");
    assert_eq!(Record::decode(record.encode().as_bytes()).unwrap(), record);
    serde_json::from_slice::<serde_json::Value>(inner).unwrap_or_else(|e| panic!("not a document: {e}"));
    stays_stopped(&record);
}

/// A record of another boot names no living process.
fn stays_stopped(record: &Record) {
    let facts =
        Facts { same_boot: false, creator_lives: true, init_lives: true, listening: true, frozen: true };
    assert_eq!(status(record, &facts), Status::Stopped);
    let dead = Facts { same_boot: true, creator_lives: false, init_lives: false, ..facts };
    assert_eq!(status(record, &dead), Status::Stopped);
}

fn drawn(draw: &mut Draw<'_>) -> Record {
    let mut text = |most| -> &'static str { draw.text(most).replace('\0', "0").leak() };
    let (id_text, bundle, key, value) = (text(8), text(8), text(3), text(3));
    Record {
        id: if id::check(id_text).is_ok() { id_text } else { "web" },
        phase: [Phase::Planned, Phase::Creating, Phase::Created, Phase::Deleting][draw.below(4)],
        boot_id: "7d2a5d1c-0000-4000-8000-000000000000",
        creator: ProcessMark { pid: 1 + i32::from(draw.byte()), start: draw.word().into() },
        init: draw.flag().then_some(ProcessMark { pid: draw.word() as i32, start: u64::MAX }),
        bundle,
        rootfs: "/b/rootfs",
        created: "2024-01-01T00:00:00Z",
        oci_version: "1.0.2",
        annotations: Pairs::new(&[(key, value)]),
        own_pid_namespace: draw.flag(),
        poststop_done: draw.word(),
        embrun: "0.1.0",
        ..Record::default()
    }
}

fn damaged(draw: &mut Draw<'_>) {
    let record = drawn(draw);
    let sound = record.encode().into_bytes();
    assert_eq!(Record::decode(&sound).unwrap(), record);
    let mut bytes = sound.clone();
    let at = draw.word() as usize % bytes.len();
    match draw.below(5) {
        0 => bytes.truncate(at),
        1 => bytes[at] ^= 1 << draw.below(8),
        2 => bytes[at..].fill(0),
        3 => bytes.insert(at, draw.byte()),
        _ => drop(bytes.remove(at)),
    }
    assert!(bytes == sound || Record::decode(&bytes).is_err(), "damage at {at} is not detected: {record:?}");
}

/// A write that was cut in the middle leaves the new head and the old tail.
fn mixed(draw: &mut Draw<'_>) {
    let (old, new) = (drawn(draw), drawn(draw));
    let (old, new) = (old.encode().into_bytes(), new.encode().into_bytes());
    let cut = draw.word() as usize % old.len().min(new.len());
    let bytes = [&new[..cut], &old[cut..]].concat();
    assert!(bytes == old || bytes == new || Record::decode(&bytes).is_err(), "cut at {cut}");
}
