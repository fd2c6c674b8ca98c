//! Combines the rules of a policy into a decision for each system call.
//!
//! Rules about the same call are combined as in libseccomp, because profiles are written for it: the first rule
//! without conditions decides alone; the others are tried in an order that depends on their conditions, not on the
//! file ([`key`]); two rules with the same conditions but different actions are an error.

use super::arch::Arch;
use super::code::{MAX_INSTRUCTIONS, too_long};
use super::policy::{Arg, Op, Policy};
use super::syscalls::Call;
use crate::error::{Error, Result};
use crate::text::names::words;
use crate::text::{Keep, List, Text};

/// One way in which a rule applies to a call: conditions and verdict.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Variant {
    /// The call's number on the architecture in question.
    pub number: u32,
    /// The index of the rule in the policy.
    pub rule: usize,
    /// The conditions, at most one for each argument, all of which must hold.
    pub args: List<Arg>,
    /// The filter's return value if they hold.
    pub verdict: u32,
}

/// The rules of a policy, call by call, for any architecture.
pub struct Rules {
    default: u32,
    /// The variants of all rules in file order, not yet numbered.
    variants: Vec<Variant>,
    /// The named calls in file order, each with the index of a variant.
    pub calls: Vec<(Call, u32)>,
    /// Names that exist on no architecture.
    pub unknown: Vec<Text>,
}

impl Rules {
    /// Splits a policy's rules into calls and variants.
    pub fn new(policy: &Policy) -> Rules {
        let default = policy.default_action.code();
        let mut rules = Rules { default, variants: Vec::new(), calls: Vec::new(), unknown: Vec::new() };
        // Skip an unconditional rule that repeats the call's previous unconditional action.
        let mut alone = [u32::MAX; Call::COUNT];
        let mut likely = 0;
        for (i, rule) in policy.syscalls.iter().enumerate() {
            let verdict = rule.action.code();
            let first = rules.variants.len() as u32;
            for args in alternatives(&rule.args) {
                rules.variants.push(Variant { number: 0, rule: i, args, verdict });
            }
            for name in &rule.names {
                let Some(call) = Call::find_near(name, likely) else {
                    if !rules.unknown.contains(name) {
                        rules.unknown.push(name);
                    }
                    continue;
                };
                likely = call.index() + 1;
                let before = &mut alone[call.index()];
                if rule.args.is_empty() && std::mem::replace(before, verdict) == verdict {
                    continue;
                }
                for variant in first..rules.variants.len() as u32 {
                    rules.calls.push((call, variant));
                }
            }
        }
        rules
    }

    /// Whether the policy names a call of an architecture.
    pub fn any(&self, arch: Arch) -> bool {
        self.calls.iter().any(|(c, _)| c.number(arch).is_some())
    }

    /// Returns the largest number in `from..=to` of a call that the policy names.
    /// A call counts even if its rule has the default action.
    pub fn newest(&self, arch: Arch, from: u32, to: u32) -> Option<u32> {
        self.calls.iter().filter_map(|(c, _)| c.number(arch)).filter(|n| (from..=to).contains(n)).max()
    }

    /// Passes the variants of each call on an architecture to `take`.
    /// Calls come sorted by number. The verdict is that of the first variant whose conditions hold, or else the default.
    ///
    /// Only one call's variants are in memory at a time: the heap never frees.
    pub fn decide(&self, arch: Arch, take: &mut dyn FnMut(&[Variant])) -> Result<()> {
        let parts = parts(arch);
        let part = |call| parts.iter().find(|(whole, _)| *whole == call).map(|(_, part)| part);
        // The index in the lower half keeps the variants of one call in file order.
        let mut order = Vec::with_capacity(self.calls.len());
        for (i, (call, variant)) in self.calls.iter().enumerate() {
            // Like runc: ignore a rule whose action is the default.
            if self.variants[*variant as usize].verdict != self.default {
                for number in [part(*call).map(|part| part.number), call.number(arch)].into_iter().flatten() {
                    order.push(u64::from(number) << 32 | i as u64);
                }
            }
        }
        order.sort_unstable();
        let mut variants = Vec::new();
        let mut decisions = Vec::new();
        for same in order.chunk_by(|a, b| a >> 32 == b >> 32) {
            let number = (same[0] >> 32) as u32;
            variants.clear();
            for at in same {
                let (call, variant) = self.calls[*at as u32 as usize];
                let variant = &self.variants[variant as usize];
                let numbered = match part(call).filter(|part| part.number == number) {
                    Some(part) => part.of(variant),
                    None => Variant { number, ..*variant },
                };
                variants.extend(numbered.on(arch));
            }
            let alone = variants.iter().any(|v| v.args.is_empty());
            decisions.clear();
            for v in &variants {
                add(&mut decisions, *v, arch)?;
                // Each variant takes at least a load and a jump. Fail early instead of comparing all pairs of a
                // long list.
                let least = 2 * decisions.len();
                if least > MAX_INSTRUCTIONS {
                    if !alone {
                        return Err(too_long(least));
                    }
                    // An unconditional rule will replace this variant anyway.
                    decisions.pop();
                }
            }
            if !decisions.is_empty() {
                sort(&mut decisions);
                take(&decisions);
            }
        }
        Ok(())
    }
}

