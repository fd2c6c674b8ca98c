//! The laws that every plan keeps, whatever was asked for. Tests hold each golden plan against them.

use super::step::{HostStep, InitStep, Sync};
use super::{Plan, patience};
use crate::bundle::spec::{HookKind, Hooks};

/// Every law that the plan breaks, in words; none for a good plan.
pub fn broken(plan: &Plan) -> Vec<String> {
    let mut out = Vec::new();
    conversation(plan, &mut out);
    let at = |wanted: fn(&InitStep) -> bool| plan.init.iter().position(wanted);
    let before = |first: (&str, Option<usize>), then: (&str, Option<usize>), out: &mut Vec<String>| {
        if let (Some(a), Some(b)) = (first.1, then.1) {
            if a >= b {
                out.push(format!("{} must come before {}", first.0, then.0));
            }
        }
    };
    let root = ("the root's preparation", at(|s| matches!(s, InitStep::PrepareRoot { .. })));
    let mount = ("the first mount", at(|s| matches!(s, InitStep::Mount(_))));
    let pivot = ("the pivot", at(|s| matches!(s, InitStep::PivotRoot | InitStep::MoveRoot)));
    let mask = ("masking", at(|s| matches!(s, InitStep::MaskedPaths(_) | InitStep::ReadonlyPaths(_))));
    let sysctl = ("sysctls", at(|s| matches!(s, InitStep::Sysctl(_))));
    let bounding = ("the bounding set", at(|s| matches!(s, InitStep::BoundingSet(_))));
    let ids = ("the ids", at(|s| matches!(s, InitStep::Ids(_))));
    let caps = ("the capability sets", at(|s| matches!(s, InitStep::Capabilities(_))));
    let cwd = ("the working directory", at(|s| matches!(s, InitStep::Cwd)));
    let find = ("the program's look-up", at(|s| matches!(s, InitStep::FindProgram)));
    let nnp = ("no_new_privs", at(|s| matches!(s, InitStep::NoNewPrivileges)));
    let seccomp = ("the filter", at(|s| matches!(s, InitStep::Seccomp)));
    let personality = ("the personality", at(|s| matches!(s, InitStep::Personality(_))));
    let devices = ("the devices", at(|s| matches!(s, InitStep::Devices(_))));
    let null = ("the container's null device", at(|s| matches!(s, InitStep::StdioNull)));
    let finish = ("what mounts wait for", at(|s| matches!(s, InitStep::FinishMounts)));
    let readonly = ("the read-only root", at(|s| matches!(s, InitStep::ReadonlyRoot)));
    let start = ("the wait for start", at(|s| matches!(s, InitStep::AwaitStart)));
    let let_go = ("letting go of the host", at(|s| matches!(s, InitStep::LetGo { .. })));
    let enter = ("entering the pid namespace", at(|s| matches!(s, InitStep::EnterPidNamespace)));
    let program = ("a program of the container", at(runs_a_program_of_the_container));
    let join =
        ("the last namespace", plan.init.iter().rposition(|s| matches!(s, InitStep::JoinNamespace { .. })));
    let listened = ("a filter with an agent", seccomp_with_agent(plan));
    let created = ("created", at(|s| *s == InitStep::Ask(Sync::Created)));
    for (first, then) in [
        (root, mount),
        (mount, mask),
        (devices, null),
        (null, finish),
        (finish, mask),
        (finish, readonly),
        // Once the container's root is ours, its /proc is not to be trusted.
        (mask, pivot),
        (sysctl, pivot),
        (pivot, bounding),
        (bounding, ids),
        (ids, caps),
        // As the container's user, or it would see what only root may.
        (caps, cwd),
        (caps, find),
        // The container's filter could forbid it.
        (personality, seccomp),
        (let_go, seccomp),
        // A descriptor that is open while the kernel resolves a path of the container leads out of it.
        (pivot, let_go),
        (join, let_go),
        (let_go, program),
        // Others in the pid namespace can look into a process there, so it holds nothing of the host.
        (let_go, enter),
        // Nor any privilege that the program has not.
        (ids, enter),
        (caps, enter),
        (enter, program),
        // Its agent must be there, or the container is not created.
        (listened, created),
    ] {
        before(first, then, &mut out);
    }
    match nnp.1 {
        // With no_new_privs the filter comes last; without, it needs CAP_SYS_ADMIN.
        Some(_) => {
            before(nnp, seccomp, &mut out);
            before(find, seccomp, &mut out);
            if plan.agent.is_none() {
                before(start, seccomp, &mut out);
            }
        }
        None => before(seccomp, bounding, &mut out),
    }
    if plan.init.iter().rposition(|s| matches!(s, InitStep::Exec)) != plan.init.len().checked_sub(1) {
        out.push("exec must be the last step".into());
    }
    if let_go.1.is_none() {
        out.push("init must let go of the host".into());
    }
    if plan.filter.is_some() != seccomp.1.is_some() {
        out.push("a filter must be loaded, and only if there is one".into());
    }
    dying(plan, &mut out);
    out
}

