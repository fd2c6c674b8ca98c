//! Faults of a document: each names the value and the reason.
//!
//! A fault collects the path of its value (`process.rlimits[2].type`) while it is returned, so reading valid documents allocates
//! nothing for paths.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Quoted};
use crate::text::Text;
use crate::text::names::words;

/// The reason why a value is refused, and its path in the document.
///
/// It is one pointer wide, because every reader returns it.
#[derive(Debug, PartialEq)]
pub struct Fault(Box<Where>);

#[derive(Debug, PartialEq)]
struct Where {
    path: String,
    what: String,
}

/// The result of reading a value.
pub type Read<T> = Result<T, Fault>;

impl Fault {
    /// A fault of the value that is being read.
    pub fn new(what: impl Into<String>) -> Fault {
        Fault(Box::new(Where { path: String::new(), what: what.into() }))
    }

    /// A fault with a formatted reason.
    #[inline(never)]
    pub fn of(what: fmt::Arguments<'_>) -> Fault {
        Fault::new(fmt::format(what))
    }

    /// The JSON path of the value (`process.rlimits[2].type`); empty for the document.
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// The same fault seen from the object that holds the value under `key`.
    #[cold]
    #[inline(never)]
    pub fn at(mut self, key: &str) -> Fault {
        let path = &mut self.0.path;
        if !path.is_empty() && !path.starts_with('[') {
            path.insert(0, '.');
        }
        path.insert_str(0, key);
        self
    }

    /// The same fault seen from the array that holds the value at `index`.
    #[cold]
    #[inline(never)]
    pub fn at_index(self, index: usize) -> Fault {
        self.at(&format!("[{index}]"))
    }
}

impl From<Fault> for Error {
    fn from(f: Fault) -> Error {
        let Where { path, what } = *f.0;
        let e = Error::new(what);
        if path.is_empty() { e } else { e.context(one_line(path)) }
    }
}

/// The text with control characters escaped, so that an error stays on one line.
///
/// NameTable in a document are chosen by its author.
pub fn one_line(text: String) -> String {
    if !text.contains(char::is_control) {
        return text;
    }
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}

/// The number of unknown keys to ignore before one is a fault.
static IGNORED: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Makes the unknown key after so many others a fault; `usize::MAX` ignores all.
///
/// Documents are read once for each key that is reported, so that reading them otherwise costs nothing.
pub fn report_unknown(after: usize) {
    IGNORED.store(after, Ordering::Relaxed);
}

/// Whether this unknown key is a fault.
pub(super) fn is_reported() -> bool {
    let left = IGNORED.load(Ordering::Relaxed);
    if left != usize::MAX {
        IGNORED.store(left.wrapping_sub(1), Ordering::Relaxed);
    }
    left == 0
}

#[cold]
pub(super) fn missing(key: &str) -> Fault {
    Fault::new("is required").at(key)
}

pub(super) fn without_nul(s: &str) -> Read<&str> {
    if s.contains('\0') { Err(Fault::new("contains a NUL character")) } else { Ok(s) }
}

/// The fault of an unknown word; it lists the known ones.
#[cold]
pub(super) fn unknown(word: &str, known: Text) -> Fault {
    let known: Vec<Text> = words(known).collect();
    Fault::of(format_args!("unknown {} (known: {})", Quoted(word), known.join(", ")))
}

/// A 64-bit integer, signed or unsigned.
#[derive(Clone, Copy)]
pub(super) struct Integer {
    pub negative: bool,
    /// Its bits in two's complement.
    pub bits: u64,
}

impl fmt::Display for Integer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.negative { (self.bits as i64).fmt(f) } else { self.bits.fmt(f) }
    }
}

