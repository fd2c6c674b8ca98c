//! Paths that a configuration claims to be inside the container.

use std::ffi::{CStr, CString};
use std::fmt;

use crate::error::Lossy;
use crate::text::{Keep, c_text};

/// A path that somebody *claims* lies inside the container's root.
///
/// Holding one tells you that it is relative, free of NUL, `.`, `..` and empty components. It does not tell you that it stays
/// inside: it may meet a hostile link on the way. Only `RootDir::resolve` decides that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InsidePath(&'static CStr);

impl InsidePath {
    /// Cleans a path as runc does. `None` if the text holds a NUL.
    ///
    /// A relative path starts at the root. `..` removes the component before it and never leads above the root.
    pub fn new(path: &str) -> Option<InsidePath> {
        // One allocation for each path: a configuration may have many.
        let mut clean = Vec::with_capacity(path.len() + 1);
        for part in path.split('/') {
            match part {
                "" | "." => {}
                ".." => clean.truncate(clean.iter().rposition(|b| *b == b'/').unwrap_or(0)),
                name => {
                    clean.extend_from_slice(if clean.is_empty() { b"" } else { b"/" });
                    clean.extend_from_slice(name.as_bytes());
                }
            }
        }
        CString::new(clean).ok().map(|path| InsidePath(path.keep()))
    }

    /// The path without its leading slash; empty for the root.
    pub fn as_c_str(&self) -> &'static CStr {
        self.0
    }

    /// The same as bytes.
    pub fn as_bytes(&self) -> &'static [u8] {
        self.0.to_bytes()
    }

    /// Whether it is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The components of the path.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.as_bytes().split(|b| *b == b'/').filter(|name| !name.is_empty())
    }

    /// The parent directory and the name in it; `None` for the root.
    pub fn split(&self) -> Option<(InsidePath, &'static CStr)> {
        let text = self.as_bytes();
        if text.is_empty() {
            return None;
        }
        let at = text.iter().rposition(|b| *b == b'/');
        let parent = c_text(&text[..at.unwrap_or(0)])?;
        let name =
            CStr::from_bytes_with_nul(&self.0.to_bytes_with_nul()[at.map_or(0, |at| at + 1)..]).ok()?;
        Some((InsidePath(parent), name))
    }

    /// Whether it is `dir` or claims to be below it; `dir` has no leading slash.
    pub fn is_within(&self, dir: &str) -> bool {
        let rest = self.as_bytes().strip_prefix(dir.as_bytes());
        rest.is_some_and(|rest| rest.first().is_none_or(|b| *b == b'/'))
    }
}

impl fmt::Display for InsidePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", Lossy(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_cleaned_as_text() {
        for (text, clean) in [
            ("/proc", "/proc"),
            ("proc", "/proc"),
            ("", "/"),
            ("/", "/"),
            ("//a///b//", "/a/b"),
            ("/a/./b/.", "/a/b"),
            ("/a/../b", "/b"),
            ("../../etc/passwd", "/etc/passwd"),
            ("/a/b/../../..", "/"),
            ("/..data", "/..data"),
            ("/ü/…", "/ü/…"),
        ] {
            let path = InsidePath::new(text).unwrap();
            assert_eq!(path.to_string(), clean, "{text:?}");
            assert_eq!(path.is_root(), clean == "/");
        }
        assert_eq!(InsidePath::new("/a\0b"), None);
    }

    #[test]
    fn parts() {
        let path = InsidePath::new("/a/b/c").unwrap();
        let (parent, name) = path.split().unwrap();
        assert_eq!((parent.to_string(), name), ("/a/b".into(), c"c"));
        let (root, name) = InsidePath::new("x").unwrap().split().map(|(p, n)| (p, n.to_owned())).unwrap();
        assert!(root.is_root() && name.as_c_str() == c"x" && root.split().is_none());
        assert_eq!(path.names().collect::<Vec<_>>(), [b"a", b"b", b"c"]);
        assert!(path.is_within("a") && path.is_within("a/b/c") && !path.is_within("a/b/cd"));
        assert!(!InsidePath::new("/procfs").unwrap().is_within("proc"));
    }
}
