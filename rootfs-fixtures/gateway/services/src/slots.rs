//! Two firmware slots, of which one is active.
//!
//! An update goes to the other slot, and one write of a sector makes that one active. A slot begins with two copies of its
//! header, written in turn, each with a checksum. A torn header leaves the other copy. The active slot is the one with the
//! highest sequence number among those that are not marked as bad.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;

use sha2::{Digest as _, Sha512};

/// Where a slot is stored; in tests a medium that can lose power.
pub trait Medium {
    /// Reads all of the buffer.
    fn read(&self, out: &mut [u8], at: u64) -> io::Result<()>;
    /// Writes all of the bytes.
    fn write(&mut self, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Returns when everything is on the medium.
    fn flush(&mut self) -> io::Result<()>;
}

impl Medium for File {
    fn read(&self, out: &mut [u8], at: u64) -> io::Result<()> {
        self.read_exact_at(out, at)
    }

    fn write(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Opens the device of a slot.
pub fn device(path: &str) -> Result<File, String> {
    OpenOptions::new().read(true).write(true).open(path).map_err(|e| format!("{path}: {e}"))
}

/// How far an image has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Active, but not confirmed yet.
    Trying,
    /// It works.
    Confirmed,
    /// It does not work, and is not installed again.
    Bad,
}

/// The content of a slot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    copy: u64,
    sequence: u64,
    /// The version of the image.
    pub version: u64,
    /// The size of the image in bytes.
    pub size: u64,
    /// The SHA-512 of the image.
    pub digest: [u8; 64],
    /// How far it has come.
    pub standing: Standing,
}

const MAGIC: &[u8; 8] = b"GATESLOT";
const SECTOR: usize = 512;
/// Copies lie in different blocks of 4 KiB.
const COPIES: [u64; 2] = [0, 4096];
/// Where the image begins.
pub const IMAGE: u64 = 8192;
const SUM: usize = 112;

impl Header {
    fn encode(&self) -> [u8; SECTOR] {
        let mut out = [0; SECTOR];
        out[..8].copy_from_slice(MAGIC);
        for (i, word) in [self.copy, self.sequence, self.version, self.size].iter().enumerate() {
            out[8 + 8 * i..16 + 8 * i].copy_from_slice(&word.to_le_bytes());
        }
        out[40..104].copy_from_slice(&self.digest);
        out[104] = match self.standing {
            Standing::Trying => 1,
            Standing::Confirmed => 2,
            Standing::Bad => 3,
        };
        let sum = crc32fast::hash(&out[..SUM]);
        out[SUM..SUM + 4].copy_from_slice(&sum.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8; SECTOR]) -> Option<Header> {
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let sum = u32::from_le_bytes(bytes[SUM..SUM + 4].try_into().expect("four bytes"));
        if &bytes[..8] != MAGIC || crc32fast::hash(&bytes[..SUM]) != sum {
            return None;
        }
        let standing = match bytes[104] {
            1 => Standing::Trying,
            2 => Standing::Confirmed,
            3 => Standing::Bad,
            _ => return None,
        };
        let digest = bytes[40..104].try_into().expect("64 bytes");
        Some(Header {
            copy: word(8),
            sequence: word(16),
            version: word(24),
            size: word(32),
            digest,
            standing,
        })
    }
}

/// The two slots.
pub struct Slots<M>(pub [M; 2]);

impl<M: Medium> Slots<M> {
    /// The content of a slot, if its header is whole.
    pub fn header(&self, slot: usize) -> io::Result<Option<Header>> {
        let mut best: Option<Header> = None;
        for at in COPIES {
            let mut sector = [0; SECTOR];
            self.0[slot].read(&mut sector, at)?;
            let found = Header::decode(&sector);
            if found.as_ref().map(|h| h.copy) > best.as_ref().map(|h| h.copy) {
                best = found;
            }
        }
        Ok(best)
    }

    /// The slot to boot.
    pub fn active(&self) -> io::Result<Option<(usize, Header)>> {
        let mut best: Option<(usize, Header)> = None;
        for slot in 0..2 {
            let Some(header) = self.header(slot)?.filter(|h| h.standing != Standing::Bad) else { continue };
            if best.as_ref().is_none_or(|(_, b)| header.sequence > b.sequence) {
                best = Some((slot, header));
            }
        }
        Ok(best)
    }

    /// Removes the header of the inactive slot, and returns that slot.
    pub fn clear(&mut self) -> io::Result<usize> {
        let slot = self.active()?.map_or(0, |(slot, _)| 1 - slot);
        for at in COPIES {
            self.0[slot].write(&[0; SECTOR], at)?;
        }
        self.0[slot].flush()?;
        Ok(slot)
    }

    /// Writes a part of the image.
    pub fn fill(&mut self, slot: usize, part: &[u8], at: u64) -> io::Result<()> {
        self.0[slot].write(part, IMAGE + at)
    }

    /// Makes a slot the active one if its image is whole; returns whether it is.
    pub fn switch(&mut self, slot: usize, version: u64, size: u64, digest: [u8; 64]) -> io::Result<bool> {
        self.0[slot].flush()?;
        if self.digest(slot, size)? != digest {
            return Ok(false);
        }
        let sequence = self.active()?.map_or(1, |(_, header)| header.sequence + 1);
        let standing = Standing::Trying;
        self.put(slot, Header { copy: 0, sequence, version, size, digest, standing })?;
        Ok(true)
    }

    /// Records how far the image of a slot has come.
    pub fn mark(&mut self, slot: usize, header: &Header, standing: Standing) -> io::Result<()> {
        self.put(slot, Header { copy: header.copy + 1, standing, ..header.clone() })
    }

    /// The digest of the first bytes of a slot's image.
    pub fn digest(&self, slot: usize, size: u64) -> io::Result<[u8; 64]> {
        let mut hash = Sha512::new();
        let mut part = vec![0; 64 << 10];
        let mut at = 0;
        while at < size {
            let n = part.len().min((size - at) as usize);
            self.0[slot].read(&mut part[..n], IMAGE + at)?;
            hash.update(&part[..n]);
            at += n as u64;
        }
        Ok(hash.finalize().into())
    }

    fn put(&mut self, slot: usize, header: Header) -> io::Result<()> {
        self.0[slot].write(&header.encode(), COPIES[(header.copy % 2) as usize])?;
        self.0[slot].flush()
    }
}

#[cfg(test)]
#[path = "slots_tests.rs"]
mod tests;
