//! A strict JSON document, and a writer.
//!
//! serde_json parses; what it would let through is refused here: a key given twice in an object (which of the two is
//! meant is anybody's guess) is an error at its line and column. Objects keep the order of the file, so that what is
//! written back or performed in order is in the order its author wrote.

use std::fmt::{self, Write as _};

use serde_core::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::error::{Error, Result};

/// A JSON value. Integers are kept whole over the range of both `i64` and `u64`.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// An integer, signed or unsigned up to 64 bits.
    Int(i128),
    /// Any other number, in digits: of one that was read, six behind the point.
    Fraction(String),
    /// A string.
    Str(String),
    /// An array.
    List(Vec<Json>),
    /// An object, in the order of the file.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Parses one document: strict UTF-8, nothing after the value, no key twice, at most 128 levels deep.
    pub fn parse(bytes: &[u8]) -> Result<Json> {
        serde_json::from_slice(bytes).map_err(|e| Error::new(e.to_string()))
    }

    /// The value of a key of an object; `null` counts as absent (Go's encoders write it for "not set").
    pub fn get(&self, key: &str) -> Option<&Json> {
        match self {
            Json::Object(members) => {
                members.iter().find(|(k, _)| k == key).map(|(_, v)| v).filter(|v| **v != Json::Null)
            }
            _ => None,
        }
    }

    /// What kind of value it is, in JSON's words.
    pub fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "a boolean",
            Json::Int(_) | Json::Fraction(_) => "a number",
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
        Json::Str(s.into())
    }

    /// An array of strings.
    pub fn strs<S: Into<String>>(items: impl IntoIterator<Item = S>) -> Json {
        Json::List(items.into_iter().map(Json::str).collect())
    }

    /// An object whose members are written down in the code, in order. Taken one by one out of a slice: each length of an array
    /// would be a type with code of its own.
    pub fn fields<const N: usize>(mut members: [(&str, Json); N]) -> Json {
        #[inline(never)]
        fn all(members: &mut [(&str, Json)]) -> Json {
            Json::object(members.iter_mut().map(|(k, v)| (*k, std::mem::replace(v, Json::Null))))
        }
        all(&mut members)
    }

    /// An object from its members, in order.
    pub fn object<K: Into<String>>(members: impl IntoIterator<Item = (K, Json)>) -> Json {
        Json::Object(members.into_iter().map(|(k, v)| (k.into(), v)).collect())
    }
}

macro_rules! json_from_int {
    ($($t:ty)*) => {$(
        impl From<$t> for Json {
            fn from(n: $t) -> Json {
                Json::Int(n as i128)
            }
        }
    )*};
}
json_from_int!(i32 u32 i64 u64 usize);

impl From<bool> for Json {
    fn from(b: bool) -> Json {
        Json::Bool(b)
    }
}

impl From<&str> for Json {
    fn from(s: &str) -> Json {
        Json::Str(s.to_owned())
    }
}

impl From<String> for Json {
    fn from(s: String) -> Json {
        Json::Str(s)
    }
}

fn write(out: &mut String, value: &Json, indent: Option<usize>, depth: usize) {
    let newline = |out: &mut String, depth: usize| {
        if let Some(n) = indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', n * depth));
        }
    };
    match value {
        Json::Null => out.push_str("null"),
        Json::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Json::Int(n) => drop(write!(out, "{n}")),
        Json::Fraction(digits) => out.push_str(digits),
        Json::Str(s) => quote(out, s),
        Json::List(items) if items.is_empty() => out.push_str("[]"),
        Json::Object(members) if members.is_empty() => out.push_str("{}"),
        Json::List(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                newline(out, depth + 1);
                write(out, item, indent, depth + 1);
            }
            newline(out, depth);
            out.push(']');
        }
        Json::Object(members) => {
            out.push('{');
            for (i, (key, item)) in members.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                newline(out, depth + 1);
                quote(out, key);
                out.push_str(if indent.is_some() { ": " } else { ":" });
                write(out, item, indent, depth + 1);
            }
            newline(out, depth);
            out.push('}');
        }
    }
}

