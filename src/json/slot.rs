//! Slots: each one checks a value of the document and stores it.
//!
//! The type of the place that a [`Slot`] fills decides which values are valid, so a number is refused where a text belongs, and
//! each key is named only once, beside its place:
//!
//! ```ignore
//! value.object(&mut [
//!     must("path", &mut Checked(&mut root.path, filled)),
//!     may("readonly", &mut root.readonly),
//! ])
//! ```
//!
//! An absent or `null` member leaves its place unchanged. Unknown members are ignored. Keys match in any case, as in Go: what
//! runc applies must not be ignored. A slot that refuses its value returns a [`Fault`], which collects the JSON path.

use super::document::{Items, Members};
use super::read::{Fault, Integer, Read, is_reported, missing, unknown, without_nul};
use crate::error::Quoted;
use crate::text::names::NameTable;
use crate::text::{Keep, List, Text};

/// A place for one value of a document.
pub trait Slot {
    /// Checks the value and stores it.
    fn fill(&mut self, value: Value<'_>) -> Read<()>;
}

/// A value of a document, while it is being read.
pub enum Value<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Flag(bool),
    /// A number as the document's text.
    Number(Text),
    /// A string without escapes, as a part of the document.
    Text(Text),
    /// A string with escapes, decoded.
    Escaped(&'a str),
    /// An array.
    List(Items<'a>),
    /// An object.
    Object(Members<'a>),
}

/// The lowest and the highest valid integer, and the error text for all others.
pub struct Bounds(pub i64, pub u64, pub Text);

impl<'a> Value<'a> {
    /// The kind of the value, in JSON's words.
    fn kind(&self) -> Text {
        match self {
            Value::Null => "null",
            Value::Flag(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::Text(_) | Value::Escaped(_) => "a string",
            Value::List(_) => "an array",
            Value::Object(_) => "an object",
        }
    }

    #[cold]
    #[inline(never)]
    fn is_not(&self, wanted: &str) -> Fault {
        Fault::of(format_args!("must be {wanted}, is {}", self.kind()))
    }

    /// A string without NUL bytes.
    ///
    /// The kernel takes C strings, and would cut such a string short.
    #[inline(never)]
    pub fn text(self) -> Read<Text> {
        match self {
            Value::Text(text) => without_nul(text),
            Value::Escaped(text) => without_nul(text).map(|text| text.to_owned().keep()),
            other => Err(other.is_not("a string")),
        }
    }

    /// Checks what [`Value::text`] checks, without keeping the string.
    pub(super) fn check_text(self) -> Read<()> {
        match self {
            Value::Text(text) | Value::Escaped(text) => without_nul(text).map(drop),
            other => Err(other.is_not("a string")),
        }
    }

    /// An integer within the bounds, as two's complement bits.
    #[inline(never)]
    pub fn integer(self, Bounds(lowest, highest, why): &Bounds) -> Read<u64> {
        let Value::Number(text) = self else { return Err(self.is_not("an integer")) };
        let n = Integer::of(text)?;
        let fits = if n.negative { n.bits as i64 >= *lowest } else { n.bits <= *highest };
        // A non-negative number is always above a negative lower bound.
        if fits && (n.negative || *lowest < 0 || n.bits >= *lowest as u64) {
            return Ok(n.bits);
        }
        Err(Fault::of(format_args!("{n} {why}")))
    }

    /// Reads all items of an array into the slot, one after the other.
    pub fn each(self, slot: &mut dyn Slot) -> Read<()> {
        let Value::List(mut items) = self else { return Err(self.is_not("an array")) };
        let mut index = 0;
        while items.next(slot).map_err(|f| f.at_index(index))? {
            index += 1;
        }
        Ok(())
    }

    /// The members of an object.
    pub fn members(self) -> Read<Members<'a>> {
        if let Value::Object(members) = self { Ok(members) } else { Err(self.is_not("an object")) }
    }

    /// Reads an object with these members; unknown ones are ignored.
    pub fn object(self, fields: &mut [Field<'_>]) -> Read<()> {
        let mut members = self.members()?;
        // Most documents have the keys in our order, so the search begins after the last one that was found.
        let mut next = 0;
        while let Some(key) = members.next_key() {
            let is_it = |at: &usize| fields[*at].key.eq_ignore_ascii_case(key);
            if let Some(at) = (next..fields.len()).chain(0..next).find(is_it) {
                next = at + 1;
                let field = &mut fields[at];
                once(&mut field.is_found).map_err(|f| f.at(key))?;
                members.value(field).map_err(|f| f.at(key))?;
            } else if is_reported() {
                return Err(Fault::new("unknown key").at(key));
            }
        }
        match fields.iter().find(|field| field.is_missing) {
            Some(field) => Err(missing(field.key)),
            None => Ok(()),
        }
    }

    /// Calls `take` for each member of an object that is not `null`.
    pub fn each_set(self, take: &mut dyn FnMut(Text, Value<'_>) -> Read<()>) -> Read<()> {
        let mut members = self.members()?;
        while let Some(key) = members.next_key() {
            let mut each = Each(&mut |value: Value<'_>| take(key, value));
            members.value(&mut may(key, &mut each)).map_err(|f| f.at(key))?;
        }
        Ok(())
    }

    /// Calls `take` for each member of an object, whatever its key is.
    pub fn each_member(self, take: &mut dyn FnMut(Text, Value<'_>) -> Read<()>) -> Read<()> {
        let mut members = self.members()?;
        while let Some(key) = members.next_key() {
            without_nul(key)?;
            members.value(&mut Each(&mut |value: Value<'_>| take(key, value))).map_err(|f| f.at(key))?;
        }
        Ok(())
    }
}

/// A member of an object, and the slot for its value.
pub struct Field<'a> {
    key: Text,
    slot: &'a mut dyn Slot,
    is_missing: bool,
    is_found: bool,
}

/// Refuses a second member whose key differs in case only.
pub fn once(is_found: &mut bool) -> Read<()> {
    if std::mem::replace(is_found, true) {
        Err(Fault::new("is there twice, in another case"))
    } else {
        Ok(())
    }
}

/// A required member.
pub fn must<'a>(key: Text, slot: &'a mut dyn Slot) -> Field<'a> {
    Field { key, slot, is_missing: true, is_found: false }
}

/// An optional member.
pub fn may<'a>(key: Text, slot: &'a mut dyn Slot) -> Field<'a> {
    Field { key, slot, is_missing: false, is_found: false }
}

impl Slot for Field<'_> {
    fn fill(&mut self, value: Value<'_>) -> Read<()> {
        // Go's encoders write null for "not set".
        if let Value::Null = value {
            return Ok(());
        }
        self.is_missing = false;
        self.slot.fill(value)
    }
}

/// Calls a closure with the value.
pub struct Each<'a>(pub &'a mut dyn FnMut(Value<'_>) -> Read<()>);

impl Slot for Each<'_> {
    fn fill(&mut self, value: Value<'_>) -> Read<()> {
        (self.0)(value)
    }
}

/// A member that matters only with certain values of others.
///
/// Its fault is held back until those are known.
pub struct Later<T> {
    key: Text,
    read: Option<Read<T>>,
}

impl<T: Slot + Default> Later<T> {
    /// The member with this key.
    pub fn new(key: Text) -> Later<T> {
        Later { key, read: None }
    }

    /// The place for [`Value::object`].
    pub fn field(&mut self) -> Field<'_> {
        may(self.key, self)
    }

    /// The value, if the member is present.
    pub fn optional(self) -> Read<Option<T>> {
        self.read.transpose().map_err(|f| f.at(self.key))
    }

    /// The value; an absent member is an error.
    pub fn required(self) -> Read<T> {
        let key = self.key;
        self.optional()?.ok_or_else(|| missing(key))
    }
}

impl<T: Slot + Default> Slot for Later<T> {
    fn fill(&mut self, value: Value<'_>) -> Read<()> {
        let mut place = T::default();
        self.read = Some(place.fill(value).map(|()| place));
        Ok(())
    }
}

/// Notes that a member is present.
pub struct Presence<'a>(pub &'a mut bool);

impl Slot for Presence<'_> {
    fn fill(&mut self, _: Value<'_>) -> Read<()> {
        *self.0 = true;
        Ok(())
    }
}

