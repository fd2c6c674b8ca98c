//! Reads a document and passes its values to slots.
//!
//! Only the values that a [`Slot`] takes are kept, so no tree of the document is ever in memory. The reader is as strict as RFC 8259,
//! and stricter in one point: a key that an object has twice is an error, because it is unclear which of the two is meant. A number
//! is handed out as its text in the document, so that each slot decides which numbers it takes.
//!
//! serde_json, which the tests compare with, is four times larger, and scans each string and number once more.

use std::mem::{replace, take};

use super::read::{Fault, Read};
use super::slot::{Slot, Value};
use super::value::{Json, is_special};
use crate::error::{self, Quoted};
use crate::sort::{self, give_back};
use crate::text::{Keep, Text};

/// The number of levels of arrays and objects that a document may have.
const DEEPEST: usize = 127;

/// The largest object whose keys are compared as they are read.
///
/// In a larger one they are sorted and compared at its end.
const MANY: usize = 64;

/// Reads one document.
///
/// It must be UTF-8, at most [`DEEPEST`] levels deep, without data after the value, and without a duplicate key in an object.
/// Malformed JSON is reported before a value that its slot refuses.
pub fn read(document: &'static [u8], slot: &mut dyn Slot) -> error::Result<()> {
    read_json(document, slot)?.map_err(error::Error::from)
}

/// Reads a value that is already in memory.
pub fn read_value(value: &Json, slot: &mut dyn Slot) -> Read<()> {
    read_json(value.compact().into_bytes().keep(), slot)
        .unwrap_or_else(|e| Err(Fault::of(format_args!("{e}"))))
}

/// Reads a document; the outer error means that it is not JSON.
fn read_json(document: &'static [u8], slot: &mut dyn Slot) -> error::Result<Read<()>> {
    let level = Level { depth: 0, close: 0, first_key: 0, is_first: true, has_value: false };
    let mut reader = Reader { document, at: 0, level, keys: Vec::new(), decoded: Vec::new(), broken: None };
    let filled = reader.value(slot);
    reader.next();
    if reader.broken.is_none() && reader.at < document.len() {
        reader.stop("", "trailing characters");
    }
    give_back(take(&mut reader.keys));
    reader.broken.map_or(Ok(filled), Err)
}

struct Reader {
    document: &'static [u8],
    /// The next byte.
    at: usize,
    /// The innermost open array or object.
    level: Level,
    /// The keys read so far of all open objects.
    keys: Vec<Text>,
    /// The last string that contains escapes.
    decoded: Vec<u8>,
    /// The error in the document. Nothing is read after it.
    broken: Option<error::Error>,
}

impl Reader {
    /// The byte at the reader's place; 0 at the end of the document.
    fn here(&self) -> u8 {
        self.document.get(self.at).copied().unwrap_or(0)
    }

    /// Moves past white space to the next byte.
    fn next(&mut self) -> u8 {
        loop {
            match self.here() {
                b' ' | b'\n' | b'\t' | b'\r' => self.at += 1,
                byte => return byte,
            }
        }
    }

    /// Ends the reading: the next byte is wrong, or it is missing.
    #[cold]
    #[inline(never)]
    fn stop(&mut self, inside: &str, wrong: &str) {
        let is_end = self.at >= self.document.len();
        let (says, what) = if is_end { ("EOF while parsing ", inside) } else { ("", wrong) };
        let read = &self.document[..self.document.len().min(self.at + 1)];
        let mut lines = read.rsplit(|byte| *byte == b'\n');
        let column = lines.next().map_or(0, <[u8]>::len);
        let line = lines.count() + 1;
        self.broken = Some(error::Error::of(format_args!("{says}{what} at line {line} column {column}")));
    }

    fn none<T>(&mut self, inside: &str, wrong: &str) -> Option<T> {
        self.stop(inside, wrong);
        None
    }

    /// Reads the next value into the slot.
    fn value(&mut self, slot: &mut dyn Slot) -> Read<()> {
        let value = match self.next() {
            b'n' => self.word("null", Value::Null),
            b't' => self.word("true", Value::Flag(true)),
            b'f' => self.word("false", Value::Flag(false)),
            b'"' => self.string(),
            b'[' => return self.nested(b']', slot),
            b'{' => return self.nested(b'}', slot),
            _ => self.number(),
        };
        value.map_or(Ok(()), |value| slot.fill(value))
    }

