//! `update`: changes resource limits of an existing container, all of them or none.

use super::command::Globals;
use super::update_flags::{Kind, fields};
use super::{store, units};
use crate::bundle::load::read_argument;
use crate::cgroup::limits::{DeviceRule, Resources, devices, resources};
use crate::error::{Context as _, Error, Quoted, Result, engine};
use crate::json::document;
use crate::json::read::Read;
use crate::json::slot::{Each, Value, may};
use crate::json::value::Json;
use crate::log;
use crate::state::store::Entry;
use crate::state::{Held, Observed};
use crate::sys::entry::STDIN;
use crate::sys::file::read_all;
use crate::text::Keep;

/// Updates a container that runs, waits for start or is paused.
///
/// A flag overrides the same field of the file. Device rules of the file are appended to the container's: a list of one rule
/// adds a device, and a list that begins with a denial of everything replaces all.
pub fn run(globals: &Globals, id: &str, file: Option<&str>, flags: &[(&str, &str)]) -> Result<()> {
    let mut asked = file.map_or(Ok(Json::Object(Vec::new())), read)?;
    // No error yet: a flag may override it.
    let of_file = resources(&asked).err().map(|fault| Error::from(fault).to_string());
    for (name, text) in flags {
        set(&mut asked, name, text).map_err(|e| e.context(format_args!("--{name}")))?;
    }
    let mut asked = resources(&asked).map_err(|fault| {
        let e = Error::from(fault);
        match file {
            Some(file) if of_file.is_some_and(|fault| e.is(&fault)) => {
                e.context(format_args!("--resources {file}"))
            }
            _ => e,
        }
    })?;
    if let Some(line) = asked.warning() {
        log::warn(line);
    }
    let mut held = live(Observed::of(store(globals)?.lock(id)?)?)?;
    let new = std::mem::take(&mut asked.devices);
    let before = held.record.device_rules.clone();
    let mut in_force = Vec::new();
    if !new.is_empty() {
        in_force = device_rules(&held.dir, &before)?;
        for rule in new {
            devices::append(&mut held.record.device_rules, rule);
        }
        asked.devices = device_rules(&held.dir, &held.record.device_rules)?;
    }
    let changed = held.record.device_rules != before;
    let note = || if changed { held.dir.write_record(&held.record) } else { Ok(()) };
    let Err(e) = held.record.cgroup().update(&asked, &in_force, &note) else { return Ok(()) };
    if changed {
        held.record.device_rules = before;
        let _ = held.dir.write_record(&held.record);
    }
    Err(e)
}

/// A container whose resources can be changed.
pub fn live(observed: Observed) -> Result<Held> {
    match observed {
        Observed::Created(c) => Ok(c.0),
        Observed::Running(c) => Ok(c.0),
        Observed::Paused(c) => Ok(c.0),
        other => Err(Error::new(engine::NOT_RUNNING).hint(format_args!("it is {}", other.status().name()))),
    }
}

/// All device rules of a container: the config's at create, then the later ones.
pub fn device_rules(dir: &Entry, since: &[DeviceRule]) -> Result<Vec<DeviceRule>> {
    let mut of_config = Resources::default();
    linux_of(dir, &mut |v| v.object(&mut [may("resources", &mut of_config)]))?;
    let mut rules = of_config.devices;
    rules.extend(since);
    Ok(rules)
}

