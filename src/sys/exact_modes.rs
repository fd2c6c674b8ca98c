//! Modes of new files that do not depend on the caller's umask.

use nix::sys::stat::{Mode, umask};

/// While it lives, new files and directories get the mode that is asked for. Then the umask is the caller's again: hooks
/// inherit it.
pub struct ExactModes(Mode);

impl ExactModes {
    /// From here on.
    pub fn begin() -> ExactModes {
        ExactModes(umask(Mode::empty()))
    }
}

impl Drop for ExactModes {
    fn drop(&mut self) {
        umask(self.0);
    }
}
