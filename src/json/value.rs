//! JSON values and their writer; [`super::document`] reads them.

use std::fmt::{self, Write as _};

use super::document;
use super::pairs::Pairs;
use super::read::Read;
use super::slot::{Slot, Value};
use crate::error::Result;
use crate::text::{Keep, Text};

/// A JSON value.
///
/// Its strings are never freed: it is the configuration, or output that is about to be printed.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number as its text.
    Number(Text),
    /// A string.
    Str(Text),
    /// An array.
    List(Vec<Json>),
    /// An object with its members in document order.
    Object(Vec<(Text, Json)>),
    /// An object of strings as the document's text; [`Json::get`] finds nothing.
    Pairs(Pairs),
}

impl Json {
    /// Parses one document; [`super::document::read`] has the rules.
    pub fn parse(bytes: &[u8]) -> Result<Json> {
        Json::parse_kept(bytes.to_vec().keep())
    }

    /// Parses a document that stays in memory.
    pub fn parse_kept(bytes: &'static [u8]) -> Result<Json> {
        let mut json = Json::Null;
        document::read(bytes, &mut json)?;
        Ok(json)
    }

    /// The value of an object's key; `null` counts as absent.
    ///
    /// Go's encoders write `null` for "not set".
    pub fn get(&self, key: &str) -> Option<&Json> {
        match self {
            Json::Object(members) => {
                members.iter().find(|(k, _)| *k == key).map(|(_, v)| v).filter(|v| !matches!(v, Json::Null))
            }
            _ => None,
        }
    }

    /// The kind of the value, in JSON's words.
    pub fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "a boolean",
            Json::Number(_) => "a number",
            Json::Str(_) => "a string",
            Json::List(_) => "an array",
            Json::Object(_) | Json::Pairs(_) => "an object",
        }
    }

    /// The document on one line.
    pub fn compact(&self) -> String {
        let mut out = String::new();
        let _ = self.write_to(&mut out);
        out
    }

    /// Writes the document on one line, piece by piece.
    pub fn write_to(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write(out, self, None, 0)
    }

    /// The document like Go's `MarshalIndent`, with `indent` spaces per level.
    pub fn pretty(&self, indent: usize) -> String {
        let mut out = String::new();
        let _ = write(&mut out, self, Some(indent), 0);
        out
    }

    /// A string value.
    pub fn str(s: impl Into<String>) -> Json {
        Json::Str(s.into().keep())
    }

    /// A number from its text.
    pub fn digits(digits: impl fmt::Display) -> Json {
        Json::Number(digits.to_string().keep())
    }

    /// An array of strings.
    pub fn strs<S: Into<String>>(items: impl IntoIterator<Item = S>) -> Json {
        Json::List(items.into_iter().map(Json::str).collect())
    }

    /// An object with these members, in order.
    ///
    /// The members are taken one by one out of a slice, because each array length would otherwise compile to separate code.
    pub fn fields<const N: usize>(mut members: [(Text, Json); N]) -> Json {
        #[inline(never)]
        fn all(members: &mut [(Text, Json)]) -> Json {
            Json::Object(members.iter_mut().map(|(k, v)| (*k, std::mem::replace(v, Json::Null))).collect())
        }
        all(&mut members)
    }

    /// An object with these members, in order.
    pub fn object(members: impl Into<Vec<(Text, Json)>>) -> Json {
        Json::Object(members.into())
    }
}

/// An object that gets its members one by one.
///
/// For many members that takes half the code of [`Json::fields`].
#[derive(Default)]
pub struct JsonObject(Vec<(Text, Json)>);

impl JsonObject {
    /// Adds a member.
    #[inline(never)]
    pub fn put(&mut self, key: Text, value: Json) {
        self.0.push((key, value));
    }

    /// Adds a text.
    #[inline(never)]
    pub fn text(&mut self, key: Text, value: Text) {
        self.put(key, Json::Str(value));
    }

    /// The object.
    pub fn end(self) -> Json {
        Json::Object(self.0)
    }
}

macro_rules! json_from_int {
    ($($t:ty as $wide:ty),*) => {$(
        impl From<$t> for Json {
            fn from(n: $t) -> Json {
                Json::digits(n as $wide)
            }
        }
    )*};
}
// Two widths only, so that few integer types are printed.
json_from_int!(i32 as i64, i64 as i64, u32 as u64, usize as u64, u64 as u64);

