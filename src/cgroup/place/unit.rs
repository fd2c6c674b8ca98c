//! A container's systemd scope: its name, its slice, and values of properties.

use std::fmt;

use crate::error::{Error, Quoted, Result};
use crate::text::List;

/// A property's name and value.
pub type Property = (String, PropertyValue);

/// The scope of a container.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Unit {
    /// The unit's name: `prefix-name.scope`.
    pub name: String,
    /// The slice that contains it.
    pub slice: String,
    /// The unit belongs to a user's manager, not to the system's.
    pub user: bool,
    /// Additional properties from annotations.
    pub properties: List<Property>,
}

impl Unit {
    /// Parses `cgroupsPath` as `slice:prefix:name`.
    ///
    /// The default slice is `system.slice` (`user.slice` for a user); without a path the scope is named after the container's id.
    pub fn new(path: Option<&str>, id: &str, user: bool) -> Result<Unit> {
        let default = format!(":embrun:{id}");
        let path = path.unwrap_or(&default);
        let refuse = |why: &str| Err(Error::of(format_args!("linux.cgroupsPath: {} {why}", Quoted(path))));
        let parts: Vec<&str> = path.split(':').collect();
        let [slice, prefix, name] = parts[..] else {
            return refuse("must be slice:prefix:name for the systemd cgroup manager");
        };
        if name.is_empty() || path.contains(|c: char| c == '/' || c.is_control()) {
            return refuse("must name a unit: slice:prefix:name, without slashes");
        }
        if name.ends_with(".slice") || name.ends_with(".scope") {
            return refuse("must name the unit without its type");
        }
        let slice = match slice {
            "" if user => "user.slice",
            "" => "system.slice",
            "-" => "-.slice",
            given => given,
        };
        slice_path(slice)?;
        let dash = if prefix.is_empty() { "" } else { "-" };
        let name = format!("{prefix}{dash}{name}.scope");
        Ok(Unit { name, slice: slice.to_owned(), user, properties: &[] })
    }
}

/// The cgroup of a slice: `a-b.slice` is in `a.slice` (systemd.slice(5)).
pub(in crate::cgroup) fn slice_path(slice: &str) -> Result<String> {
    if slice == "-.slice" {
        return Ok(String::new());
    }
    let refuse = || {
        Error::of(format_args!(
            "linux.cgroupsPath: {} is no name of a slice, such as system.slice",
            Quoted(slice)
        ))
    };
    let stem =
        slice.strip_suffix(".slice").filter(|s| !s.is_empty() && !s.contains('/')).ok_or_else(refuse)?;
    let mut path = String::new();
    let mut upto = String::new();
    for part in stem.split('-') {
        if part.is_empty() {
            return Err(refuse());
        }
        let dash = if upto.is_empty() { "" } else { "-" };
        upto = format!("{upto}{dash}{part}");
        path = format!("{path}/{upto}.slice");
    }
    Ok(path)
}

/// The value of a property or an argument.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum PropertyValue {
    Bool(bool),
    I32(i32),
    U32(u32),
    I64(i64),
    U64(u64),
    Str(String),
    Bytes(Vec<u8>),
    U32s(Vec<u32>),
    Strs(Vec<String>),
    Pairs(Vec<(String, String)>),
    Limits(Vec<(String, u64)>),
}

impl fmt::Display for PropertyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PropertyValue::Bool(v) => write!(f, "{v}"),
            PropertyValue::I32(n) => write!(f, "{n}"),
            PropertyValue::U32(n) => write!(f, "{n}"),
            PropertyValue::I64(n) => write!(f, "{n}"),
            PropertyValue::U64(u64::MAX) => f.write_str("infinity"),
            PropertyValue::U64(n) => write!(f, "{n}"),
            PropertyValue::Str(text) => f.write_str(text),
            PropertyValue::Bytes(bytes) => write!(f, "{bytes:02x?}"),
            PropertyValue::U32s(list) => write!(f, "{list:?}"),
            PropertyValue::Strs(list) => write!(f, "{list:?}"),
            PropertyValue::Pairs(list) => {
                let list: Vec<String> = list.iter().map(|(a, b)| format!("{a} {b}")).collect();
                write!(f, "[{}]", list.join(", "))
            }
            PropertyValue::Limits(list) => write!(f, "{list:?}"),
        }
    }
}

impl PropertyValue {
    /// The D-Bus signature of its type.
    pub fn signature(&self) -> &'static str {
        match self {
            PropertyValue::Bool(_) => "b",
            PropertyValue::I32(_) => "i",
            PropertyValue::U32(_) => "u",
            PropertyValue::I64(_) => "x",
            PropertyValue::U64(_) => "t",
            PropertyValue::Str(_) => "s",
            PropertyValue::Bytes(_) => "ay",
            PropertyValue::U32s(_) => "au",
            PropertyValue::Strs(_) => "as",
            PropertyValue::Pairs(_) => "a(ss)",
            PropertyValue::Limits(_) => "a(st)",
        }
    }
}
