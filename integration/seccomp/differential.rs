//! Random policies: our verdicts match libseccomp's behind runc's ENOSYS stub.
//!
//! Intended differences are counted by name; any other difference fails.

use std::collections::BTreeMap;

use crate::libseccomp::{Library, Refusal};
use crate::random::{FAMILIES, Random};
use embrun::seccomp::arch::Arch;
use embrun::seccomp::compile::compile;
use embrun::seccomp::policy::{Action, Arg, Policy};
use embrun::seccomp::sim::{Data, check, run};
use embrun::seccomp::syscalls::Call;

/// The matching rules disagree, and libseccomp prefers another one than we do.
const ORDER: &str = "another order of rules with different actions";

const ENOSYS: u32 = Action::Errno(38).code();

#[test]
fn verdicts_match_libseccomp() {
    let Some(library) = Library::find() else {
        eprintln!("SKIPPED: no libseccomp.so.2 (Debian: libseccomp2)");
        return;
    };
    let known: Vec<Call> = Call::all().filter(|c| library.resolve(c.name()).is_some()).collect();
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let mut failures = Vec::new();
    for seed in crate::random::seeds(2000) {
        let mut random = Random::new(seed);
        let family = random.pick(FAMILIES);
        let mut some: Vec<Call> = (0..40).map(|_| random.pick(&known)).collect();
        some.extend(["socket", "accept", "shmat", "socketcall", "read"].map(|n| Call::find(n).unwrap()));
        let policy = crate::random::policy(&mut random, family, if seed % 2 == 0 { &known } else { &some });
        let calls = crate::random::calls(&mut random, &policy, family, 200);
        if std::env::var_os("SEED").is_some() {
            eprintln!("{family:?} {policy:#x?}");
        }
        match (compile(&policy, family[0]), library.compile(&policy, family)) {
            (Ok(ours), Ok(theirs)) => {
                check(&ours.program).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
                for (arch, data) in &calls {
                    let ours = run(&ours.program, data).0;
                    let theirs = stub(&policy, family, data).unwrap_or_else(|| run(&theirs, data).0);
                    *counts.entry("calls").or_default() += 1;
                    if ours != theirs {
                        match intended(&policy, *arch, data, ours, theirs) {
                            Some(why) => *counts.entry(why).or_default() += 1,
                            None => failures.push(format!(
                                "seed {seed}: {arch:?} {} {data:x?}: ours {ours:#x}, theirs {theirs:#x}",
                                Call::of(*arch, data.number).map_or("?", Call::name)
                            )),
                        }
                    }
                }
                *counts.entry("policies").or_default() += 1;
            }
            (_, Err(Refusal::Crash)) => *counts.entry("libseccomp crashes or does not end").or_default() += 1,
            (Err(_), Err(_)) => *counts.entry("refused by both").or_default() += 1,
            (Ok(_), Err(_)) => *counts.entry("refused by libseccomp alone").or_default() += 1,
            (Err(e), Ok(_)) if overlooked(&policy, &e.to_string()) => {
                *counts
                    .entry("libseccomp overlooks two parts of ipc that contradict each other")
                    .or_default() += 1;
            }
            (Err(e), Ok(_)) => failures.push(format!("seed {seed}: refused by us alone: {e}")),
        }
    }
    eprintln!("{counts:#?}");
    let n = failures.len();
    failures.truncate(40);
    // A single seed may produce a policy that is refused.
    let count = |what| counts.get(what).copied().unwrap_or(0);
    let few = count(ORDER) * 20_000 <= count("calls");
    assert!(few, "too many: {counts:#?}");
    assert!(n == 0, "{n} verdicts differ:\n{}", failures.join("\n"));
}

/// The ENOSYS stub that runc puts in front of libseccomp's filter.
///
/// It answers calls above the largest number that the policy names.
fn stub(policy: &Policy, family: &[Arch], data: &Data) -> Option<u32> {
    if matches!(policy.default_action, Action::Allow | Action::Log | Action::Trace(_)) {
        return None;
    }
    let x32 = data.number & 0x4000_0000 != 0;
    let arch = family.iter().copied().filter(|a| a.audit() == Some(data.audit)).find(|a| match a {
        Arch::X86_64 => !x32,
        Arch::X32 => x32,
        _ => true,
    })?;
    let names = policy.syscalls.iter().flat_map(|r| &r.names);
    let largest = names.filter_map(|n| Call::find(n)?.number(arch)).max()?;
    (data.number > largest).then_some(ENOSYS)
}