    fn word<'a>(&mut self, word: &str, value: Value<'a>) -> Option<Value<'a>> {
        for byte in word.bytes() {
            if self.here() != byte {
                return self.none("a value", "expected ident");
            }
            self.at += 1;
        }
        Some(value)
    }

    fn number<'a>(&mut self) -> Option<Value<'a>> {
        let start = self.at;
        match self.here() {
            b'-' => self.at += 1,
            b'0'..=b'9' => (),
            _ => return self.none("a value", "expected value"),
        }
        if self.here() != b'0' {
            self.digits()?;
        } else {
            self.at += 1;
            if self.here().is_ascii_digit() {
                return self.none("", "invalid number");
            }
        }
        if self.here() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if let b'e' | b'E' = self.here() {
            self.at += 1;
            if let b'+' | b'-' = self.here() {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(Value::Number(self.text(start)))
    }

    /// Moves past one digit or more.
    fn digits(&mut self) -> Option<()> {
        if !self.here().is_ascii_digit() {
            return self.none("a value", "invalid number");
        }
        while self.here().is_ascii_digit() {
            self.at += 1;
        }
        Some(())
    }

    /// The document from `start` to the reader's place, which must be UTF-8.
    fn text(&self, start: usize) -> Text {
        std::str::from_utf8(&self.document[start..self.at]).unwrap_or_default()
    }

    /// Reads a string; the reader is at its first quotation mark.
    fn string(&mut self) -> Option<Value<'_>> {
        self.at += 1;
        self.decoded.clear();
        let start = self.at;
        let mut part = start;
        loop {
            let rest = &self.document[self.at..];
            self.at += rest.iter().position(is_special).unwrap_or(rest.len());
            match self.here() {
                b'"' => break,
                b'\\' => {
                    self.decoded.extend_from_slice(&self.document[part..self.at]);
                    self.escape()?;
                    part = self.at;
                }
                _ => {
                    let wrong = "control character (\\u0000-\\u001F) found while parsing a string";
                    return self.none("a string", wrong);
                }
            }
        }
        match std::str::from_utf8(&self.document[start..self.at]) {
            Ok(text) if part == start => {
                self.at += 1;
                Some(Value::Text(text))
            }
            Ok(_) => {
                self.decoded.extend_from_slice(&self.document[part..self.at]);
                self.at += 1;
                Some(Value::Escaped(std::str::from_utf8(&self.decoded).unwrap_or_default()))
            }
            Err(e) => {
                self.at = start + e.valid_up_to();
                self.none("", "invalid unicode code point")
            }
        }
    }

    /// Decodes an escape; the reader is at its backslash.
    fn escape(&mut self) -> Option<()> {
        self.at += 1;
        let byte = match self.here() {
            byte @ (b'"' | b'\\' | b'/') => byte,
            b'b' => b'\x08',
            b'f' => b'\x0c',
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                self.at += 1;
                return self.unicode();
            }
            _ => return self.none("a string", "invalid escape"),
        };
        self.at += 1;
        self.decoded.push(byte);
        Some(())
    }

    /// Decodes one or two units of UTF-16; the reader is at the first digit.
    fn unicode(&mut self) -> Option<()> {
        let mut number = self.unit()?;
        if let 0xd800..0xdc00 = number {
            for byte in *b"\\u" {
                if self.here() != byte {
                    return self.none("a string", "unexpected end of hex escape");
                }
                self.at += 1;
            }
            // Without its second half, the first is no character.
            if let low @ 0xdc00..0xe000 = self.unit()? {
                number = 0x1_0000 + ((number - 0xd800) << 10) + (low - 0xdc00);
            }
        }
        let Some(character) = char::from_u32(number) else {
            self.at -= 1;
            return self.none("", "lone leading surrogate in hex escape");
        };
        self.decoded.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        Some(())
    }

    /// Reads four hexadecimal digits.
    fn unit(&mut self) -> Option<u32> {
        let mut unit = 0;
        for _ in 0..4 {
            let Some(digit) = char::from(self.here()).to_digit(16) else {
                return self.none("a string", "invalid escape");
            };
            unit = unit << 4 | digit;
            self.at += 1;
        }
        Some(unit)
    }

    /// Reads an array or an object, which ends with `close`.
    fn nested(&mut self, close: u8, slot: &mut dyn Slot) -> Read<()> {
        if self.level.depth == DEEPEST {
            self.stop("", "recursion limit exceeded");
            return Ok(());
        }
        let first_key = self.keys.len();
        let level = Level { depth: self.level.depth + 1, close, first_key, is_first: true, has_value: false };
        let outer = replace(&mut self.level, level);
        self.at += 1;
        let is_list = close == b']';
        let filled = slot.fill(if is_list { Value::List(Items(self)) } else { Value::Object(Members(self)) });
        while if is_list { self.item(&mut Ignored) == Ok(true) } else { self.key().is_some() } {}
        if let Some(key) = self.twice() {
            self.duplicate(key);
        }
        self.keys.truncate(first_key);
        self.level = outer;
        self.at += 1;
        filled
    }

    /// Moves to the next item or key; `false` at the end of the array or object.
    fn step(&mut self) -> bool {
        if self.broken.is_some() {
            return false;
        }
        let (next, close) = (self.next(), self.level.close);
        if next == close {
            return false;
        }
        let is_valid = if self.level.is_first { self.at < self.document.len() } else { next == b',' };
        if !is_valid {
            let (inside, wrong) = match close {
                b']' => ("a list", "expected `,` or `]`"),
                _ => ("an object", "expected `,` or `}`"),
            };
            self.stop(inside, wrong);
            return false;
        }
        if !take(&mut self.level.is_first) {
            self.at += 1;
            if self.next() == close {
                self.stop("", "trailing comma");
                return false;
            }
        }
        true
    }

    /// Reads the next item into the slot; returns `false` at the end.
    fn item(&mut self, slot: &mut dyn Slot) -> Read<bool> {
        if !self.step() {
            return Ok(false);
        }
        self.value(slot)?;
        Ok(self.broken.is_none())
    }

    /// Reads the next key; a value that was not read is skipped.
    fn key(&mut self) -> Option<Text> {
        let _ignored = self.member(&mut Ignored);
        if !self.step() {
            return None;
        }
        if self.next() != b'"' {
            return self.none("a value", "key must be a string");
        }
        let key = match self.string()? {
            Value::Text(key) => key,
            Value::Escaped(key) => key.to_owned().keep(),
            _ => return None,
        };
        let keys = &self.keys[self.level.first_key..];
        if keys.len() < MANY && keys.contains(&key) {
            self.at -= 1;
            self.duplicate(key);
            return None;
        }
        self.keys.push(key);
        self.level.has_value = true;
        Some(key)
    }

    /// Reads the value of the last key into the slot, if it has not been read.
    fn member(&mut self, slot: &mut dyn Slot) -> Read<()> {
        if !take(&mut self.level.has_value) {
            return Ok(());
        }
        if self.next() != b':' {
            self.stop("an object", "expected `:`");
            return Ok(());
        }
        self.at += 1;
        self.value(slot)
    }

    /// A key that an object with many keys has twice.
    fn twice(&self) -> Option<Text> {
        let keys = &self.keys[self.level.first_key..];
        if keys.len() <= MANY || self.broken.is_some() {
            return None;
        }
        let sorted = sort::order(keys.len(), &|a, b| keys[a] < keys[b]);
        let twice = sorted.windows(2).find(|pair| keys[pair[0]] == keys[pair[1]]).map(|pair| keys[pair[0]]);
        give_back(sorted);
        twice
    }

    fn duplicate(&mut self, key: Text) {
        self.stop("", &format!("duplicate key {}", Quoted(key)));
    }
}

