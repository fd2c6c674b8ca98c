//! The uplink's queue: files of records, and a cursor.
//!
//! The cursor is behind the last record that the cloud has. A file is named after the index of its first record. Each file begins
//! with the highest id stored for each topic, so that a message that the broker delivers again is recognised although its record is
//! gone. A message is on the medium once `store` has returned.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::record;

/// A message on its way to the cloud.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The topic, the same at the site and in the cloud.
    pub topic: String,
    /// The payload.
    pub payload: Vec<u8>,
}

struct Segment {
    first: u64,
    bytes: u64,
}

/// The queue in a directory.
pub struct Queue {
    dir: PathBuf,
    segments: VecDeque<Segment>,
    tail: File,
    /// The index of the next record.
    next: u64,
    /// Records below are in the cloud.
    done: u64,
    /// The next record to hand out, and its file's records from there.
    sent: u64,
    loaded: VecDeque<(u64, Entry)>,
    seen: BTreeMap<String, u64>,
    cursor: File,
    limit: u64,
    segment: u64,
}

/// After a power cut about this many messages are sent again at most.
const AGAIN: u64 = 100;

const MESSAGE: u8 = b'M';
const SEEN: u8 = b'S';

impl Queue {
    /// Opens it, with the largest size of all files and of one file.
    pub fn open(dir: &Path, limit: u64, segment: u64) -> io::Result<Queue> {
        let mut firsts: Vec<u64> = std::fs::read_dir(dir)?
            .filter_map(|e| u64::from_str_radix(e.ok()?.file_name().to_str()?.strip_suffix(".log")?, 16).ok())
            .collect();
        firsts.sort_unstable();
        let cursor = file(&dir.join("cursor"))?;
        let done = read_cursor(&cursor)?;
        if firsts.is_empty() {
            firsts.push(done);
        }
        let (mut segments, mut seen, mut next) = (VecDeque::new(), BTreeMap::new(), done);
        for (i, &first) in firsts.iter().enumerate() {
            let path = segment_path(dir, first);
            let bytes = std::fs::read(&path).or_else(|e| match e.kind() {
                io::ErrorKind::NotFound => Ok(Vec::new()),
                _ => Err(e),
            })?;
            let (records, end) = record::all(&bytes);
            if end < bytes.len() {
                let what = if i + 1 == firsts.len() { "torn" } else { "damaged" };
                eprintln!("uplink: {}: {what} at byte {end} of {}", path.display(), bytes.len());
            }
            for content in &records {
                match parse(content) {
                    Some(Record::Message(entry)) => remember(&mut seen, &entry),
                    Some(Record::Seen(older)) => {
                        older.into_iter().for_each(|(topic, id)| raise(&mut seen, topic, id))
                    }
                    None => {}
                }
            }
            next = next.max(first + records.len() as u64);
            segments.push_back(Segment { first, bytes: end as u64 });
        }
        let last = segments.back().expect("one was added if there was none");
        let tail = file(&segment_path(dir, last.first))?;
        // Bytes behind the last whole record were never acknowledged.
        tail.set_len(last.bytes)?;
        tail.sync_all()?;
        sync_dir(dir)?;
        let (dir, loaded) = (dir.to_owned(), VecDeque::new());
        let mut queue =
            Queue { dir, segments, tail, next, done, sent: done, loaded, seen, cursor, limit, segment };
        // Damage may hide how many records there were, so later indexes get a file of their own.
        let last = queue.segments.back().map_or(0, |s| s.first);
        if queue.count_of(last)? + last != queue.next {
            queue.roll()?;
        }
        Ok(queue)
    }

    /// Whether there is room for another message; if not, none may be acknowledged.
    pub fn has_room(&self) -> bool {
        self.segments.iter().map(|s| s.bytes).sum::<u64>() < self.limit
    }

    /// The number of records that the cloud does not have yet.
    pub fn waiting(&self) -> u64 {
        self.next - self.done
    }

    /// Stores the messages that are new, and returns how many these were.
    pub fn store(&mut self, entries: &[Entry]) -> io::Result<usize> {
        let mut out = Vec::new();
        let mut stored = 0;
        let mut seen = self.seen.clone();
        for entry in entries {
            if id_of(&entry.payload).is_some_and(|id| seen.get(&entry.topic).is_some_and(|&last| id <= last))
            {
                continue;
            }
            remember(&mut seen, entry);
            let mut content = vec![MESSAGE, entry.topic.len() as u8];
            content.extend_from_slice(entry.topic.as_bytes());
            content.extend_from_slice(&entry.payload);
            if entry.topic.len() > 255 || content.len() > record::LONGEST {
                eprintln!("uplink: a message of {} bytes is too long", entry.payload.len());
                continue;
            }
            record::append(&mut out, &content);
            stored += 1;
        }
        if stored == 0 {
            return Ok(0);
        }
        if self.segments.back().is_some_and(|s| s.bytes >= self.segment) {
            self.roll()?;
        }
        self.write(&out)?;
        self.next += stored as u64;
        self.seen = seen;
        Ok(stored)
    }

