//! The meaning of a profile, rule by rule, without a filter.

use embrun::seccomp::arch::Arch;
use embrun::seccomp::policy::{Action, Arg, Policy};
use embrun::seccomp::sim::Data;
use embrun::seccomp::syscalls::Call;

pub const ENOSYS: u32 = Action::Errno(38).code();

/// The ENOSYS stub that runc puts in front of libseccomp's filter.
///
/// It answers calls above the largest number that the policy names.
pub fn stub(policy: &Policy, family: &[Arch], data: &Data) -> Option<u32> {
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
pub fn matching(policy: &Policy, arch: Arch, data: &Data) -> Vec<u32> {
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
