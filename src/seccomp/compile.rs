//! Compiles a policy to a filter program.
//!
//! The program checks the architecture, then finds the call number in a binary tree of ranges, and loads arguments
//! only if a rule has conditions. Adjacent numbers with the same verdict form one range, and ranges that contain
//! many calls are near the root. For a call that is always allowed the program loads no argument, so the kernel
//! (since 5.11) caches the verdict in a bitmap and does not run the program at all.

use super::arch::{Arch, X32_BIT};
use super::code::{AND, Code, JEQ, JGE, JGT, LOAD, Label, MAX_INSTRUCTIONS, too_long};
use super::policy::{self, Action, Arg, Op, Policy};
use super::rules::{Rules, Variant};
use super::support::Support;
use super::syscalls::Call;
use crate::error::{Error, Result};
use crate::sys::seccomp::SockFilter;
use crate::text::{Keep, List};

/// A filter that is ready to be loaded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// The program.
    pub program: Vec<SockFilter>,
    /// The `SECCOMP_FILTER_FLAG_*` to load the program with.
    pub flags: u32,
    /// Warnings about parts of the policy that have no effect.
    pub warnings: Vec<String>,
    /// Whether a rule asks for a listener, which `flags` then contains too.
    pub notify: bool,
    /// The flags that are dropped if the kernel lacks them.
    pub optional: u32,
    /// One bit for each action that the program can return, as in [`Support`].
    pub actions: u32,
}

impl Filter {
    /// Fits the filter to a kernel; fails if the policy needs a missing feature.
    pub fn fit(&mut self, kernel: Support) -> Result<()> {
        if kernel.actions == 0 {
            return Err(Error::new("this kernel has no seccomp filters (CONFIG_SECCOMP_FILTER)"));
        }
        self.flags &= kernel.flags | !self.optional;
        for (name, flag) in policy::FLAGS.pairs() {
            if self.flags & flag & !kernel.flags != 0 {
                return Err(Error::of(format_args!("flags: this kernel has no {name}")));
            }
        }
        if self.notify && kernel.flags & policy::NEW_LISTENER == 0 {
            return Err(Error::new("SCMP_ACT_NOTIFY: this kernel has no listeners (Linux 5.0)"));
        }
        for (i, name) in policy::ACTIONS.names().enumerate() {
            if self.actions & 1 << i & !kernel.actions != 0 {
                return Err(Error::of(format_args!("this kernel has no {name}")));
            }
        }
        Ok(())
    }
}

/// Compiles a policy for `native` and for the architectures that it lists.
pub fn compile(policy: &Policy, native: Arch) -> Result<Filter> {
    let rules = Rules::new(policy);
    let builder =
        Builder { code: Code::default(), default: policy.default_action.code(), blocks: Vec::new() };
    let program = builder.program(policy, &rules, &listed(policy, native))?;
    if program.len() > MAX_INSTRUCTIONS {
        return Err(too_long(program.len()));
    }
    let mut actions = bit(policy.default_action);
    for rule in &policy.syscalls {
        actions |= bit(rule.action);
    }
    let notify = actions & bit(Action::Notify) != 0;
    let (flags, optional) = flags(policy, notify);
    let mut warnings = Vec::new();
    if !rules.unknown.is_empty() {
        warnings.push(format!("seccomp: unknown system calls are skipped: {}", rules.unknown.join(", ")));
    }
    Ok(Filter { program, flags, warnings, notify, optional, actions })
}

/// Returns the bit of an action in [`Support::actions`].
fn bit(action: Action) -> u32 {
    policy::ACTIONS.values.iter().position(|a| a.kind() == action.kind()).map_or(0, |i| 1 << i)
}

/// Returns the architectures to filter for, the native one first.
/// A listed architecture that this kernel cannot run is left out, since its calls never occur.
pub fn listed(policy: &Policy, native: Arch) -> Vec<Arch> {
    let mut archs = vec![native];
    for arch in policy.architectures.iter().filter(|a| a.runs_beside(native)) {
        if !archs.contains(arch) {
            archs.push(*arch);
        }
    }
    archs
}

