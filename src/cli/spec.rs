//! `spec`: a config.json to start from.

use std::io::Write as _;
use std::path::Path;

use crate::bundle::template;
use crate::error::{Context, Error, Result};

/// Writes it into a directory, over nothing that is there.
pub fn run(bundle: &Path, rootless: bool) -> Result<()> {
    let ids = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let config = if rootless { template::rootless(ids.0, ids.1)? } else { template::template()? };
    let path = bundle.join("config.json");
    let mut file = match std::fs::File::create_new(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(Error::new("File config.json exists. Remove it first"));
        }
        other => other.context(|| path.display())?,
    };
    file.write_all((config.pretty(4) + "\n").as_bytes()).context(|| path.display())
}
