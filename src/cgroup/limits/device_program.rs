//! Device rules ([`super::devices`]) as an eBPF program, for cgroup v2.

use super::{ANY, DeviceRule, RuleKind};
use crate::error::{Error, Result};
use crate::sys::bpf::Instruction;

/// The kernel's limit on the length of a program (BPF_MAXINSNS).
///
/// Since Linux 5.2 privileged loaders have a higher limit.
const MOST_INSTRUCTIONS: usize = 4096;

// Registers, named after their contents.
const VERDICT: u8 = 0;
const CONTEXT: u8 = 1;
const TYPE: u8 = 2;
const ASKED: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

// Instruction codes of linux/bpf.h and linux/bpf_common.h.
const LOAD_WORD: u8 = 0x61; // BPF_LDX | BPF_MEM | BPF_W
const MOVE: u8 = 0xb7; // BPF_ALU64 | BPF_MOV | BPF_K
const MOVE_REGISTER: u8 = 0xbf; // BPF_ALU64 | BPF_MOV | BPF_X
const AND: u8 = 0x57; // BPF_ALU64 | BPF_AND | BPF_K
const SHIFT_RIGHT: u8 = 0x77; // BPF_ALU64 | BPF_RSH | BPF_K
const JUMP_IF_EQUAL: u8 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_UNLESS_EQUAL: u8 = 0x55; // BPF_JMP | BPF_JNE | BPF_K
const EXIT: u8 = 0x95; // BPF_JMP | BPF_EXIT

fn op(code: u8, registers: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers, offset, immediate }
}

/// Compiles the rules to a `BPF_PROG_TYPE_CGROUP_DEVICE` program.
///
/// It returns 1 to allow and 0 to deny. It checks the rules from the last to the first. The first match decides each requested
/// access, and allowed accesses are removed from the request. Rules before one that matches everything are unreachable and left
/// out, because the kernel's verifier refuses unreachable code.
///
/// Fails if the program is too long.
pub fn compile(rules: &[DeviceRule]) -> Result<Vec<Instruction>> {
    // struct bpf_cgroup_dev_ctx { u32 access_type (access << 16 | type), major, minor }
    let mut program = vec![
        op(LOAD_WORD, TYPE | CONTEXT << 4, 0, 0),
        op(LOAD_WORD, MAJOR | CONTEXT << 4, 4, 0),
        op(LOAD_WORD, MINOR | CONTEXT << 4, 8, 0),
        op(MOVE_REGISTER, ASKED | TYPE << 4, 0, 0),
        op(SHIFT_RIGHT, ASKED, 0, 16),
        op(AND, TYPE, 0, 0xffff),
    ];
    for rule in rules.iter().rev() {
        rule_into(&mut program, rule);
        if rule.is_total() {
            return fitting(program);
        }
    }
    program.extend([op(MOVE, VERDICT, 0, 0), op(EXIT, 0, 0, 0)]);
    fitting(program)
}

fn fitting(program: Vec<Instruction>) -> Result<Vec<Instruction>> {
    if program.len() > MOST_INSTRUCTIONS {
        let n = program.len();
        return Err(Error::of(format_args!(
            "linux.resources.devices: {n} instructions are more than the kernel's {MOST_INSTRUCTIONS}; merge rules by leaving out minor"
        )));
    }
    Ok(program)
}

