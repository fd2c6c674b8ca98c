//! The seccomp features of the running kernel.

use super::policy::{ACTIONS, FLAGS, NEW_LISTENER, WAIT_KILLABLE_RECV};
use crate::sys::seccomp::{knows_action, knows_flags};

/// The kernel's seccomp features, as found by [`support`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Support {
    /// The supported `SECCOMP_FILTER_FLAG_*`.
    pub flags: u32,
    /// One bit for each supported item of [`ACTIONS`].
    pub actions: u32,
}

/// Finds the seccomp features of this kernel.
/// Without filters there are no actions.
pub fn support() -> Support {
    let mut flags = 0;
    for flag in FLAGS.values.iter().copied().chain([NEW_LISTENER]) {
        let with = match flag {
            WAIT_KILLABLE_RECV => NEW_LISTENER,
            _ => 0,
        };
        if knows_flags(flag | with) {
            flags |= flag;
        }
    }
    Support { flags, actions: actions() }
}

fn actions() -> u32 {
    let mut actions = 0;
    for (i, action) in ACTIONS.values.iter().enumerate() {
        actions |= u32::from(knows_action(action.code() & 0xffff_0000)) << i;
    }
    actions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::policy::TSYNC;
    use crate::sys::seccomp::is_old;

    #[test]
    fn kernel_supports_the_first_actions_and_tsync() {
        let support = support();
        for (i, (name, action)) in ACTIONS.pairs().enumerate() {
            if is_old(action.code() & 0xffff_0000) {
                assert!(support.actions & 1 << i != 0, "{name}: {support:?}");
            }
        }
        assert!(support.flags & TSYNC != 0, "{support:?}");
    }
}
