//! Texts that are stored packed, because few commands need them.
//!
//! `build.rs` packs them.
//!
//! The format is a length of two bytes, little-endian, then ASCII. A byte of 0x80 or more repeats earlier bytes. Its bits are
//! `1LLLLHHH`: L is their number minus three, and H with the next byte is their distance. An L of 15 adds another byte; an H of 7
//! is replaced by another byte.

use crate::text::Keep;

/// The unpacked text with this name in `build.rs`.
#[macro_export]
macro_rules! packed {
    ($name:literal) => {
        $crate::packed::unpack(include_bytes!(concat!(env!("OUT_DIR"), "/", $name)))
    };
}

/// Unpacks a text, which is then kept as long as the process lives.
pub fn unpack(packed: &'static [u8]) -> &'static str {
    let mut packed = packed.iter().map(|byte| usize::from(*byte));
    let mut next = || packed.next();
    let mut text = Vec::with_capacity(next().unwrap_or(0) | next().unwrap_or(0) << 8);
    while let Some(first) = next() {
        if first < 0x80 {
            text.push(first as u8);
            continue;
        }
        let mut more = || next().unwrap_or(0);
        let length = match first >> 3 & 15 {
            15 => 15 + more(),
            length => length,
        };
        let high = match first & 7 {
            7 => more(),
            high => high,
        };
        let back = high << 8 | more();
        for _ in 0..length + 3 {
            let Some(byte) = text.len().checked_sub(back).and_then(|at| text.get(at)) else { break };
            text.push(*byte);
        }
    }
    std::str::from_utf8(text.keep()).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_are_as_described() {
        assert_eq!(unpack(b"\x05\0ab\x80\x02"), "ababa");
        assert_eq!(unpack(b"\x13\0a\xf8\0\x01"), "aaaaaaaaaaaaaaaaaaa");
        let far = [&[0xff, 0x07][..], &vec![b'-'; 2044], b"yes", b"\x87\x07\xff"].concat();
        assert!(unpack(far.keep()).ends_with("yes---"));
    }

    #[test]
    fn what_is_broken_ends_early() {
        for broken in ["", "\x01", "\x01\0", "\x05\0a\u{80}"] {
            assert!(unpack(broken.as_bytes()).len() < 2, "{broken:?}");
        }
    }

    #[test]
    fn each_text_comes_back() {
        assert_eq!(packed!("commands"), include_str!("cli/commands.txt"));
        let template = include_str!("bundle/template.json");
        assert_eq!(packed!("template"), template.split_whitespace().collect::<String>());
        assert_eq!(packed!("roles").lines().count(), 5);
        assert_eq!(packed!("syscalls").lines().nth(6), Some("acct"));
    }
}