fn rule_into(program: &mut Vec<Instruction>, rule: &DeviceRule) {
    let mut body = Vec::with_capacity(4);
    let access = i32::from(rule.access);
    if rule.access != ANY && rule.allow {
        body.extend([op(AND, ASKED, 0, !access), op(JUMP_UNLESS_EQUAL, ASKED, 2, 0)]);
    } else if rule.access != ANY {
        let asked_too = [op(MOVE_REGISTER, SCRATCH | ASKED << 4, 0, 0), op(AND, SCRATCH, 0, access)];
        body.extend(asked_too);
        body.push(op(JUMP_IF_EQUAL, SCRATCH, 2, 0));
    }
    body.extend([op(MOVE, VERDICT, 0, rule.allow.into()), op(EXIT, 0, 0, 0)]);

    // BPF_DEVCG_DEV_BLOCK is 1 and BPF_DEVCG_DEV_CHAR is 2.
    let kind = match rule.kind {
        RuleKind::All => None,
        RuleKind::Block => Some(1),
        RuleKind::Char => Some(2),
    };
    let tests = [(TYPE, kind), (MAJOR, rule.major), (MINOR, rule.minor)];
    let mut left = tests.iter().filter(|(_, wanted)| wanted.is_some()).count();
    for (register, wanted) in tests {
        if let Some(n) = wanted {
            left -= 1;
            program.push(op(JUMP_UNLESS_EQUAL, register, (left + body.len()) as i16, n as i32));
        }
    }
    program.extend(body);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::limits::devices::deny_nothing;
    use crate::cgroup::limits::devices::tests::{Dice, reference, requests};
    use crate::json::document;
    use crate::json::value::Json;

    /// Interprets the instructions, with the checks of the kernel's verifier.
    fn interpret(program: &[Instruction], kind: RuleKind, major: u32, minor: u32, asked: u8) -> bool {
        let kind = if kind == RuleKind::Block { 1 } else { 2 };
        let context = [u32::from(asked) << 16 | kind, major, minor];
        let mut registers: [Option<u64>; 11] = [None; 11];
        registers[CONTEXT as usize] = Some(0);
        let mut at = 0;
        loop {
            let i = program[at];
            let (to, from) = (usize::from(i.registers & 15), usize::from(i.registers >> 4));
            let constant = i64::from(i.immediate) as u64;
            let value = |n: usize| registers[n].expect("a register is read before it is set");
            at += 1;
            match i.code {
                LOAD_WORD => registers[to] = Some(context[usize::try_from(i.offset).unwrap() / 4].into()),
                MOVE => registers[to] = Some(constant),
                MOVE_REGISTER => registers[to] = Some(value(from)),
                AND => registers[to] = Some(value(to) & constant),
                SHIFT_RIGHT => registers[to] = Some(value(to) >> constant),
                JUMP_IF_EQUAL if value(to) != constant => {}
                JUMP_UNLESS_EQUAL if value(to) == constant => {}
                JUMP_IF_EQUAL | JUMP_UNLESS_EQUAL => at += usize::try_from(i.offset).unwrap(),
                EXIT => return value(VERDICT as usize) == 1,
                other => panic!("code {other:#x}"),
            }
        }
    }

    #[test]
    fn the_program_means_what_the_rules_mean() {
        let mut dice = Dice(0x9e3779b97f4a7c15);
        let mut free = 0;
        for round in 0..3000 {
            let rules: Vec<DeviceRule> = (0..dice.roll(9)).map(|_| dice.rule()).collect();
            let program = compile(&rules).unwrap();
            for (kind, major, minor, asked) in requests() {
                let (is, should) = (
                    interpret(&program, kind, major, minor, asked),
                    reference(&rules, kind, major, minor, asked),
                );
                assert_eq!(is, should, "round {round}: {asked} of {kind:?} {major}:{minor} under {rules:#?}");
                assert!(
                    should || !deny_nothing(&rules),
                    "{asked} of {kind:?} {major}:{minor} under {rules:#?}"
                );
            }
            free += u32::from(deny_nothing(&rules));
        }
        assert!(free > 0, "{free} lists deny nothing");
    }

    #[test]
    fn every_instruction_can_be_reached() {
        let mut dice = Dice(42);
        for _ in 0..1000 {
            let rules: Vec<DeviceRule> = (0..dice.roll(9)).map(|_| dice.rule()).collect();
            let program = compile(&rules).unwrap();
            let mut reached = vec![false; program.len()];
            let mut todo = vec![0usize];
            while let Some(at) = todo.pop() {
                if std::mem::replace(&mut reached[at], true) {
                    continue;
                }
                match program[at].code {
                    EXIT => {}
                    JUMP_IF_EQUAL | JUMP_UNLESS_EQUAL => {
                        todo.extend([at + 1, at + 1 + program[at].offset as usize])
                    }
                    _ => todo.push(at + 1),
                }
            }
            assert!(reached.iter().all(|r| *r), "the verifier refuses dead code: {program:?} of {rules:?}");
        }
    }

    /// The numbers that the kernel reads from a line of v1.
    ///
    /// 4294967295 is the kernel's own "any" (security/device_cgroup.c).
    fn as_v1_reads(line: &str) -> [Option<u32>; 2] {
        let numbers = line.split(' ').nth(1).unwrap().split(':');
        let read = numbers.map(|n| if n == "*" { None } else { n.parse().ok().filter(|n| *n != u32::MAX) });
        read.collect::<Vec<_>>().try_into().unwrap()
    }

    #[test]
    fn a_number_means_itself_in_both_versions_or_is_refused() {
        let edges = [0, 1, 0xfff, 0xf_ffff, i32::MAX as i64, 1 << 31, 0xffff_fffe, 0xffff_ffff, 1 << 32];
        for n in edges.into_iter().chain([-2, -1 << 31, -1 << 32, i64::MAX, i64::MIN]) {
            for (field, allow) in ["major", "minor"].into_iter().flat_map(|f| [(f, true), (f, false)]) {
                let text = format!(r#"{{"allow":{allow},"type":"c","{field}":{n},"access":"rw"}}"#);
                let mut rule = DeviceRule::default();
                let read = document::read_value(&Json::parse(text.as_bytes()).unwrap(), &mut rule);
                let rule = match read.map(|()| rule) {
                    Ok(rule) => rule,
                    Err(e) => {
                        assert!(!(0..=i64::from(i32::MAX)).contains(&n), "{text}");
                        let refused = format!("{field}: {n} is no device number");
                        assert_eq!(Error::from(e).to_string(), refused, "{text}");
                        continue;
                    }
                };
                assert_eq!(as_v1_reads(&rule.line()), [rule.major, rule.minor], "{text}");
                let program = compile(&[DeviceRule { allow: !allow, ..char_devices() }, rule]).unwrap();
                for other in [n, 0, 1, 7, 0xf_ffff] {
                    let (major, minor) = if field == "major" { (other as u32, 7) } else { (7, other as u32) };
                    let verdict = interpret(&program, RuleKind::Char, major, minor, 2);
                    assert_eq!(verdict == allow, other == n, "{other} under {text}");
                }
            }
        }
    }

    fn char_devices() -> DeviceRule {
        DeviceRule { allow: true, kind: RuleKind::Char, major: None, minor: None, access: ANY }
    }

    #[test]
    fn more_rules_than_fit_are_refused() {
        let rule =
            DeviceRule { allow: true, kind: RuleKind::Char, major: Some(1), minor: Some(1), access: ANY };
        let e = compile(&vec![rule; 900]).unwrap_err().to_string();
        assert!(e.starts_with("linux.resources.devices: "), "{e}");
    }
}
