//! Decimal numbers with a unit, as in sizes and durations.

/// The number at the beginning of a text, and the rest.
pub fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    text.split_at(end)
}

/// A number such as `1.5` of a unit, rounded down.
///
/// `None` if it is malformed, has more than nine digits after the point, or is too large.
pub fn times(number: &str, unit: u64) -> Option<u64> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if part.len() > 9 || number == "." {
        return None;
    }
    let whole = if part.is_empty() || !whole.is_empty() { whole } else { "0" };
    let mut fraction = 0;
    for digit in part.chars().rev() {
        fraction = (fraction + u64::from(digit.to_digit(10)?) * unit) / 10;
    }
    whole.parse::<u64>().ok()?.checked_mul(unit)?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_exact_and_rounded_down() {
        for (number, unit, n) in [
            ("1.5", 1 << 30, Some(3 << 29)),
            ("0.999999999", 1 << 50, Some(1_125_899_905_716_724)),
            ("0.3", 1 << 10, Some(307)),
            ("7", 1, Some(7)),
            ("1.", 1000, Some(1000)),
            ("18446744073709551615", 1, Some(u64::MAX)),
            ("18446744073709551615", 2, None),
            ("18446744073709551616", 1, None),
            ("1.0000000001", 1, None),
            (".5", 10, Some(5)),
            (".", 10, None),
            ("1.2.3", 10, None),
            ("", 10, None),
        ] {
            assert_eq!(times(number, unit), n, "{number}");
        }
        assert_eq!(split("1.5GiB"), ("1.5", "GiB"));
        assert_eq!(split("\u{660}m"), ("", "\u{660}m"));
    }
}