impl Integer {
    pub fn of(text: &str) -> Read<Integer> {
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
        match digits.parse::<u64>() {
            Ok(bits) if !negative => Ok(Integer { negative, bits }),
            Ok(magnitude @ 1..=0x8000_0000_0000_0000) => {
                Ok(Integer { negative, bits: magnitude.wrapping_neg() })
            }
            // A number may be as long as the file; its first digits identify it.
            _ => Err(Fault::of(format_args!("must be an integer, is {text:.40}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::document;
    use super::super::slot::{Each, Slot, Value, Word, may, must};
    use super::*;
    use crate::names;
    use crate::text::List;
    use crate::text::names::NameTable;

    fn says(text: Text, read: &mut dyn FnMut(Value<'_>) -> Read<()>) -> String {
        document::read(text.as_bytes(), &mut Each(read)).unwrap_err().to_string()
    }

    #[test]
    fn faults_name_their_path() {
        let text = r#"{"process":{"rlimits":[{"type":"a"},{"type":"b"}],"x":{"k":true}}}"#;
        static KINDS: NameTable<i32> = names! { "a" => 1 };
        let mut kind = 0;
        let mut item = |v: Value<'_>| v.object(&mut [must("type", &mut Word(&mut kind, &KINDS))]);
        let mut rlimits = |v: Value<'_>| v.each(&mut Each(&mut item));
        let mut process = |v: Value<'_>| v.object(&mut [may("rlimits", &mut Each(&mut rlimits))]);
        let fault = says(text, &mut |v| v.object(&mut [may("process", &mut Each(&mut process))]));
        assert_eq!(fault, r#"process.rlimits[1].type: unknown "b" (known: a)"#);
        let mut pairs = <List<(Text, Text)>>::default();
        let mut process = |v: Value<'_>| v.object(&mut [may("x", &mut pairs)]);
        let fault = says(text, &mut |v| v.object(&mut [may("process", &mut Each(&mut process))]));
        assert_eq!(fault, "process.x.k: must be a string, is a boolean");
        let mut root = "";
        assert_eq!(says(text, &mut |v| v.object(&mut [must("root", &mut root)])), "root: is required");
        assert_eq!(
            says(r#"{"a":"a\u0000b"}"#, &mut |v| v.object(&mut [may("a", &mut root)])),
            "a: contains a NUL character"
        );
    }

    #[test]
    fn a_fault_is_one_line_whatever_the_keys_are() {
        let text = r#"{"a\nb\u001b":{"\"é":7}}"#;
        let mut inner = <List<(Text, Text)>>::default();
        let fault = says(text, &mut |v| v.object(&mut [may("a\nb\u{1b}", &mut inner)]));
        assert_eq!(fault, r#"a\nb\u{1b}."é: must be a string, is a number"#);
    }

    #[test]
    fn integers_are_checked_against_their_type() {
        let number = |text, slot: &mut dyn Slot| says(text, &mut |v| slot.fill(v));
        assert_eq!(number("4294967296", &mut 0_u32), "4294967296 is out of range (u32)");
        assert_eq!(number("-9223372036854775809", &mut 0_i64), "must be an integer, is -9223372036854775809");
        assert_eq!(number("18446744073709551616", &mut 0_u64), "must be an integer, is 18446744073709551616");
        for text in ["1.5", "-0", "1e5", "1E+5", "-0.25e-3"] {
            assert_eq!(number(text, &mut 0_i64), format!("must be an integer, is {text}"));
        }
        let mut n = 0_i64;
        document::read(b"-9223372036854775808", &mut n).unwrap();
        assert_eq!(n, i64::MIN);
    }

    #[test]
    fn a_document_that_is_broken_is_reported_before_a_value_that_does_not_fit() {
        let mut n = 0_u32;
        for (text, fault) in [
            (r#"{"a":"x"}"#, "a: must be an integer, is a string"),
            (r#"{"a":"x","b":[[{"c":[1,]}]]}"#, "trailing comma at line 1 column 24"),
            (r#"{"a":[{"b":1,"b":2}]}"#, r#"duplicate key "b" at line 1 column 16"#),
            (r#"{"a":"x""#, "EOF while parsing an object at line 1 column 8"),
        ] {
            assert_eq!(says(text, &mut |v| v.object(&mut [must("a", &mut n)])), fault, "{text}");
        }
    }
}
