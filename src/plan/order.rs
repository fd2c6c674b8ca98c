//! The laws that every plan keeps, whatever was asked for. Tests hold each golden plan against them.

use super::step::{HostStep, InitStep, Sync};
use super::{Plan, patience};
use crate::bundle::spec::{HookKind, Hooks};

/// Every law that the plan breaks, in words; none for a valid plan.
pub fn broken(plan: &Plan) -> Vec<String> {
    let mut out = Vec::new();
    conversation(plan, &mut out);
    order(plan, &mut out);
    filter(plan, &mut out);
    if plan.init.iter().rposition(|s| matches!(s, InitStep::Exec)) != plan.init.len().checked_sub(1) {
        out.push("exec must be the last step".into());
    }
    if first(plan, LET_GO).is_none() {
        out.push("init must let go of the host".into());
    }
    dying(plan, &mut out);
    out
}

/// A step, by its name in the laws.
type Named = (&'static str, fn(&InitStep) -> bool);

const BOUNDING: Named = ("the bounding set", |s| matches!(s, InitStep::BoundingSet(_)));
const CAPS: Named = ("the capability sets", |s| matches!(s, InitStep::Capabilities(_)));
const CWD: Named = ("the working directory", |s| matches!(s, InitStep::Cwd));
const DEVICES: Named = ("the devices", |s| matches!(s, InitStep::Devices(_)));
const ENTER: Named = ("entering the pid namespace", |s| matches!(s, InitStep::EnterPidNamespace));
const FIND: Named = ("the program's look-up", |s| matches!(s, InitStep::FindProgram));
const FINISH: Named = ("what mounts wait for", |s| matches!(s, InitStep::FinishMounts));
const IDS: Named = ("the ids", |s| matches!(s, InitStep::Ids(_)));
const LET_GO: Named = ("letting go of the host", |s| matches!(s, InitStep::LetGo { .. }));
const MASK: Named = ("masking", |s| matches!(s, InitStep::MaskedPaths(_) | InitStep::ReadonlyPaths(_)));
const MOUNT: Named = ("the first mount", |s| matches!(s, InitStep::Mount(_)));
const NO_NEW_PRIVS: Named = ("no_new_privs", |s| matches!(s, InitStep::NoNewPrivileges));
const NULL: Named = ("the container's null device", |s| matches!(s, InitStep::StdioNull));
const PERSONALITY: Named = ("the personality", |s| matches!(s, InitStep::Personality(_)));
const PIVOT: Named = ("the pivot", |s| matches!(s, InitStep::PivotRoot | InitStep::MoveRoot));
const PROGRAM: Named = ("a program of the container", runs_a_program_of_the_container);
const READONLY: Named = ("the read-only root", |s| matches!(s, InitStep::ReadonlyRoot));
const ROOT: Named = ("the root's preparation", |s| matches!(s, InitStep::PrepareRoot { .. }));
const SECCOMP: Named = ("the filter", |s| matches!(s, InitStep::Seccomp));
const START: Named = ("the wait for start", |s| matches!(s, InitStep::AwaitStart));
const SYSCTL: Named = ("sysctls", |s| matches!(s, InitStep::Sysctl(_)));

/// The first of each pair must come before the second, if a plan has both.
const ORDER: &[(Named, Named)] = &[
    (ROOT, MOUNT),
    (MOUNT, MASK),
    (DEVICES, NULL),
    (NULL, FINISH),
    (FINISH, MASK),
    (FINISH, READONLY),
    // Once the root is the container's, its /proc is not trusted.
    (MASK, PIVOT),
    (SYSCTL, PIVOT),
    (PIVOT, BOUNDING),
    (BOUNDING, IDS),
    (IDS, CAPS),
    // As the container's user, who may see less than root.
    (CAPS, CWD),
    (CAPS, FIND),
    // The container's filter could forbid it.
    (PERSONALITY, SECCOMP),
    (LET_GO, SECCOMP),
    // An open descriptor leads out of the container while the kernel resolves a path in it.
    (PIVOT, LET_GO),
    (LET_GO, PROGRAM),
    // Processes of the pid namespace can look into a new member, so it holds nothing of the host.
    (LET_GO, ENTER),
    // Nor does it hold any privilege that the program lacks.
    (IDS, ENTER),
    (CAPS, ENTER),
    (ENTER, PROGRAM),
];

fn first(plan: &Plan, (_, wanted): Named) -> Option<usize> {
    plan.init.iter().position(wanted)
}

fn before(earlier: (&str, Option<usize>), later: (&str, Option<usize>), out: &mut Vec<String>) {
    if let (Some(a), Some(b)) = (earlier.1, later.1) {
        if a >= b {
            out.push(format!("{} must come before {}", earlier.0, later.0));
        }
    }
}

fn order(plan: &Plan, out: &mut Vec<String>) {
    let at = |step: Named| (step.0, first(plan, step));
    for (earlier, later) in ORDER {
        before(at(*earlier), at(*later), out);
    }
    let join = plan.init.iter().rposition(|s| matches!(s, InitStep::JoinNamespace { .. }));
    before(("the last namespace", join), at(LET_GO), out);
    // The container is created only if its agent is there.
    if plan.agent.is_some() {
        let created = plan.init.iter().position(|s| *s == InitStep::Ask(Sync::Created));
        before(("a filter with an agent", first(plan, SECCOMP)), ("created", created), out);
    }
}

/// With no_new_privs the filter comes last; without, it needs CAP_SYS_ADMIN.
fn filter(plan: &Plan, out: &mut Vec<String>) {
    let at = |step: Named| (step.0, first(plan, step));
    if first(plan, NO_NEW_PRIVS).is_some() {
        before(at(NO_NEW_PRIVS), at(SECCOMP), out);
        before(at(FIND), at(SECCOMP), out);
        if plan.agent.is_none() {
            before(at(START), at(SECCOMP), out);
        }
    } else {
        before(at(SECCOMP), at(BOUNDING), out);
    }
    if plan.filter.is_some() != first(plan, SECCOMP).is_some() {
        out.push("a filter must be loaded, and only if there is one".into());
    }
}

fn runs_a_program_of_the_container(step: &InitStep) -> bool {
    matches!(step, InitStep::RunHooks(HookKind::StartContainer) | InitStep::Exec)
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
