//! An object of strings that is passed on and rarely looked into: `annotations`.
//!
//! It is kept as text, exactly as in its document: a list of a million members would take three times as much memory.

use std::fmt;

use super::read::{Read, without_nul};
use super::slot::{Each, Slot, Value};
use super::value::{self, Json};
use crate::text::{Keep, List, Text};

/// The members of an object in document order, without duplicate keys or NULs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pairs(Text);

impl PartialEq for Pairs {
    fn eq(&self, other: &Pairs) -> bool {
        self.tokens().eq(other.tokens())
    }
}

impl Slot for Pairs {
    fn fill(&mut self, value: Value<'_>) -> Read<()> {
        let mut members = value.members()?;
        let start = members.position();
        while let Some(key) = members.next_key() {
            let mut check = |value: Value<'_>| value.check_text();
            without_nul(key).and_then(|_| members.value(&mut Each(&mut check)).map_err(|f| f.at(key)))?;
        }
        *self = Pairs(members.since(start));
        Ok(())
    }
}

impl Pairs {
    /// An object with these members.
    pub fn new(members: &[(&str, &str)]) -> Pairs {
        let member = |(key, value): &(&str, &str)| ((*key).to_owned().keep(), Json::from(*value));
        Pairs(Json::Object(members.iter().map(member).collect()).compact().keep())
    }

    /// Whether it has no members.
    pub fn is_empty(&self) -> bool {
        self.tokens().next().is_none()
    }

    /// Whether one of its keys is empty.
    pub fn has_empty_key(&self) -> bool {
        self.tokens().step_by(2).any(|key| key == "\"\"")
    }

    /// Its keys and values.
    pub fn iter(&self) -> impl Iterator<Item = (Text, Text)> {
        let mut tokens = self.tokens();
        std::iter::from_fn(move || Some((plain(tokens.next()?), plain(tokens.next()?))))
    }

    /// Its strings with their quotation marks, keys and values in turn.
    pub fn tokens(&self) -> impl Iterator<Item = Text> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            rest = &rest[rest.find('"')?..];
            let mut end = 1;
            // Jump to the next special byte, because a string may be long.
            while let Some(at) = rest.as_bytes().get(end..)?.iter().position(value::is_special) {
                end += at;
                if rest.as_bytes()[end] == b'"' {
                    break;
                }
                end += 2;
            }
            // The last string of a broken document has no end.
            let (token, after) = rest.split_at_checked(end + 1)?;
            rest = after;
            Some(token)
        })
    }

    /// Writes the object, either on one line or like Go's `MarshalIndent`.
    pub(super) fn write_to(
        &self,
        out: &mut dyn fmt::Write,
        indent: Option<usize>,
        depth: usize,
    ) -> fmt::Result {
        let mut start = "{";
        let mut tokens = self.tokens();
        while let (Some(key), Some(value)) = (tokens.next(), tokens.next()) {
            value::line(out, start, indent, depth + 1)?;
            out.write_str(key)?;
            out.write_str(if indent.is_some() { ": " } else { ":" })?;
            out.write_str(value)?;
            start = ",";
        }
        if start == "{" {
            return out.write_str("{}");
        }
        value::line(out, "", indent, depth)?;
        out.write_char('}')
    }
}

/// The content of a string, with its escapes resolved.
fn plain(token: Text) -> Text {
    if token.contains('\\') {
        if let Ok(Json::Str(text)) = Json::parse(token.as_bytes()) {
            return text;
        }
    }
    &token[1..token.len() - 1]
}

/// Stores the members of an object of strings, in document order.
impl Slot for List<(Text, Text)> {
    fn fill(&mut self, value: Value<'_>) -> Read<()> {
        let mut all = Vec::new();
        value.each_member(&mut |key, value| {
            all.push((key, value.text()?));
            Ok(())
        })?;
        *self = all.keep();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_read_and_written_as_they_stand() {
        let pairs = Pairs("{ \"a\\\"\" :\n\"\\u00e9\\\\\", \"b\":\"\"}");
        assert_eq!(pairs.iter().collect::<Vec<_>>(), [("a\"", "é\\"), ("b", "")]);
        let json = Json::Pairs(pairs);
        assert_eq!(json.compact(), r#"{"a\"":"\u00e9\\","b":""}"#);
        assert_eq!(json.pretty(1), "{\n \"a\\\"\": \"\\u00e9\\\\\",\n \"b\": \"\"\n}");
        assert!(Pairs::default().is_empty() && Pairs::new(&[]).is_empty() && !pairs.is_empty());
        assert_eq!(Json::Pairs(Pairs::default()).compact(), "{}");
        assert_eq!(Pairs::new(&[("a\n", "\"")]).iter().collect::<Vec<_>>(), [("a\n", "\"")]);
    }
}
