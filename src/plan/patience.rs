//! The time limit of each wait of the host for init. Pure.
//!
//! Init speaks where it asks, where it hands the terminal over, where its clone enters a pid namespace, and at its end. Its
//! own work between two of these is limited; only a hook without a timeout is not.

use std::time::Duration;

use super::step::InitStep;
use crate::bundle::spec::Hooks;

/// For init's own work, including mounts over a slow network and copies.
pub const PATIENCE: Duration = Duration::from_secs(300);

fn speaks(step: &InitStep) -> bool {
    use InitStep::*;
    matches!(step, Ask(_) | Terminal { .. } | CloneInit | EnterPidNamespace)
}

/// The limit of each wait of the host, in order.
///
/// `None` while an unlimited hook runs.
pub fn limits<'a>(init: &'a [InitStep], hooks: &'a Hooks) -> impl Iterator<Item = Option<Duration>> + 'a {
    init.split_inclusive(speaks).map(|part| {
        part.iter().try_fold(PATIENCE, |all, step| match step {
            InitStep::RunHooks(kind) => kind
                .of(hooks)
                .iter()
                .try_fold(all, |all, hook| Some(all + Duration::from_secs(hook.timeout?.into()))),
            _ => Some(all),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::host_step::Sync;
    use super::*;
    use crate::bundle::spec::{Hook, HookKind};
    use crate::text::Keep;

    #[test]
    fn only_a_hook_without_a_timeout_may_take_for_ever() {
        let hook = |timeout| Hook { path: "/h", timeout, ..Hook::default() };
        let mut hooks = Hooks::default();
        hooks.0[HookKind::CreateContainer as usize] = vec![hook(Some(7)), hook(Some(5))].keep();
        hooks.0[HookKind::StartContainer as usize] = vec![hook(Some(7)), hook(None)].keep();
        let init = [
            InitStep::DieWithHost,
            InitStep::Ask(Sync::Cgroup),
            InitStep::RunHooks(HookKind::CreateContainer),
            InitStep::Ask(Sync::Created),
            InitStep::RunHooks(HookKind::StartContainer),
            InitStep::Exec,
        ];
        let limits: Vec<_> = limits(&init, &hooks).collect();
        assert_eq!(limits, [Some(PATIENCE), Some(PATIENCE + Duration::from_secs(12)), None]);
    }
}
