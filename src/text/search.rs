//! Searches a text for another text.
//!
//! The standard library's search is faster on long texts, but 1.3 KB larger.

/// Splits a text at the first occurrence of `wanted`.
pub fn cut<'a>(text: &'a str, wanted: &str) -> Option<(&'a str, &'a str)> {
    let at = text.as_bytes().windows(wanted.len()).position(|part| part == wanted.as_bytes())?;
    Some((text.get(..at)?, text.get(at + wanted.len()..)?))
}

/// Whether the text contains `wanted`.
pub fn has(text: &str, wanted: &str) -> bool {
    cut(text, wanted).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_equal_those_of_the_standard_library() {
        for (text, wanted) in [
            ("", "a"),
            ("a", "a"),
            ("a - b - c", " - "),
            ("é: ü: ", ": "),
            ("aab", "ab"),
            ("ab", "abc"),
            ("ba", "a"),
        ] {
            assert_eq!(cut(text, wanted), text.split_once(wanted), "{wanted:?} in {text:?}");
            assert_eq!(has(text, wanted), text.contains(wanted), "{wanted:?} in {text:?}");
        }
    }
}
