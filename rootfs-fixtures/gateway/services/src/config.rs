//! Settings, all from the environment.

use std::fmt::Display;
use std::str::FromStr;

/// The value of a variable, or why it cannot be used.
pub fn required(name: &str) -> Result<String, String> {
    optional(name).ok_or_else(|| format!("{name} is not set"))
}

/// The value of a variable; an empty one counts as not set.
pub fn optional(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A number or another parsed value, with its default.
pub fn parsed<T: FromStr>(name: &str, default: T) -> Result<T, String>
where
    T::Err: Display,
{
    match optional(name) {
        None => Ok(default),
        Some(text) => text.parse().map_err(|e| format!("{name}={text}: {e}")),
    }
}

/// The site's name, which is a part of each topic.
pub fn site() -> Result<String, String> {
    let site = required("SITE")?;
    let valid = site.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if valid { Ok(site) } else { Err(format!("SITE={site}: only letters, digits, - and _")) }
}
