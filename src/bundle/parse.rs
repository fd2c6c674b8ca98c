//! The reader of JSON documents (RFC 8259), strict beyond it: a key given twice in an object is an error, because which of
//! the two is meant is anybody's guess. Each error says line and column.
//!
//! The tests hold it against serde_json, which is five times as large: it reads into anything, and rounds fractions, of
//! which no property of the spec is one.

use super::json::Json;
use super::sort;
use super::spec::Text;
use crate::error::{Error, Quoted, Result};

/// How many arrays and objects may be in one another: each takes room on the stack.
const DEEPEST: usize = 127;

/// From how many members on an object is looked through once at its end, not at each key: no file takes long to refuse.
const MANY: usize = 64;

/// Reads one document: UTF-8, and nothing after the value. Its texts are parts of a copy, which stays.
pub(super) fn document(bytes: &[u8]) -> Result<Json> {
    let bytes: &[u8] = bytes.to_vec().leak();
    let (text, sound) = match std::str::from_utf8(bytes) {
        Ok(text) => (text, true),
        Err(e) => (std::str::from_utf8(&bytes[..e.valid_up_to()]).unwrap_or_default(), false),
    };
    let mut reader = Reader { text, at: 0, depth: 0 };
    let value = reader.value();
    match (value, reader.token()) {
        (Ok(value), None) if sound => Ok(value),
        (Ok(_), _) => Err(reader.broken("trailing characters")),
        (Err(_), None) if !sound => Err(reader.broken("invalid unicode code point")),
        (Err(e), _) => Err(e),
    }
}

struct Reader {
    text: Text,
    /// Where the next byte is.
    at: usize,
    /// How many arrays and objects are open.
    depth: usize,
}

