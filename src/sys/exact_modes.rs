//! Modes of new files that do not depend on the caller's umask.

use nix::sys::stat::{Mode, umask};

/// New files and directories get exactly the mode asked for until it is dropped.
///
/// Then the caller's umask is in force again, which hooks inherit.
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
