//! The identity of the running boot.

use nix::fcntl::OFlag;

use super::file::{open, read_line};
use super::heap::lasting;
use super::once::Once;
use crate::error::{Context, Result};
use crate::text::Text;

/// The id of the current boot. It is read once.
pub fn boot_id() -> Result<Text> {
    static ID: Once<String> = Once::empty();
    if let Some(id) = ID.known() {
        return Ok(id);
    }
    let path = "/proc/sys/kernel/random/boot_id";
    let read = || read_line(open(path, OFlag::O_RDONLY)?);
    Ok(ID.set(lasting(read).about(format_args!("read {path}"))?))
}
