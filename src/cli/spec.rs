//! `spec`: writes a config.json to start from.

use std::os::fd::AsFd as _;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use crate::bundle::role::role as role_config;
use crate::bundle::template;
use crate::cgroup::place::layout::Layout;
use crate::error::{Context, Errno, Error, Result};
use crate::sys::entry::write_all;
use crate::sys::file::{AT_FDCWD, create};
use crate::sys::path::join;

/// Writes it into a directory, replacing nothing.
pub fn run(bundle: &str, rootless: bool, role: Option<&str>) -> Result<()> {
    let ids = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let cgroups = Layout::discover()?.hierarchies;
    let unified = !cgroups.is_empty() && cgroups.iter().all(|tree| tree.is_v2());
    let config = match role {
        Some(_) if rootless => {
            let why = "--rootless and --role exclude each other";
            return Err(Error::new(why)
                .hint("roles limit devices and memory, which takes root")
                .context("spec"));
        }
        Some(role) => role_config(role).at("--role").at("spec")?,
        None if rootless => template::rootless(ids.0, ids.1, unified)?,
        None => template::template(unified)?,
    };
    let path = join(bundle, "config.json");
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
    let file = match create(AT_FDCWD, &*path, flags, Mode::from_bits_truncate(0o666)) {
        Err(Errno::EEXIST) => return Err(Error::new("File config.json exists. Remove it first")),
        other => other.at(&path)?,
    };
    write_all(file.as_fd(), (config.pretty(4) + "\n").as_bytes()).at(&path)?;
    Ok(())
}
