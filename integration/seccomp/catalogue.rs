//! Twenty profiles under which a container starts.
//!
//! They are those of engines, common changes of them, and deny lists.

use embrun::json::value::Json;
use embrun::seccomp::arch::Arch;
use embrun::seccomp::policy::{Action, Arg, Op, Policy, Rule, policy};

/// `default.json` and the profiles of the roles.
pub const SHIPPED: &[(&str, &str)] = &[
    ("default", include_str!("../../seccomp-profiles/default.json")),
    ("data-collector", include_str!("../../seccomp-profiles/data-collector.json")),
    ("data-processor", include_str!("../../seccomp-profiles/data-processor.json")),
    ("uplink", include_str!("../../seccomp-profiles/uplink.json")),
    ("device-controller", include_str!("../../seccomp-profiles/device-controller.json")),
    ("firmware-updater", include_str!("../../seccomp-profiles/firmware-updater.json")),
];

/// Docker's profile as shipped.
pub fn engines_default() -> Policy {
    policy(&Json::parse(include_bytes!("../../seccomp-profiles/default.json")).unwrap()).unwrap()
}

/// All twenty profiles, by name.
pub fn profiles() -> Vec<(&'static str, Policy)> {
    let x86 = vec![Arch::X86_64, Arch::X86, Arch::X32];
    let base = Policy { architectures: x86, ..engines_default() };
    [other_defaults(&base), other_calls(&base), conditions(&base), deny_lists(&base)].concat()
}

fn changed(base: &Policy, change: impl FnOnce(&mut Policy)) -> Policy {
    let mut p = base.clone();
    change(&mut p);
    p
}

/// The profile with each default action and other architectures.
fn other_defaults(base: &Policy) -> Vec<(&'static str, Policy)> {
    let with = |change: &dyn Fn(&mut Policy)| changed(base, change);
    let action = |a: Action| changed(base, |p| p.default_action = a);
    vec![
        ("default", base.clone()),
        ("default, ENOSYS", action(Action::Errno(38))),
        ("default, EACCES", action(Action::Errno(13))),
        ("default, KILL_PROCESS", action(Action::KillProcess)),
        ("default, KILL", action(Action::KillThread)),
        ("default, TRAP", action(Action::Trap)),
        ("default, LOG", action(Action::Log)),
        ("default, x86_64 alone", with(&|p| p.architectures = vec![Arch::X86_64])),
        ("default, no architectures", with(&|p| p.architectures.clear())),
        ("default, x86_64 and x86", with(&|p| p.architectures = vec![Arch::X86_64, Arch::X86])),
    ]
}

/// The profile with other actions for some calls.
fn other_calls(base: &Policy) -> Vec<(&'static str, Policy)> {
    let with = |change: &dyn Fn(&mut Policy)| changed(base, change);
    vec![
        (
            "default without new calls",
            with(&|p| {
                for r in &mut p.syscalls {
                    r.names.retain(|n| {
                        !["clone3", "openat2", "close_range", "faccessat2", "statx", "rseq"].contains(n)
                    });
                }
                p.syscalls.retain(|r| !r.names.is_empty());
            }),
        ),
        (
            "default and an errno each",
            with(&|p| {
                for (i, name) in ["mount", "umount2", "ptrace", "bpf", "unshare", "setns"].iter().enumerate()
                {
                    p.syscalls.insert(0, rule(&[name], Action::Errno(20 + i as u16), &[]));
                }
            }),
        ),
    ]
}

