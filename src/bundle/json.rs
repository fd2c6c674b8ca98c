//! A JSON value, and its writer. The reader of documents is in `parse`.

use std::fmt::{self, Write as _};

use super::parse;
use super::spec::Text;
use crate::error::Result;

/// A JSON value. Its texts live as long as the process does: a document is the configuration, or what is about to be printed.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, as it is written.
    Number(Text),
    /// A string.
    Str(Text),
    /// An array.
    List(Vec<Json>),
    /// An object, in the order of the file.
    Object(Vec<(Text, Json)>),
}

impl Json {
    /// Parses one document: strict UTF-8, nothing after the value, no key twice, at most 128 levels deep.
    pub fn parse(bytes: &[u8]) -> Result<Json> {
        parse::document(bytes)
    }

    /// The value of a key of an object; `null` counts as absent (Go's encoders write it for "not set").
    pub fn get(&self, key: &str) -> Option<&Json> {
        match self {
            Json::Object(members) => {
                members.iter().find(|(k, _)| *k == key).map(|(_, v)| v).filter(|v| !matches!(v, Json::Null))
            }
            _ => None,
        }
    }

    /// What kind of value it is, in JSON's words.
    pub fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "a boolean",
            Json::Number(_) => "a number",
            Json::Str(_) => "a string",
            Json::List(_) => "an array",
            Json::Object(_) => "an object",
        }
    }

    /// The document on one line.
    pub fn compact(&self) -> String {
        let mut out = String::new();
        write(&mut out, self, None, 0);
        out
    }

    /// The document as Go's `MarshalIndent` prints it, with `indent` spaces a level.
    pub fn pretty(&self, indent: usize) -> String {
        let mut out = String::new();
        write(&mut out, self, Some(indent), 0);
        out
    }

    /// A string value.
    pub fn str(s: impl Into<String>) -> Json {
        Json::Str(s.into().leak())
    }

    /// A number from its text.
    pub fn digits(digits: impl fmt::Display) -> Json {
        Json::Number(digits.to_string().leak())
    }

    /// An array of strings.
    pub fn strs<S: Into<String>>(items: impl IntoIterator<Item = S>) -> Json {
        Json::List(items.into_iter().map(Json::str).collect())
    }

    /// An object whose members are written down in the code, in order. Taken one by one out of a slice: each length of an array
    /// would be a type with code of its own.
    pub fn fields<const N: usize>(mut members: [(Text, Json); N]) -> Json {
        #[inline(never)]
        fn all(members: &mut [(Text, Json)]) -> Json {
            Json::Object(members.iter_mut().map(|(k, v)| (*k, std::mem::replace(v, Json::Null))).collect())
        }
        all(&mut members)
    }

    /// An object from its members, in order.
    pub fn object(members: impl Into<Vec<(Text, Json)>>) -> Json {
        Json::Object(members.into())
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
// Of one width, so that few kinds of numbers are printed.
json_from_int!(i32 as i64, i64 as i64, u32 as u64, usize as u64, u64 as u64);

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

fn write(out: &mut String, value: &Json, indent: Option<usize>, depth: usize) {
    match value {
        Json::Null => out.push_str("null"),
        Json::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Json::Number(digits) => out.push_str(digits),
        Json::Str(s) => quote(out, s),
        Json::List(items) if items.is_empty() => out.push_str("[]"),
        Json::Object(members) if members.is_empty() => out.push_str("{}"),
        Json::List(items) => {
            for (i, item) in items.iter().enumerate() {
                line(out, if i == 0 { "[" } else { "," }, indent, depth + 1);
                write(out, item, indent, depth + 1);
            }
            line(out, "", indent, depth);
            out.push(']');
        }
        Json::Object(members) => {
            for (i, (key, item)) in members.iter().enumerate() {
                line(out, if i == 0 { "{" } else { "," }, indent, depth + 1);
                quote(out, key);
                out.push_str(if indent.is_some() { ": " } else { ":" });
                write(out, item, indent, depth + 1);
            }
            line(out, "", indent, depth);
            out.push('}');
        }
    }
}

/// Ends a line and begins the next, if there are lines.
#[inline(never)]
fn line(out: &mut String, end: &str, indent: Option<usize>, depth: usize) {
    out.push_str(end);
    if let Some(n) = indent {
        out.push('\n');
        for _ in 0..n * depth {
            out.push(' ');
        }
    }
}

/// Adds a name, which is plain, to the members of a list.
pub fn add_name(list: &mut String, name: &str) {
    let _ = write!(list, "{}\"{name}\"", if list.is_empty() { "" } else { "," });
}

fn quote(out: &mut String, s: &str) {
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 0x20 => drop(write!(out, "\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
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
