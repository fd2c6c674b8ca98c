//! Gives new files modes that do not depend on the caller's umask.

use nix::sys::stat::{Mode, umask};

/// Gives new files and directories exactly the requested mode until dropped.
///
/// On drop it restores the caller's umask, which hooks inherit.
pub struct ExactModes(Mode);

impl ExactModes {
    /// Sets the umask to 0.
    pub fn begin() -> ExactModes {
        ExactModes(umask(Mode::empty()))
    }
}

impl Drop for ExactModes {
    fn drop(&mut self) {
        umask(self.0);
    }
}
