//! Strings and lists that are never freed, and arguments that are not UTF-8.
//!
//! A byte that is not UTF-8 is stored as a NUL, which neither an argument nor a string of the configuration contains, followed by
//! the character with the byte's number. [`argument`] restores the byte. Only the program's arguments and environment may contain
//! such bytes: the lexer refuses them everywhere else.

pub mod names;
pub mod search;

use std::ffi::{CStr, CString};

/// A string that lives as long as the process and is never copied or freed.
pub type Text = &'static str;

/// A list that lives as long as the process.
pub type List<T> = &'static [T];

/// Keeps a value until the process ends.
///
/// A command lives for milliseconds and its heap never frees ([`crate::sys::heap`]), so strings and lists are borrowed and need
/// no reference counts. clippy.toml denies `leak` everywhere else.
pub trait Keep {
    /// The borrowed form: a string, a list or a C string.
    type Kept: ?Sized + 'static;

    /// Keeps the value.
    fn keep(self) -> &'static Self::Kept;
}

impl Keep for String {
    type Kept = str;

    #[allow(clippy::disallowed_methods)]
    fn keep(self) -> Text {
        self.leak()
    }
}

impl<T: 'static> Keep for Vec<T> {
    type Kept = [T];

    #[allow(clippy::disallowed_methods)]
    fn keep(self) -> List<T> {
        self.leak()
    }
}

impl Keep for CString {
    type Kept = CStr;

    #[allow(clippy::disallowed_methods)]
    fn keep(self) -> &'static CStr {
        Box::leak(self.into_boxed_c_str())
    }
}

impl<T: 'static> Keep for Box<T> {
    type Kept = T;

    #[allow(clippy::disallowed_methods)]
    fn keep(self) -> &'static T {
        Box::leak(self)
    }
}

/// Concatenates two lists.
pub fn joined<T: Copy>(first: &[T], then: &[T]) -> List<T> {
    [first, then].concat().keep()
}

/// Converts to a C string; `None` if the text contains a NUL.
pub fn c_text(text: &[u8]) -> Option<&'static CStr> {
    CString::new(text).ok().map(CString::keep)
}

/// Converts an argument to a string; a copy, because init wipes the original.
pub fn of(word: &CStr) -> Text {
    if let Ok(text) = word.to_str() {
        return text.to_owned().keep();
    }
    let mut text = String::new();
    for chunk in word.to_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push('\0');
            text.push(char::from(*byte));
        }
    }
    text.keep()
}

/// Whether the argument was valid UTF-8.
pub fn is_utf8(text: &str) -> bool {
    !text.contains('\0')
}

/// Restores the argument; `None` if a NUL in it does not mark a byte.
pub fn argument(text: &str) -> Option<&'static CStr> {
    let mut bytes = Vec::with_capacity(text.len() + 1);
    let mut parts = text.split('\0');
    bytes.extend_from_slice(parts.next()?.as_bytes());
    for part in parts {
        let mut rest = part.chars();
        let byte = rest.next().and_then(|c| u8::try_from(u32::from(c)).ok())?;
        bytes.push(byte);
        bytes.extend_from_slice(rest.as_str().as_bytes());
    }
    CString::new(bytes).ok().map(CString::keep)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_given_back_byte_by_byte() {
        let all: Vec<u8> = (1..=255).collect();
        let mut words = vec![all, vec![], b"caf\xe9".to_vec(), b"\xff\xfe".to_vec(), b"\xe2\x82".to_vec()];
        words.extend(["é 漢 \u{10ffff}", "plain"].map(|s| s.as_bytes().to_vec()));
        // Test every pair of bytes, alone and followed by one more byte.
        words.extend((1..=255u8).flat_map(|a| (1..=255u8).flat_map(move |b| [vec![a, b], vec![a, b, b]])));
        for bytes in words {
            let word: &CStr = CString::new(bytes.clone()).unwrap().keep();
            let text = of(word);
            assert_eq!(is_utf8(text), std::str::from_utf8(&bytes).is_ok());
            assert_eq!(argument(text), Some(word), "{bytes:?}");
        }
    }

    #[test]
    fn a_nul_that_stands_for_nothing_is_no_argument() {
        for text in ["\0", "a\0", "\0\0", "\0漢", "a\0\0é"] {
            assert_eq!(argument(text), None, "{text:?}");
        }
    }
}
