//! Typed reading of a [`Json`] document: each fault says where it is and what was wrong.
//!
//! A reader is a function from a value to a typed value or a [`Fault`]. On its way out a fault collects the path of the
//! value it is about (`process.rlimits[2].type`), so the happy path allocates nothing for it.

use std::fmt;

use super::value::Json;
use crate::error::{Error, Quoted};
use crate::text::Text;

/// What is wrong with a value, and where it stands in the document.
///
/// One pointer wide: every reader has it in its result.
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
    /// A fault of the value at hand.
    pub fn new(what: impl Into<String>) -> Fault {
        Fault(Box::new(Where { path: String::new(), what: what.into() }))
    }

    /// The same with a text that is put together here.
    #[inline(never)]
    pub fn of(what: fmt::Arguments<'_>) -> Fault {
        Fault::new(fmt::format(what))
    }

    /// Where the value stands, as a JSON path (`process.rlimits[2].type`); empty for the document itself.
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

/// The text with what would break the line escaped: names in a document are its author's, an error stays one line.
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

impl Json {
    /// Reads a member that must be there.
    pub fn required<T>(&self, key: &str, read: impl FnOnce(&Json) -> Read<T>) -> Read<T> {
        match self.get(key) {
            Some(value) => read(value).map_err(|f| f.at(key)),
            None => Err(missing(key)),
        }
    }

    /// Reads a member if it is there (`null` is not).
    pub fn optional<T>(&self, key: &str, read: impl FnOnce(&Json) -> Read<T>) -> Read<Option<T>> {
        match self.get(key) {
            Some(value) => read(value).map(Some).map_err(|f| f.at(key)),
            None => Ok(None),
        }
    }

    /// Reads a member, or takes its type's default if it is not there.
    pub fn or_default<T: Default>(&self, key: &str, read: impl FnOnce(&Json) -> Read<T>) -> Read<T> {
        match self.get(key) {
            Some(value) => read(value).map_err(|f| f.at(key)),
            None => Ok(T::default()),
        }
    }

    /// Reads an array member item by item; absent is empty.
    pub fn list<T>(&self, key: &str, read: impl Fn(&Json) -> Read<T>) -> Read<Vec<T>> {
        let mut out = Vec::new();
        self.each_item(key, &mut |item| {
            out.push(read(item)?);
            Ok(())
        })?;
        Ok(out)
    }

    /// Reads an object member as its (key, value) pairs in the order of the file; absent is empty.
    pub fn map<T>(&self, key: &str, read: impl Fn(&Json) -> Read<T>) -> Read<Vec<(String, T)>> {
        let mut out = Vec::new();
        self.each_member(key, &mut |k, item| {
            out.push((without_nul(k)?.to_owned(), read(item).map_err(|f| f.at(k))?));
            Ok(())
        })?;
        Ok(out)
    }

    /// Hands out the items of an array member; absent has none.
    pub(crate) fn each_item(&self, key: &str, take: &mut dyn FnMut(&Json) -> Read<()>) -> Read<()> {
        match self.get(key) {
            None => Ok(()),
            Some(value) => items(value, take).map_err(|f| f.at(key)),
        }
    }

    /// Hands out the members of an object member; absent has none.
    pub(crate) fn each_member(&self, key: &str, take: &mut dyn FnMut(Text, &Json) -> Read<()>) -> Read<()> {
        match self.get(key) {
            None => Ok(()),
            Some(Json::Object(members)) => members.iter().try_for_each(|(k, v)| take(k, v)),
            Some(Json::Pairs(pairs)) => pairs.iter().try_for_each(|(k, v)| take(k, &Json::Str(v))),
            Some(other) => Err(wants("an object", other)),
        }
        .map_err(|f| f.at(key))
    }
}

#[cold]
pub(super) fn missing(key: &str) -> Fault {
    Fault::new("is required").at(key)
}

#[cold]
#[inline(never)]
pub(super) fn wants(kind: &str, found: &Json) -> Fault {
    Fault::of(format_args!("must be {kind}, is {}", found.kind()))
}

/// Hands out the items of an array. The one copy of the loop that every list has.
pub fn items(value: &Json, take: &mut dyn FnMut(&Json) -> Read<()>) -> Read<()> {
    let mut take = |(i, item): (usize, &Json)| take(item).map_err(|f| f.at_index(i));
    match value {
        Json::List(items) => items.iter().enumerate().try_for_each(take),
        Json::Texts(items) => items.iter().enumerate().try_for_each(|(i, text)| take((i, &Json::Str(text)))),
        Json::Many(many) => {
            let mut i = 0;
            many.each(&mut |item| {
                i += 1;
                take((i - 1, item))
            })
        }
        _ => Err(wants("an array", value)),
    }
}

