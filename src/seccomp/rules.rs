//! What the rules of a policy come to for each system call.
//!
//! Rules about the same call are combined as libseccomp combines them, since that is what profiles are written for:
//! the first rule without conditions decides alone; the others are tried in an order of their conditions, not of the
//! file ([`key`]); two that agree on when but not on what are an error.

use std::borrow::Cow;
use std::cmp::Reverse;

use super::arch::Arch;
use super::policy::{Arg, Op, Policy};
use super::syscalls::Call;
use crate::error::{Error, Result};

/// A rule as it is for one of its calls: conditions on different arguments, by argument, and the verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// Which of the policy's rules.
    pub rule: usize,
    /// All must hold.
    pub args: Vec<Arg>,
    /// What the filter returns then.
    pub verdict: u32,
}

/// The rules of a policy, call by call, ready to be laid out for an architecture.
pub struct Rules {
    /// Pairs of a call and an index of `variants`, in the order of the file.
    calls: Vec<(Call, usize)>,
    variants: Vec<Variant>,
    /// Every call that the policy names, even where the rule says nothing but the default.
    named: Vec<Call>,
    /// Names that no architecture has.
    pub unknown: Vec<String>,
}

impl Rules {
    /// Takes a policy's rules apart.
    pub fn new(policy: &Policy) -> Rules {
        let mut rules =
            Rules { calls: Vec::new(), variants: Vec::new(), named: Vec::new(), unknown: Vec::new() };
        let default = policy.default_action.code();
        for (i, rule) in policy.syscalls.iter().enumerate() {
            let first = rules.variants.len();
            // As in runc, what says the same as the default is no rule.
            if rule.action.code() != default {
                let variant =
                    |args: &[Arg]| Variant { rule: i, args: args.to_vec(), verdict: rule.action.code() };
                rules.variants.extend(alternatives(&rule.args).into_iter().map(|args| variant(&args)));
            }
            let last = rules.variants.len();
            for name in &rule.names {
                match Call::find(name) {
                    Some(call) => {
                        rules.named.push(call);
                        rules.calls.extend((first..last).map(|v| (call, v)));
                    }
                    None if rules.unknown.contains(name) => {}
                    None => rules.unknown.push(name.clone()),
                }
            }
        }
        rules
    }

    /// The largest number from `from` to `to` of a call that the policy names.
    pub fn newest(&self, arch: Arch, from: u32, to: u32) -> Option<u32> {
        self.named.iter().filter_map(|c| c.number(arch)).filter(|n| (from..=to).contains(n)).max()
    }

    /// What each call of an architecture that a rule is about comes to, by its number: the verdict of the first variant
    /// whose conditions hold, else the default.
    pub fn decisions(&self, arch: Arch) -> Result<Vec<(u32, Vec<Variant>)>> {
        let mut all: Vec<(u32, Cow<'_, Variant>)> = Vec::with_capacity(self.calls.len());
        for (call, variant) in &self.calls {
            let variant = &self.variants[*variant];
            if let Some(part) = part_of(arch, *call) {
                all.push((part.number, Cow::Owned(part.of(variant))));
            }
            if let Some(number) = call.number(arch) {
                all.push((number, Cow::Borrowed(variant)));
            }
        }
        all.sort_by_key(|(number, _)| *number);
        let mut decisions = Vec::with_capacity(all.len());
        for group in all.chunk_by(|a, b| a.0 == b.0) {
            let number = group[0].0;
            let decision = combine(arch, group.iter().map(|(_, v)| v.as_ref())).map_err(|(a, b)| {
                let name = Call::of(arch, number).map_or("", Call::name);
                Error::new(format!(
                    "syscalls[{b}] contradicts syscalls[{a}]: different actions for {name} under the same conditions"
                ))
            })?;
            decisions.extend((!decision.is_empty()).then_some((number, decision)));
        }
        Ok(decisions)
    }
}

/// Conditions on the same argument cannot be one rule in libseccomp; runc and crun make one rule of each condition
/// then, of which any suffices.
fn alternatives(args: &[Arg]) -> Vec<Vec<Arg>> {
    let twice = args.iter().enumerate().any(|(i, a)| args[..i].iter().any(|b| b.index == a.index));
    if twice {
        return args.iter().map(|a| vec![*a]).collect();
    }
    let mut args = args.to_vec();
    args.sort_by_key(|a| a.index);
    vec![args]
}

/// What the rules of one call come to, or the two that contradict each other.
fn combine<'a>(
    arch: Arch,
    variants: impl Iterator<Item = &'a Variant>,
) -> std::result::Result<Vec<Variant>, (usize, usize)> {
    let mut kept: Vec<Variant> = Vec::new();
    for v in variants.filter_map(|v| v.on(arch)) {
        if v.args.is_empty() {
            return Ok(vec![v]);
        }
        // An earlier rule with fewer conditions leaves nothing to this one ...
        if let Some(wider) = kept.iter().find(|k| v.args.starts_with(&k.args)) {
            if wider.args == v.args && wider.verdict != v.verdict {
                return Err((wider.rule, v.rule));
            }
            continue;
        }
        // ... and this one nothing to an earlier one with more.
        if let Some(narrower) = kept.iter().find(|k| k.args.starts_with(&v.args) && k.verdict != v.verdict) {
            return Err((narrower.rule, v.rule));
        }
        kept.retain(|k| !k.args.starts_with(&v.args));
        kept.push(v);
    }
    let keys: Vec<Vec<Key>> = kept.iter().map(|v| v.args.iter().map(|a| key(*a, &kept)).collect()).collect();
    let mut order: Vec<usize> = (0..kept.len()).collect();
    order.sort_by(|a, b| keys[*a].cmp(&keys[*b]));
    Ok(order.into_iter().map(|i| kept[i].clone()).collect())
}