/// Returns the flags to load with, and those the policy did not ask for.
fn flags(policy: &Policy, notify: bool) -> (u32, u32) {
    // Like runc: without `flags` in the policy, do not enable the speculation mitigations, which would slow the
    // container down.
    let optional = if policy.flags.is_none() { policy::SPEC_ALLOW } else { 0 };
    // The process that loads the filter has one thread, so there is nothing to synchronise. Up to Linux 5.6 this
    // flag also cannot be combined with a listener.
    let mut flags = policy.flags.unwrap_or(optional) & !policy::TSYNC;
    if notify {
        flags |= policy::NEW_LISTENER;
    } else {
        // The kernel refuses this flag without a listener.
        flags &= !policy::WAIT_KILLABLE_RECV;
    }
    (flags, optional)
}

/// The result for a number: a verdict, or the block that tests the arguments.
#[derive(Clone, Copy, PartialEq)]
enum Leaf {
    Give(u32),
    Block(u32),
}

/// The call numbers from `start` up to the start of the next range.
struct Range {
    start: u32,
    leaf: Leaf,
    /// The weighted number of known calls in the range.
    weight: u32,
}

/// Conditions that some calls share, and the label of their code once written.
#[derive(Clone, Copy)]
struct Block {
    wide: bool,
    variants: List<Variant>,
    label: Option<Label>,
}

struct Builder {
    code: Code,
    default: u32,
    blocks: Vec<Block>,
}

/// The owner of the numbers from one start up to the next.
#[derive(Clone, Copy, PartialEq)]
enum Span {
    /// Calls of a listed architecture.
    /// Numbers only grow, so the policy's author did not know the calls above the newest one that the policy names.
    Calls(Arch),
    /// Calls of an architecture that is not listed.
    Foreign,
    /// Numbers that belong to no call.
    Default,
}

/// The verdict for architectures that are not listed, as in libseccomp.
pub const FOREIGN: u32 = Action::KillThread.code();

/// The verdict for calls newer than the policy: ENOSYS, as from an old kernel.
/// C libraries expect it when they try a new call, and fall back to an older one.
const UNHEARD: u32 = Action::Errno(38).code();

impl Builder {
    fn program(mut self, policy: &Policy, rules: &Rules, archs: &[Arch]) -> Result<Vec<SockFilter>> {
        let mut next = self.code.give(FOREIGN);
        // The native architecture comes first in `archs`. It is written last, so that the program tests it first.
        for (i, arch) in archs.iter().enumerate().rev() {
            let Some(audit) = arch.audit() else { continue };
            let shares = |other: &&Arch| other.audit() == Some(audit);
            if archs[..i].iter().any(|other| shares(&other)) {
                continue;
            }
            let members: Vec<Arch> = archs.iter().filter(shares).copied().collect();
            let ranges = self.ranges(policy, rules, &members)?;
            let tree = self.tree(&ranges);
            let number = self.code.put(LOAD, NUMBER, tree);
            next = self.code.branch(JEQ, audit, number, next);
        }
        self.code.put(LOAD, ARCH, next);
        Ok(self.code.finish())
    }

