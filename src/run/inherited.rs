//! Descriptors that the caller passes to the program.
//!
//! They come by `LISTEN_FDS` (sd_listen_fds(3)) and by `--preserve-fds`.

use crate::error::{Error, Result};
use crate::facts::Listening;
use crate::sys::descriptor;

/// Checks that they are open and the caller's. Ours lead out of the container.
pub fn check(listening: &Listening, preserved: u32) -> Result<()> {
    for i in 0..listening.count.saturating_add(preserved) {
        if !descriptor::came_by_exec(3 + i as i32) {
            let (what, fd) = (if i < listening.count { "LISTEN_FDS" } else { "--preserve-fds" }, 3 + i);
            return Err(Error::of(format_args!(
                "{what}: descriptor {fd} is not open (unable to stat preserved-fd)"
            )));
        }
    }
    Ok(())
}
