//! Runs compiled filters in the interpreter.

use super::arch::{ALL, Arch};
use super::code::MAX_INSTRUCTIONS;
use super::compile::compile;
use super::explain::Cost;
use super::policy::{Action, Arg, Op, Policy, Rule};
use super::sim::{Data, check, run, worst};
use super::syscalls::Call;
use crate::json::value::Json;

const KILL: u32 = Action::KillThread.code();
const ALLOW: u32 = Action::Allow.code();
const EPERM: u32 = Action::Errno(1).code();
const ENOSYS: u32 = Action::Errno(38).code();

pub(super) fn policy(default_action: Action, rules: &[(&[&'static str], Action, &[Arg])]) -> Policy {
    let rule = |(names, action, args): &(&[&'static str], Action, &[Arg])| Rule {
        names: names.to_vec(),
        action: *action,
        args: args.to_vec(),
    };
    Policy {
        default_action,
        architectures: Vec::new(),
        flags: None,
        listener_path: None,
        listener_metadata: None,
        syscalls: rules.iter().map(rule).collect(),
    }
}

pub(super) fn arg(index: u8, op: Op, value: u64) -> Arg {
    Arg { index, op, value, value_two: 0 }
}

/// A compiled policy that can be asked about calls by name or number.
struct Answers(Vec<crate::sys::seccomp::SockFilter>);

impl Answers {
    fn of(policy: &Policy, native: Arch) -> Answers {
        let filter = compile(policy, native).unwrap();
        check(&filter.program).unwrap();
        Answers(filter.program)
    }

    fn call(&self, arch: Arch, name: &str, args: &[u64]) -> u32 {
        self.number(arch, Call::find(name).unwrap().number(arch).unwrap(), args)
    }

    fn number(&self, arch: Arch, number: u32, given: &[u64]) -> u32 {
        let mut args = [0; 6];
        args[..given.len()].copy_from_slice(given);
        run(&self.0, &Data { number, audit: arch.audit().unwrap(), args }).0
    }
}

#[test]
fn each_rule_has_its_own_action_and_errno() {
    let p = policy(
        Action::Errno(1),
        &[
            (&["read", "write"], Action::Allow, &[]),
            (&["mount"], Action::Errno(13), &[]),
            (&["ptrace"], Action::KillProcess, &[]),
            (&["bpf"], Action::Trace(7), &[]),
            (&["swapon"], Action::Log, &[]),
            (&["swapoff"], Action::Trap, &[]),
            (&["reboot"], Action::KillThread, &[]),
            (&["seccomp"], Action::Notify, &[]),
            (&["futex_requeue"], Action::Allow, &[]),
        ],
    );
    for arch in [Arch::X86_64, Arch::X86, Arch::Aarch64, Arch::Arm, Arch::Riscv64] {
        let f = Answers::of(&p, arch);
        for (name, code) in [
            ("read", ALLOW),
            ("write", ALLOW),
            ("mount", Action::Errno(13).code()),
            ("ptrace", Action::KillProcess.code()),
            ("bpf", Action::Trace(7).code()),
            ("swapon", Action::Log.code()),
            ("swapoff", Action::Trap.code()),
            ("reboot", KILL),
            ("seccomp", Action::Notify.code()),
            ("close", EPERM),
            ("listns", ENOSYS),
        ] {
            assert_eq!(f.call(arch, name, &[]), code, "{name} on {arch:?}");
        }
        assert_eq!(run(&f.0, &Data { number: 0, audit: 1, args: [0; 6] }).0, KILL);
    }
}

#[test]
fn operators_compare_all_64_bits() {
    let values = [
        0,
        1,
        2,
        41,
        42,
        43,
        1 << 31,
        u64::from(u32::MAX),
        1 << 32,
        (1 << 32) + 42,
        42 << 32,
        1 << 63,
        u64::MAX,
    ];
    for op in [Op::Eq, Op::Ne, Op::Lt, Op::Le, Op::Ge, Op::Gt, Op::MaskedEq] {
        for value in values {
            for value_two in if op == Op::MaskedEq { &values[..] } else { &[0] } {
                let a = Arg { index: 3, op, value, value_two: *value_two };
                let p = policy(Action::Errno(1), &[(&["read"], Action::Allow, &[a])]);
                let wide = Answers::of(&p, Arch::X86_64);
                let narrow = Answers::of(&p, Arch::Arm);
                for v in values {
                    let expected = if a.holds(v) { ALLOW } else { EPERM };
                    assert_eq!(wide.call(Arch::X86_64, "read", &[9, 9, 9, v]), expected, "{v:#x} {a:?}");
                    // The next test covers negative values.
                    let negative = if op == Op::MaskedEq { *value_two } else { value } == u64::MAX;
                    if v <= u64::from(u32::MAX) && !negative && (op != Op::MaskedEq || value != 0) {
                        assert_eq!(
                            narrow.call(Arch::Arm, "read", &[9, 9, 9, v]),
                            expected,
                            "arm {v:#x} {a:?}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn negative_64_bit_values_match_32_bit_arguments() {
    const AT_FDCWD: u64 = -100i64 as u64;
    let mask = !0xffu64;
    for (op, value, value_two, hit, miss) in [
        (Op::Eq, AT_FDCWD, 0, Some(0xffff_ff9c), Some(0x9c)),
        (Op::Ne, AT_FDCWD, 0, Some(3), Some(0xffff_ff9c)),
        (Op::MaskedEq, u64::MAX, AT_FDCWD, Some(0xffff_ff9c), Some(0xffff_ff9d)),
        (Op::MaskedEq, mask, AT_FDCWD, Some(0xffff_ff01), Some(0x9c)),
        (Op::MaskedEq, mask, 0, Some(0x7f), Some(0x100)),
        (Op::MaskedEq, 0xffff, AT_FDCWD, Some(0x7fff_ff9c), Some(0x9c)),
        // These values do not fit an int.
        (Op::Eq, 1 << 32 | 5, 0, None, Some(5)),
        (Op::Ne, 1 << 32 | 5, 0, Some(5), None),
        (Op::MaskedEq, 1 << 32 | 0xff, 1 << 32 | 5, None, Some(5)),
        // Order comparisons are unsigned.
        (Op::Lt, AT_FDCWD, 0, Some(0xffff_ffff), None),
        (Op::Le, AT_FDCWD, 0, Some(0xffff_ffff), None),
        (Op::Ge, AT_FDCWD, 0, None, Some(0xffff_ffff)),
        (Op::Gt, AT_FDCWD, 0, None, Some(0xffff_ffff)),
    ] {
        let a = Arg { index: 0, op, value, value_two };
        let mut p = policy(Action::Allow, &[(&["openat"], Action::Errno(1), &[a])]);
        p.architectures = vec![Arch::Arm, Arch::X86];
        for (native, arch) in [(Arch::Arm, Arch::Arm), (Arch::X86, Arch::X86), (Arch::Aarch64, Arch::Arm)] {
            let answers = Answers::of(&p, native);
            for (v, verdict) in [(hit, EPERM), (miss, ALLOW)] {
                let Some(v) = v else { continue };
                assert_eq!(answers.call(arch, "openat", &[v]), verdict, "{arch:?} {v:#x} {a:x?}");
            }
        }
        // With 64-bit arguments all bits of the value count.
        let wide = Answers::of(&p, Arch::Aarch64);
        for v in [AT_FDCWD, 0xffff_ff9c, 5] {
            let verdict = if a.holds(v) { EPERM } else { ALLOW };
            assert_eq!(wide.call(Arch::Aarch64, "openat", &[v]), verdict, "{v:#x} {a:x?}");
        }
    }
}

#[test]
fn conditions_of_a_rule_are_anded_and_rules_of_a_call_are_ored() {
    let p = policy(
        Action::Errno(1),
        &[
            (&["socket"], Action::Allow, &[arg(0, Op::Eq, 1), arg(1, Op::Le, 5)]),
            (&["socket"], Action::Allow, &[arg(0, Op::Eq, 2)]),
            (&["socket"], Action::Errno(97), &[arg(0, Op::Eq, 40)]),
            // Two conditions on one argument make two rules.
            (&["personality"], Action::Allow, &[arg(0, Op::Eq, 0), arg(0, Op::Eq, 8)]),
            // An unconditional rule decides alone, wherever it stands.
            (&["kill"], Action::Errno(3), &[arg(0, Op::Eq, 1)]),
            (&["kill"], Action::Allow, &[]),
            (&["kill"], Action::Errno(4), &[]),
        ],
    );
    let f = Answers::of(&p, Arch::Aarch64);
    let call = |name, args: &[u64]| f.call(Arch::Aarch64, name, args);
    assert_eq!(call("socket", &[1, 5]), ALLOW);
    assert_eq!(call("socket", &[1, 6]), EPERM);
    assert_eq!(call("socket", &[2, 6]), ALLOW);
    assert_eq!(call("socket", &[40, 0]), Action::Errno(97).code());
    assert_eq!(call("socket", &[1 << 32 | 2, 0]), EPERM);
    assert_eq!([0, 8, 4].map(|v| call("personality", &[v])), [ALLOW, ALLOW, EPERM]);
    assert_eq!(call("kill", &[1]), ALLOW);
}

#[test]
fn contradicting_rules_are_an_error() {
    let same = [arg(1, Op::Eq, 1), arg(0, Op::Ne, 2)];
    let turned = [same[1], same[0]];
    let p =
        policy(Action::Errno(1), &[(&["read"], Action::Allow, &same), (&["read"], Action::Trap, &turned)]);
    assert_eq!(
        compile(&p, Arch::X86_64).unwrap_err().to_string(),
        "syscalls[1] contradicts syscalls[0]: different actions for read under the same conditions"
    );
}

#[test]
#[cfg(target_arch = "x86_64")]
fn each_architecture_has_its_own_numbers_and_foreign_ones_are_killed() {
    let mut p =
        policy(Action::Errno(1), &[(&["read", "accept", "futex_requeue", "pwritev2"], Action::Allow, &[])]);
    p.architectures = vec![Arch::X86, Arch::X86_64, Arch::X32, Arch::Mips];
    let f = Answers::of(&p, Arch::X86_64);
    for arch in [Arch::X86, Arch::X86_64, Arch::X32] {
        assert_eq!(f.call(arch, "read", &[]), ALLOW, "{arch:?}");
        assert_eq!(f.call(arch, "write", &[]), EPERM, "{arch:?}");
        assert_eq!(f.call(arch, "listns", &[]), ENOSYS, "{arch:?}");
    }
    assert_eq!(f.number(Arch::X32, 0x4000_0000 | 548, &[]), ENOSYS);
    assert_eq!(f.number(Arch::X86_64, u32::MAX, &[]), ENOSYS);
    assert_eq!(f.number(Arch::Arm, 3, &[]), KILL);
    // accept has no number on x86, but is reached through socketcall.
    assert_eq!(f.call(Arch::X86, "socketcall", &[5]), ALLOW);
    assert_eq!(f.call(Arch::X86, "socketcall", &[1]), EPERM);

    p.architectures.clear();
    let f = Answers::of(&p, Arch::X86_64);
    assert_eq!(f.call(Arch::X32, "read", &[]), KILL);
    assert_eq!(f.number(Arch::X86, 3, &[]), KILL);
    assert_eq!(f.number(Arch::X86_64, u32::MAX, &[]), EPERM);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn arm_private_calls_do_not_make_newer_calls_known() {
    let mut p = policy(Action::Errno(1), &[(&["openat", "clone3", "cacheflush"], Action::Allow, &[])]);
    p.architectures = vec![Arch::Arm];
    let f = Answers::of(&p, Arch::Aarch64);
    assert_eq!(f.call(Arch::Arm, "cacheflush", &[]), ALLOW);
    assert_eq!(f.call(Arch::Arm, "breakpoint", &[]), EPERM);
    assert_eq!(f.call(Arch::Arm, "set_tls", &[]), ENOSYS);
    assert_eq!(f.call(Arch::Arm, "read", &[]), EPERM);
    assert_eq!(f.call(Arch::Arm, "close_range", &[]), ENOSYS);
    assert_eq!(f.call(Arch::Aarch64, "close_range", &[]), ENOSYS);
    assert_eq!(f.call(Arch::Aarch64, "clone3", &[]), ALLOW);
}

#[test]
fn architecture_listed_twice_counts_once() {
    let mut p = policy(Action::Errno(1), &[(&["read", "write"], Action::Allow, &[])]);
    p.architectures = vec![Arch::Arm];
    let once = compile(&p, Arch::Aarch64).unwrap();
    p.architectures = vec![Arch::Arm, Arch::Aarch64, Arch::Arm, Arch::Aarch64];
    assert_eq!(compile(&p, Arch::Aarch64).unwrap(), once);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn call_through_ipc_is_allowed_though_ipc_is_newer_than_the_named_calls() {
    let p = policy(Action::Errno(1), &[(&["read", "semop"], Action::Allow, &[])]);
    let answers = Answers::of(&p, Arch::X86);
    assert_eq!(answers.call(Arch::X86, "ipc", &[1]), ALLOW);
    assert_eq!(answers.call(Arch::X86, "ipc", &[2]), EPERM);
    for (name, verdict) in [("read", ALLOW), ("write", ENOSYS), ("fsync", ENOSYS), ("clone", ENOSYS)] {
        assert_eq!(answers.call(Arch::X86, name, &[]), verdict, "{name}");
    }
}

#[test]
fn newer_calls_get_enosys_only_if_the_default_denies() {
    for default in [Action::Allow, Action::Log, Action::Trace(1)] {
        let f = Answers::of(&policy(default, &[(&["read"], Action::Errno(1), &[])]), Arch::Aarch64);
        assert_eq!(f.number(Arch::Aarch64, 9999, &[]), default.code());
    }
    let f = Answers::of(&policy(Action::KillProcess, &[(&["read"], Action::Allow, &[])]), Arch::Aarch64);
    assert_eq!(f.number(Arch::Aarch64, 9999, &[]), ENOSYS);
}

#[test]
fn unknown_names_are_reported_once() {
    let p = policy(
        Action::Errno(1),
        &[(&["read", "warp"], Action::Allow, &[]), (&["warp", "accept", "weft"], Action::Allow, &[])],
    );
    let f = compile(&p, Arch::NATIVE).unwrap();
    assert_eq!(f.warnings, ["seccomp: unknown system calls are skipped: warp, weft"]);
}

#[test]
fn long_programs_use_far_jumps_and_too_long_ones_are_refused() {
    let names: Vec<&'static str> = Call::all().map(Call::name).collect();
    let mut p = policy(Action::Errno(1), &[]);
    p.architectures = ALL.values.to_vec();
    for (i, name) in names.iter().enumerate().filter(|(i, _)| i % 3 == 0) {
        let args = vec![arg((i % 6) as u8, Op::Eq, i as u64)];
        p.syscalls.push(Rule { names: vec![name], action: Action::Allow, args });
    }
    let f = Answers::of(&p, Arch::X86_64);
    assert!(f.0.len() > 1000, "{} are not many", f.0.len());
    for (i, name) in names.iter().enumerate() {
        for arch in [Arch::X86_64, Arch::X86, Arch::X32] {
            let Some(number) = Call::find(name).unwrap().number(arch) else { continue };
            let meets = f.number(arch, number, &[i as u64; 6]);
            let fails = f.number(arch, number, &[u64::MAX; 6]);
            if ["socketcall", "ipc"].contains(name) && arch == Arch::X86 {
                continue;
            }
            let denied = if meets == ENOSYS { ENOSYS } else { EPERM };
            assert_eq!(
                (meets, fails),
                (if i % 3 == 0 { ALLOW } else { denied }, denied),
                "{name} on {arch:?}"
            );
        }
    }
    for rule in &mut p.syscalls {
        rule.args = (0..6).map(|i| arg(i, Op::Gt, u64::from(i) << 16 | 77)).collect();
        rule.args[0].value = rule.names[0].as_bytes().iter().fold(7, |a, b| a * 31 % 1000 + u64::from(*b));
    }
    let e = compile(&p, Arch::X86_64).unwrap_err().to_string();
    assert!(e.contains(&format!("the kernel takes {MAX_INSTRUCTIONS}")), "{e}");
}

#[test]
fn a_call_with_too_many_conditions_is_refused_before_they_are_compared() {
    let mut p = policy(Action::Errno(1), &[]);
    for i in 0..5_000 {
        p.syscalls.push(Rule { names: vec!["read"], action: Action::Allow, args: vec![arg(0, Op::Eq, i)] });
    }
    let e = compile(&p, Arch::Aarch64).unwrap_err().to_string();
    assert!(e.starts_with("the filter has at least 4098 instructions, the kernel takes 4096: "), "{e}");
    // An unconditional rule replaces all of them, even if it comes last.
    p.syscalls.push(Rule { names: vec!["read"], action: Action::Log, args: Vec::new() });
    assert_eq!(Answers::of(&p, Arch::Aarch64).call(Arch::Aarch64, "read", &[5]), Action::Log.code());
}

#[test]
fn features_that_the_kernel_lacks_are_named() {
    use super::policy::{LOG, SPEC_ALLOW};
    use super::support::Support;
    let mut p = policy(Action::Errno(1), &[(&["read"], Action::Log, &[])]);
    let all = Support { flags: u32::MAX, actions: u32::MAX };
    let mut f = compile(&p, Arch::NATIVE).unwrap();
    assert_eq!((f.flags, f.fit(all).is_ok()), (SPEC_ALLOW, true));
    f.fit(Support { flags: 0, ..all }).unwrap();
    assert_eq!(f.flags, 0);
    assert_eq!(
        f.fit(Support { actions: 1, ..all }).unwrap_err().to_string(),
        "this kernel has no SCMP_ACT_ERRNO"
    );
    p.flags = Some(LOG);
    let mut f = compile(&p, Arch::NATIVE).unwrap();
    assert_eq!(f.flags, LOG);
    let e = f.fit(Support { flags: SPEC_ALLOW, ..all }).unwrap_err().to_string();
    assert_eq!(e, "flags: this kernel has no SECCOMP_FILTER_FLAG_LOG");
}

#[test]
fn tsync_is_dropped_because_the_loader_has_one_thread() {
    use super::policy::{LOG, NEW_LISTENER, TSYNC};
    use super::support::Support;
    for (action, flags) in [(Action::Notify, LOG | NEW_LISTENER), (Action::Errno(1), LOG)] {
        let mut p = policy(Action::Allow, &[(&["read"], action, &[])]);
        p.flags = Some(TSYNC | LOG);
        let mut f = compile(&p, Arch::NATIVE).unwrap();
        assert_eq!(f.flags, flags, "{action:?}");
        f.fit(Support { flags: LOG | NEW_LISTENER, actions: u32::MAX }).unwrap();
    }
}

/// The profile that engines give a container by default.
pub(super) fn engines_default() -> Policy {
    let text = include_bytes!("../../seccomp-profiles/default.json");
    super::policy::policy(&Json::parse(text).unwrap()).unwrap()
}

#[test]
fn default_profile_costs_at_most_12_instructions_on_average() {
    let p = engines_default();
    for (native, archs) in [
        (Arch::X86_64, &[Arch::X86_64, Arch::X86, Arch::X32][..]),
        (Arch::Aarch64, &[Arch::Aarch64, Arch::Arm]),
        (Arch::Arm, &[Arch::Arm]),
        (Arch::Riscv64, &[Arch::Riscv64]),
    ] {
        let filter = compile(&p, native).unwrap();
        check(&filter.program).unwrap();
        assert!(filter.warnings.is_empty(), "{:?}", filter.warnings);
        for arch in archs {
            let cost = Cost::of(&filter, *arch).unwrap();
            eprintln!("{native:?} {arch:?} {} {cost:?}", filter.program.len());
            assert!(cost.tenths <= 120, "{arch:?} on {native:?}: {cost:?}");
        }
    }
}

#[test]
fn unconditional_calls_load_no_arguments() {
    let p = engines_default();
    let filter = compile(&p, Arch::X86_64).unwrap();
    for call in Call::all() {
        let Some(number) = call.number(Arch::X86_64) else { continue };
        let with = |args| run(&filter.program, &Data { number, audit: Arch::X86_64.audit().unwrap(), args });
        let depends = ["clone", "personality", "socket"].contains(&call.name());
        if !depends {
            let worst = worst(&filter.program, number, Arch::X86_64.audit().unwrap());
            assert_eq!(with([0; 6]), with([u64::MAX; 6]), "{}", call.name());
            assert_eq!(with([0; 6]).1, worst, "{}", call.name());
        }
    }
}