/// Returns the alternative sets of conditions of a rule.
/// libseccomp does not accept two conditions on one argument. Like runc and crun, turn each condition into a rule
/// of its own then, any of which suffices.
fn alternatives(args: &[Arg]) -> Vec<List<Arg>> {
    let mut by_index = Vec::with_capacity(args.len());
    for index in 0..6 {
        by_index.extend(args.iter().find(|a| a.index == index));
    }
    match by_index.len() == args.len() {
        true => vec![by_index.keep()],
        false => args.to_vec().keep().chunks(1).collect(),
    }
}

/// Adds a variant to those of the same call.
fn add(decisions: &mut Vec<Variant>, v: Variant, arch: Arch) -> Result<()> {
    // The first variant without conditions decides alone.
    if decisions.first().is_some_and(|first| first.args.is_empty()) {
        return Ok(());
    }
    if v.args.is_empty() {
        decisions.clear();
    }
    let mut at = 0;
    while let Some(before) = decisions.get(at) {
        let wider = v.args.starts_with(before.args);
        let narrower = before.args.starts_with(v.args);
        if narrower && before.verdict != v.verdict {
            let name = Call::of(arch, v.number).map_or("", Call::name);
            return Err(Error::of(format_args!(
                "syscalls[{}] contradicts syscalls[{}]: different actions for {name} under the same conditions",
                v.rule, before.rule
            )));
        }
        // A rule with fewer conditions makes one with more redundant, whether it comes before or after.
        if wider {
            return Ok(());
        }
        if narrower {
            decisions.remove(at);
        } else {
            at += 1;
        }
    }
    decisions.push(v);
    Ok(())
}

/// Sorts the variants of one call by the [`key`]s of their conditions.
fn sort(variants: &mut [Variant]) {
    // Most calls have one variant, and the heap never frees.
    if variants.len() == 1 {
        return;
    }
    let mut keys: Vec<Vec<u32>> = Vec::with_capacity(variants.len());
    for v in &*variants {
        let mut keys_of = Vec::with_capacity(6 * v.args.len());
        for arg in v.args {
            keys_of.extend_from_slice(&key(arg, variants));
        }
        keys.push(keys_of);
    }
    for end in 1..variants.len() {
        let mut at = end;
        while at > 0 && keys[at] < keys[at - 1] {
            keys.swap(at - 1, at);
            variants.swap(at - 1, at);
            at -= 1;
        }
    }
}

impl Variant {
    /// Drops conditions that always hold on `arch`; `None` if one never holds.
    fn on(&self, arch: Arch) -> Option<Variant> {
        let mut args = Vec::with_capacity(self.args.len());
        for arg in self.args {
            match simplify(*arg, arch.wide()) {
                Known::Never => return None,
                Known::Always => {}
                Known::Depends(arg) => args.push(arg),
            }
        }
        Some(Variant { args: args.keep(), ..*self })
    }
}