impl Slot for bool {
    fn fill(&mut self, value: Value<'_>) -> Read<()> {
        match value {
            Value::Flag(flag) => *self = flag,
            other => return Err(other.is_not("a boolean")),
        }
        Ok(())
    }
}

impl Slot for Text {
    fn fill(&mut self, value: Value<'_>) -> Read<()> {
        *self = value.text()?;
        Ok(())
    }
}

/// `""` counts as absent: Go's encoders write it for "not set".
impl Slot for Option<Text> {
    fn fill(&mut self, value: Value<'_>) -> Read<()> {
        *self = Some(value.text()?).filter(|text| !text.is_empty());
        Ok(())
    }
}

/// A string that must pass a check.
pub struct Checked<'a>(pub &'a mut Text, pub fn(Text) -> Read<()>);

impl Slot for Checked<'_> {
    fn fill(&mut self, value: Value<'_>) -> Read<()> {
        *self.0 = value.text()?;
        (self.1)(self.0)
    }
}

/// An array of strings that must each pass a check.
pub struct Texts<'a>(pub &'a mut List<Text>, pub fn(Text) -> Read<()>);

impl Slot for Texts<'_> {
    fn fill(&mut self, value: Value<'_>) -> Read<()> {
        let mut all = Vec::new();
        value.each(&mut Each(&mut |value| {
            let text = value.text()?;
            all.push(text);
            (self.1)(text)
        }))?;
        all.shrink_to_fit();
        *self.0 = all.keep();
        Ok(())
    }
}