    /// The next message for the cloud and its index; each is handed out once.
    pub fn take(&mut self) -> io::Result<Option<(u64, Entry)>> {
        while self.loaded.is_empty() {
            if self.sent >= self.next {
                return Ok(None);
            }
            self.load()?;
        }
        let taken = self.loaded.pop_front();
        if let Some((index, _)) = &taken {
            self.sent = index + 1;
        }
        Ok(taken)
    }

    /// The cloud has all messages up to this index.
    ///
    /// The cursor is not flushed each time: if it is behind after a power cut, messages are sent again.
    pub fn finish(&mut self, index: u64) -> io::Result<()> {
        let before = self.done;
        self.done = before.max(index + 1);
        write_cursor(&self.cursor, self.done)?;
        if self.done / AGAIN != before / AGAIN {
            self.cursor.sync_data()?;
        }
        while self.segments.len() > 1 && self.segments[1].first <= self.done {
            self.cursor.sync_data()?;
            std::fs::remove_file(segment_path(&self.dir, self.segments[0].first))?;
            self.segments.pop_front();
        }
        Ok(())
    }

    /// Reads the records of one file from the next one to hand out.
    fn load(&mut self) -> io::Result<()> {
        let at = self.segments.iter().rposition(|s| s.first <= self.sent).unwrap_or(0);
        let first = self.segments[at].first;
        let end = self.segments.get(at + 1).map_or(self.next, |s| s.first);
        let bytes = std::fs::read(segment_path(&self.dir, first))?;
        for (index, content) in (first..end).zip(record::all(&bytes).0) {
            if let (true, Some(Record::Message(entry))) = (index >= self.sent, parse(content)) {
                self.loaded.push_back((index, entry));
            }
        }
        if self.loaded.is_empty() {
            self.sent = end;
        }
        Ok(())
    }

    fn count_of(&self, first: u64) -> io::Result<u64> {
        Ok(record::all(&std::fs::read(segment_path(&self.dir, first))?).0.len() as u64)
    }

    /// Begins a file.
    fn roll(&mut self) -> io::Result<()> {
        self.tail = file(&segment_path(&self.dir, self.next))?;
        self.tail.set_len(0)?;
        self.segments.push_back(Segment { first: self.next, bytes: 0 });
        let mut content = vec![SEEN];
        serde_json::to_writer(&mut content, &self.seen)?;
        let mut out = Vec::new();
        record::append(&mut out, &content);
        self.write(&out)?;
        self.next += 1;
        sync_dir(&self.dir)
    }

    /// Appends to the last file and flushes it; a part of a failed write is removed.
    fn write(&mut self, out: &[u8]) -> io::Result<()> {
        let end = self.segments.back_mut().map_or(0, |s| s.bytes);
        let written = self.tail.write_all_at(out, end).and_then(|()| self.tail.sync_data());
        if let Err(e) = written {
            let _ = self.tail.set_len(end);
            return Err(e);
        }
        if let Some(last) = self.segments.back_mut() {
            last.bytes += out.len() as u64;
        }
        Ok(())
    }
}

enum Record {
    Message(Entry),
    Seen(BTreeMap<String, u64>),
}

fn parse(content: &[u8]) -> Option<Record> {
    match *content.first()? {
        MESSAGE => {
            let (topic, payload) = content[2..].split_at_checked(*content.get(1)? as usize)?;
            let topic = String::from_utf8(topic.to_vec()).ok()?;
            Some(Record::Message(Entry { topic, payload: payload.to_vec() }))
        }
        SEEN => serde_json::from_slice(&content[1..]).ok().map(Record::Seen),
        _ => None,
    }
}

/// The id of a message; one without is never taken for a repeated one.
fn id_of(payload: &[u8]) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Id {
        id: u64,
    }
    serde_json::from_slice::<Id>(payload).ok().map(|m| m.id)
}

fn raise(seen: &mut BTreeMap<String, u64>, topic: String, id: u64) {
    let last = seen.entry(topic).or_insert(id);
    *last = id.max(*last);
}

fn remember(seen: &mut BTreeMap<String, u64>, entry: &Entry) {
    if let Some(id) = id_of(&entry.payload) {
        raise(seen, entry.topic.clone(), id);
    }
}

fn segment_path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:016x}.log"))
}

fn file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// The cursor has two places, written in turn, so that one of them is always whole.
const PLACE: usize = 64;

fn read_cursor(cursor: &File) -> io::Result<u64> {
    let mut bytes = [0; 2 * PLACE];
    let read = cursor.read_at(&mut bytes, 0)?;
    let value = |place: &[u8]| Some(u64::from_le_bytes(record::first(place)?.0.try_into().ok()?));
    let places = bytes[..read].chunks(PLACE).filter_map(value);
    Ok(places.max().unwrap_or(0))
}

fn write_cursor(cursor: &File, value: u64) -> io::Result<()> {
    let mut place = Vec::with_capacity(PLACE);
    record::append(&mut place, &value.to_le_bytes());
    place.resize(PLACE, 0);
    let mut at = cursor;
    at.flush()?;
    cursor.write_all_at(&place, (value % 2) * PLACE as u64)
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
