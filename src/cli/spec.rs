//! `spec`: writes a config.json to start from.

use std::os::fd::AsFd as _;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::command::SpecOptions;
use super::spec_device::DeviceItems;
use crate::bundle::role::role;
use crate::bundle::template;
use crate::cgroup::place::layout::Layout;
use crate::error::{Context, Errno, Error, Result};
use crate::json::value::Json;
use crate::sys::entry::write_all;
use crate::sys::file::{AT_FDCWD, create};
use crate::sys::path::join;
use crate::text::Keep as _;
use crate::text::search::cut;

/// The places in the text of a configuration where options add something.
const USER: &str = r#""user":{"#;
const LINUX: &str = r#"],"linux":{"#;
const DENY_ALL: &str = r#"{"allow":false,"access":"rwm"}"#;

/// Writes it into a directory, replacing nothing.
pub fn run(options: &SpecOptions) -> Result<()> {
    let config = config(options).at("spec")?;
    let path = join(options.bundle, "config.json");
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
    let file = match create(AT_FDCWD, &*path, flags, Mode::from_bits_truncate(0o666)) {
        Err(Errno::EEXIST) => return Err(Error::new("File config.json exists. Remove it first")),
        other => other.at(&path)?,
    };
    let text = Json::parse_kept(config.into_bytes().keep())?.pretty(4) + "\n";
    write_all(file.as_fd(), text.as_bytes()).at(&path)?;
    Ok(())
}

fn config(options: &SpecOptions) -> Result<String> {
    let cgroups = Layout::discover()?.hierarchies;
    let unified = !cgroups.is_empty() && cgroups.iter().all(|tree| tree.is_v2());
    let SpecOptions { role: name, user, devices, .. } = options;
    if options.rootless {
        if name.is_some() || user.is_some() || !devices.is_empty() {
            return Err(Error::new("--rootless excludes --role, --user and --device"));
        }
        let ids = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        return Ok(template::rootless(ids.0, ids.1, unified));
    }
    let text = match name {
        Some(name) => role(name).at("--role")?.to_owned(),
        None => template::template(unified),
    };
    let user = user.map(|(uid, gid)| format!(r#""uid":{uid},"gid":{}"#, gid.unwrap_or(uid)));
    let parts = cut(&text, USER).and_then(|(start, rest)| {
        let (ids, rest) = cut(rest, "}")?;
        let (mounts, rest) = cut(rest, LINUX)?;
        Some((start, ids, mounts, cut(rest, DENY_ALL)?))
    });
    let Some((start, ids, mounts, (linux, rest))) = parts else { return Ok(text) };
    let ids = user.as_deref().unwrap_or(ids);
    // The profile of this role lets it open nothing for writing.
    let usual = if *name == Some("data-collector") { "r" } else { "rw" };
    let mut items = DeviceItems::default();
    for device in devices {
        items.add(device, usual, ids).about(format_args!("--device {device}"))?;
    }
    let DeviceItems { nodes, rules, mounts: binds, .. } = items;
    let devices = nodes.get(1..).map(|nodes| format!(r#""devices":[{nodes}],"#)).unwrap_or_default();
    Ok([start, USER, ids, "}", mounts, &binds, LINUX, &devices, linux, DENY_ALL, &rules, rest].concat())
}
