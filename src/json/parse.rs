//! The reader of JSON documents (RFC 8259), strict beyond it: a key given twice in an object is an error, because which of
//! the two is meant is anybody's guess. Each error says line and column.
//!
//! The tests hold it against serde_json, which is five times as large: it reads into anything, and rounds fractions, of
//! which no property of the spec is one.

use super::pairs::Pairs;
use super::read::Read;
use super::shape::Shape;
use super::value::{self, Json};
use crate::error::{Error, Quoted, Result};
use crate::sort;
use crate::sys::heap::give_back;
use crate::text::Text;

/// How many arrays and objects may be in one another: each takes room on the stack.
const DEEPEST: usize = 127;

/// From how many members on an object is looked through once at its end, not at each key: no file takes long to refuse.
const MANY: usize = 64;

/// Reads one document: UTF-8, and nothing after the value. Its texts are parts of the document.
///
/// All of it is checked. Kept is what the shape says that somebody looks at, in the form that takes the least memory.
pub(super) fn document(bytes: &'static [u8], shape: &'static Shape) -> Result<Json> {
    let (text, sound) = match std::str::from_utf8(bytes) {
        Ok(text) => (text, true),
        Err(e) => (std::str::from_utf8(&bytes[..e.valid_up_to()]).unwrap_or_default(), false),
    };
    let mut reader = Reader::new(text);
    let value = reader.value(Some(shape));
    give_back(std::mem::take(&mut reader.keys));
    match (value, reader.token()) {
        (Ok(value), None) if sound => Ok(value),
        (Ok(_), _) => Err(reader.broken("trailing characters")),
        (Err(_), None) if !sound => Err(reader.broken("invalid unicode code point")),
        (Err(e), _) => Err(e),
    }
}

/// An array as it stands in a document that was checked, and what its items are.
pub struct Many {
    /// From its opening bracket to its closing one.
    pub(super) text: Text,
    item: &'static Shape,
}

impl std::fmt::Debug for Many {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text)
    }
}

impl PartialEq for Many {
    fn eq(&self, other: &Many) -> bool {
        self.text == other.text
    }
}

impl Many {
    /// Reads its items, one after the other, until one is not taken.
    pub(super) fn each(&self, take: &mut dyn FnMut(&Json) -> Read<()>) -> Read<()> {
        let mut reader = Reader::new(self.text);
        let mut taken = Ok(());
        let _ = reader.enclosed(b']', &mut |reader| {
            let item = reader.value(Some(self.item))?;
            taken = take(&item);
            // Each object has its members where those of the last one were.
            if let Json::Object(mut members) = item {
                members.clear();
                reader.spare = members;
            }
            if taken.is_ok() { Ok(()) } else { Err(Error::new("")) }
        });
        taken
    }
}

/// Without the room for more.
fn exact<T>(mut list: Vec<T>) -> Vec<T> {
    list.shrink_to_fit();
    list
}

struct Reader {
    text: Text,
    /// Where the next byte is.
    at: usize,
    /// How many arrays and objects are open.
    depth: usize,
    /// The keys so far of all objects that are open.
    keys: Vec<Text>,
    /// A string held an escaped NUL.
    nul: bool,
    /// For the members of the next object.
    spare: Vec<(Text, Json)>,
}

/// The shape by which a value is kept. Without one it is only checked.
type Want = Option<&'static Shape>;

impl Reader {
    fn new(text: Text) -> Reader {
        Reader { text, at: 0, depth: 0, keys: Vec::new(), nul: false, spare: Vec::new() }
    }

