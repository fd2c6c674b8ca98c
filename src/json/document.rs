//! Reads a document with serde_json and passes its values to slots.
//!
//! Only the values that a [`Slot`] takes are kept, so no tree of the document is ever in memory. Two things differ from
//! serde_json. A key that an object has twice is an error, because it is unclear which of the two is meant. A number is handed
//! out as its text in the document, because serde_json turns every number that does not fit a 64-bit integer into a float.

use serde_core::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::mem::take;

use super::read::{Fault, Read};
use super::slot::{Items, Members, Slot, Value};
use super::value::Json;
use crate::error::{self, Quoted};
use crate::sort::{self, give_back};
use crate::text::{Keep, Text};

/// The largest object whose keys are compared as they are read.
///
/// In a larger one they are sorted and compared at its end.
const MANY: usize = 64;

/// Reads one document.
///
/// It must be UTF-8, at most 127 levels deep, without data after the value, and without a duplicate key in an object. Malformed
/// JSON is reported before a value that its slot refuses.
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
    let mut reader = Reader { document, at: 0, keys: Vec::new(), fault: None };
    let mut parser = serde_json::Deserializer::from_slice(document);
    let parsed = Next { reader: &mut reader, slot: Some(slot) }.deserialize(&mut parser);
    give_back(take(&mut reader.keys));
    match parsed.and_then(|()| parser.end()) {
        Err(e) => Err(error::Error::of(format_args!("{e}"))),
        Ok(()) => Ok(reader.fault.map_or(Ok(()), Err)),
    }
}

struct Reader {
    document: &'static [u8],
    /// The end of the last string or number in the document.
    at: usize,
    /// The keys read so far of all open objects.
    keys: Vec<Text>,
    /// The fault of the last value that was read.
    fault: Option<Fault>,
}

impl Reader {
    /// Moves past a string that was read as a part of the document.
    fn passed(&mut self, text: Text) {
        self.at = text.as_ptr() as usize - self.document.as_ptr() as usize + text.len() + 1;
    }

    /// Moves past the next string, which contains escapes.
    fn pass_string(&mut self) {
        let mut rest = self.document[self.at..].iter();
        let _start = rest.find(|c| **c == b'"');
        while let Some(c) = rest.next().filter(|c| **c != b'"') {
            if *c == b'\\' {
                rest.next();
            }
        }
        self.at = self.document.len() - rest.len();
    }

    /// The text of the next number, which serde_json has just read.
    fn number(&mut self) -> Text {
        let is_part = |c: &u8| matches!(c, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let rest = &self.document[self.at..];
        let start = rest.iter().position(|c| matches!(c, b'-' | b'0'..=b'9')).unwrap_or(rest.len());
        let number = &rest[start..];
        let number = &number[..number.iter().position(|c| !is_part(c)).unwrap_or(number.len())];
        self.at += start + number.len();
        std::str::from_utf8(number).unwrap_or_default()
    }

    /// Adds a key of an open object and returns whether it is new.
    fn is_new(&mut self, first: usize, key: Text) -> bool {
        let keys = &self.keys[first..];
        let is_new = keys.len() >= MANY || !keys.contains(&key);
        self.keys.push(key);
        is_new
    }

    /// Forgets the keys of an object at its end; reports a duplicate among many.
    fn closed(&mut self, first: usize) -> Option<Text> {
        let keys = &self.keys[first..];
        let mut twice = None;
        if keys.len() > MANY {
            let sorted = sort::order(keys.len(), &|a, b| keys[a] < keys[b]);
            twice = sorted.windows(2).find(|pair| keys[pair[0]] == keys[pair[1]]).map(|pair| keys[pair[0]]);
            give_back(sorted);
        }
        self.keys.truncate(first);
        twice
    }
}

/// The next value and its slot; a value without a slot is only checked.
struct Next<'a> {
    reader: &'a mut Reader,
    slot: Option<&'a mut dyn Slot>,
}

impl Next<'_> {
    fn take(self, value: Value<'_>) {
        if let Some(slot) = self.slot {
            self.reader.fault = slot.fill(value).err();
        }
    }
}

impl DeserializeSeed<'static> for Next<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'static>>(self, next: D) -> Result<(), D::Error> {
        next.deserialize_any(self)
    }
}