impl Slot for Json {
    fn fill(&mut self, value: Value<'_>) -> Read<()> {
        *self = match value {
            Value::Null => Json::Null,
            Value::Flag(flag) => Json::Bool(flag),
            Value::Number(digits) => Json::Number(digits),
            Value::Text(text) => Json::Str(text),
            Value::Escaped(text) => Json::str(text),
            Value::List(mut items) => {
                let (mut all, mut item) = (Vec::new(), Json::Null);
                while items.next(&mut item)? {
                    all.push(std::mem::replace(&mut item, Json::Null));
                }
                Json::List(all)
            }
            Value::Object(mut members) => {
                let mut all = Vec::new();
                while let Some(key) = members.next_key() {
                    let mut member = Json::Null;
                    members.value(&mut member)?;
                    all.push((key, member));
                }
                Json::Object(all)
            }
        };
        Ok(())
    }
}

impl From<bool> for Json {
    fn from(b: bool) -> Json {
        Json::Bool(b)
    }
}

impl From<&str> for Json {
    fn from(s: &str) -> Json {
        Json::str(s)
    }
}

impl From<String> for Json {
    fn from(s: String) -> Json {
        Json::str(s)
    }
}

fn write(out: &mut dyn fmt::Write, value: &Json, indent: Option<usize>, depth: usize) -> fmt::Result {
    match value {
        Json::Null => out.write_str("null"),
        Json::Bool(b) => out.write_str(if *b { "true" } else { "false" }),
        Json::Number(digits) => out.write_str(digits),
        Json::Str(s) => quote(out, s),
        Json::List(items) => enclosed(out, "[]", items.len(), indent, depth, &mut |out, i| {
            write(out, &items[i], indent, depth + 1)
        }),
        Json::Object(members) => enclosed(out, "{}", members.len(), indent, depth, &mut |out, i| {
            quote(out, members[i].0)?;
            out.write_str(if indent.is_some() { ": " } else { ":" })?;
            write(out, &members[i].1, indent, depth + 1)
        }),
        Json::Pairs(pairs) => pairs.write_to(out, indent, depth),
    }
}

/// Writes `count` items between brackets, with commas, on lines if indented.
fn enclosed(
    out: &mut dyn fmt::Write,
    brackets: &str,
    count: usize,
    indent: Option<usize>,
    depth: usize,
    item: &mut dyn FnMut(&mut dyn fmt::Write, usize) -> fmt::Result,
) -> fmt::Result {
    let (open, close) = brackets.split_at(1);
    if count == 0 {
        return out.write_str(brackets);
    }
    for i in 0..count {
        line(out, if i == 0 { open } else { "," }, indent, depth + 1)?;
        item(out, i)?;
    }
    line(out, "", indent, depth)?;
    out.write_str(close)
}

/// Ends a line and begins the next one, if the output is indented.
#[inline(never)]
pub(super) fn line(out: &mut dyn fmt::Write, end: &str, indent: Option<usize>, depth: usize) -> fmt::Result {
    out.write_str(end)?;
    if let Some(n) = indent {
        out.write_char('\n')?;
        for _ in 0..n * depth {
            out.write_char(' ')?;
        }
    }
    Ok(())
}

/// Adds a name, which needs no escapes, to a list in JSON.
pub fn add_name(list: &mut String, name: &str) {
    let _ = write!(list, "{}\"{name}\"", if list.is_empty() { "" } else { "," });
}

fn quote(out: &mut dyn fmt::Write, s: &str) -> fmt::Result {
    out.write_char('"')?;
    escape(out, s)?;
    out.write_char('"')
}

/// Writes a string's characters in the form that they have between quotation marks.
pub fn escape(out: &mut dyn fmt::Write, mut s: &str) -> fmt::Result {
    while let Some(at) = s.bytes().position(|c| is_special(&c)) {
        out.write_str(&s[..at])?;
        match s.as_bytes()[at] {
            b'"' => out.write_str("\\\""),
            b'\\' => out.write_str("\\\\"),
            b'\n' => out.write_str("\\n"),
            b'\r' => out.write_str("\\r"),
            b'\t' => out.write_str("\\t"),
            c => write!(out, "\\u{c:04x}"),
        }?;
        s = &s[at + 1..];
    }
    out.write_str(s)
}

/// Whether a byte must be escaped in a string.
pub(super) fn is_special(c: &u8) -> bool {
    *c < b' ' || *c == b'"' || *c == b'\\'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_keeps_order() {
        let text = r#"{"b":[1,-2,18446744073709551615,true,null,{}],"a":"x\"\\\n\u0001é"}"#;
        assert_eq!(Json::parse(text.as_bytes()).unwrap().compact(), text);
    }

    #[test]
    fn pretty_is_gos_marshal_indent() {
        let j = Json::parse(br#"{"a":[1,2],"b":{},"c":[]}"#).unwrap();
        assert_eq!(j.pretty(2), "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": {},\n  \"c\": []\n}");
    }
}
