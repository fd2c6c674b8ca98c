//! Values of the command line.
//!
//! They are users, groups, signals, capabilities, processors, accesses, sizes and ids.

use embrun::bundle::id;
use embrun::cgroup::limits;
use embrun::cli::{kill, units, values};
use embrun::plan::process;

/// Checks one value as each kind, beside plain readings of the documentation.
pub fn judge(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    assert_eq!(values::user(text).ok(), user(text), "user {text:?}");
    assert_eq!(values::group(text).ok(), number(text), "group {text:?}");
    assert_eq!(values::env_entry(text).is_ok(), text.find('=').is_some_and(|at| at > 0), "env {text:?}");
    assert_eq!(kill::number(text).ok(), signal(text), "signal {text:?}");
    assert_eq!(
        process::capability(text).is_some(),
        process::capability_names().any(|n| n == text),
        "{text:?}"
    );
    assert_eq!(process::cpu_list(text).map(<[u32]>::to_vec), processors(text), "processors {text:?}");
    assert_eq!(limits::access(text).ok(), access(text), "access {text:?}");
    assert_eq!(id::check(text).is_ok(), is_id(text), "id {text:?}");
    for unit in [1, 1000, 1 << 10, 1 << 40, 1 << 50, 3_600_000_000_000] {
        assert_eq!(units::times(text, unit), times(text, unit), "{text:?} of {unit}");
    }
    let (front, rest) = units::split(text);
    assert_eq!(format!("{front}{rest}"), text);
    assert!(front.chars().all(|c| "0123456789.".contains(c)), "{text:?}");
    assert!(!rest.starts_with(|c| "0123456789.".contains(c)), "{text:?}");
}

/// Digits of an id, as a person would add them up.
fn number(text: &str) -> Option<u32> {
    let mut n: u64 = 0;
    for byte in text.bytes() {
        if !byte.is_ascii_digit() {
            return None;
        }
        n = (n * 10 + u64::from(byte - b'0')).min(u64::from(u32::MAX));
    }
    (!text.is_empty() && n < u64::from(u32::MAX)).then_some(n as u32)
}

fn user(text: &str) -> Option<(u32, Option<u32>)> {
    let parts: Vec<&str> = text.split(':').collect();
    match parts[..] {
        [uid] => Some((number(uid)?, None)),
        [uid, gid] => Some((number(uid)?, Some(number(gid)?))),
        _ => None,
    }
}

/// The numbers of signal(7) on most architectures.
const SIGNALS: [(&str, i32); 34] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
];

fn signal(text: &str) -> Option<i32> {
    // As Go reads numbers, and so runc.
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_negative = text.starts_with('-') && digits.bytes().any(|b| b != b'0');
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return number(digits).map(|n| n as i32).filter(|n| (0..=64).contains(n) && !is_negative);
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let mut all: Vec<(String, i32)> = SIGNALS.iter().map(|(n, i)| ((*n).to_owned(), *i)).collect();
    all.extend([("RTMIN".to_owned(), 34), ("RTMAX".to_owned(), 64)]);
    // The offset may have a sign and leading zeros, as Rust reads numbers.
    let offset = |text: &str| number(text.strip_prefix('+').unwrap_or(text)).filter(|n| *n <= 30);
    let low = name.strip_prefix("RTMIN+").and_then(offset).map(|n| 34 + n as i32);
    let high = name.strip_prefix("RTMAX-").and_then(offset).map(|n| 64 - n as i32);
    all.iter().find(|(known, _)| known == name).map(|(_, n)| *n).or(low).or(high)
}

fn processors(text: &str) -> Option<Vec<u32>> {
    let mut set = std::collections::BTreeSet::new();
    for part in text.split(',') {
        let ends: Option<Vec<u32>> = part.splitn(2, '-').map(|end| number(end.trim_ascii())).collect();
        let ends = ends?;
        let (first, last) = (ends[0], *ends.last()?);
        if last < first || last > 1023 {
            return None;
        }
        set.extend(first..=last);
    }
    Some(set.into_iter().collect())
}

fn access(text: &str) -> Option<u8> {
    let bits = text.chars().map(|c| match c {
        'm' => Some(1),
        'r' => Some(2),
        'w' => Some(4),
        _ => None,
    });
    bits.sum::<Option<u32>>().filter(|n| *n > 0)?;
    let of = |letter, bit| if text.contains(letter) { bit } else { 0 };
    Some(of('m', 1) | of('r', 2) | of('w', 4))
}

fn is_id(text: &str) -> bool {
    let known = |c: char| matches!(c, 'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '+' | '-' | '.');
    !matches!(text, "" | "." | "..") && text.chars().count() <= 255 && text.chars().all(known)
}

/// The same in exact arithmetic of 128 bits.
fn times(text: &str, unit: u64) -> Option<u64> {
    let (whole, part) = match text.split('.').collect::<Vec<_>>()[..] {
        [whole] => (whole, ""),
        [whole, part] => (whole, part),
        _ => return None,
    };
    let unsigned = whole.strip_prefix('+').filter(|rest| !rest.is_empty()).unwrap_or(whole);
    let digits = format!("{unsigned}{part}");
    // Zeros in front make no number too long.
    let short = digits.trim_start_matches('0');
    if digits.is_empty() || part.len() > 9 || short.len() > 29 || !digits.bytes().all(|b| b.is_ascii_digit())
    {
        return None;
    }
    let n =
        format!("0{short}").parse::<u128>().ok()?.checked_mul(unit.into())? / 10u128.pow(part.len() as u32);
    n.try_into().ok()
}
