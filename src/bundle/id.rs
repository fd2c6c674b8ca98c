//! Container ids.
//!
//! Directories are named after them, so an id is checked before its first use.

use crate::error::{Error, Quoted, Result};

/// The kernel's limit on a file name, in bytes (NAME_MAX).
const LONGEST: usize = 255;

/// Checks that an id has only runc's characters and names no other directory.
pub fn check(id: &str) -> Result<()> {
    let of_the_set = |b: u8| b.is_ascii_alphanumeric() || b"_+-.".contains(&b);
    if id.is_empty() {
        return Err(Error::new("container ID cannot be empty"));
    }
    // Engines match the text up to the id; the reason after it is for people.
    let invalid =
        |why: &str| Err(Error::of(format_args!("invalid container ID format: {} {why}", Quoted(id))));
    if id == "." || id == ".." {
        return invalid("is not a name");
    }
    if !id.bytes().all(of_the_set) {
        return invalid("(letters, digits and _ + - . only)");
    }
    if id.len() > LONGEST {
        return invalid("(at most 255 characters)");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        let longest = "x".repeat(LONGEST);
        for id in ["a", "web-1", "A_b+c.d", "...", ".hidden", "-", "0", longest.as_str()] {
            assert!(check(id).is_ok(), "{id}");
        }
        let longer = "x".repeat(LONGEST + 1);
        for id in
            [".", "..", "a/b", "/", "../x", "a b", "a\n", "a\0", "é", "a,b", "a:b", "*", longer.as_str()]
        {
            let says = check(id).unwrap_err().to_string();
            assert!(says.starts_with("invalid container ID format: "), "{says}");
            assert_eq!(says.lines().count(), 1, "{says}");
        }
        assert_eq!(check("").unwrap_err().to_string(), "container ID cannot be empty");
    }
}
