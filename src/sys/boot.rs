//! The identity of the running boot.

use super::file::read_text;
use crate::error::{Context, Result};

/// The id of the current boot.
pub fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text = read_text(path).about(format_args!("read {path}"))?;
    Ok(text.trim_ascii_end().to_owned())
}
