//! The identity of the running boot.

use super::file::line_of;
use super::heap::lasting;
use super::once::Once;
use crate::error::Result;
use crate::text::Text;

/// The id of the current boot. It is read once.
pub fn boot_id() -> Result<Text> {
    static ID: Once<String> = Once::empty();
    if let Some(id) = ID.known() {
        return Ok(id);
    }
    Ok(ID.set(lasting(|| line_of("/proc/sys/kernel/random/boot_id"))?))
}