/// Reads `linux` of a container's configuration.
pub fn linux_of(dir: &Entry, read: &mut dyn FnMut(Value<'_>) -> Read<()>) -> Result<()> {
    document::read(dir.config()?, &mut Each(&mut |v| v.object(&mut [may("linux", &mut Each(read))])))
}

fn read(file: &str) -> Result<Json> {
    let bytes =
        if file == "-" { read_all(STDIN, 16 << 20).context(|| "read stdin")? } else { read_argument(file)? };
    Json::parse_kept(bytes.keep()).map_err(|e| e.context(format_args!("--resources {file}")))
}

/// Sets the member of the document that a flag stands for.
fn set(document: &mut Json, flag: &str, text: &str) -> Result<()> {
    let Some((_, section, member, kind)) = fields().find(|(name, ..)| *name == flag) else {
        return Err(Error::new("unknown"));
    };
    let value = match kind {
        Kind::Text => Json::str(text),
        Kind::Size => Json::from(size(text).ok_or_else(|| {
            Error::of(format_args!("must be a size such as 64m or 1g, or -1, is {}", Quoted(text)))
        })?),
        Kind::Number => Json::from(
            text.parse::<i64>()
                .map_err(|_| Error::of(format_args!("must be a number, is {}", Quoted(text))))?,
        ),
    };
    let inner = member_of(document, section)?;
    *member_of(inner, member)? = value;
    Ok(())
}

/// The member of an object, made if it is missing.
fn member_of<'a>(object: &'a mut Json, key: &'static str) -> Result<&'a mut Json> {
    if matches!(object, Json::Null) {
        *object = Json::Object(Vec::new());
    }
    let kind = object.kind();
    let Json::Object(members) = object else {
        return Err(Error::of(format_args!("the file has {kind} there")));
    };
    let at = members.iter().position(|(k, _)| *k == key).unwrap_or_else(|| {
        members.push((key, Json::Null));
        members.len() - 1
    });
    Ok(&mut members[at].1)
}

/// Bytes in runc's format (Go's `RAMInBytes`).
///
/// `64m`, `64MB`, `64MiB`, `1.5g`, or -1.
fn size(text: &str) -> Option<i64> {
    if text == "-1" {
        return Some(-1);
    }
    let (number, unit) = units::split(text);
    if number.ends_with('.') || number.starts_with('.') {
        return None;
    }
    let shift = match unit.trim_start_matches(' ').to_ascii_lowercase().as_bytes() {
        [] | b"b" => 0,
        [letter] | [letter, b'b'] | [letter, b'i', b'b'] => {
            10 * (1 + b"kmgtp".iter().position(|known| known == letter)?)
        }
        _ => return None,
    };
    units::times(number, 1 << shift)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_as_runc_takes_them() {
        for (text, bytes) in [
            ("0", 0),
            ("-1", -1),
            ("1048576", 1 << 20),
            ("32b", 32),
            ("64m", 64 << 20),
            ("64MB", 64 << 20),
            ("64MiB", 64 << 20),
            ("1 g", 1 << 30),
            ("1.5G", 3 << 29),
            ("2t", 2 << 40),
        ] {
            assert_eq!(size(text).unwrap(), bytes, "{text}");
        }
        for text in [
            "",
            "m",
            "-2",
            "1x",
            "1.m",
            "1..5m",
            ".5m",
            "0x10",
            "+1",
            "1m1",
            "9999999p",
            "1.0000000001g",
            "\u{660}m",
        ] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn flags_become_the_document_and_win_over_the_file() {
        let mut document = Json::parse(br#"{"memory":{"limit":5,"swap":6},"pids":null}"#).unwrap();
        for (flag, text) in [("memory", "1k"), ("pids-limit", "-1"), ("cpuset-cpus", "0-1")] {
            set(&mut document, flag, text).unwrap();
        }
        assert_eq!(
            document.compact(),
            r#"{"memory":{"limit":1024,"swap":6},"pids":{"limit":-1},"cpu":{"cpus":"0-1"}}"#
        );
        let mut odd = Json::parse(br#"{"memory":7}"#).unwrap();
        assert_eq!(set(&mut odd, "memory", "1").unwrap_err().to_string(), "the file has a number there");
        assert_eq!(set(&mut odd, "cpu-share", "x").unwrap_err().to_string(), "must be a number, is \"x\"");
    }

    #[test]
    fn every_flag_of_the_table_is_a_field() {
        use super::super::table::verbs;
        let verb = verbs().find(|v| v.name() == "update").unwrap();
        for (name, section, member, kind) in fields() {
            assert!(verb.flags().any(|f| f.name == name), "--{name}");
            let value = match kind {
                Kind::Text => "0",
                _ if name == "blkio-weight" => "10",
                _ => "1",
            };
            let mut document = Json::Null;
            set(&mut document, name, value).unwrap();
            assert_ne!(resources(&document).unwrap(), Resources::default(), "{section}.{member}");
        }
    }
}