impl Reader {
    /// An error at the next byte, or at the last one of the text.
    #[cold]
    fn broken(&self, what: &str) -> Error {
        let (mut line, mut column) = (1, 0);
        for c in self.text.bytes().take(self.at + 1) {
            (line, column) = if c == b'\n' { (line + 1, 0) } else { (line, column + 1) };
        }
        Error::new(format!("{what} at line {line} column {column}"))
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Takes the next byte if it is this one.
    fn take(&mut self, wanted: u8) -> bool {
        let found = self.byte() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    /// The next byte that is not white space.
    fn token(&mut self) -> Option<u8> {
        while matches!(self.byte(), Some(b' ' | b'\n' | b'\t' | b'\r')) {
            self.at += 1;
        }
        self.byte()
    }

    fn value(&mut self) -> Result<Json> {
        match self.token() {
            None => Err(self.broken("EOF while parsing a value")),
            Some(b'"') => Ok(Json::Str(self.string()?)),
            Some(b'[') => self.list(),
            Some(b'{') => self.object(),
            Some(b'n') => self.word("null", Json::Null),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) => Err(self.broken("expected value")),
        }
    }

    fn word(&mut self, word: &str, value: Json) -> Result<Json> {
        for c in word.bytes() {
            if !self.take(c) {
                let ended = self.byte().is_none();
                return Err(self.broken(if ended { "EOF while parsing a value" } else { "expected ident" }));
            }
        }
        Ok(value)
    }

    fn list(&mut self) -> Result<Json> {
        let mut items = Vec::new();
        self.enclosed(b']', &mut |reader| {
            items.push(reader.value()?);
            Ok(())
        })?;
        Ok(Json::List(items))
    }

    fn object(&mut self) -> Result<Json> {
        let mut members: Vec<(Text, Json)> = Vec::new();
        self.enclosed(b'}', &mut |reader| {
            if reader.token() != Some(b'"') {
                return Err(reader.broken("key must be a string"));
            }
            let key = reader.string()?;
            if members.len() < MANY && members.iter().any(|(k, _)| *k == key) {
                return Err(reader.twice(key));
            }
            match reader.token() {
                Some(b':') => reader.at += 1,
                Some(_) => return Err(reader.broken("expected `:`")),
                None => return Err(reader.broken("EOF while parsing an object")),
            }
            members.push((key, reader.value()?));
            Ok(())
        })?;
        if members.len() > MANY {
            let key = |i: usize| members[i].0;
            let sorted = sort::order(members.len(), &|a, b| key(a) < key(b));
            if let Some(pair) = sorted.windows(2).find(|pair| key(pair[0]) == key(pair[1])) {
                return Err(self.twice(key(pair[0])));
            }
        }
        Ok(Json::Object(members))
    }

    /// A key that was there before; its last byte was just taken.
    #[cold]
    fn twice(&mut self, key: &str) -> Error {
        self.at -= 1;
        self.broken(&format!("duplicate key {}", Quoted(key)))
    }

    /// What stands between an opening bracket, which is next, and the `end` that belongs to it, with commas between.
    fn enclosed(&mut self, end: u8, item: &mut dyn FnMut(&mut Self) -> Result<()>) -> Result<()> {
        if self.depth == DEEPEST {
            return Err(self.broken("recursion limit exceeded"));
        }
        self.depth += 1;
        self.at += 1;
        let (unfinished, unseparated) = match end {
            b']' => ("EOF while parsing a list", "expected `,` or `]`"),
            _ => ("EOF while parsing an object", "expected `,` or `}`"),
        };
        let mut first = true;
        loop {
            match self.token() {
                None => return Err(self.broken(unfinished)),
                Some(c) if c == end => break,
                Some(b',') if !first => self.at += 1,
                Some(_) if !first => return Err(self.broken(unseparated)),
                Some(_) => {}
            }
            if !first && self.token() == Some(end) {
                return Err(self.broken("trailing comma"));
            }
            first = false;
            item(self)?;
        }
        self.at += 1;
        self.depth -= 1;
        Ok(())
    }

    /// A part of the document, unless something in it is escaped.
    fn string(&mut self) -> Result<Text> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let start = self.at;
            while self.byte().is_some_and(|c| c >= b' ' && c != b'"' && c != b'\\') {
                self.at += 1;
            }
            let plain = &self.text[start..self.at];
            match self.byte() {
                None => return Err(self.broken("EOF while parsing a string")),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(if out.is_empty() { plain } else { (out + plain).leak() });
                }
                Some(b'\\') => {
                    out.push_str(plain);
                    out.push(self.escape()?);
                }
                Some(_) => {
                    let what = "control character (\\u0000-\\u001F) found while parsing a string";
                    return Err(self.broken(what));
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char> {
        self.at += 1;
        let c = match self.byte() {
            Some(c @ (b'"' | b'\\' | b'/')) => c,
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => return self.unicode(),
            Some(_) => return Err(self.broken("invalid escape")),
            None => return Err(self.broken("EOF while parsing a string")),
        };
        self.at += 1;
        Ok(char::from(c))
    }

    /// Four digits after the `u` that is next, or a pair of them: a character beyond 16 bits is written as two surrogates.
    fn unicode(&mut self) -> Result<char> {
        let mut code = self.hex()?;
        if code & 0xfc00 == 0xd800 {
            if !self.take(b'\\') || self.byte() != Some(b'u') {
                return Err(self.broken("unexpected end of hex escape"));
            }
            let low = self.hex()?.wrapping_sub(0xdc00);
            // What is no low surrogate leaves a code that is no character.
            code = if low < 0x400 { 0x1_0000 + ((code & 0x3ff) << 10 | low) } else { code };
        }
        char::from_u32(code).ok_or_else(|| self.broken("lone leading surrogate in hex escape"))
    }

    fn hex(&mut self) -> Result<u32> {
        self.at += 1;
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.byte().and_then(|c| char::from(c).to_digit(16));
            let Some(digit) = digit else { return Err(self.broken("invalid escape")) };
            code = code << 4 | digit;
            self.at += 1;
        }
        Ok(code)
    }

    fn number(&mut self) -> Result<Json> {
        let start = self.at;
        self.take(b'-');
        let whole = self.at;
        let zero = self.byte() == Some(b'0');
        self.digits()?;
        if zero && self.at > whole + 1 {
            self.at = whole + 1;
            return Err(self.broken("invalid number"));
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _signed = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        Ok(Json::Number(&self.text[start..self.at]))
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<()> {
        let start = self.at;
        while self.byte().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        match self.byte() {
            _ if self.at > start => Ok(()),
            None => Err(self.broken("EOF while parsing a value")),
            Some(_) => Err(self.broken("invalid number")),
        }
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
