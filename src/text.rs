//! Texts and lists that live as long as the process, and words of the command line that are not UTF-8.
//!
//! A byte that is not UTF-8 is kept as NUL, which neither an argument nor a text of the configuration holds, and the
//! character of that number. [`argument`] puts the byte back. Only the program's arguments and environment may have such
//! bytes: the lexer refuses them in all else.

use std::ffi::{CStr, CString};

/// A text of the configuration. The text that was read lives as long as the process: nothing of it is copied or given back.
pub type Text = &'static str;

/// Several of something in the configuration, which live as long.
pub type List<T> = &'static [T];

/// Keeps a value for the life of the process.
///
/// A command lives for milliseconds and its heap never frees ([`crate::sys::heap`]), so texts and lists are borrowed and need no
/// reference counts. clippy.toml denies `leak` everywhere else.
pub trait Keep {
    /// The borrowed form: a text, a list or a C string.
    type Kept: ?Sized + 'static;

    /// Keeps it.
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

/// The items of one list and then those of another.
pub fn joined<T: Copy>(first: &[T], then: &[T]) -> List<T> {
    [first, then].concat().keep()
}

/// A text as the kernel takes it; `None` if it holds a NUL.
pub fn c_text(text: &[u8]) -> Option<&'static CStr> {
    CString::new(text).ok().map(CString::keep)
}

/// A word of the command line as a text. A copy: init wipes the original.
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

/// Whether all of it is what was given.
pub fn is_utf8(text: &str) -> bool {
    !text.contains('\0')
}

/// A text as the word that it was; `None` if it holds a NUL that stands for nothing.
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
        // Every pair of bytes, and each of them cut off or continued by one more.
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