impl Visitor<'static> for Next<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.take(Value::Null);
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.take(Value::Flag(value));
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        let text = self.reader.number();
        self.take(Value::Number(text));
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.visit_u64(0)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.visit_u64(0)
    }

    fn visit_borrowed_str<E>(self, text: Text) -> Result<(), E> {
        self.reader.passed(text);
        self.take(Value::Text(text));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.reader.pass_string();
        self.take(Value::Escaped(text));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'static>>(self, access: A) -> Result<(), A::Error> {
        let mut list = Array { access, reader: self.reader, broken: None, ended: false };
        if let Some(slot) = self.slot {
            let taken = slot.fill(Value::List(&mut list));
            list.reader.fault = taken.err();
        }
        loop {
            match list.broken.take() {
                Some(e) => return Err(e),
                None if list.ended => return Ok(()),
                None => list.step(None)?,
            }
        }
    }

    fn visit_map<A: MapAccess<'static>>(self, access: A) -> Result<(), A::Error> {
        let first = self.reader.keys.len();
        let mut object =
            Object { access, reader: self.reader, broken: None, first, has_value: false, ended: false };
        if let Some(slot) = self.slot {
            let taken = slot.fill(Value::Object(&mut object));
            object.reader.fault = taken.err();
        }
        loop {
            match object.broken.take() {
                Some(e) => return Err(e),
                None if object.ended => return Ok(()),
                None => drop(object.step()?),
            }
        }
    }
}

/// The slot's result if the document is broken.
///
/// [`read`] then reports serde_json's error instead.
fn stop<T, E>(broken: &mut Option<E>, result: Result<T, E>) -> Read<T> {
    result.map_err(|e| {
        *broken = Some(e);
        Fault::new("")
    })
}

struct Array<'a, A: SeqAccess<'static>> {
    access: A,
    reader: &'a mut Reader,
    broken: Option<A::Error>,
    ended: bool,
}

impl<A: SeqAccess<'static>> Array<'_, A> {
    fn step(&mut self, slot: Option<&mut dyn Slot>) -> Result<(), A::Error> {
        let slot = slot.map(|slot| slot as &mut dyn Slot);
        self.ended = self.access.next_element_seed(Next { reader: self.reader, slot })?.is_none();
        Ok(())
    }
}

impl<A: SeqAccess<'static>> Items for Array<'_, A> {
    fn next(&mut self, slot: &mut dyn Slot) -> Read<bool> {
        if self.ended || self.broken.is_some() {
            return Ok(false);
        }
        let step = self.step(Some(slot));
        stop(&mut self.broken, step)?;
        self.reader.fault.take().map_or(Ok(!self.ended), Err)
    }
}

struct Object<'a, A: MapAccess<'static>> {
    access: A,
    reader: &'a mut Reader,
    broken: Option<A::Error>,
    /// The index of its first key in the reader's `keys`.
    first: usize,
    /// The value of the last key has not been read.
    has_value: bool,
    ended: bool,
}

impl<A: MapAccess<'static>> Object<'_, A> {
    /// Moves on to the next key.
    fn step(&mut self) -> Result<Option<Text>, A::Error> {
        if take(&mut self.has_value) {
            self.access.next_value_seed(Next { reader: self.reader, slot: None })?;
        }
        let key = self.access.next_key_seed(Key(self.reader))?;
        self.has_value = key.is_some();
        self.ended = key.is_none();
        let twice = match key {
            Some(key) => (!self.reader.is_new(self.first, key)).then_some(key),
            None => self.reader.closed(self.first),
        };
        match twice {
            Some(key) => Err(A::Error::custom(format_args!("duplicate key {}", Quoted(key)))),
            None => Ok(key),
        }
    }
}

impl<A: MapAccess<'static>> Members for Object<'_, A> {
    fn next_key(&mut self) -> Read<Option<Text>> {
        if self.ended || self.broken.is_some() {
            return Ok(None);
        }
        let step = self.step();
        stop(&mut self.broken, step)
    }

    fn value(&mut self, slot: &mut dyn Slot) -> Read<()> {
        if !take(&mut self.has_value) {
            return Ok(());
        }
        let read = self.access.next_value_seed(Next { reader: self.reader, slot: Some(slot) });
        stop(&mut self.broken, read)?;
        self.reader.fault.take().map_or(Ok(()), Err)
    }

    fn position(&self) -> usize {
        self.reader.at
    }

    fn since(&self, start: usize) -> Text {
        std::str::from_utf8(&self.reader.document[start..self.reader.at]).unwrap_or_default()
    }
}

/// A key of an object.
struct Key<'a>(&'a mut Reader);

impl DeserializeSeed<'static> for Key<'_> {
    type Value = Text;

    fn deserialize<D: Deserializer<'static>>(self, next: D) -> Result<Text, D::Error> {
        next.deserialize_any(self)
    }
}

impl Visitor<'static> for Key<'_> {
    type Value = Text;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, text: Text) -> Result<Text, E> {
        self.0.passed(text);
        Ok(text)
    }

    fn visit_str<E>(self, text: &str) -> Result<Text, E> {
        self.0.pass_string();
        Ok(text.to_owned().keep())
    }
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
