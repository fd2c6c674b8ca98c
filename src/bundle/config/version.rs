//! `ociVersion`: SemVer 2.0.0; every 1.x is accepted.
//!
//! Source: config.md, "Specification version".

use crate::error::Quoted;
use crate::json::read::{Fault, Read};
use crate::text::Text;

pub(super) fn version(s: Text) -> Read<()> {
    match major(s) {
        Some("1") => Ok(()),
        Some(_) => Err(Fault::of(format_args!("{} is not supported (must be 1.x)", Quoted(s)))),
        None => Err(Fault::of(format_args!(
            "{} is not a version (must be MAJOR.MINOR.PATCH, as in \"1.0.2\")",
            Quoted(s)
        ))),
    }
}

/// The major version, if `s` is valid SemVer 2.0.0.
fn major(s: &str) -> Option<&str> {
    let (s, build) = s.split_once('+').map_or((s, "0"), |(s, build)| (s, build));
    let (core, pre) = s.split_once('-').map_or((s, "0"), |(s, pre)| (s, pre));
    let well_formed = parts(core, &number) == Some(3)
        && parts(build, &identifier).is_some()
        && parts(pre, &|i| identifier(i) && (!digits(i) || number(i))).is_some();
    core.split_once('.').map(|(major, _)| major).filter(|_| well_formed)
}

/// The number of parts between dots, if all of them are valid.
fn parts(s: &str, is_sound: &dyn Fn(&str) -> bool) -> Option<usize> {
    let mut count = 0;
    for part in s.split('.') {
        if !is_sound(part) {
            return None;
        }
        count += 1;
    }
    Some(count)
}

fn digits(s: &str) -> bool {
    s.bytes().all(|b| b.is_ascii_digit())
}

fn number(s: &str) -> bool {
    !s.is_empty() && digits(s) && (s == "0" || !s.starts_with('0'))
}

fn identifier(s: &str) -> bool {
    !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn semver_of_major_1_is_accepted() {
        for s in ["1.0.0", "1.3.0", "1.99.7", "1.0.2-dev", "1.0.0-rc5", "1.2.1+dev", "1.0.0-a.b-c.0+x.01"] {
            assert_eq!(version(s), Ok(()), "{s}");
        }
    }

    #[test]
    fn other_majors_are_not_supported_and_other_text_is_not_a_version() {
        for s in ["0.2.0", "2.0.0", "10.0.0"] {
            assert!(format!("{:?}", version(s)).contains("is not supported (must be 1.x)"), "{s}");
        }
        for s in [
            "", "1", "1.0", "1.0.0.0", "v1.0.0", "1.0.x", "01.0.0", "1.00.0", "1.0.0-", "1.0.0-01", "1.0.0+",
            " 1.0.0",
        ] {
            assert!(format!("{:?}", version(s)).contains("is not a version"), "{s}");
        }
    }
}
