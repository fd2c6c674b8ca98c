//! Golden plans: the plan of a configuration for a given host, as text.
//!
//! They need no root. Each folder holds `config.json`, `facts.json` (the facts of the host and the command
//! line) and `plan.txt`, the resulting plan. A change of behaviour shows as a change of that text:
//! `BLESS=1 cargo test --test plans` rewrites it for review.

use std::fs;
use std::path::{Path, PathBuf};

use embrun::bundle::config;
use embrun::bundle::spec::{HookKind, NamespaceKind, Process, Rlimit, Scheduler};
use embrun::cgroup::place::layout::Layout;
use embrun::cgroup::planned::CgroupManager;
use embrun::facts::{AppArmor, HostFacts, Mappable, OrdinaryUser};
use embrun::json::value::Json;
use embrun::plan::create::{CreatePlan, CreateRequest, compile};
use embrun::plan::exec::{self, ExecRequest};
use embrun::plan::host_step::CreateStep;
use embrun::plan::{Outputs, patience};

fn cases() -> Vec<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/plans");
    let mut all: Vec<PathBuf> =
        fs::read_dir(here).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()).collect();
    all.sort();
    assert!(all.len() >= 6, "{all:?}");
    all
}

fn yes(facts: &Json, key: &str) -> bool {
    facts.get(key).is_some_and(|v| *v == Json::Bool(true))
}

fn number(facts: &Json, key: &str) -> u64 {
    let Some(Json::Number(digits)) = facts.get(key) else { return 0 };
    digits.parse().unwrap()
}

fn request(facts: &Json) -> CreateRequest {
    let yes = |key: &str| yes(facts, key);
    CreateRequest {
        id: "web",
        bundle: "/bundles/web",
        rootfs: "/bundles/web/rootfs",
        notify: yes("notify").then_some("/run/embrun/web/notify/inside"),
        no_pivot: yes("noPivot"),
        keyring: if yes("noNewKeyring") { None } else { Some("_ses.web.0123456789abcdef") },
        preserve_fds: number(facts, "preserveFds").try_into().unwrap(),
        await_start: yes("create"),
        detach: yes("detach") || yes("create"),
        outputs: Outputs {
            console_socket: yes("consoleSocket").then_some("/s"),
            pidfd_socket: yes("pidfdSocket").then_some("/p"),
            pid_file: yes("pidFile").then_some("/f"),
        },
        cgroup_manager: match (yes("noCgroup"), yes("systemd")) {
            (true, _) => CgroupManager::Disabled,
            (_, true) => CgroupManager::Systemd { user: false },
            _ => CgroupManager::Cgroupfs,
        },
        delegated: yes("delegated"),
        ..CreateRequest::default()
    }
}

fn host(facts: &Json) -> HostFacts {
    let text = |key: &str| {
        facts.get(key).map(|text| match text {
            Json::Str(text) => (*text).to_owned(),
            other => panic!("{key}: {other:?}"),
        })
    };
    let required = |key: &str| text(key).unwrap_or_else(|| panic!("{key} is missing"));
    HostFacts {
        capabilities: number(facts, "capabilities"),
        cgroups: Layout::parse(&required("mountinfo"), &required("cgroup")),
        v2_controllers: text("controllers"),
        seccomp: embrun::seccomp::support::support(),
        selinux: yes(facts, "selinux"),
        apparmor: match text("apparmor").as_deref() {
            None => AppArmor::Off,
            Some("unconfined") => AppArmor::Unconfined,
            Some(_) => AppArmor::Confined,
        },
        known_controllers: text("knownControllers").unwrap_or_default(),
        no_swap: yes(facts, "noSwap"),
        drivers: text("drivers"),
        user: facts.get("user").map(|_| ordinary_user(yes(facts, "helpers"))),
        ..HostFacts::default()
    }
}

/// User 1000, with newuidmap and newgidmap or without.
fn ordinary_user(helpers: bool) -> OrdinaryUser {
    let one = |helper| Mappable::One { id: 1000, helper: Some(helper).filter(|_| helpers) };
    OrdinaryUser { uids: one("/usr/bin/newuidmap"), gids: one("/usr/bin/newgidmap") }
}