    /// Builds the ranges of all numbers, for architectures with one audit value.
    fn ranges(&mut self, policy: &Policy, rules: &Rules, archs: &[Arch]) -> Result<Vec<Range>> {
        // Like runc, return ENOSYS even if the default is to kill: a C library that tries a new call must survive
        // to try the old one. A tracer or a listener, however, is trusted to know new calls.
        let stub =
            !matches!(policy.default_action, Action::Allow | Action::Log | Action::Trace(_) | Action::Notify);
        let stubbed = |arch| stub && rules.any(arch);
        let mut decisions = Vec::with_capacity(archs.len() * rules.calls.len());
        for arch in archs {
            rules.decide(*arch, &mut |same| decisions.push((same[0].number, self.leaf(same, *arch))))?;
        }
        // The results for the numbers that no rule decides.
        let mut rest = Vec::new();
        let spans = spans(archs, stubbed(Arch::X86_64));
        for (i, (start, span)) in spans.iter().enumerate() {
            rest.push((*start, Leaf::Give(if *span == Span::Foreign { FOREIGN } else { self.default })));
            if let Span::Calls(arch) = *span {
                let last = spans.get(i + 1).map_or(u32::MAX, |(next, _)| next - 1);
                if stubbed(arch) {
                    let unheard = rules.newest(arch, *start, last).map_or(*start, |n| n + 1);
                    rest.push((unheard, Leaf::Give(UNHEARD)));
                }
            }
        }
        let mut ranges = Ranges(Vec::new());
        for (i, (start, leaf)) in rest.iter().enumerate() {
            let end = rest.get(i + 1).map_or(u32::MAX, |(next, _)| *next);
            ranges.from(*start, *leaf);
            // Even above the newest named number there may be a multiplexer (ipc) through which a named call is
            // reached.
            for (number, decided) in decisions.iter().filter(|(n, _)| (*start..end).contains(n)) {
                ranges.from(*number, *decided);
                ranges.from(number + 1, *leaf);
            }
        }
        for arch in archs {
            ranges.weigh(*arch);
        }
        Ok(ranges.0)
    }

    fn leaf(&mut self, variants: &[Variant], arch: Arch) -> Leaf {
        if variants[0].args.is_empty() {
            return Leaf::Give(variants[0].verdict);
        }
        let same = |b: &Block| {
            let mut pairs = b.variants.iter().zip(variants);
            b.wide == arch.wide()
                && b.variants.len() == variants.len()
                && pairs.all(|(a, b)| a.args == b.args && a.verdict == b.verdict)
        };
        let known = self.blocks.iter().position(same).unwrap_or_else(|| {
            self.blocks.push(Block { wide: arch.wide(), variants: variants.to_vec().keep(), label: None });
            self.blocks.len() - 1
        });
        Leaf::Block(known as u32)
    }

    /// Writes the search for the accumulator's value in `ranges`.
    fn tree(&mut self, ranges: &[Range]) -> Label {
        if let [low, one, high] = ranges {
            if low.leaf == high.leaf && high.start - one.start == 1 {
                let (yes, no) = (self.place(one.leaf), self.place(low.leaf));
                return self.code.branch(JEQ, one.start, yes, no);
            }
        }
        if let [only] = ranges {
            return self.place(only.leaf);
        }
        let (low, high) = ranges.split_at(middle(ranges));
        // Code that is written last is the nearest. Write the smaller half last, because the branch to the other
        // half has to jump over it.
        let (yes, no);
        if low.len() < high.len() {
            yes = self.tree(high);
            no = self.tree(low);
        } else {
            no = self.tree(low);
            yes = self.tree(high);
        }
        self.code.branch(JGE, high[0].start, yes, no)
    }

    fn place(&mut self, leaf: Leaf) -> Label {
        let i = match leaf {
            Leaf::Give(verdict) => return self.code.give(verdict),
            Leaf::Block(i) => i as usize,
        };
        let Block { wide, variants, label } = self.blocks[i];
        if let Some(label) = label {
            return label;
        }
        let mut next = self.code.give(self.default);
        for v in variants.iter().rev() {
            let mut yes = self.code.give(v.verdict);
            for arg in v.args.iter().rev() {
                yes = condition(&mut self.code, arg, wide, yes, next);
            }
            next = yes;
        }
        self.blocks[i].label = Some(next);
        next
    }
}

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const fn low_word(arg: u8) -> u32 {
    16 + 8 * arg as u32 + if cfg!(target_endian = "big") { 4 } else { 0 }
}
const fn high_word(arg: u8) -> u32 {
    low_word(arg) ^ 4
}

