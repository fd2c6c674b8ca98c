//! Device rules to files of cgroup v1 and to the program of v2.
//!
//! A plain evaluator is the oracle of both.

use embrun::cgroup::limits::devices::{self, append, complete, deny_nothing};
use embrun::cgroup::limits::{ANY, DeviceRule, MKNOD, READ, RuleKind, WRITE, device_program};
use embrun::sys::bpf::{self, Instruction};

use crate::draw::Draw;

/// Draws rules, and asks each form for every access to devices near them.
pub fn judge(input: &[u8]) {
    let mut draw = Draw(input);
    let load = draw.byte() == 0x4c;
    let mut rules = Vec::new();
    while !draw.is_empty() && rules.len() < 24 {
        rules.push(rule(&mut draw));
    }
    let mut short = Vec::new();
    for rule in &rules {
        append(&mut short, *rule);
    }
    if load {
        rules = complete(&rules);
        short = complete(&short);
    }
    let program = device_program::compile(&rules).expect("few rules fit");
    let files = devices::v1(&rules).ok().map(|list| {
        let mut v1 = V1::default();
        for knob in list.knobs() {
            v1.write(knob.file, knob.value);
        }
        v1
    });
    for (kind, major, minor) in near(&rules) {
        for asked in [READ, WRITE, READ | WRITE, MKNOD] {
            let should = reference(&rules, kind, major, minor, asked);
            let shown = || format!("{asked} of {kind:?} {major}:{minor} under {rules:?}");
            assert_eq!(interpret(&program, kind, major, minor, asked), should, "v2: {}", shown());
            assert_eq!(reference(&short, kind, major, minor, asked), should, "append: {}", shown());
            assert!(should || !deny_nothing(&rules), "{}", shown());
            if let Some(v1) = &files {
                let is = v1.allows(kind, major, minor, asked);
                // v1 denies reading and writing together if two exceptions cross.
                let crossing = !is && !v1.by_default && asked == READ | WRITE;
                assert!(is == should || crossing, "v1: {}: {v1:?}", shown());
            }
        }
    }
    if load && nix::unistd::geteuid().is_root() {
        match bpf::load_device_program(&program) {
            Ok(_) | Err(embrun::error::Errno::ENOSYS | embrun::error::Errno::EPERM) => {}
            Err(e) => panic!("the kernel refuses the program of {rules:?}: {e}"),
        }
    }
}

fn rule(draw: &mut Draw<'_>) -> DeviceRule {
    let bits = draw.byte();
    let mut number = || Some(draw.pick(&[1, 2, 3, 5, 136, 0xfff, i32::MAX as u32])).filter(|_| draw.flag());
    DeviceRule {
        allow: bits & 1 == 1,
        kind: [RuleKind::All, RuleKind::Char, RuleKind::Block, RuleKind::Char][usize::from(bits >> 1 & 3)],
        major: number(),
        minor: number(),
        access: match bits >> 3 & ANY {
            0 => ANY,
            some => some,
        },
    }
}

/// The devices that the rules name, and one that none names.
fn near(rules: &[DeviceRule]) -> Vec<(RuleKind, u32, u32)> {
    let numbers = |of: fn(&DeviceRule) -> Option<u32>| {
        let mut all: Vec<u32> = rules.iter().filter_map(of).chain([77]).collect();
        all.sort_unstable();
        all.dedup();
        all
    };
    let minors = numbers(|r| r.minor);
    let pairs = numbers(|r| r.major).into_iter().flat_map(|a| minors.iter().map(move |b| (a, *b)));
    pairs.flat_map(|(a, b)| [(RuleKind::Char, a, b), (RuleKind::Block, a, b)]).collect()
}

/// The last rule that matches decides each access; without one it is denied.
fn reference(rules: &[DeviceRule], kind: RuleKind, major: u32, minor: u32, asked: u8) -> bool {
    let mut allowed = 0;
    for rule in rules {
        let is_kind = rule.kind == RuleKind::All || rule.kind == kind;
        if is_kind && rule.major.unwrap_or(major) == major && rule.minor.unwrap_or(minor) == minor {
            allowed = if rule.allow { allowed | rule.access } else { allowed & !rule.access };
        }
    }
    allowed & asked == asked
}

/// The device cgroup of v1, after security/device_cgroup.c.
#[derive(Debug, Default)]
struct V1 {
    by_default: bool,
    exceptions: Vec<(char, Option<u32>, Option<u32>, u8)>,
}

impl V1 {
    fn write(&mut self, file: &str, line: &str) {
        let allow = match file {
            "devices.allow" => true,
            "devices.deny" => false,
            other => panic!("{other} is no file of a device cgroup"),
        };
        if line == "a" {
            *self = V1 { by_default: allow, exceptions: Vec::new() };
            return;
        }
        let words: Vec<&str> = line.split([' ', ':']).collect();
        let [kind @ ("b" | "c"), major, minor, letters] = words[..] else { panic!("malformed: {line}") };
        let number = |text: &str| (text != "*").then(|| text.parse().expect("a number"));
        let (major, minor) = (number(major), number(minor));
        let bit = |letter: char| match letter {
            'r' => READ,
            'w' => WRITE,
            'm' => MKNOD,
            other => panic!("access {other}"),
        };
        let access = letters.chars().map(bit).fold(0, |all, bit| all | bit);
        let kind = kind.chars().next().unwrap();
        let same = self.exceptions.iter_mut().find(|e| (e.0, e.1, e.2) == (kind, major, minor));
        match (allow != self.by_default, same) {
            (true, Some(known)) => known.3 |= access,
            (true, None) => self.exceptions.push((kind, major, minor, access)),
            (false, Some(known)) => known.3 &= !access,
            (false, None) => {}
        }
        self.exceptions.retain(|e| e.3 != 0);
    }

    fn allows(&self, kind: RuleKind, major: u32, minor: u32, asked: u8) -> bool {
        let letter = if kind == RuleKind::Block { 'b' } else { 'c' };
        let mut same = self
            .exceptions
            .iter()
            .filter(|e| e.0 == letter && e.1.is_none_or(|n| n == major) && e.2.is_none_or(|n| n == minor));
        if self.by_default { same.all(|e| e.3 & asked == 0) } else { same.any(|e| e.3 & asked == asked) }
    }
}

/// Runs a program as the kernel does.
fn interpret(program: &[Instruction], kind: RuleKind, major: u32, minor: u32, asked: u8) -> bool {
    let kind = if kind == RuleKind::Block { 1 } else { 2 };
    let context = [u32::from(asked) << 16 | kind, major, minor];
    let mut registers: [Option<u64>; 11] = [None; 11];
    registers[1] = Some(0);
    let mut at = 0;
    loop {
        let i = &program[at];
        let (to, from) = (usize::from(i.registers & 15), usize::from(i.registers >> 4));
        let constant = i64::from(i.immediate) as u64;
        let value = |n: usize| registers[n].expect("a register is set before it is read");
        let target = || usize::try_from(i.offset).expect("jumps lead forward");
        at += 1;
        match i.code {
            0x61 => registers[to] = Some(context[target() / 4].into()),
            0xb7 => registers[to] = Some(constant),
            0xbf => registers[to] = Some(value(from)),
            0x57 => registers[to] = Some(value(to) & constant),
            0x77 => registers[to] = Some(value(to) >> constant),
            0x05 => at += target(),
            0x15 => at += if value(to) == constant { target() } else { 0 },
            0x55 => at += if value(to) == constant { 0 } else { target() },
            0x95 => return value(0) == 1,
            other => panic!("code {other:#x}"),
        }
    }
}
