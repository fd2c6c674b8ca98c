//! Random policies and calls from a seed, which a failing test prints.

use embrun::seccomp::arch::Arch;
use embrun::seccomp::policy::{Action, Arg, Op, Policy, Rule};
use embrun::seccomp::sim::Data;
use embrun::seccomp::syscalls::Call;

/// xorshift64*: one seed gives the same numbers everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        random.next();
        random
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// The seeds of a run: `SEED=n` for one, or else `COUNT` of them from 1.
pub fn seeds(count: u64) -> Seeds {
    let number = |name| std::env::var(name).ok().map(|v| v.parse::<u64>().expect(name));
    Seeds {
        left: match number("SEED") {
            Some(seed) => seed..=seed,
            None => 1..=number("COUNT").unwrap_or(count),
        },
        at: None,
    }
}

/// Prints the current seed when a test panics.
pub struct Seeds {
    left: std::ops::RangeInclusive<u64>,
    at: Option<u64>,
}

impl Iterator for Seeds {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.at = self.left.next();
        self.at
    }
}

impl Drop for Seeds {
    fn drop(&mut self) {
        if let Some(seed) = self.at.filter(|_| std::thread::panicking()) {
            eprintln!("failed with SEED={seed}");
        }
    }
}

/// The architectures that one kernel can run, native first.
pub const FAMILIES: &[&[Arch]] = &[
    &[Arch::X86_64],
    &[Arch::X86_64, Arch::X86],
    &[Arch::X86_64, Arch::X86, Arch::X32],
    &[Arch::X86_64, Arch::X32],
    &[Arch::X86],
    &[Arch::Aarch64],
    &[Arch::Aarch64, Arch::Arm],
    &[Arch::Arm],
    &[Arch::Riscv64],
];

const ACTIONS: &[Action] = &[
    Action::Allow,
    Action::Allow,
    Action::Allow,
    Action::Errno(1),
    Action::Errno(13),
    Action::Errno(38),
    Action::Errno(0),
    Action::Errno(4094),
    Action::KillProcess,
    Action::KillThread,
    Action::Trap,
    Action::Trace(1),
    Action::Trace(513),
    Action::Log,
    Action::Notify,
];
const OPS: &[Op] = &[Op::Eq, Op::Ne, Op::Lt, Op::Le, Op::Ge, Op::Gt, Op::MaskedEq];
const SMALL: &[u64] =
    &[0, 1, 2, 3, 5, 8, 40, 0xff, 0x100, 0x1000, 0x7e02_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
/// Negative ints in 64 bits, which are ints on every architecture.
const NEGATIVE: &[u64] = &[u64::MAX, -100i64 as u64, -0x1000i64 as u64, -0x8000_0000i64 as u64];
const LARGE: &[u64] = &[
    1 << 32,
    1 << 32 | 5,
    5 << 32,
    0x7fff_ffff_ffff_ffff,
    1 << 63,
    0xffff_ffff_0000_0000,
    u64::MAX - 1,
    u64::MAX,
];

/// A policy for a family, with names that `usable` accepts.
pub fn policy(random: &mut Random, family: &[Arch], calls: &[Call]) -> Policy {
    let large = family.iter().all(|a| a.wide());
    let names = &mut |random: &mut Random| {
        // Few names make rules overlap; many names make long filters.
        let among = if random.one_in(2) { calls.len() } else { 12.min(calls.len()) };
        (0..1 + random.below(5)).map(|_| calls[random.below(among)].name()).collect::<Vec<_>>()
    };
    let rules = if random.one_in(8) { 30 + random.below(60) } else { random.below(12) };
    let mut default_action = random.pick(ACTIONS);
    if default_action == Action::Notify {
        default_action = Action::Errno(1);
    }
    // Overlapping rules rarely contradict each other if most have the same action.
    let usual = random.pick(ACTIONS);
    let syscalls = (0..rules)
        .map(|_| Rule {
            names: names(random),
            action: if random.one_in(3) { random.pick(ACTIONS) } else { usual },
            args: if random.one_in(2) { Vec::new() } else { args(random, large) },
        })
        .collect();
    Policy {
        default_action,
        architectures: family.to_vec(),
        flags: None,
        listener_path: Some("/run/listener"),
        listener_metadata: None,
        syscalls,
    }
}

fn args(random: &mut Random, large: bool) -> Vec<Arg> {
    let arg = |random: &mut Random| {
        let index = random.pick(&[0, 0, 0, 1, 1, 2, 3, 4, 5]);
        let op = random.pick(OPS);
        let int = matches!(op, Op::Eq | Op::Ne | Op::MaskedEq);
        let value = |random: &mut Random| {
            if !large && int && random.one_in(6) { random.pick(NEGATIVE) } else { value(random, large) }
        };
        Arg { index, op, value: value(random), value_two: value(random) }
    };
    (0..1 + random.below(3)).map(|_| arg(random)).collect()
}

fn value(random: &mut Random, large: bool) -> u64 {
    if large && random.one_in(3) { random.pick(LARGE) } else { random.pick(SMALL) }
}

/// Calls that a policy could distinguish.
///
/// These are every call that it names on every architecture, with arguments at the boundaries of its
/// conditions, and numbers without a call.
pub fn calls(random: &mut Random, policy: &Policy, family: &[Arch], count: usize) -> Vec<(Arch, Data)> {
    let mut named: Vec<&str> = policy.syscalls.iter().flat_map(|r| r.names.iter().copied()).collect();
    named.extend(["socketcall", "ipc", "read"]);
    let values: Vec<u64> =
        policy.syscalls.iter().flat_map(|r| &r.args).flat_map(|a| [a.value, a.value_two]).collect();
    let mut calls = Vec::with_capacity(count);
    while calls.len() < count {
        let arch = random.pick(family);
        let number = if random.one_in(3) {
            let near = random.below(1200) as u32;
            random.pick(&[near, near | 0x4000_0000, near | 0x8000_0000, near | 0xf_0000, near.wrapping_neg()])
        } else {
            let Some(n) = Call::find(random.pick(&named)).and_then(|c| c.number(arch)) else { continue };
            n
        };
        let mut args = [0; 6];
        for arg in &mut args {
            let edge =
                if values.is_empty() || random.one_in(3) { random.pick(SMALL) } else { random.pick(&values) };
            *arg = edge.wrapping_add([0, 0, 1, u64::MAX][random.below(4)]);
            if !arch.wide() {
                *arg &= u64::from(u32::MAX);
            }
        }
        calls.push((arch, Data { number, audit: arch.audit().unwrap(), args }));
    }
    calls
}
