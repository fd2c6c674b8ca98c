//! The laws that every plan keeps. Tests check each golden plan against them.

use super::attribute_step::AttributeStep;
use super::create::CreatePlan;
use super::exec::ExecPlan;
use super::host_step::{CommonStep, CreateStep, PrepareStep, Sync};
use super::idmap::MapCarrier;
use super::mounts::MountStep;
use super::root_step::RootStep;
use super::step::InitStep;
use super::user_namespace::Owner;
use super::{Launch, patience};
use crate::bundle::spec::{HookKind, Hooks, NamespaceKind};

impl CreatePlan {
    /// Every law that the plan breaks, in words; none for a valid plan.
    pub fn broken(&self) -> Vec<String> {
        let host: Vec<_> = self.host.iter().map(|step| (step.common(), step.waits())).collect();
        let mut out = broken(&self.launch, &host);
        let at = |wanted: CreateStep| self.host.iter().position(|step| *step == wanted);
        if at(CreateStep::RecordCreated) > at(CommonStep::Answer(Sync::Created).into()) {
            out.push("created must be on disk before init may outlive the host".into());
        }
        let waits = at(CommonStep::Await(Sync::UserNamespace).into());
        let goes_on = at(CommonStep::Answer(Sync::UserNamespace).into());
        let for_init = |s: &CreateStep| {
            use CreateStep::{CheckIds, GiveCgroup, MapIds, OomScoreAdj, TimeOffsets};
            matches!(
                s,
                MapIds(_) | CheckIds(_) | OomScoreAdj(_) | TimeOffsets(_) | GiveCgroup(Owner::Inside(_))
            )
        };
        let all = self.host.iter().enumerate().filter(|(_, step)| for_init(step));
        if all.map(|(i, _)| Some(i)).any(|i| i < waits || i > goes_on || waits.is_none()) {
            out.push("what init cannot do in its user namespace is done while it waits there".into());
        }
        let moves = self.host.iter().position(|step| matches!(step, CreateStep::MoveNetDevices(_)));
        let waits = at(CommonStep::Await(Sync::Cgroup).into())..at(CommonStep::Answer(Sync::Cgroup).into());
        if moves.is_some() && !waits.contains(&moves) {
            out.push("network devices move while init waits, and before hooks".into());
        }
        let joins = self.host.iter().position(|s| matches!(s.common(), Some(CommonStep::JoinRdt(_))));
        let makes = self.prepare.iter().any(|s| matches!(s, PrepareStep::MakeRdt(_)));
        if joins.is_some() != makes || joins.is_some_and(|at| self.host[..at].iter().any(CreateStep::waits)) {
            out.push("init joins the resctrl groups that are made, before it has children".into());
        }
        let prepared = |step| self.prepare.iter().position(|s| *s == step);
        let directory = ("the directory of the notify socket", prepared(PrepareStep::NotifyDirectory));
        let socket = ("the socket", prepared(PrepareStep::NotifySocket));
        before(directory, socket, &mut out);
        if socket.1.is_some() && prepared(PrepareStep::Listen).is_some() {
            out.push("start makes the notify socket of a container that waits for it".into());
        }
        self.carriers(&mut out);
        out
    }

    /// The user namespace with the map of a mount is there before the clone.
    fn carriers(&self, out: &mut Vec<String>) {
        let made = self.prepare.iter().map(|step| match step {
            PrepareStep::MakeMaps { all, .. } => Some(all.len()),
            _ => None,
        });
        let opened = made.flatten().next().map(|made| made + self.launch.join.len());
        for step in &self.launch.init {
            let InitStep::Root(RootStep::Mount(MountStep { idmap: Some(idmap), .. })) = step else {
                continue;
            };
            let there = match idmap.carrier {
                MapCarrier::Init => self.launch.user_namespace && opened.is_some(),
                MapCarrier::Opened(number) => opened.is_some_and(|opened| number < opened),
            };
            if !there {
                out.push(format!("no user namespace has the map of \"{step}\""));
            }
        }
    }
}

impl ExecPlan {
    /// Every law that the plan breaks, in words; none for a valid plan.
    pub fn broken(&self) -> Vec<String> {
        let host: Vec<_> = self.host.iter().map(|step| (step.common(), step.waits())).collect();
        broken(&self.launch, &host)
    }
}

