//! What the rules of a policy come to for each system call.
//!
//! Rules about the same call are combined as libseccomp combines them, since that is what profiles are written for:
//! the first rule without conditions decides alone; the others are tried in an order of their conditions, not of the
//! file ([`key`]); two that agree on when but not on what are an error.

use super::arch::Arch;
use super::compile::{MAX_INSTRUCTIONS, too_long};
use super::policy::{Arg, Op, Policy};
use super::syscalls::Call;
use crate::error::{Error, Result};
use crate::text::{List, Text};

/// A rule as it is for one of its calls: conditions on different arguments, by argument, and the verdict.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Variant {
    /// The call's number on the architecture that was asked about.
    pub number: u32,
    /// Which of the policy's rules.
    pub rule: usize,
    /// All must hold.
    pub args: List<Arg>,
    /// What the filter returns then.
    pub verdict: u32,
}

/// The rules of a policy, call by call, ready to be laid out for an architecture.
pub struct Rules {
    default: u32,
    /// Every call that the policy names with each way in which its rule can hold, in the order of the file. They have no
    /// numbers yet.
    calls: Vec<(Call, Variant)>,
    /// Names that no architecture has.
    pub unknown: Vec<Text>,
}

impl Rules {
    /// Takes a policy's rules apart.
    pub fn new(policy: &Policy) -> Rules {
        let mut rules =
            Rules { default: policy.default_action.code(), calls: Vec::new(), unknown: Vec::new() };
        // A call that stands alone and says what it says already adds nothing, however often.
        let mut alone = [u32::MAX; Call::COUNT];
        for (i, rule) in policy.syscalls.iter().enumerate() {
            let mut ways = None;
            for name in &rule.names {
                let Some(call) = Call::find(name) else {
                    if !rules.unknown.contains(name) {
                        rules.unknown.push(name);
                    }
                    continue;
                };
                let before = &mut alone[call.index()];
                if rule.args.is_empty() && std::mem::replace(before, rule.action.code()) == rule.action.code()
                {
                    continue;
                }
                for args in &*ways.get_or_insert_with(|| alternatives(&rule.args)) {
                    rules
                        .calls
                        .push((call, Variant { number: 0, rule: i, args, verdict: rule.action.code() }));
                }
            }
        }
        rules
    }

    /// The largest number from `from` to `to` of a call that the policy names, even where the rule says nothing but the
    /// default.
    pub fn newest(&self, arch: Arch, from: u32, to: u32) -> Option<u32> {
        self.calls.iter().filter_map(|(c, _)| c.number(arch)).filter(|n| (from..=to).contains(n)).max()
    }

    /// What each call of an architecture that a rule is about comes to, by its number: the verdict of the first of its
    /// variants, which stand together, whose conditions hold, else the default.
    pub fn decisions(&self, arch: Arch) -> Result<Vec<Variant>> {
        let mut all = Vec::with_capacity(self.calls.len());
        // As in runc, what says the same as the default is no rule.
        for (call, variant) in self.calls.iter().filter(|(_, v)| v.verdict != self.default) {
            if let Some(part) = part_of(arch, *call) {
                all.extend(part.of(variant).on(arch));
            }
            if let Some(number) = call.number(arch) {
                all.extend(Variant { number, ..*variant }.on(arch));
            }
        }
        // Those of the same call stay in the order of the file.
        let mut order = Vec::with_capacity(all.len());
        order.extend(all.iter().enumerate().map(|(i, v)| u64::from(v.number) << 32 | i as u64));
        order.sort_unstable();
        let mut decisions: Vec<Variant> = Vec::with_capacity(all.len());
        for same in order.chunk_by(|a, b| a >> 32 == b >> 32) {
            let same = || same.iter().map(|at| all[*at as u32 as usize]);
            let alone = same().any(|v| v.args.is_empty());
            let begin = decisions.len();
            for v in same() {
                add(&mut decisions, begin, v, arch)?;
                // Each has a load and a jump at least. Nobody waits until all of a long list are held against each other.
                let least = 2 * (decisions.len() - begin);
                if least > MAX_INSTRUCTIONS {
                    if !alone {
                        return Err(too_long(least));
                    }
                    // What decides alone leaves nothing to it.
                    decisions.pop();
                }
            }
            sort(&mut decisions[begin..]);
        }
        Ok(decisions)
    }
}

/// Conditions on the same argument cannot be one rule in libseccomp; runc and crun make one rule of each condition
/// then, of which any suffices.
fn alternatives(args: &[Arg]) -> Vec<List<Arg>> {
    let mut by_index = Vec::with_capacity(args.len());
    for index in 0..6 {
        by_index.extend(args.iter().find(|a| a.index == index));
    }
    match by_index.len() == args.len() {
        true => vec![by_index.leak()],
        false => args.to_vec().leak().chunks(1).collect(),
    }
}

/// Adds what a rule says of a call to what those before it say, which begins at `begin`.
fn add(decisions: &mut Vec<Variant>, begin: usize, v: Variant, arch: Arch) -> Result<()> {
    // The first without conditions decides alone.
    if decisions.get(begin).is_some_and(|first| first.args.is_empty()) {
        return Ok(());
    }
    if v.args.is_empty() {
        decisions.truncate(begin);
    }
    let mut at = begin;
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
        // An earlier rule with fewer conditions leaves nothing to this one, and this one nothing to an earlier with more.
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
    /// The variant with what is always so on an architecture left out; `None` if it never applies there.
    fn on(&self, arch: Arch) -> Option<Variant> {
        let mut args = Vec::with_capacity(self.args.len());
        for arg in self.args {
            match simplify(*arg, arch.wide()) {
                Known::Never => return None,
                Known::Always => {}
                Known::Depends(arg) => args.push(arg),
            }
        }
        Some(Variant { args: args.leak(), ..*self })
    }
}

/// Where a condition stands among those of one call: the argument (later ones first), the kind of comparison, the upper
/// half of the value, the rule that first had this upper half, the lower half, and the first rule with it.
///
/// libseccomp tries conditions in the order of its tree, whose nodes compare half an argument each: larger values before
/// smaller, except for "less than", where the narrower range comes first too; and what ties in the order of the file.
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

    /// The bits of the argument that are looked at.
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

/// A condition where the argument has 64 bits (`wide`) or 32.
fn simplify(mut arg: Arg, wide: bool) -> Known {
    // Who writes AT_FDCWD as 64 bits means the same -100 where an int has 32.
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
        let mut args = vec![Arg { index: 0, op: Op::Eq, value: self.which, value_two: 0 }];
        args.extend(variant.args.iter().filter(|a| a.index != 0));
        Variant { number: self.number, args: args.leak(), ..*variant }
    }
}
