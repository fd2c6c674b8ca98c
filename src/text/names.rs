//! Tables of names and values.

use super::{List, Text};

/// Names and the value of each.
///
/// All names are one text, so a name takes one byte more than its letters. A list of `&str` takes 16 bytes more for each.
pub struct NameTable<T: 'static> {
    /// The names, each followed by a space.
    pub text: Text,
    /// The values in the order of the names.
    pub values: List<T>,
}

/// A table: `names! { "one" => 1, "two" => 2 }`.
#[macro_export]
macro_rules! names {
    ($($name:literal => $value:expr),* $(,)?) => {
        $crate::text::names::NameTable { text: concat!($($name, " "),*), values: &[$($value),*] }
    };
}

impl<T: Copy> NameTable<T> {
    /// The names in order.
    pub fn names(&self) -> impl Iterator<Item = Text> {
        words(self.text)
    }

    /// The names in order, each with its value.
    pub fn pairs(&self) -> impl Iterator<Item = (Text, T)> {
        self.names().zip(self.values.iter().copied())
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<T> {
        self.values.get(position(self.text, name)?).copied()
    }

    /// The first name with such a value.
    pub fn name(&self, is_wanted: impl Fn(T) -> bool) -> Option<Text> {
        Some(word(self.text, self.values.iter().position(|value| is_wanted(*value))?))
    }
}

/// The words of a text with a space between them or behind each.
#[inline(never)]
pub fn words(text: Text) -> std::str::Split<'static, char> {
    text.trim_ascii().split(' ')
}

/// The index of a word.
#[inline(never)]
pub fn position(text: Text, wanted: &str) -> Option<usize> {
    words(text).position(|word| word == wanted)
}

/// The word at an index; empty if there are fewer.
#[inline(never)]
pub fn word(text: Text, index: usize) -> Text {
    words(text).nth(index).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_convert_both_ways() {
        static TABLE: NameTable<u8> = names! { "one" => 1, "two" => 2, "deux" => 2 };
        let pairs: Vec<_> = TABLE.pairs().collect();
        assert_eq!(pairs, [("one", 1), ("two", 2), ("deux", 2)]);
        for (name, value) in pairs {
            assert_eq!(TABLE.get(name), Some(value));
        }
        assert_eq!(TABLE.name(|value| value == 2), Some("two"));
        assert_eq!(TABLE.name(|value| value == 3), None);
        for unknown in ["", " ", "on", "one two", "three"] {
            assert_eq!(TABLE.get(unknown), None, "{unknown:?}");
        }
        assert!(TABLE.names().eq(["one", "two", "deux"]));
        assert_eq!(word(TABLE.text, 3), "");
    }
}
