//! `spec`: a config.json to start from.

use std::io::Write as _;
use std::path::Path;

use crate::bundle::role::role as role_config;
use crate::bundle::template;
use crate::cgroup::layout::Layout;
use crate::error::{Context, Error, Result};

/// Writes it into a directory, over nothing that is there.
pub fn run(bundle: &Path, rootless: bool, role: Option<&str>) -> Result<()> {
    let ids = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let cgroups = Layout::discover()?.trees;
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
    let path = bundle.join("config.json");
    let mut file = match std::fs::File::create_new(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(Error::new("File config.json exists. Remove it first"));
        }
        other => other.context(|| path.display())?,
    };
    file.write_all((config.pretty(4) + "\n").as_bytes()).context(|| path.display())
}