/// A number for messages. No property of the spec takes one, and the code that prints floats exactly is 6 KiB.
fn decimal(n: f64) -> String {
    let (sign, n) = if n < 0.0 { ("-", -n) } else { ("", n) };
    let whole = n as u64;
    let millionths = if n < 1e15 { ((n - whole as f64) * 1e6) as u64 } else { 0 };
    let text = format!("{sign}{whole}.{millionths:06}");
    let cut = text.trim_end_matches('0');
    if cut.ends_with('.') { format!("{cut}0") } else { cut.to_owned() }
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

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Json, D::Error> {
        d.deserialize_any(Document)
    }
}

struct Document;

impl<'de> Visitor<'de> for Document {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> std::result::Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, b: bool) -> std::result::Result<Json, E> {
        Ok(Json::Bool(b))
    }

    fn visit_i64<E>(self, n: i64) -> std::result::Result<Json, E> {
        Ok(Json::Int(n.into()))
    }

    fn visit_u64<E>(self, n: u64) -> std::result::Result<Json, E> {
        Ok(Json::Int(n.into()))
    }

    fn visit_f64<E>(self, n: f64) -> std::result::Result<Json, E> {
        Ok(Json::Fraction(decimal(n)))
    }

    fn visit_str<E>(self, s: &str) -> std::result::Result<Json, E> {
        Ok(Json::Str(s.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Json::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Json, A::Error> {
        let mut members: Vec<(String, Json)> = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            if members.len() < MANY && members.iter().any(|(k, _)| *k == key) {
                return Err(twice(&key));
            }
            members.push((key, map.next_value()?));
        }
        if members.len() > MANY {
            let mut keys: Vec<&str> = members.iter().map(|(k, _)| k.as_str()).collect();
            keys.sort_unstable();
            if let Some(pair) = keys.windows(2).find(|pair| pair[0] == pair[1]) {
                return Err(twice(pair[0]));
            }
        }
        Ok(Json::Object(members))
    }
}

/// From how many members on an object is looked through once at its end, not at each key: no file takes long to refuse.
const MANY: usize = 64;

fn twice<E: de::Error>(key: &str) -> E {
    E::custom(format_args!("duplicate key {key:?}"))
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
    fn fractions_are_numbers_that_nobody_asked_for() {
        for (text, digits) in
            [("1.5", "1.5"), ("-0.25", "-0.25"), ("1e2", "100.0"), ("1e300", "18446744073709551615.0")]
        {
            let json = Json::parse(text.as_bytes()).unwrap();
            assert_eq!(json, Json::Fraction(digits.to_owned()));
            assert_eq!(json.kind(), "a number");
        }
        assert_eq!(Json::Fraction("0.07".to_owned()).compact(), "0.07");
    }

    #[test]
    fn pretty_is_gos_marshal_indent() {
        let j = Json::parse(br#"{"a":[1,2],"b":{},"c":[]}"#).unwrap();
        assert_eq!(j.pretty(2), "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": {},\n  \"c\": []\n}");
    }

    #[test]
    fn refuses_what_is_ambiguous_or_broken() {
        for (text, says) in [
            (&br#"{"a":1,"a":2}"#[..], "duplicate key \"a\" at line 1"),
            (br#"{"a":1} x"#, "trailing characters at line 1 column 9"),
            (br#"{"a":"#, "EOF while parsing"),
            (b"\"\xff\"", "unicode"),
            (b"", "EOF"),
        ] {
            let e = Json::parse(text).unwrap_err().to_string();
            assert!(e.contains(says), "{e:?} does not say {says:?}");
        }
        let many = |last: &str| {
            let keys: Vec<String> = (0..100_000).map(|i| format!("\"k{i}\":0")).collect();
            format!("{{{},\"{last}\":0}}", keys.join(","))
        };
        assert!(Json::parse(many("other").as_bytes()).is_ok());
        let e = Json::parse(many("k70").as_bytes()).unwrap_err().to_string();
        assert!(e.starts_with("duplicate key \"k70\" at line 1 column "), "{e}");
        assert!(
            Json::parse("[".repeat(200_000).as_bytes()).unwrap_err().to_string().contains("recursion limit")
        );
    }
}