fn read(path: &Path) -> Json {
    Json::parse(&fs::read(path).unwrap()).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn plan(case: &Path) -> Result<Box<CreatePlan>, String> {
    let text = fs::read(case.join("config.json")).unwrap().leak();
    let spec = config::parse(text).map_err(|e| e.to_string())?;
    let facts = read(&case.join("facts.json"));
    compile(&spec, &request(&facts), &host(&facts))
        .map_err(|refusals| refusals.iter().map(|r| format!("refused: {r}\n")).collect())
}

#[test]
fn plans_match_the_golden_files() {
    for case in cases() {
        let text = match plan(&case) {
            Ok(plan) => plan.to_string(),
            Err(refused) => refused,
        };
        let golden = case.join("plan.txt");
        if std::env::var_os("BLESS").is_some() {
            fs::write(&golden, &text).unwrap();
        }
        let reviewed = fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(text, reviewed, "{} differs; BLESS=1 rewrites it", golden.display());
    }
}

#[test]
fn every_plan_obeys_the_order_rules() {
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/configs");
    let mut compiled = 0;
    let on_v2 = host(&read(&cases()[0].join("facts.json")));
    let facts =
        HostFacts { capabilities: u64::MAX >> 23, selinux: true, apparmor: AppArmor::Unconfined, ..on_v2 };
    let files = fs::read_dir(configs).unwrap().map(|e| e.unwrap().path());
    for file in files.chain(cases().iter().map(|c| c.join("config.json"))) {
        let Ok(spec) = config::spec(&read(&file)) else { continue };
        // Every combination of the command-line options.
        for bits in 0..64 {
            let is = |bit: u32| bits & 1 << bit != 0;
            let request = CreateRequest {
                id: "web",
                bundle: "/b",
                rootfs: "/b/rootfs",
                await_start: is(0),
                detach: is(1),
                outputs: Outputs {
                    console_socket: is(2).then_some("/s"),
                    pid_file: is(4).then_some("/f"),
                    pidfd_socket: is(5).then_some("/p"),
                },
                no_pivot: is(3),
                ..CreateRequest::default()
            };
            for user in [None, Some(ordinary_user(true))] {
                let facts = HostFacts { user, ..facts.clone() };
                if let Ok(plan) = compile(&spec, &request, &facts) {
                    compiled += 1;
                    assert_eq!(plan.broken(), [""; 0], "{} {request:?}\n{plan}", file.display());
                }
            }
        }
    }
    assert!(compiled > 300, "{compiled} plans");
}

const DEFAULT: Scheduler =
    Scheduler { policy: 0, flags: 0, nice: 0, priority: 0, runtime: 0, deadline: 0, period: 0 };

/// An exec joins every kind of namespace, with a user namespace and without.
#[test]
fn every_exec_obeys_the_order_rules() {
    let facts = HostFacts { capabilities: u64::MAX >> 23, ..HostFacts::default() };
    for bits in 0..128 {
        let is = |bit: u32| bits & 1 << bit != 0;
        // Only a container without a user namespace can be without a mount namespace.
        let chroot = is(6) && !is(0);
        let joins = NamespaceKind::ALL.into_iter().filter(|kind| match kind {
            NamespaceKind::User => is(0),
            NamespaceKind::Pid => is(1),
            NamespaceKind::Network => is(2),
            NamespaceKind::Mount => !chroot,
            _ => true,
        });
        let request = ExecRequest {
            join: joins.map(|kind| (kind, "/n")).collect(),
            root: chroot.then_some("/proc/1/root"),
            keyring: is(3).then_some("_ses"),
            detach: is(4),
            outputs: Outputs { console_socket: is(4).then_some("/s"), ..Outputs::default() },
            ..ExecRequest::default()
        };
        let rlimits = &[Rlimit { resource: 7, soft: 1, hard: 1 }];
        let process = Process {
            args: &["x"],
            cwd: "/",
            terminal: is(4),
            oom_score_adj: Some(7),
            rlimits: if is(5) { rlimits } else { &[] },
            scheduler: is(6).then_some(&Scheduler { flags: 1, ..DEFAULT }),
            ..Process::default()
        };
        for user in [None, Some(ordinary_user(true))] {
            let facts = HostFacts { user, ..facts.clone() };
            let plan = exec::compile(&process, None, &request, &facts).unwrap();
            assert_eq!(plan.broken(), [""; 0], "{request:?}\n{plan}");
        }
    }
}

#[test]
fn order_rules_detect_a_wrong_plan() {
    let mut plan = plan(&cases()[0]).unwrap();
    plan.launch.init.swap_remove(0);
    plan.host.truncate(1);
    assert!(plan.broken().len() >= 3, "{:?}", plan.broken());
}

/// Every wait of the host has a limit and matches a step of init.
#[test]
fn every_wait_has_a_limit() {
    let mut waits = 0;
    for case in cases() {
        let Ok(plan) = plan(&case) else { continue };
        let spec = config::spec(&read(&case.join("config.json"))).unwrap();
        let limits: Vec<_> = patience::limits(&plan.launch.init, &spec.hooks).collect();
        let steps: Vec<_> = plan.host.iter().copied().filter(CreateStep::waits).collect();
        assert_eq!(limits.len(), steps.len(), "{}: {steps:?}", case.display());
        waits += steps.len();
        let endless = |kind: HookKind| kind.of(&spec.hooks).iter().any(|hook| hook.timeout.is_none());
        let inside = [HookKind::CreateContainer, HookKind::StartContainer];
        if !inside.into_iter().any(endless) {
            assert!(limits.iter().all(Option::is_some), "{}: {limits:?}", case.display());
        }
    }
    assert!(waits > 10, "{waits}");
}