/// The check that accepts every string.
pub fn any(_: Text) -> Read<()> {
    Ok(())
}

/// Refuses an empty string.
pub fn filled(text: Text) -> Read<()> {
    if text.is_empty() { Err(Fault::new("must not be empty")) } else { Ok(()) }
}

/// Refuses everything but an absolute path.
pub fn absolute(path: Text) -> Read<()> {
    filled(path)?;
    if path.starts_with('/') {
        return Ok(());
    }
    Err(Fault::of(format_args!("must be an absolute path, is {}", Quoted(path))))
}

impl Slot for List<Text> {
    fn fill(&mut self, value: Value<'_>) -> Read<()> {
        Texts(self, any).fill(value)
    }
}

/// One of these words; stores the value that belongs to it.
pub struct Word<'a, T: 'static>(pub &'a mut T, pub &'static NameTable<T>);

impl<T: Copy> Slot for Word<'_, T> {
    fn fill(&mut self, value: Value<'_>) -> Read<()> {
        let word = value.text()?;
        *self.0 = self.1.get(word).ok_or_else(|| unknown(word, self.1.text))?;
        Ok(())
    }
}

/// An array of objects; each starts from its default.
pub struct Listed<'a, T: 'static>(pub &'a mut List<T>);

impl<T: Slot + Default> Slot for Listed<'_, T> {
    fn fill(&mut self, value: Value<'_>) -> Read<()> {
        let mut all = Vec::new();
        all.fill(value)?;
        *self.0 = all.keep();
        Ok(())
    }
}

impl<T: Slot + Default> Slot for Vec<T> {
    fn fill(&mut self, value: Value<'_>) -> Read<()> {
        value.each(&mut Each(&mut |value| {
            let mut item = T::default();
            item.fill(value)?;
            self.push(item);
            Ok(())
        }))?;
        self.shrink_to_fit();
        Ok(())
    }
}

/// An optional object.
pub struct Optional<'a, T>(pub &'a mut Option<T>);

impl<T: Slot + Default> Slot for Optional<'_, T> {
    fn fill(&mut self, value: Value<'_>) -> Read<()> {
        self.0.insert(T::default()).fill(value)
    }
}

/// An integer type that is set from two's complement bits.
pub trait Whole {
    /// The range of the type.
    const RANGE: &'static Bounds;

    /// Stores an integer that is within the range.
    fn set(&mut self, bits: u64);
}

/// An integer within a narrower range than its type's.
pub struct Within<'a, T>(pub &'a mut T, pub &'static Bounds);

impl<T: Whole> Slot for Within<'_, T> {
    fn fill(&mut self, value: Value<'_>) -> Read<()> {
        self.0.set(value.integer(self.1)?);
        Ok(())
    }
}

macro_rules! whole {
    ($($type:ident),*) => {$(
        impl Whole for $type {
            const RANGE: &'static Bounds =
                &Bounds($type::MIN as i64, $type::MAX as u64, concat!("is out of range (", stringify!($type), ")"));

            fn set(&mut self, bits: u64) {
                *self = bits as $type;
            }
        }

        impl Slot for $type {
            fn fill(&mut self, value: Value<'_>) -> Read<()> {
                Within(self, $type::RANGE).fill(value)
            }
        }
    )*};
}
whole!(u8, u16, u32, u64, i32, i64);

impl<T: Whole + Default> Whole for Option<T> {
    const RANGE: &'static Bounds = T::RANGE;

    fn set(&mut self, bits: u64) {
        self.insert(T::default()).set(bits);
    }
}

impl<T: Whole + Default> Slot for Option<T> {
    fn fill(&mut self, value: Value<'_>) -> Read<()> {
        Within(self, T::RANGE).fill(value)
    }
}