/// Writes the test of one condition, word by word.
/// A word is skipped if its mask is zero.
fn condition(code: &mut Code, arg: &Arg, wide: bool, yes: Label, no: Label) -> Label {
    let (yes, no) = match arg.op {
        Op::Ne | Op::Lt | Op::Le => (no, yes),
        _ => (yes, no),
    };
    let op = match arg.op {
        Op::Eq | Op::Ne | Op::MaskedEq => JEQ,
        Op::Lt | Op::Ge => JGE,
        Op::Le | Op::Gt => JGT,
    };
    let (value, mask) = (arg.compared(), arg.mask());
    let (high, high_mask) = ((value >> 32) as u32, (mask >> 32) as u32);
    let mut label = yes;
    if mask as u32 != 0 {
        label = code.branch(op, value as u32, yes, no);
        label = load(code, low_word(arg.index), mask as u32, label);
    }
    if wide && high_mask != 0 {
        label = code.branch(JEQ, high, label, no);
        if op != JEQ {
            label = code.branch(JGT, high, yes, label);
        }
        label = load(code, high_word(arg.index), high_mask, label);
    }
    label
}

/// Writes the load of a word and its mask.
fn load(code: &mut Code, at: u32, mask: u32, mut next: Label) -> Label {
    if mask != u32::MAX {
        next = code.put(AND, mask, next);
    }
    code.put(LOAD, at, next)
}

struct Ranges(Vec<Range>);

impl Ranges {
    /// Assigns `leaf` to the numbers from `start` on.
    /// Starts must ascend; a second call with the same start replaces the first.
    fn from(&mut self, start: u32, leaf: Leaf) {
        if self.0.last().is_some_and(|r| r.start == start) {
            self.0.pop();
        }
        if self.0.last().is_none_or(|r| r.leaf != leaf) {
            self.0.push(Range { start, leaf, weight: 1 });
        }
    }

    /// Adds the calls of an architecture to the weights of their ranges.
    /// x32 shares a tree with x86_64. It is so rare that most kernels are built without it, so its calls weigh
    /// less. With this weight no architecture's mean cost exceeds 12 for the engines' default profile.
    fn weigh(&mut self, arch: Arch) {
        let weight = if arch == Arch::X32 { 6 } else { 16 };
        for number in Call::all().filter_map(|c| c.number(arch)) {
            let at = self.0.partition_point(|r| r.start <= number) - 1;
            self.0[at].weight += weight;
        }
    }
}

/// Returns where to split ranges so that both halves weigh about the same.
fn middle(ranges: &[Range]) -> usize {
    let total: u32 = ranges.iter().map(|r| r.weight).sum();
    let mut low = 0;
    for (i, range) in ranges.iter().enumerate() {
        let more = low + range.weight;
        if more * 2 >= total {
            // `range` is the middle one: put it into the half where it balances better.
            return if i > 0 && total - 2 * low <= 2 * more - total || i + 1 == ranges.len() {
                i
            } else {
                i + 1
            };
        }
        low = more;
    }
    1
}

/// Divides all 2³² numbers among the architectures that share an audit value.
fn spans(listed: &[Arch], stub: bool) -> Vec<(u32, Span)> {
    let span = |arch| if listed.contains(&arch) { Span::Calls(arch) } else { Span::Foreign };
    match listed[0] {
        // x32 has the numbers of x86_64 and, from 512 on, its own; the kernel recognises them by the bit alone. A
        // tracer sets the number to -1 to have the call skipped (seccomp(2)).
        Arch::X86_64 | Arch::X32 if cfg!(any(target_arch = "x86", target_arch = "x86_64")) => {
            let (x86_64, x32) = (span(Arch::X86_64), span(Arch::X32));
            let above = if x32 == Span::Foreign && !stub { Span::Foreign } else { x86_64 };
            let skipped = if x32 == Span::Foreign { Span::Default } else { x32 };
            vec![
                (0, x86_64),
                (X32_BIT, x32),
                (X32_BIT | 512, x32),
                (1 << 31, above),
                (1 << 31 | X32_BIT, x32),
                (u32::MAX, skipped),
            ]
        }
        // ARM's private calls.
        Arch::Arm => vec![(0, Span::Calls(Arch::Arm)), (0x0f_0000, Span::Calls(Arch::Arm))],
        arch => vec![(0, Span::Calls(arch))],
    }
}
