//! Typed reading of a [`Json`] document: each fault says where it is and what was wrong.
//!
//! A reader is a function from a value to a typed value or a [`Fault`]. On its way out a fault collects the path of the
//! value it is about (`process.rlimits[2].type`), so the happy path allocates nothing for it.

use super::json::Json;
use crate::error::Error;

/// What is wrong with a value, and where it stands in the document.
#[derive(Debug, PartialEq)]
pub struct Fault {
    path: String,
    what: String,
}

/// The result of reading a value.
pub type Read<T> = Result<T, Fault>;

impl Fault {
    /// A fault of the value at hand.
    pub fn new(what: impl Into<String>) -> Fault {
        Fault { path: String::new(), what: what.into() }
    }

    /// Where the value stands, as a JSON path (`process.rlimits[2].type`); empty for the document itself.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The same fault seen from the object that holds the value under `key`.
    pub fn at(mut self, key: &str) -> Fault {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{key}{dot}{}", self.path);
        self
    }

    /// The same fault seen from the array that holds the value at `index`.
    pub fn at_index(self, index: usize) -> Fault {
        self.at(&format!("[{index}]"))
    }
}

impl From<Fault> for Error {
    fn from(f: Fault) -> Error {
        let e = Error::new(f.what);
        // A key is the author's: an error stays one line, whatever is in it.
        let path = f.path.replace(char::is_control, "?");
        if path.is_empty() { e } else { e.context(path) }
    }
}

impl Json {
    /// Reads a member that must be there.
    pub fn required<T>(&self, key: &str, read: impl FnOnce(&Json) -> Read<T>) -> Read<T> {
        self.optional(key, read)?.ok_or_else(|| Fault::new("is required").at(key))
    }

    /// Reads a member if it is there (`null` is not).
    pub fn optional<T>(&self, key: &str, read: impl FnOnce(&Json) -> Read<T>) -> Read<Option<T>> {
        self.get(key).map(read).transpose().map_err(|f| f.at(key))
    }

    /// Reads a member, or takes its type's default if it is not there.
    pub fn or_default<T: Default>(&self, key: &str, read: impl FnOnce(&Json) -> Read<T>) -> Read<T> {
        Ok(self.optional(key, read)?.unwrap_or_default())
    }

    /// Reads a string member; `""` counts as absent, as Go's encoders write it for "not set".
    pub fn text(&self, key: &str) -> Read<Option<String>> {
        Ok(self.optional(key, string)?.filter(|s| !s.is_empty()))
    }

    /// Reads an array member item by item; absent is empty.
    pub fn list<T>(&self, key: &str, read: impl Fn(&Json) -> Read<T>) -> Read<Vec<T>> {
        self.or_default(key, |v| items(v, read))
    }

    /// Reads an object member as its (key, value) pairs in the order of the file; absent is empty.
    pub fn map<T>(&self, key: &str, read: impl Fn(&Json) -> Read<T>) -> Read<Vec<(String, T)>> {
        self.or_default(key, |v| match v {
            Json::Object(members) => {
                members.iter().map(|(k, v)| Ok((text(k)?, read(v).map_err(|f| f.at(k))?))).collect()
            }
            other => Err(wants("an object", other)),
        })
    }
}

fn wants(kind: &str, found: &Json) -> Fault {
    Fault::new(format!("must be {kind}, is {}", found.kind()))
}

fn items<T>(value: &Json, read: impl Fn(&Json) -> Read<T>) -> Read<Vec<T>> {
    match value {
        Json::List(items) => {
            items.iter().enumerate().map(|(i, v)| read(v).map_err(|f| f.at_index(i))).collect()
        }
        other => Err(wants("an array", other)),
    }
}

fn text(s: &str) -> Read<String> {
    if s.contains('\0') { Err(Fault::new("contains a NUL character")) } else { Ok(s.to_owned()) }
}

/// Checks that the value is an object, before its members are read.
pub fn object(value: &Json) -> Read<&Json> {
    if matches!(value, Json::Object(_)) { Ok(value) } else { Err(wants("an object", value)) }
}

/// A string without NUL: everything that reaches the kernel is a C string, and must not be cut short there.
pub fn string(value: &Json) -> Read<String> {
    match value {
        Json::Str(s) => text(s),
        other => Err(wants("a string", other)),
    }
}

/// An array of such strings.
pub fn strings(value: &Json) -> Read<Vec<String>> {
    items(value, string)
}

/// A string of at least one character.
pub fn non_empty(value: &Json) -> Read<String> {
    let s = string(value)?;
    if s.is_empty() { Err(Fault::new("must not be empty")) } else { Ok(s) }
}

/// A path that begins with `/`.
pub fn absolute(value: &Json) -> Read<String> {
    let path = non_empty(value)?;
    if path.starts_with('/') {
        Ok(path)
    } else {
        Err(Fault::new(format!("must be an absolute path, is {path:?}")))
    }
}

/// One of the words of a table, as what the table says it means.
pub fn word<T: Copy>(value: &Json, table: &[(&str, T)]) -> Read<T> {
    let s = string(value)?;
    table.iter().find(|(name, _)| *name == s).map(|(_, meaning)| *meaning).ok_or_else(|| {
        let known: Vec<&str> = table.iter().map(|(name, _)| *name).collect();
        Fault::new(format!("unknown {s:?} (known: {})", known.join(", ")))
    })
}

/// `true` or `false`.
pub fn boolean(value: &Json) -> Read<bool> {
    match value {
        Json::Bool(b) => Ok(*b),
        other => Err(wants("a boolean", other)),
    }
}

/// An integer that fits `T` (`u16`, `u32`, `i64`, …).
pub fn integer<T: TryFrom<i128>>(value: &Json) -> Read<T> {
    match value {
        Json::Int(n) => T::try_from(*n).map_err(|_| {
            let kind = std::any::type_name::<T>();
            Fault::new(format!("{n} is out of range ({kind})"))
        }),
        Json::Float(n) => Err(Fault::new(format!("must be an integer, is {n}"))),
        other => Err(wants("an integer", other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doc(text: &str) -> Json {
        Json::parse(text.as_bytes()).unwrap()
    }

    fn says<T: std::fmt::Debug>(r: Read<T>) -> String {
        Error::from(r.unwrap_err()).to_string()
    }

    #[test]
    fn faults_name_their_path() {
        let d = doc(r#"{"process":{"rlimits":[{"type":"a"},{"type":7}],"cwd":"a\u0000b","x":{"k":true}}}"#);
        let rlimits = |v: &Json| v.list("rlimits", |r| r.required("type", string));
        assert_eq!(
            says(d.required("process", rlimits)),
            "process.rlimits[1].type: must be a string, is a number"
        );
        assert_eq!(
            says(d.required("process", |p| p.required("cwd", string))),
            "process.cwd: contains a NUL character"
        );
        assert_eq!(says(d.required("root", string)), "root: is required");
        assert_eq!(
            says(d.required("process", |p| p.map("x", string))),
            "process.x.k: must be a string, is a boolean"
        );
    }

    #[test]
    fn integers_are_checked_against_their_type() {
        let d = doc(r#"{"a":4294967296,"b":-1,"c":1.5}"#);
        assert_eq!(says(d.required("a", integer::<u32>)), "a: 4294967296 is out of range (u32)");
        assert_eq!(d.required("b", integer::<i64>), Ok(-1));
        assert_eq!(says(d.required("c", integer::<i64>)), "c: must be an integer, is 1.5");
    }
}
