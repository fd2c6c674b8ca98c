//! Compares with the seccompiler crate as far as it goes.
//!
//! It supports one action per filter and one 64-bit architecture.

use std::collections::BTreeMap;

use embrun::seccomp::arch::Arch;
use embrun::seccomp::compile::compile;
use embrun::seccomp::policy::{Action, Arg, Op, Policy};
use embrun::seccomp::sim::run;
use embrun::seccomp::syscalls::Call;
use embrun::sys::seccomp::SockFilter;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

use crate::random::{self, Random};

#[test]
fn verdicts_match_seccompiler() {
    let all: Vec<Call> = Call::all().collect();
    let mut compared = 0;
    for seed in random::seeds(500) {
        let mut random = Random::new(seed);
        let (arch, target) = random.pick(&[
            (Arch::X86_64, TargetArch::x86_64),
            (Arch::Aarch64, TargetArch::aarch64),
            (Arch::Riscv64, TargetArch::riscv64),
        ]);
        let mut policy = random::policy(&mut random, &[arch], &all);
        policy.architectures.clear();
        // seccompiler allows one action for all rules, and does not distinguish new system calls from old
        // ones.
        policy.default_action = Action::Errno(38);
        for rule in &mut policy.syscalls {
            rule.action = Action::Allow;
            let mut seen = [false; 6];
            rule.args.retain(|a| !std::mem::replace(&mut seen[usize::from(a.index)], true));
            // An empty mask always matches here, but may not match there.
            rule.args.retain(|a| a.op != Op::MaskedEq || a.value != 0);
        }
        let Some(theirs) = theirs(&policy, arch, target) else { continue };
        let ours = compile(&policy, arch).unwrap().program;
        for (_, data) in random::calls(&mut random, &policy, &[arch], 200) {
            if data.number < 512 {
                assert_eq!(run(&ours, &data).0, run(&theirs, &data).0, "seed {seed}: {arch:?} {data:x?}");
                compared += 1;
            }
        }
    }
    eprintln!("{compared} calls");
    assert!(compared > 0 || std::env::var_os("SEED").is_some());
}

fn theirs(policy: &Policy, arch: Arch, target: TargetArch) -> Option<Vec<SockFilter>> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let mut always = Vec::new();
    for rule in &policy.syscalls {
        for number in rule.names.iter().filter_map(|n| Call::find(n)?.number(arch)) {
            let of_call = rules.entry(number.into()).or_default();
            if rule.args.is_empty() {
                always.push(i64::from(number));
            } else {
                of_call.push(SeccompRule::new(rule.args.iter().map(condition).collect()).unwrap());
            }
        }
    }
    for number in always {
        rules.insert(number, Vec::new());
    }
    let filter = SeccompFilter::new(rules, SeccompAction::Errno(38), SeccompAction::Allow, target).ok()?;
    let program: BpfProgram = filter.try_into().ok()?;
    Some(program.iter().map(|i| SockFilter { code: i.code, jt: i.jt, jf: i.jf, k: i.k }).collect())
}

fn condition(a: &Arg) -> SeccompCondition {
    let op = match a.op {
        Op::Eq => SeccompCmpOp::Eq,
        Op::Ne => SeccompCmpOp::Ne,
        Op::Lt => SeccompCmpOp::Lt,
        Op::Le => SeccompCmpOp::Le,
        Op::Ge => SeccompCmpOp::Ge,
        Op::Gt => SeccompCmpOp::Gt,
        Op::MaskedEq => SeccompCmpOp::MaskedEq(a.value),
    };
    let value = if a.op == Op::MaskedEq { a.value_two & a.value } else { a.value };
    SeccompCondition::new(a.index, SeccompCmpArgLen::Qword, op, value).unwrap()
}
