//! Names and texts of the errnos.
//!
//! The texts are musl's with a lower-case first letter, on every platform. One is glibc's (EUCLEAN), because musl
//! has none: damaged file systems return it, on flash after a loss of power.

use super::Errno;
use super::once::Once;
use crate::packed;
use crate::text::Text;

/// `errno.txt`: a line for each number from 0 on.
///
/// It has the name, and the text if there is one. The numbers are the same on all supported architectures.
static TEXTS: Once<Text> = Once::empty();

/// The name and the text of an errno.
pub fn texts(errno: Errno) -> (&'static str, &'static str) {
    let line = TEXTS.get(|| packed!("errnos")).split('\n').nth(errno as usize).unwrap_or_default();
    line.split_once(' ').unwrap_or((line, "no error information"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_the_numbers() {
        assert_eq!(packed!("errnos").lines().count(), 134);
        for number in 0..140 {
            let errno = Errno::from_raw(number);
            assert_eq!(texts(errno).0, format!("{errno:?}"), "{number}");
        }
    }
}
