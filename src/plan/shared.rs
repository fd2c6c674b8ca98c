//! The parts that the recipes of a creation and of an exec share.

use super::Launch;
use super::recipe::Recipe;
use super::step::InitStep;
use super::validate::{Refusal, refuse};
use crate::bundle::spec::{NamespaceKind, Process, Scheduler};
use crate::facts::HostFacts;
use crate::text::Text;

/// Checks that the requested terminal can be handed to the caller.
pub(super) fn terminal(
    process: Option<&Process>,
    detach: bool,
    console_socket: bool,
    refusals: &mut Vec<Refusal>,
) {
    let what = match (process.is_some_and(|p| p.terminal), detach, console_socket) {
        (true, true, false) => "cannot allocate tty if embrun will detach without setting console socket",
        (false, _, true) | (true, false, true) => {
            "cannot use console socket if embrun will not detach or allocate tty"
        }
        _ => return,
    };
    refuse(refusals, format_args!("process.terminal"), format_args!("{what}"));
}

/// Joins namespaces now, the mount namespace last.
///
/// The paths of the others are the host's.
pub(super) fn join_namespaces(
    join: &[(NamespaceKind, Text)],
    but: &[NamespaceKind],
    steps: &mut Recipe<InitStep>,
) {
    for last in [false, true] {
        for (index, (kind, _)) in join.iter().enumerate() {
            let now = (*kind == NamespaceKind::Mount) == last && !but.contains(kind);
            steps.add_if(now, InitStep::JoinNamespace { kind: *kind, index });
        }
    }
}

/// The number of inherited descriptors after the standard streams.
pub(super) fn inherited(preserve_fds: u32, facts: &HostFacts) -> u32 {
    facts.listening.count.saturating_add(preserve_fds)
}

/// Closes everything of the host except the conversation.
///
/// From here on, processes of the container may look into this one.
pub(super) fn let_go(launch: &Launch, preserve_fds: u32, terminal: bool, steps: &mut Recipe<InitStep>) {
    let kind = NamespaceKind::Pid;
    let pid = joins(&launch.join, kind);
    // An exec into a user namespace has done it before, while it had the rights.
    let joined = |s: &InitStep| matches!(s, InitStep::JoinNamespace { kind: NamespaceKind::Pid, .. });
    let now = pid.filter(|_| !steps.0.iter().any(joined));
    steps.add_some(now.map(|index| InitStep::JoinNamespace { kind, index }));
    steps.add(InitStep::LetGo { preserve_fds });
    steps.add_if(terminal && pid.is_none(), InitStep::ControllingTerminal);
}

/// Enters a joined pid namespace with a clone that has the program's privileges.
///
/// Other processes already run there, and one that traces the clone gains nothing.
pub(super) fn enter(join: &[(NamespaceKind, Text)], terminal: bool, steps: &mut Recipe<InitStep>) {
    if joins(join, NamespaceKind::Pid).is_none() {
        return;
    }
    steps.add(InitStep::EnterPidNamespace);
    steps.add(InitStep::DieWithHostStill);
    // The session of its parent ends with the parent.
    steps.add(InitStep::NewSession);
    steps.add_if(terminal, InitStep::ControllingTerminal);
}

/// The scheduler that the host sets after the clone into a joined pid namespace.
///
/// A clone does not inherit what is reset on fork, and a deadline process cannot clone without that (sched(7)). The process
/// itself has no right to it any more by then.
pub(super) fn late_scheduler(launch: &Launch, process: Option<&Process>) -> Option<&'static Scheduler> {
    const RESET_ON_FORK: u64 = 1;
    const DEADLINE: u32 = 6;
    let scheduler = process?.scheduler.filter(|s| s.flags & RESET_ON_FORK != 0 || s.policy == DEADLINE);
    scheduler.filter(|_| joins(&launch.join, NamespaceKind::Pid).is_some())
}

/// The index of a kind among the namespaces to join.
pub(super) fn joins(join: &[(NamespaceKind, Text)], kind: NamespaceKind) -> Option<usize> {
    join.iter().position(|(joined, _)| *joined == kind)
}