/// The profile with conditions on arguments.
fn conditions(base: &Policy) -> Vec<(&'static str, Policy)> {
    let with = |change: &dyn Fn(&mut Policy)| changed(base, change);
    vec![
        (
            "default and socket families",
            with(&|p| {
                p.syscalls.retain(|r| r.names != ["socket"]);
                for family in [1, 2, 10, 16] {
                    p.syscalls.push(rule(&["socket"], Action::Allow, &[arg(0, Op::Eq, family)]));
                }
                p.syscalls.push(rule(&["socket"], Action::Errno(97), &[arg(0, Op::Ge, 40)]));
            }),
        ),
        (
            "default and ioctl requests",
            with(&|p| {
                p.syscalls.push(rule(
                    &["tgkill"],
                    Action::Errno(3),
                    &[arg(0, Op::Eq, 1), arg(2, Op::Gt, 15)],
                ));
                for r in &mut p.syscalls {
                    r.names.retain(|n| *n != "ioctl");
                }
                p.syscalls.push(rule(&["ioctl"], Action::Allow, &[arg(1, Op::Ne, 0x5412)]));
                p.syscalls.push(rule(&["ioctl"], Action::Errno(25), &[arg(1, Op::Eq, 0x5412)]));
            }),
        ),
        (
            "default and ranges",
            with(&|p| {
                for r in &mut p.syscalls {
                    r.names.retain(|n| *n != "prctl" && *n != "setpriority");
                }
                p.syscalls.push(rule(&["prctl"], Action::Allow, &[arg(0, Op::Le, 1 << 33)]));
                p.syscalls.push(rule(
                    &["setpriority"],
                    Action::Allow,
                    &[arg(0, Op::Lt, 2), arg(2, Op::Ge, 5)],
                ));
            }),
        ),
    ]
}

/// Profiles that allow what they do not name.
fn deny_lists(base: &Policy) -> Vec<(&'static str, Policy)> {
    let names = [
        "keyctl",
        "add_key",
        "request_key",
        "kexec_load",
        "open_by_handle_at",
        "init_module",
        "swapon",
        "reboot",
    ];
    let denied = |a: Action| {
        changed(base, |p| {
            p.syscalls = vec![rule(&names, a, &[])];
            p.default_action = Action::Allow;
        })
    };
    vec![
        ("a deny list, EPERM", denied(Action::Errno(1))),
        ("a deny list, KILL_PROCESS", denied(Action::KillProcess)),
        ("a deny list, LOG", denied(Action::Log)),
        ("a deny list, TRACE", denied(Action::Trace(5))),
        (
            "nothing denied",
            changed(base, |p| {
                p.default_action = Action::Allow;
                p.syscalls.clear();
            }),
        ),
    ]
}

fn rule(names: &[&'static str], action: Action, args: &[Arg]) -> Rule {
    Rule { names: names.to_vec(), action, args: args.to_vec() }
}

fn arg(index: u8, op: Op, value: u64) -> Arg {
    Arg { index, op, value, value_two: 0 }
}

/// The profile as `linux.seccomp`.
pub fn json(p: &Policy) -> Json {
    let coded = |key: &'static str, errno_key: &'static str, a: Action| {
        let mut members = vec![(key, Json::from(a.name()))];
        if let Action::Errno(n) | Action::Trace(n) = a {
            members.push((errno_key, Json::from(u32::from(n))));
        }
        members
    };
    let condition = |a: &Arg| {
        let op = embrun::seccomp::policy::OPERATORS.name(|op| op == a.op).unwrap();
        Json::object([
            ("index", Json::from(u32::from(a.index))),
            ("value", Json::from(a.value)),
            ("valueTwo", Json::from(a.value_two)),
            ("op", Json::from(op)),
        ])
    };
    let rule = |r: &Rule| {
        let mut members = vec![("names", Json::strs(r.names.clone()))];
        members.extend(coded("action", "errnoRet", r.action));
        members.push(("args", Json::List(r.args.iter().map(condition).collect())));
        Json::object(members)
    };
    let mut members = coded("defaultAction", "defaultErrnoRet", p.default_action);
    members.push(("architectures", Json::strs(p.architectures.iter().map(|a| a.name()))));
    members.push(("syscalls", Json::List(p.syscalls.iter().map(rule).collect())));
    Json::object(members)
}

#[test]
fn every_shipped_profile_is_listed() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/seccomp-profiles");
    let names = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut found: Vec<String> = names
        .filter_map(|n| n.strip_suffix(".json").filter(|n| !n.ends_with(".config")).map(str::to_owned))
        .collect();
    let mut listed: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
    found.sort_unstable();
    listed.sort_unstable();
    assert_eq!(found, listed);
}