    /// An error at the next byte, or at the last one of the text.
    #[cold]
    fn broken(&self, what: &str) -> Error {
        let (mut line, mut column) = (1, 0);
        for c in self.text.bytes().take(self.at + 1) {
            (line, column) = if c == b'\n' { (line + 1, 0) } else { (line, column + 1) };
        }
        Error::of(format_args!("{what} at line {line} column {column}"))
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

    fn value(&mut self, want: Want) -> Result<Json> {
        match self.token() {
            None => Err(self.broken("EOF while parsing a value")),
            Some(b'"') => Ok(Json::Str(self.string(want.is_some())?)),
            Some(b'[') => self.list(want),
            Some(b'{') => self.object(want),
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

    fn list(&mut self, want: Want) -> Result<Json> {
        if let Some(shape) = want.filter(|shape| shape.is_many()) {
            let start = self.at;
            self.list(None)?;
            let many = Many { text: &self.text[start..self.at], item: shape.of_items() };
            return Ok(Json::Many(Box::leak(Box::new(many))));
        }
        let want = want.map(Shape::of_items);
        let (mut items, mut texts) = (Vec::new(), Vec::new());
        let mut all_texts = want.is_some_and(Shape::is_text);
        self.enclosed(b']', &mut |reader| {
            match reader.value(want)? {
                Json::Str(text) if all_texts => texts.push(text),
                item if want.is_some() => {
                    // Whoever looks at the list says what is wrong with this one.
                    items.extend(texts.drain(..).map(Json::Str));
                    all_texts = false;
                    items.push(item);
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(if texts.is_empty() { Json::List(exact(items)) } else { Json::Texts(exact(texts).leak()) })
    }

    fn object(&mut self, want: Want) -> Result<Json> {
        if want.is_some_and(Shape::is_pairs) {
            return self.pairs();
        }
        let mut members: Vec<(Text, Json)> = std::mem::take(&mut self.spare);
        let used_before = members.capacity() > 0;
        self.members(&mut |reader, key| {
            let want = want.and_then(|shape| shape.of_member(key));
            let value = reader.value(want)?;
            if want.is_some() {
                members.push((key, value));
            }
            Ok(())
        })?;
        Ok(Json::Object(if used_before { members } else { exact(members) }))
    }

    /// An object of strings as it stands; or the first member that is none, for whoever says what is wrong with it.
    fn pairs(&mut self) -> Result<Json> {
        let (start, mut odd) = (self.at, Vec::new());
        self.members(&mut |reader, key| {
            let at = reader.at;
            reader.nul = false;
            let string = matches!(reader.value(None)?, Json::Str(_));
            if odd.is_empty() && (!string || reader.nul || key.contains('\0')) {
                reader.at = at;
                odd.push((key, reader.value(Some(&Shape::Any))?));
            }
            Ok(())
        })?;
        let pairs = Pairs::checked(&self.text[start..self.at]);
        Ok(if odd.is_empty() { Json::Pairs(pairs) } else { Json::Object(odd) })
    }

    /// The members of an object, whose bracket is next: for each its key, when its value is next.
    fn members(&mut self, member: &mut dyn FnMut(&mut Self, Text) -> Result<()>) -> Result<()> {
        let first = self.keys.len();
        self.enclosed(b'}', &mut |reader| {
            if reader.token() != Some(b'"') {
                return Err(reader.broken("key must be a string"));
            }
            let key = reader.string(true)?;
            let keys = &reader.keys[first..];
            if keys.len() < MANY && keys.contains(&key) {
                return Err(reader.twice(key));
            }
            reader.keys.push(key);
            match reader.token() {
                Some(b':') => reader.at += 1,
                Some(_) => return Err(reader.broken("expected `:`")),
                None => return Err(reader.broken("EOF while parsing an object")),
            }
            member(reader, key)
        })?;
        self.each_once(first)
    }

    /// Looks through the keys of an object with many, and forgets those of any.
    fn each_once(&mut self, first: usize) -> Result<()> {
        let keys = &self.keys[first..];
        if keys.len() > MANY {
            let sorted = sort::order(keys.len(), &|a, b| keys[a] < keys[b]);
            if let Some(pair) = sorted.windows(2).find(|pair| keys[pair[0]] == keys[pair[1]]) {
                let key = keys[pair[0]];
                return Err(self.twice(key));
            }
            give_back(sorted);
        }
        self.keys.truncate(first);
        Ok(())
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

    /// A part of the document, unless something in it is escaped. A string that is not to be kept is only checked.
    fn string(&mut self, keep: bool) -> Result<Text> {
        self.at += 1;
        let mut out = String::new();
        let mut escaped = false;
        loop {
            let start = self.at;
            let rest = &self.text.as_bytes()[start..];
            self.at += rest.iter().position(value::is_special).unwrap_or(rest.len());
            let plain = &self.text[start..self.at];
            match self.byte() {
                None => return Err(self.broken("EOF while parsing a string")),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(if !escaped || !keep { plain } else { (out + plain).leak() });
                }
                Some(b'\\') => {
                    if keep && !escaped {
                        // Enough for all of it, at once: a piece that grows leaves its beginnings behind.
                        out = String::with_capacity(self.rest_of_string(start));
                    }
                    escaped = true;
                    let c = self.escape()?;
                    if keep {
                        out.push_str(plain);
                        out.push(c);
                    }
                }
                Some(_) => {
                    let what = "control character (\\u0000-\\u001F) found while parsing a string";
                    return Err(self.broken(what));
                }
            }
        }
    }

    /// How many bytes there are up to the end of a string, from somewhere in it.
    fn rest_of_string(&self, start: usize) -> usize {
        let mut rest = self.text.as_bytes()[start..].iter();
        let mut length = 0;
        while let Some(c) = rest.next().filter(|c| **c != b'"') {
            length += if *c == b'\\' { rest.next().map_or(1, |_| 2) } else { 1 };
        }
        length
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
        self.nul |= code == 0;
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