pub(super) fn without_nul(s: &str) -> Read<&str> {
    if s.contains('\0') { Err(Fault::new("contains a NUL character")) } else { Ok(s) }
}

/// Checks that the value is an object, before its members are read.
pub fn object(value: &Json) -> Read<&Json> {
    if matches!(value, Json::Object(_) | Json::Pairs(_)) { Ok(value) } else { Err(wants("an object", value)) }
}

/// A string without NUL: everything that reaches the kernel is a C string, and must not be cut short there.
pub fn string(value: &Json) -> Read<String> {
    text(value).map(str::to_owned)
}

/// The same, as it is in the document.
pub fn text(value: &Json) -> Read<Text> {
    match value {
        Json::Str(s) => without_nul(s).map(|_| *s),
        other => Err(wants("a string", other)),
    }
}

/// An array of such strings.
pub fn strings(value: &Json) -> Read<Vec<String>> {
    let mut out = Vec::new();
    items(value, &mut |item| {
        out.push(string(item)?);
        Ok(())
    })?;
    Ok(out)
}

/// What an unknown word is answered with.
#[cold]
pub(super) fn unknown(word: &str, known: &mut dyn Iterator<Item = Text>) -> Fault {
    let known: Vec<Text> = known.collect();
    Fault::of(format_args!("unknown {} (known: {})", Quoted(word), known.join(", ")))
}

/// `true` or `false`.
pub fn boolean(value: &Json) -> Read<bool> {
    match value {
        Json::Bool(b) => Ok(*b),
        other => Err(wants("a boolean", other)),
    }
}

/// An integer that fits `T` (`u16`, `u32`, `i64`, …).
pub fn integer<T: Whole>(value: &Json) -> Read<T> {
    let n = whole(value)?;
    let fits = if n.negative { T::try_from(n.bits as i64).ok() } else { T::try_from(n.bits).ok() };
    fits.ok_or_else(|| out_of_range(n, std::any::type_name::<T>()))
}

/// A type of integers of up to 64 bits.
pub trait Whole: TryFrom<i64> + TryFrom<u64> {}

impl<T: TryFrom<i64> + TryFrom<u64>> Whole for T {}

/// An integer of 64 bits, signed or not.
#[derive(Clone, Copy)]
pub(super) struct Integer {
    pub negative: bool,
    /// In two's complement.
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
            // A number may be as long as the file: its first digits identify it.
            _ => Err(Fault::of(format_args!("must be an integer, is {text:.40}"))),
        }
    }
}

pub(super) fn whole(value: &Json) -> Read<Integer> {
    let Json::Number(n) = value else { return Err(wants("an integer", value)) };
    Integer::of(n)
}

#[cold]
#[inline(never)]
fn out_of_range(n: Integer, kind: &str) -> Fault {
    Fault::of(format_args!("{n} is out of range ({kind})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doc(text: &str) -> Json {
        Json::parse(text.as_bytes()).unwrap()
    }

    fn says<T: fmt::Debug>(r: Read<T>) -> String {
        Error::from(r.unwrap_err()).to_string()
    }

    #[test]
    fn faults_name_their_path() {
        let d = doc(r#"{"process":{"rlimits":[{"type":"a"},{"type":7}],"cwd":"a\u0000b","x":{"k":true}}}"#);
        let rlimits = |v: &Json| v.list("rlimits", |r| r.required("type", string));
        assert_eq!(
            says(d.required("process", rlimits)),
            "process.rlimits[1].type: must be a string, is a number"
        );
        assert_eq!(
            says(d.required("process", |p| p.required("cwd", string))),
            "process.cwd: contains a NUL character"
        );
        assert_eq!(says(d.required("root", string)), "root: is required");
        assert_eq!(
            says(d.required("process", |p| p.map("x", string))),
            "process.x.k: must be a string, is a boolean"
        );
    }

    #[test]
    fn a_fault_is_one_line_whatever_the_keys_are() {
        let d = doc(r#"{"a\nb\u001b":{"\"é":7}}"#);
        let inner = |v: &Json| v.required("\"é", string);
        assert_eq!(says(d.required("a\nb\u{1b}", inner)), r#"a\nb\u{1b}."é: must be a string, is a number"#);
    }

    #[test]
    fn integers_are_checked_against_their_type() {
        let d = doc(r#"{"a":4294967296,"b":-1,"c":1.5}"#);
        assert_eq!(says(d.required("a", integer::<u32>)), "a: 4294967296 is out of range (u32)");
        assert_eq!(d.required("b", integer::<i64>), Ok(-1));
        assert_eq!(says(d.required("c", integer::<i64>)), "c: must be an integer, is 1.5");
    }
}