/// An open array or object.
struct Level {
    /// The number of arrays and objects around a value in it.
    depth: usize,
    /// The byte that ends it.
    close: u8,
    /// The index of its first key in the reader's `keys`.
    first_key: usize,
    /// Nothing in it has been read.
    is_first: bool,
    /// The value of the last key has not been read.
    has_value: bool,
}

/// The slot for a value that nothing takes; it is only checked.
struct Ignored;

impl Slot for Ignored {
    fn fill(&mut self, _: Value<'_>) -> Read<()> {
        Ok(())
    }
}

/// The items of an array, in order.
pub struct Items<'a>(&'a mut Reader);

impl Items<'_> {
    /// Reads the next item into the slot; returns `false` at the end.
    pub fn next(&mut self, slot: &mut dyn Slot) -> Read<bool> {
        self.0.item(slot)
    }
}

/// The members of an object, in order.
pub struct Members<'a>(&'a mut Reader);

impl Members<'_> {
    /// The next key; the value of the previous one is skipped if it was not read.
    pub fn next_key(&mut self) -> Option<Text> {
        self.0.key()
    }

    /// Reads the value of the last key into the slot.
    pub fn value(&mut self, slot: &mut dyn Slot) -> Read<()> {
        self.0.member(slot)
    }

    /// The reader's place in the document.
    pub(super) fn position(&self) -> usize {
        self.0.at
    }

    /// The document from a position to the reader's place.
    pub(super) fn since(&self, position: usize) -> Text {
        self.0.text(position)
    }
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