const SOCKETCALL: &[&str] = &[
    "none",
    "socket",
    "bind",
    "connect",
    "listen",
    "accept",
    "getsockname",
    "getpeername",
    "socketpair",
    "send",
    "recv",
    "sendto",
    "recvfrom",
    "shutdown",
    "setsockopt",
    "getsockopt",
    "sendmsg",
    "recvmsg",
    "accept4",
    "recvmmsg",
    "sendmmsg",
];
const IPC: &[(u8, &str)] = &[
    (1, "semop"),
    (2, "semget"),
    (3, "semctl"),
    (4, "semtimedop"),
    (11, "msgsnd"),
    (12, "msgrcv"),
    (13, "msgget"),
    (14, "msgctl"),
    (21, "shmat"),
    (22, "shmdt"),
    (23, "shmget"),
    (24, "shmctl"),
];

/// The actions of all rules that match a call, each once, or else the default.
fn matching(policy: &Policy, arch: Arch, data: &Data) -> Vec<u32> {
    let Some(call) = Call::of(arch, data.number) else { return Vec::new() };
    // x86 also makes some calls through a multiplexer whose first argument selects the call.
    let part = match (arch, call.name()) {
        (Arch::X86, "socketcall") => SOCKETCALL.get(data.args[0] as usize),
        (Arch::X86, "ipc") => IPC.iter().find(|(n, _)| u64::from(*n) == data.args[0]).map(|(_, name)| name),
        _ => None,
    };
    // The other values drawn for these arguments have 32 bits.
    let lower = |v: u64| if arch.wide() { v } else { v & 0xffff_ffff };
    let cut = |a: &Arg| Arg { value: lower(a.value), value_two: lower(a.value_two), ..*a };
    let mut verdicts = Vec::new();
    for rule in policy.syscalls.iter().filter(|r| r.action != policy.default_action) {
        let names = |name: &str| rule.names.contains(&name);
        let twice =
            rule.args.iter().enumerate().any(|(i, a)| rule.args[..i].iter().any(|b| a.index == b.index));
        let holds = |free: &[u8]| {
            let mut each = rule
                .args
                .iter()
                .map(|a| free.contains(&a.index) || cut(a).holds(data.args[usize::from(a.index)]));
            rule.args.is_empty() || (if twice { each.any(|h| h) } else { each.all(|h| h) })
        };
        if names(call.name()) && holds(&[]) || part.is_some_and(|name| names(name)) && holds(&[0]) {
            verdicts.push(rule.action.code());
        }
    }
    if verdicts.is_empty() {
        verdicts.push(policy.default_action.code());
    }
    verdicts.sort_unstable();
    verdicts.dedup();
    verdicts
}

/// Whether libseccomp's error is about a conflict that we do not consider one.
///
/// Two rules about a call that x86 makes through `ipc`, one with conditions and one without, contradict
/// each other. libseccomp reports that, unless a rule about `ipc` itself stands between (`SEED=4389`).
fn overlooked(policy: &Policy, refusal: &str) -> bool {
    refusal.ends_with("different actions for ipc under the same conditions")
        && policy.syscalls.iter().any(|r| r.names.contains(&"ipc"))
}

/// Recognises the intended differences.
fn intended(policy: &Policy, arch: Arch, data: &Data, ours: u32, theirs: u32) -> Option<&'static str> {
    let default = policy.default_action.code();
    // A call number decides between x86_64 and x32, whichever architecture was drawn.
    let arch = match arch {
        Arch::X86_64 | Arch::X32 if data.number >> 30 == 1 => Arch::X32,
        Arch::X86_64 | Arch::X32 => Arch::X86_64,
        other => other,
    };
    let matching = matching(policy, arch, data);
    let name = Call::of(arch, data.number).map_or("", Call::name);
    if (arch, name) == (Arch::X32, "map_shadow_stack") && matching == [ours] && theirs == default {
        return Some("map_shadow_stack, which libseccomp does not know on x32");
    }
    if matching == [ours] {
        return Some("libseccomp does not do what all rules that match say");
    }
    if matching.contains(&ours) && matching.contains(&theirs) {
        return Some(ORDER);
    }
    if matching.contains(&ours) && !matching.contains(&theirs) {
        return Some(match theirs == default {
            true => "libseccomp passes over all rules that match",
            false => "libseccomp follows a rule that does not match",
        });
    }
    if ours == ENOSYS && theirs == default {
        match arch {
            Arch::Arm if data.number < 0xf_0000 => {
                return Some("new to a policy that names private calls of ARM");
            }
            Arch::X32 | Arch::X86_64 if (0x4000_0000..0x4000_0200).contains(&data.number) => {
                return Some("new to a policy that names calls of x32 alone");
            }
            _ => {}
        }
    }
    None
}
