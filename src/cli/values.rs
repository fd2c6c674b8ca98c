//! Values of options: users, groups, entries of the environment.

use crate::error::{Error, Quoted, Result};

/// `--user UID[:GID]` of `exec` and `spec`: only numbers.
///
/// The container's files are not consulted.
pub fn user(text: &str) -> Result<(u32, Option<u32>)> {
    let (uid, gid) = match text.split_once(':') {
        Some((uid, gid)) => (id(uid), id(gid).map(Some)),
        None => (id(text), Some(None)),
    };
    uid.zip(gid).ok_or_else(|| {
        Error::of(format_args!(
            "--user: {} is not UID or UID:GID (each a number from 0 to 4294967294)",
            Quoted(text)
        ))
    })
}

/// One of `exec --additional-gids`.
pub fn group(text: &str) -> Result<u32> {
    id(text).ok_or_else(|| {
        Error::of(format_args!(
            "--additional-gids: {} is not a group id (a number from 0 to 4294967294)",
            Quoted(text)
        ))
    })
}

/// Digits only. The highest number is no id.
///
/// The system calls read it as "no change".
fn id(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|n| digits && *n != u32::MAX)
}

/// One of `exec --env`, checked to be KEY=VALUE.
pub fn env_entry(text: &str) -> Result<()> {
    match text.find('=') {
        Some(1..) => Ok(()),
        _ => Err(Error::of(format_args!("--env: {} is not KEY=VALUE", Quoted(text)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_strict_numbers() {
        assert_eq!(user("0").unwrap(), (0, None));
        assert_eq!(user("1:2").unwrap(), (1, Some(2)));
        assert_eq!(user("4294967294:007").unwrap(), (4294967294, Some(7)));
        for text in [
            "",
            ":",
            ":5",
            "1:",
            "1:x",
            "x",
            "root",
            "-1",
            "+1",
            "1 ",
            " 1",
            "1:2:3",
            "1:-1",
            "1:+1",
            "0x1",
            "1.0",
            "1,2",
            "4294967295",
            "4294967296",
            "1:4294967295",
            "18446744073709551616",
            "1\n",
            "١",
        ] {
            let says = user(text).unwrap_err().to_string();
            assert!(says.starts_with("--user: ") && says.lines().count() == 1, "{says}");
        }
        assert_eq!(group("27").unwrap(), 27);
        assert!(group("-1").is_err() && group("4294967295").is_err() && group("").is_err());
    }

    #[test]
    fn env_entries_have_a_key() {
        assert!(env_entry("A=").is_ok() && env_entry("A=b=c").is_ok());
        assert!(env_entry("A").is_err() && env_entry("=b").is_err() && env_entry("").is_err());
    }
}