/// A step of the host, if both kinds of launch have it, and whether it waits.
type SeenStep = (Option<CommonStep>, bool);

fn broken(launch: &Launch, host: &[SeenStep]) -> Vec<String> {
    let mut out = Vec::new();
    conversation(launch, host, &mut out);
    order(launch, &mut out);
    filter(launch, &mut out);
    if launch.init.iter().rposition(|s| matches!(s, InitStep::Exec)) != launch.init.len().checked_sub(1) {
        out.push("exec must be the last step".into());
    }
    if first(launch, LET_GO).is_none() {
        out.push("init must let go of the host".into());
    }
    dying(launch, &mut out);
    out
}

/// A step, by its name in the laws.
type NamedStep = (&'static str, fn(&InitStep) -> bool);

const APPARMOR: NamedStep = ("the AppArmor profile", |s| {
    matches!(s, InitStep::AppArmorProfile(_) | InitStep::StackAppArmorProfile(_))
});
const BECOME_ROOT: NamedStep = ("becoming root", |s| matches!(s, InitStep::BecomeRoot));
const BOUNDING: NamedStep =
    ("the bounding set", |s| matches!(s, InitStep::Attribute(AttributeStep::BoundingSet(_))));
const CAPS: NamedStep =
    ("the capability sets", |s| matches!(s, InitStep::Attribute(AttributeStep::Capabilities(_))));
const CLONE: NamedStep = ("the first process of the pid namespace", |s| matches!(s, InitStep::CloneInit));
const CWD: NamedStep = ("the working directory", |s| matches!(s, InitStep::Cwd));
const DEVICES: NamedStep = ("the devices", |s| matches!(s, InitStep::Root(RootStep::Devices(_))));
const ENTER: NamedStep = ("entering the pid namespace", |s| matches!(s, InitStep::EnterPidNamespace));
const FIND: NamedStep = ("the program's look-up", |s| matches!(s, InitStep::FindProgram));
const FINISH: NamedStep = ("what mounts wait for", |s| matches!(s, InitStep::Root(RootStep::FinishMounts)));
const GROUP: NamedStep = ("joining the cgroups of v1", |s| matches!(s, InitStep::JoinCgroup));
const GROUP_ASK: NamedStep = ("the host's look at the cgroup", |s| matches!(s, InitStep::Ask(Sync::Cgroup)));
const HOST_HOOK: NamedStep =
    ("a hook of the host", |s| matches!(s, InitStep::RunHooks(HookKind::CreateContainer)));
const IDS: NamedStep = ("the ids", |s| matches!(s, InitStep::Attribute(AttributeStep::Ids(_))));
const KEYRING: NamedStep = ("the keyring", |s| matches!(s, InitStep::Keyring(_)));
const KEY_LABEL: NamedStep = ("the label of new keys", |s| matches!(s, InitStep::KeyLabel(Some(_))));
const LET_GO: NamedStep = ("letting go of the host", |s| matches!(s, InitStep::LetGo { .. }));
const MASK: NamedStep = ("masking", |s| {
    matches!(s, InitStep::Root(RootStep::MaskedPaths(_)) | InitStep::Root(RootStep::ReadonlyPaths(_)))
});
const MEMORY_POLICY: NamedStep =
    ("the memory policy", |s| matches!(s, InitStep::Attribute(AttributeStep::MemoryPolicy { .. })));
const MOUNT: NamedStep = ("the first mount", |s| matches!(s, InitStep::Root(RootStep::Mount(_))));
const NO_NEW_PRIVS: NamedStep =
    ("no_new_privs", |s| matches!(s, InitStep::Attribute(AttributeStep::NoNewPrivileges)));
const NULL: NamedStep = ("the container's null device", |s| matches!(s, InitStep::Root(RootStep::StdioNull)));
const PERSONALITY: NamedStep =
    ("the personality", |s| matches!(s, InitStep::Attribute(AttributeStep::Personality(_))));
const PIVOT: NamedStep = ("the pivot", |s| {
    matches!(s, InitStep::Root(RootStep::PivotRoot) | InitStep::Root(RootStep::MoveRoot)) || chroot(s)
});
const PROGRAM: NamedStep = ("a program of the container", runs_a_program_of_the_container);
const OOM: NamedStep = ("the OOM score", |s| matches!(s, InitStep::OomScoreAdj(_)));
const READONLY: NamedStep = ("the read-only root", |s| matches!(s, InitStep::Root(RootStep::ReadonlyRoot)));
const ROOT: NamedStep =
    ("the root's preparation", |s| matches!(s, InitStep::PrepareRoot { .. } | InitStep::OpenRoot(_)));
const SECCOMP: NamedStep = ("the filter", |s| matches!(s, InitStep::Seccomp));
const SELINUX: NamedStep = ("the SELinux label", |s| matches!(s, InitStep::SelinuxLabel(_)));
const START: NamedStep = ("the wait for start", |s| matches!(s, InitStep::AwaitStart));
const NEW_TIME: NamedStep = ("the time namespace", |s| matches!(s, InitStep::NewTimeNamespace(_)));
const SYSCTL: NamedStep = ("sysctls", |s| matches!(s, InitStep::Sysctl(_)));
const TERMINAL: NamedStep = ("the terminal", |s| matches!(s, InitStep::Terminal { .. }));
const TRY_CWD: NamedStep = ("the check of the working directory", |s| matches!(s, InitStep::TryCwd));
const USUAL_KEY_LABEL: NamedStep = ("the usual label of new keys", |s| matches!(s, InitStep::KeyLabel(None)));

/// The first of each pair must come before the second, if a plan has both.
const ORDER: &[(NamedStep, NamedStep)] = &[
    // The cgroup is charged for what is made, and may refuse the use of a device.
    (GROUP, GROUP_ASK),
    (GROUP, BECOME_ROOT),
    (GROUP, ROOT),
    // All that is made belongs to root of the user namespace, and it has no rights over the host from here on.
    (OOM, BECOME_ROOT),
    (BECOME_ROOT, KEYRING),
    (BECOME_ROOT, CLONE),
    (BECOME_ROOT, ROOT),
    (BECOME_ROOT, TERMINAL),
    (CLONE, ROOT),
    (ROOT, MOUNT),
    (MOUNT, MASK),
    (DEVICES, NULL),
    (NULL, FINISH),
    (FINISH, MASK),
    (FINISH, READONLY),
    // Once the root is the container's, its /proc is not trusted.
    (MASK, PIVOT),
    (SYSCTL, PIVOT),
    // Its offsets are written through the host's procfs, and hooks of the container are in it.
    (NEW_TIME, ROOT),
    (NEW_TIME, LET_GO),
    (PIVOT, BOUNDING),
    // The next program is confined, and so are the children: the host's hooks must not be.
    (HOST_HOOK, APPARMOR),
    (HOST_HOOK, SELINUX),
    (PIVOT, APPARMOR),
    (PIVOT, SELINUX),
    // They are written to the host's procfs.
    (APPARMOR, LET_GO),
    (SELINUX, LET_GO),
    (APPARMOR, NO_NEW_PRIVS),
    (SELINUX, NO_NEW_PRIVS),
    (APPARMOR, SECCOMP),
    (SELINUX, SECCOMP),
    (KEY_LABEL, KEYRING),
    (KEYRING, USUAL_KEY_LABEL),
    (BOUNDING, IDS),
    (IDS, CAPS),
    // As the container's user, who may see less than root.
    (CAPS, CWD),
    (CAPS, FIND),
    // The container's filter could forbid it.
    (PERSONALITY, SECCOMP),
    (MEMORY_POLICY, SECCOMP),
    (LET_GO, SECCOMP),
    // An open descriptor leads out of the container while the kernel resolves a path in it.
    (PIVOT, LET_GO),
    (LET_GO, TRY_CWD),
    (LET_GO, PROGRAM),
    // The filter could forbid getcwd(2).
    (TRY_CWD, SECCOMP),
    // Processes of the pid namespace can look into a new member, so it holds nothing of the host.
    (LET_GO, ENTER),
    // Nor does it hold any privilege that the program lacks.
    (IDS, ENTER),
    (CAPS, ENTER),
    (ENTER, PROGRAM),
];

fn first(launch: &Launch, (_, wanted): NamedStep) -> Option<usize> {
    launch.init.iter().position(wanted)
}

fn chroot(step: &InitStep) -> bool {
    matches!(step, InitStep::Root(RootStep::Chroot) | InitStep::EnterRoot { .. })
}

/// Without a mount namespace of the container, a process mounts nothing.
///
/// It changes its root instead, after it has joined the namespaces.
fn mounts(launch: &Launch, out: &mut Vec<String>) {
    let mount = NamespaceKind::Mount;
    let own = launch.new_namespaces & mount.clone_flag() != 0
        || launch.init.iter().any(|s| match s {
            InitStep::JoinNamespace { kind, .. } => *kind == mount,
            InitStep::Unshare(flags) => flags & mount.clone_flag() != 0,
            _ => false,
        });
    if own == launch.init.iter().any(chroot) {
        out.push("a process gets a mount namespace or changes its root".into());
    }
    let mounts = |s: &InitStep| match s {
        InitStep::PrepareRoot { .. } => true,
        InitStep::Root(step) => !matches!(
            step,
            RootStep::MakeCwd(_) | RootStep::Devices(_) | RootStep::StdioNull | RootStep::Chroot
        ),
        _ => false,
    };
    if let Some(step) = launch.init.iter().find(|s| !own && mounts(s)) {
        out.push(format!("\"{step}\" would change the host's mounts"));
    }
}

fn before(earlier: (&str, Option<usize>), later: (&str, Option<usize>), out: &mut Vec<String>) {
    if let (Some(a), Some(b)) = (earlier.1, later.1) {
        if a >= b {
            out.push(format!("{} must come before {}", earlier.0, later.0));
        }
    }
}

fn order(launch: &Launch, out: &mut Vec<String>) {
    let at = |step: NamedStep| (step.0, first(launch, step));
    for (earlier, later) in ORDER {
        before(at(*earlier), at(*later), out);
    }
    let join = launch.init.iter().rposition(|s| matches!(s, InitStep::JoinNamespace { .. }));
    before(("the last namespace", join), at(LET_GO), out);
    if first(launch, KEY_LABEL).is_some() && first(launch, USUAL_KEY_LABEL).is_none() {
        out.push("new keys must get the usual label again".into());
    }
    user_namespace(launch, out);
    mounts(launch, out);
    let set = launch.init.iter().position(|s| matches!(s, InitStep::Attribute(AttributeStep::Scheduler(_))));
    let clone = launch.init.iter().position(|s| *s == InitStep::EnterPidNamespace);
    if let (Some(InitStep::Attribute(AttributeStep::Scheduler(s))), Some(_)) =
        (set.map(|i| &launch.init[i]), clone)
    {
        if s.flags & 1 != 0 || s.policy == 6 {
            out.push("a scheduler that a clone resets is set after the clone".into());
        }
    }
    // The container is created only if its agent is there.
    if launch.agent.is_some() {
        let created = launch.init.iter().position(|s| *s == InitStep::Ask(Sync::Created));
        before(("a filter with an agent", first(launch, SECCOMP)), ("created", created), out);
    }
}

/// The user namespace is entered last.
///
/// The clone makes it only if no other is joined.
///
/// From inside only those namespaces can be joined that it owns. A pid namespace is an exception: it is joined for the clones
/// of a process, and a new container may have some that hold descriptors of the host.
fn user_namespace(launch: &Launch, out: &mut Vec<String>) {
    let user = |s: &InitStep| match s {
        InitStep::JoinNamespace { kind, .. } => *kind == NamespaceKind::User,
        InitStep::Unshare(flags) => flags & NamespaceKind::User.clone_flag() != 0,
        _ => false,
    };
    let other = |s: &InitStep| matches!(s, InitStep::JoinNamespace { kind, .. } if !matches!(kind, NamespaceKind::User | NamespaceKind::Pid));
    let (enters, joined) = (launch.init.iter().position(user), launch.init.iter().rposition(other));
    if launch.by_user {
        visible(launch, out);
    } else {
        before(("joining the others", joined), ("the user namespace", enters), out);
    }
    let root = ("becoming root", first(launch, BECOME_ROOT));
    before(("the user namespace", enters), root, out);
    let cloned = launch.new_namespaces & NamespaceKind::User.clone_flag() != 0;
    if cloned && !launch.join.is_empty() {
        out.push("the clone loses the right to join namespaces".into());
    }
    if launch.user_namespace != root.1.is_some() || launch.user_namespace != (cloned || enters.is_some()) {
        out.push("a process becomes root of the user namespace that it enters, or there is none".into());
    }
    if launch.user_namespace
        && launch.init.iter().any(|s| matches!(s, InitStep::Attribute(AttributeStep::Rlimit(_))))
    {
        out.push("a process in a user namespace cannot raise its limits".into());
    }
    for object in super::user_namespace::files_of_the_host(&launch.init) {
        if launch.user_namespace && !launch.opens.contains(object) {
            out.push(format!("init would open {object} of the host itself"));
        }
    }
}

/// A process is dumpable only where that is harmless.
///
/// No process of a container can trace it there, or it holds nothing of the host.
fn visible(launch: &Launch, out: &mut Vec<String>) {
    let (mut dumpable, mut holds) = (false, true);
    for step in &launch.init {
        match step {
            InitStep::Show => dumpable = true,
            InitStep::Hide => dumpable = false,
            InitStep::LetGo { .. } => holds = false,
            InitStep::Root(RootStep::PivotRoot | RootStep::MoveRoot) | InitStep::JoinNamespace { .. }
                if dumpable && holds =>
            {
                out.push(format!("init is dumpable at \"{step}\""));
            }
            _ => {}
        }
    }
}

/// With no_new_privs the filter comes last; without, it needs CAP_SYS_ADMIN.
fn filter(launch: &Launch, out: &mut Vec<String>) {
    let at = |step: NamedStep| (step.0, first(launch, step));
    if first(launch, NO_NEW_PRIVS).is_some() {
        before(at(NO_NEW_PRIVS), at(SECCOMP), out);
        before(at(FIND), at(SECCOMP), out);
        if launch.agent.is_none() {
            before(at(START), at(SECCOMP), out);
        }
    } else {
        before(at(SECCOMP), at(BOUNDING), out);
    }
    if launch.filter.is_some() != first(launch, SECCOMP).is_some() {
        out.push("a filter must be loaded, and only if there is one".into());
    }
}

fn runs_a_program_of_the_container(step: &InitStep) -> bool {
    matches!(step, InitStep::RunHooks(HookKind::StartContainer) | InitStep::Exec)
}

/// Both processes meet at the same points in the same order: no deadlock.
fn conversation(launch: &Launch, host: &[SeenStep], out: &mut Vec<String>) {
    let asks: Vec<Sync> = launch
        .init
        .iter()
        .filter_map(|s| if let InitStep::Ask(sync) = s { Some(*sync) } else { None })
        .collect();
    let common = || host.iter().filter_map(|(step, _)| *step);
    let pick = |wanted: fn(CommonStep) -> Option<Sync>| common().filter_map(wanted).collect::<Vec<_>>();
    let awaits = pick(|s| if let CommonStep::Await(sync) = s { Some(sync) } else { None });
    let answers = pick(|s| if let CommonStep::Answer(sync) = s { Some(sync) } else { None });
    if asks != awaits || asks != answers {
        out.push(format!("init asks {asks:?}, the host awaits {awaits:?} and answers {answers:?}"));
    }
    let waits = host.iter().filter(|(_, waits)| *waits).count();
    let says = patience::limits(&launch.init, &Hooks::default()).count();
    if waits != says {
        out.push(format!("the host waits {waits} times, and init has {says} occasions to speak"));
    }
    let terminal = launch.init.iter().any(|s| matches!(s, InitStep::Terminal { .. }));
    if terminal != common().any(|s| matches!(s, CommonStep::TakeTerminal { .. })) {
        out.push("a terminal is made by init and taken by the host, or neither".into());
    }
    let clones = |s: &&InitStep| matches!(s, InitStep::EnterPidNamespace | InitStep::CloneInit);
    if launch.init.iter().filter(clones).count() != common().filter(|s| *s == CommonStep::Adopt).count() {
        out.push("each process that goes on in a clone is replaced by it, or there is none".into());
    }
}

/// Init dies with the host until it is recorded.
///
/// The change of ids clears that setting, so it is repeated.
fn dying(launch: &Launch, out: &mut Vec<String>) {
    let mut dies = false;
    for step in &launch.init {
        match step {
            InitStep::DieWithHost | InitStep::DieWithHostStill => dies = true,
            InitStep::Attribute(AttributeStep::Ids(_))
            | InitStep::BecomeRoot
            | InitStep::CloneInit
            | InitStep::EnterPidNamespace
            | InitStep::OutliveHost => dies = false,
            InitStep::Ask(_) if !dies => out.push(format!("init could outlive the host at \"{step}\"")),
            _ => {}
        }
    }
}
