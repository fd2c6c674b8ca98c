//! What a document must look like, as tables. One walk over a table and the document finds the first value that is not what
//! it must be, wherever it stands; whoever takes the values afterwards has no faults to pass on.

use super::pairs::Pairs;
use super::read::{Fault, Read, boolean, items, missing, object, text, unknown, wants, whole};
use super::value::Json;
use crate::error::Quoted;
use crate::text::{List, Text};

/// What a value must be.
pub enum Shape {
    /// `true` or `false`
    Flag,
    /// A string without NUL: everything that reaches the kernel is a C string, and must not be cut short there.
    Text,
    /// Such a string of at least one character.
    Filled,
    /// Such a string that begins with `/`.
    Path,
    /// One of these words, each with what it stands for.
    Word(&'static [(Text, u32)]),
    /// An integer that is neither lower nor higher.
    Number(&'static Range),
    /// An array of these.
    List(&'static Shape),
    /// An array of these that may be long: none of them is kept, each is read when it is looked at.
    Many(&'static Shape),
    /// An object with any keys, whose values are these.
    Map(&'static Shape),
    /// An object with members that it may have; others are nobody's concern.
    Object(&'static [Member]),
    /// Of a member of an object: it must be there, and be this.
    Must(&'static Shape),
    /// What the one says and then the other, which may rely on the one.
    Also(&'static Shape, fn(&Json) -> Read<()>),
    /// Anything.
    Any,
    /// A value that is kept here and checked by another walk with this shape.
    Later(&'static Shape),
}

/// The name of a member of an object, and what it must be.
pub type Member = (Text, &'static Shape);

/// The lowest integer, the highest, and what is said of any other.
pub type Range = (i64, u64, Text);

/// An integer of that many bits.
pub static U16: Shape = Shape::Number(&(0, u16::MAX as u64, "is out of range (u16)"));
/// An integer of that many bits.
pub static U32: Shape = Shape::Number(&(0, u32::MAX as u64, "is out of range (u32)"));
/// An integer of that many bits.
pub static U64: Shape = Shape::Number(&(0, u64::MAX, "is out of range (u64)"));
/// An integer of that many bits.
pub static I32: Shape = Shape::Number(&(i32::MIN as i64, i32::MAX as u64, "is out of range (i32)"));
/// An integer of that many bits.
pub static I64: Shape = Shape::Number(&(i64::MIN, i64::MAX as u64, "is out of range (i64)"));

impl Shape {
    /// Looks for a value that is not what it must be.
    pub fn check(&self, value: &Json) -> Read<()> {
        match self {
            Shape::Flag => boolean(value).map(drop),
            Shape::Text => text(value).map(drop),
            Shape::Filled => filled(value).map(drop),
            Shape::Path => path(value),
            Shape::Word(known) => word(value, known),
            Shape::Number(range) => number(value, range),
            Shape::List(item) | Shape::Many(item) => items(value, &mut |value| item.check(value)),
            Shape::Map(item) => members(value, item),
            Shape::Object(members) => {
                object(value)?;
                for (key, shape) in *members {
                    match (value.get(key), shape) {
                        (Some(value), shape) => shape.check(value).map_err(|f| f.at(key))?,
                        (None, Shape::Must(_)) => return Err(missing(key)),
                        (None, _) => {}
                    }
                }
                Ok(())
            }
            Shape::Must(shape) => shape.check(value),
            Shape::Also(shape, test) => shape.check(value).and_then(|()| test(value)),
            Shape::Any | Shape::Later(_) => Ok(()),
        }
    }

    /// Without what does not change which values there are.
    fn bare(&'static self) -> &'static Shape {
        match self {
            Shape::Must(shape) | Shape::Also(shape, _) | Shape::Later(shape) => shape.bare(),
            shape => shape,
        }
    }

    /// The shape of the items of an array.
    pub(super) fn of_items(&'static self) -> &'static Shape {
        match self.bare() {
            Shape::List(item) | Shape::Many(item) => item,
            _ => &Shape::Any,
        }
    }

    /// Whether it is an array whose items are not kept.
    pub(super) fn is_many(&'static self) -> bool {
        matches!(self.bare(), Shape::Many(_))
    }

    /// The shape of a member of an object; `None` if it is not used.
    pub(super) fn of_member(&'static self, key: &str) -> Option<&'static Shape> {
        match self.bare() {
            Shape::Object(members) => members.iter().find(|(name, _)| *name == key).map(|(_, shape)| *shape),
            Shape::Map(item) => Some(item),
            _ => Some(&Shape::Any),
        }
    }

    /// Whether it is an object of strings with any keys.
    pub(super) fn is_pairs(&'static self) -> bool {
        matches!(self.bare(), Shape::Map(item) if matches!(item.bare(), Shape::Text))
    }

    /// Whether it is a string.
    pub(super) fn is_text(&'static self) -> bool {
        matches!(self.bare(), Shape::Text | Shape::Filled | Shape::Path)
    }
}

fn filled(value: &Json) -> Read<Text> {
    let text = text(value)?;
    if text.is_empty() { Err(Fault::new("must not be empty")) } else { Ok(text) }
}

fn path(value: &Json) -> Read<()> {
    let path = filled(value)?;
    if path.starts_with('/') {
        return Ok(());
    }
    Err(Fault::of(format_args!("must be an absolute path, is {}", Quoted(path))))
}

fn word(value: &Json, known: &[(Text, u32)]) -> Read<()> {
    let Json::Str(word) = value else { return Err(wants("a string", value)) };
    if known.iter().any(|(name, _)| name == word) {
        Ok(())
    } else {
        Err(unknown(word, &mut known.iter().map(|(name, _)| *name)))
    }
}

fn number(value: &Json, &(lowest, highest, why): &Range) -> Read<()> {
    let n = whole(value)?;
    let fits = if n.negative { n.bits as i64 >= lowest } else { n.bits <= highest };
    // What is not negative is above a lowest that is not.
    if fits && (n.negative || lowest < 0 || n.bits >= lowest as u64) {
        return Ok(());
    }
    Err(Fault::of(format_args!("{n} {why}")))
}

fn members(value: &Json, item: &Shape) -> Read<()> {
    let check = |key: Text, value: &Json| {
        text(&Json::Str(key))?;
        item.check(value).map_err(|f| f.at(key))
    };
    match value {
        Json::Object(members) => members.iter().try_for_each(|(key, value)| check(key, value)),
        // Strings, which is all that they could have to be.
        Json::Pairs(_) => Ok(()),
        _ => Err(wants("an object", value)),
    }
}

/// The members of an object whose [`Shape`] has been checked. A member that is not there is the zero of its type.
impl Json {
    /// A member that is an object; an empty one if it is not there.
    pub fn section(&self, key: &str) -> &Json {
        self.get(key).unwrap_or(&Json::Null)
    }

    /// A boolean.
    pub fn flag(&self, key: &str) -> bool {
        matches!(self.get(key), Some(Json::Bool(true)))
    }

    /// A string, unless it is `""`: Go's encoders write that for "not set".
    pub fn text(&self, key: &str) -> Option<Text> {
        match self.get(key) {
            Some(Json::Str(text)) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    /// What the word stands for, in the table that it was checked against.
    pub fn word(&self, key: &str, known: &[(Text, u32)]) -> u32 {
        meaning(self.get(key), known)
    }

    /// The bits of all those words of a list.
    pub fn words(&self, key: &str, known: &[(Text, u32)]) -> u32 {
        self.items(key).iter().fold(0, |all, word| all | meaning(Some(word), known))
    }

    /// This integer, in two's complement.
    pub fn bits(&self) -> u64 {
        whole(self).map_or(0, |n| n.bits)
    }

    /// An integer, in two's complement.
    pub fn long(&self, key: &str) -> u64 {
        self.get(key).map_or(0, Json::bits)
    }

    /// An integer of at most 32 bits.
    pub fn number(&self, key: &str) -> u32 {
        self.long(key) as u32
    }

    /// The same, if it is there.
    pub fn number_if_any(&self, key: &str) -> Option<u32> {
        self.get(key).map(|n| n.bits() as u32)
    }

    /// The items of a list.
    pub fn items(&self, key: &str) -> &[Json] {
        match self.get(key) {
            Some(Json::List(items)) => items,
            _ => &[],
        }
    }

    /// Whether a list has any items.
    pub fn has_items(&self, key: &str) -> bool {
        let mut any = false;
        let _ = self.each_item(key, &mut |_| {
            any = true;
            Err(Fault::new(""))
        });
        any
    }

    /// The items of a list, each as what it means.
    pub fn all<T>(&self, key: &str, take: impl Fn(&Json) -> T) -> List<T> {
        let mut all = Vec::new();
        // Nothing is wrong with what was checked.
        let _ = self.each_item(key, &mut |item| {
            all.push(take(item));
            Ok(())
        });
        all.shrink_to_fit();
        all.leak()
    }

    /// The items of a list of strings.
    pub fn texts(&self, key: &str) -> List<Text> {
        if let Some(Json::Texts(texts)) = self.get(key) {
            return texts;
        }
        self.all(key, |item| if let Json::Str(text) = item { text } else { "" })
    }

    /// The members of a member that is an object with any keys.
    pub fn members(&self, key: &str) -> &[(Text, Json)] {
        match self.get(key) {
            Some(Json::Object(members)) => members,
            _ => &[],
        }
    }

    /// An object of strings, as it stands.
    pub fn as_pairs(&self, key: &str) -> Pairs {
        match self.get(key) {
            Some(Json::Pairs(pairs)) => *pairs,
            Some(Json::Object(_)) => Pairs::new(self.pairs(key)),
            _ => Pairs::default(),
        }
    }

    /// The same as a list.
    pub fn pairs(&self, key: &str) -> List<(Text, Text)> {
        if let Some(Json::Pairs(pairs)) = self.get(key) {
            return pairs.iter().collect::<Vec<_>>().leak();
        }
        let pair = |(key, value): &(Text, Json)| (*key, if let Json::Str(text) = value { *text } else { "" });
        self.members(key).iter().map(pair).collect::<Vec<_>>().leak()
    }
}

fn meaning(word: Option<&Json>, known: &[(Text, u32)]) -> u32 {
    let Some(Json::Str(word)) = word else { return 0 };
    known.iter().find(|(name, _)| name == word).map_or(0, |(_, meaning)| *meaning)
}