impl Variant {
    /// The variant with what is always so on an architecture left out; `None` if it never applies there.
    fn on(&self, arch: Arch) -> Option<Variant> {
        let mut args = Vec::with_capacity(self.args.len());
        for arg in &self.args {
            match simplify(*arg, arch.wide()) {
                Known::Never => return None,
                Known::Always => {}
                Known::Depends(arg) => args.push(arg),
            }
        }
        Some(Variant { rule: self.rule, args, verdict: self.verdict })
    }
}

/// Where a condition stands among those of one call: the argument (later ones first), the kind of comparison, the upper
/// half of the value, the rule that first had this upper half, the lower half, and the first rule with it.
type Key = (Reverse<u8>, u8, u32, usize, u32, usize);

/// libseccomp tries conditions in the order of its tree, whose nodes compare half an argument each: larger values before
/// smaller, except for "less than", where the narrower range comes first too; and what ties in the order of the file.
fn key(arg: Arg, all: &[Variant]) -> Key {
    let less = matches!(arg.op, Op::Lt | Op::Le);
    let value = if less { arg.compared() } else { !arg.compared() };
    let upper = |a: &Arg| (a.index, a.op == Op::MaskedEq, a.op.rank(), (a.compared() >> 32, a.mask() >> 32));
    let first = |same: &dyn Fn(&Arg) -> bool| all.iter().position(|v| v.args.iter().any(same)).unwrap_or(0);
    (
        Reverse(arg.index),
        arg.op.rank(),
        (value >> 32) as u32,
        first(&|a| upper(a) == upper(&arg)),
        value as u32,
        first(&|a| *a == arg),
    )
}

impl Op {
    fn rank(self) -> u8 {
        match self {
            Op::Eq | Op::Ne | Op::MaskedEq => 0,
            Op::Lt | Op::Le => 1,
            Op::Ge | Op::Gt => 2,
        }
    }
}

impl Arg {
    /// The value that the argument, masked or not, is compared with.
    pub fn compared(&self) -> u64 {
        if self.op == Op::MaskedEq { self.value_two } else { self.value }
    }

    fn mask(&self) -> u64 {
        if self.op == Op::MaskedEq { self.value } else { u64::MAX }
    }

    /// Whether an argument meets the condition.
    pub fn holds(&self, arg: u64) -> bool {
        match self.op {
            Op::Eq => arg == self.value,
            Op::Ne => arg != self.value,
            Op::Lt => arg < self.value,
            Op::Le => arg <= self.value,
            Op::Ge => arg >= self.value,
            Op::Gt => arg > self.value,
            Op::MaskedEq => arg & self.value == self.value_two & self.value,
        }
    }
}

enum Known {
    Never,
    Always,
    Depends(Arg),
}

/// A condition where the argument has 64 bits (`wide`) or 32.
fn simplify(mut arg: Arg, wide: bool) -> Known {
    arg.value_two = if arg.op == Op::MaskedEq { arg.value_two & arg.value } else { 0 };
    if !wide && arg.compared() > u64::from(u32::MAX) {
        return match arg.op {
            Op::Eq | Op::Ge | Op::Gt | Op::MaskedEq => Known::Never,
            Op::Ne | Op::Lt | Op::Le => Known::Always,
        };
    }
    if !wide && arg.op == Op::MaskedEq {
        arg.value &= u64::from(u32::MAX);
    }
    match (arg.op, arg.value) {
        (Op::MaskedEq, 0) => Known::Always,
        _ => Known::Depends(arg),
    }
}

/// x86 also reaches the socket and System V IPC calls through one number each, whose first argument says which call
/// (`linux/net.h`, `linux/ipc.h`). The other arguments are out of a filter's sight, so a rule's conditions on them
/// cannot be kept; libseccomp keeps all but the first, and so do we.
struct Part {
    number: u32,
    which: u64,
}

const SOCKETCALL: u32 = 102;
const IPC: u32 = 117;

fn part_of(arch: Arch, call: Call) -> Option<Part> {
    const SOCKET: &[&str] = &[
        "",
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
    #[rustfmt::skip]
    const SYSV: &[&str] = &[
        "", "semop", "semget", "semctl", "semtimedop", "", "", "", "", "", "", "msgsnd", "msgrcv", "msgget", "msgctl",
        "", "", "", "", "", "", "shmat", "shmdt", "shmget", "shmctl",
    ];
    if arch != Arch::X86 || cfg!(not(any(target_arch = "x86", target_arch = "x86_64"))) {
        return None;
    }
    let find = |list: &[&str]| list.iter().position(|n| *n == call.name()).map(|i| i as u64);
    let socket = find(SOCKET).map(|which| Part { number: SOCKETCALL, which });
    socket.or_else(|| find(SYSV).map(|which| Part { number: IPC, which }))
}

impl Part {
    fn of(&self, variant: &Variant) -> Variant {
        let mut args = variant.args.clone();
        args.retain(|a| a.index != 0);
        args.insert(0, Arg { index: 0, op: Op::Eq, value: self.which, value_two: 0 });
        Variant { rule: variant.rule, args, verdict: variant.verdict }
    }
}
