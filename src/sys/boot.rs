//! The identity of the running boot.

use super::file::read_text;
use super::heap::lasting;
use super::once::Once;
use crate::error::{Context, Result};
use crate::text::Text;

/// The id of the current boot. It is read once.
pub fn boot_id() -> Result<Text> {
    static ID: Once<String> = Once::empty();
    if let Some(id) = ID.known() {
        return Ok(id.trim_ascii_end());
    }
    let path = "/proc/sys/kernel/random/boot_id";
    let text = lasting(|| read_text(path)).about(format_args!("read {path}"))?;
    Ok(ID.set(text).trim_ascii_end())
}
