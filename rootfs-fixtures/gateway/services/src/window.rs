//! The window of the data-processor, kept in a file.
//!
//! A killed process loses nothing: each reading is appended before it counts. The file begins anew with each window.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::message::{Reading, Summary};
use crate::record;

/// The readings of the present window.
pub struct Window {
    path: PathBuf,
    file: File,
    last: u64,
    first_time: Option<u64>,
    count: u64,
    min: f64,
    max: f64,
    sum: f64,
}

const BYTES: usize = 24;

impl Window {
    /// Continues the window of an earlier run.
    pub fn open(dir: &Path) -> io::Result<Window> {
        let path = dir.join("window");
        let bytes = std::fs::read(&path).or_else(|e| match e.kind() {
            io::ErrorKind::NotFound => Ok(Vec::new()),
            _ => Err(e),
        })?;
        let (records, end) = record::all(&bytes);
        let file = OpenOptions::new().append(true).create(true).open(&path)?;
        file.set_len(end as u64)?;
        let mut window =
            Window { path, file, last: 0, first_time: None, count: 0, min: 0.0, max: 0.0, sum: 0.0 };
        for content in records {
            let Ok(content) = <[u8; BYTES]>::try_from(content) else { continue };
            let word = |i: usize| u64::from_le_bytes(content[i..i + 8].try_into().expect("eight bytes"));
            window.count_in(word(0), word(8), f64::from_bits(word(16)));
        }
        Ok(window)
    }

    /// The id of the last reading.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Adds a reading; whether it is new.
    pub fn add(&mut self, reading: &Reading) -> io::Result<bool> {
        if reading.id <= self.last {
            return Ok(false);
        }
        let mut out = Vec::new();
        record::append(&mut out, &encode(reading.id, reading.t, reading.value));
        self.file.write_all(&out)?;
        self.count_in(reading.id, reading.t, reading.value);
        Ok(true)
    }

    /// The summary, if the window is `length` microseconds old at `now`.
    pub fn summary(&self, now: u64, length: u64) -> Option<Summary> {
        let first = self.first_time.filter(|&t| now >= t.saturating_add(length))?;
        let mean = self.sum / self.count as f64;
        let Window { count, min, max, .. } = *self;
        Some(Summary { id: self.last, t: now.max(first), count, min, max, mean })
    }

    /// Begins the next window.
    ///
    /// The number of the last reading stays, in a record without a value.
    pub fn restart(&mut self) -> io::Result<()> {
        let new = self.path.with_extension("new");
        let mut out = Vec::new();
        record::append(&mut out, &encode(self.last, 0, 0.0));
        let mut file = File::create(&new)?;
        file.write_all(&out)?;
        file.sync_data()?;
        std::fs::rename(&new, &self.path)?;
        self.file = OpenOptions::new().append(true).open(&self.path)?;
        (self.first_time, self.count, self.sum) = (None, 0, 0.0);
        Ok(())
    }

    /// A time of 0 marks the record that only keeps the number.
    fn count_in(&mut self, id: u64, t: u64, value: f64) {
        self.last = id;
        if t == 0 {
            return;
        }
        let first = self.first_time.is_none();
        self.first_time = self.first_time.or(Some(t));
        self.min = if first { value } else { self.min.min(value) };
        self.max = if first { value } else { self.max.max(value) };
        self.sum += value;
        self.count += 1;
    }
}

fn encode(id: u64, t: u64, value: f64) -> [u8; BYTES] {
    let mut out = [0; BYTES];
    out[..8].copy_from_slice(&id.to_le_bytes());
    out[8..16].copy_from_slice(&t.to_le_bytes());
    out[16..].copy_from_slice(&value.to_bits().to_le_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("gateway-window-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir).unwrap();
        dir
    }

    fn reading(id: u64, value: f64) -> Reading {
        Reading { id, t: id * 1000, sensor: "serial".to_owned(), value }
    }

    #[test]
    fn a_window_is_summed_up_when_it_is_over() {
        let dir = scratch("sum");
        let mut window = Window::open(&dir).unwrap();
        for (id, value) in [(1, 4.0), (2, -1.0), (3, 3.0)] {
            assert!(window.add(&reading(id, value)).unwrap());
        }
        assert_eq!(window.summary(10_999, 10_000), None);
        let summary = window.summary(11_000, 10_000).unwrap();
        let expected = Summary { id: 3, t: 11_000, count: 3, min: -1.0, max: 4.0, mean: 2.0 };
        assert_eq!(summary, expected);
        window.restart().unwrap();
        assert_eq!(window.summary(99_000, 10_000), None);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_reading_counts_once_also_after_a_restart_of_process_or_window() {
        let dir = scratch("once");
        let mut window = Window::open(&dir).unwrap();
        assert!(window.add(&reading(1, 1.0)).unwrap() && !window.add(&reading(1, 1.0)).unwrap());
        assert!(!Window::open(&dir).unwrap().add(&reading(1, 1.0)).unwrap());
        window.restart().unwrap();
        let mut window = Window::open(&dir).unwrap();
        assert!(!window.add(&reading(1, 1.0)).unwrap() && window.add(&reading(2, 1.0)).unwrap());
        assert_eq!(window.summary(u64::MAX, 0).unwrap().count, 1);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_torn_file_of_every_length_keeps_its_whole_readings() {
        let dir = scratch("torn");
        let mut window = Window::open(&dir).unwrap();
        (1..=4).for_each(|id| assert!(window.add(&reading(id, 1.0)).unwrap()));
        let bytes = std::fs::read(dir.join("window")).unwrap();
        let one = bytes.len() / 4;
        for length in 0..=bytes.len() {
            std::fs::write(dir.join("window"), &bytes[..length]).unwrap();
            let mut window = Window::open(&dir).unwrap();
            assert_eq!(window.count as usize, length / one, "{length} bytes");
            assert!(window.add(&reading(9, 1.0)).unwrap());
            assert_eq!(Window::open(&dir).unwrap().count as usize, length / one + 1, "{length} bytes");
        }
        std::fs::remove_dir_all(dir).unwrap();
    }
}
