//! Records with checksums in an append-only file.
//!
//! Each record is its length, the CRC-32 of length and content, and the content. A power cut can tear the end of the file; reading
//! stops at the first record that is not whole.

/// Bytes before the content.
pub const HEAD: usize = 8;

/// Longer records are not written, and a longer length is a sign of a torn one.
pub const LONGEST: usize = 1 << 20;

fn checksum(length: [u8; 4], content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(content);
    hasher.finalize()
}

/// Appends a record to a buffer.
pub fn append(out: &mut Vec<u8>, content: &[u8]) {
    let length = (content.len() as u32).to_le_bytes();
    out.extend_from_slice(&length);
    out.extend_from_slice(&checksum(length, content).to_le_bytes());
    out.extend_from_slice(content);
}

/// The first record and the bytes that it takes, if it is whole.
///
/// A record has content: a file system may leave zeros behind a torn write, and they must not look like records.
pub fn first(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let length: [u8; 4] = bytes.get(..4)?.try_into().ok()?;
    let sum: [u8; 4] = bytes.get(4..HEAD)?.try_into().ok()?;
    let end = HEAD + Some(u32::from_le_bytes(length) as usize).filter(|n| (1..=LONGEST).contains(n))?;
    let content = bytes.get(HEAD..end)?;
    (checksum(length, content) == u32::from_le_bytes(sum)).then_some((content, end))
}

/// All whole records, and the bytes that they take.
pub fn all(bytes: &[u8]) -> (Vec<&[u8]>, usize) {
    let (mut records, mut end) = (Vec::new(), 0);
    while let Some((content, taken)) = first(&bytes[end..]) {
        records.push(content);
        end += taken;
    }
    (records, end)
}