fn runs_a_program_of_the_container(step: &InitStep) -> bool {
    matches!(step, InitStep::RunHooks(HookKind::StartContainer) | InitStep::Exec)
}

fn seccomp_with_agent(plan: &Plan) -> Option<usize> {
    plan.agent.as_ref().and_then(|_| plan.init.iter().position(|s| matches!(s, InitStep::Seccomp)))
}

/// Both processes meet at the same points, in the same order: no deadlock by omission.
fn conversation(plan: &Plan, out: &mut Vec<String>) {
    let asks: Vec<Sync> = plan
        .init
        .iter()
        .filter_map(|s| if let InitStep::Ask(sync) = s { Some(*sync) } else { None })
        .collect();
    let pick =
        |wanted: fn(&HostStep) -> Option<Sync>| plan.host.iter().filter_map(wanted).collect::<Vec<_>>();
    let awaits = pick(|s| if let HostStep::Await(sync) = s { Some(*sync) } else { None });
    let answers = pick(|s| if let HostStep::Answer(sync) = s { Some(*sync) } else { None });
    if asks != awaits || asks != answers {
        out.push(format!("init asks {asks:?}, the host awaits {awaits:?} and answers {answers:?}"));
    }
    let waits = plan.host.iter().filter(|step| patience::waits(step)).count();
    let says = patience::limits(&plan.init, &Hooks::default()).count();
    if waits != says {
        out.push(format!("the host waits {waits} times, and init has {says} occasions to speak"));
    }
    let terminal = plan.init.iter().any(|s| matches!(s, InitStep::Terminal { .. }));
    if terminal != plan.host.contains(&HostStep::TakeTerminal) {
        out.push("a terminal is made by init and taken by the host, or neither".into());
    }
    let enters = plan.init.iter().any(|s| matches!(s, InitStep::EnterPidNamespace));
    if enters != plan.host.contains(&HostStep::Adopt) {
        out.push("the process that enters the pid namespace is adopted by the host, or there is none".into());
    }
}

/// Init dies with the host until the host has written it down, also after the change of ids, which clears that.
fn dying(plan: &Plan, out: &mut Vec<String>) {
    let mut dies = false;
    for step in &plan.init {
        match step {
            InitStep::DieWithHost | InitStep::DieWithHostStill => dies = true,
            InitStep::Ids(_) | InitStep::EnterPidNamespace | InitStep::OutliveHost => dies = false,
            InitStep::Ask(_) if !dies => out.push(format!("init could outlive the host at \"{step}\"")),
            _ => {}
        }
    }
    let recorded = plan.host.iter().position(|s| *s == HostStep::RecordCreated);
    let answered = plan.host.iter().position(|s| *s == HostStep::Answer(Sync::Created));
    if recorded > answered {
        out.push("created must be on disk before init may outlive the host".into());
    }
}