/// The sort key of a condition among those of one call.
/// Its parts: the argument (later ones first), the kind of comparison, the upper half of the value, the first rule
/// with this upper half, the lower half, and the first rule with this condition.
///
/// libseccomp tries conditions in the order of its tree, whose nodes each compare half an argument: larger values
/// come before smaller ones, except for "less than", where the narrower range also comes first. File order breaks
/// ties.
fn key(arg: &Arg, all: &[Variant]) -> [u32; 6] {
    let less = matches!(arg.op, Op::Lt | Op::Le);
    let value = if less { arg.compared() } else { !arg.compared() };
    let rank = |a: &Arg| (a.index, a.op == Op::MaskedEq, a.op.rank());
    let differs = |a: &Arg| (a.compared() ^ arg.compared()) | (a.mask() ^ arg.mask());
    let first =
        |same: &dyn Fn(&Arg) -> bool| all.iter().position(|v| v.args.iter().any(same)).unwrap_or(0) as u32;
    [
        !u32::from(arg.index),
        arg.op.rank().into(),
        (value >> 32) as u32,
        first(&|a| rank(a) == rank(arg) && differs(a) >> 32 == 0),
        value as u32,
        first(&|a| a == arg),
    ]
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

    /// The bits of the argument that are compared.
    pub fn mask(&self) -> u64 {
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

const LOWER_HALF: u64 = u32::MAX as u64;

enum Known {
    Never,
    Always,
    Depends(Arg),
}

/// Simplifies a condition for arguments of 64 bits (`wide`) or 32.
fn simplify(mut arg: Arg, wide: bool) -> Known {
    // Profiles write AT_FDCWD as a 64-bit -100. Where arguments have 32 bits, it means the int -100.
    let negative = (if arg.op == Op::MaskedEq { arg.value_two } else { arg.value }) >> 32 == LOWER_HALF;
    if !wide && negative && matches!(arg.op, Op::Eq | Op::Ne | Op::MaskedEq) {
        arg.value &= LOWER_HALF;
        arg.value_two &= LOWER_HALF;
    }
    arg.value_two = if arg.op == Op::MaskedEq { arg.value_two & arg.value } else { 0 };
    if !wide && arg.compared() > LOWER_HALF {
        return match arg.op {
            Op::Eq | Op::Ge | Op::Gt | Op::MaskedEq => Known::Never,
            Op::Ne | Op::Lt | Op::Le => Known::Always,
        };
    }
    if !wide && arg.op == Op::MaskedEq {
        arg.value &= LOWER_HALF;
    }
    match (arg.op, arg.value) {
        (Op::MaskedEq, 0) => Known::Always,
        _ => Known::Depends(arg),
    }
}

/// How x86 also reaches a socket or System V IPC call: through a multiplexer.
/// `socketcall` and `ipc` each have one number, and their first argument selects the call (`linux/net.h`,
/// `linux/ipc.h`). The call's own arguments are moved or behind a pointer, so a filter cannot test the rule's
/// conditions on them. Like libseccomp, we only replace the condition on the first argument and keep the others.
struct Part {
    number: u32,
    which: u64,
}

const SOCKETCALL: u32 = 102;
const IPC: u32 = 117;

/// The calls of an architecture that have a multiplexer too.
///
/// The place in a list is the number that the multiplexer takes.
fn parts(arch: Arch) -> Vec<(Call, Part)> {
    const SOCKET: Text = "- socket bind connect listen accept getsockname getpeername socketpair send recv sendto recvfrom \
        shutdown setsockopt getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg";
    const SYSV: Text = "- semop semget semctl semtimedop - - - - - - msgsnd msgrcv msgget msgctl - - - - - - \
        shmat shmdt shmget shmctl";
    if arch != Arch::X86 || cfg!(not(any(target_arch = "x86", target_arch = "x86_64"))) {
        return Vec::new();
    }
    let mut parts = Vec::new();
    for (number, list) in [(SOCKETCALL, SOCKET), (IPC, SYSV)] {
        let calls = words(list).zip(0..).filter_map(|(name, which)| Some((Call::find(name)?, which)));
        parts.extend(calls.map(|(call, which)| (call, Part { number, which })));
    }
    parts
}

impl Part {
    fn of(&self, variant: &Variant) -> Variant {
        let mut args = vec![Arg { index: 0, op: Op::Eq, value: self.which, value_two: 0 }];
        args.extend(variant.args.iter().filter(|a| a.index != 0));
        Variant { number: self.number, args: args.keep(), ..*variant }
    }
}
