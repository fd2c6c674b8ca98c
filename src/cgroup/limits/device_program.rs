//! Device rules ([`super::devices`]) as an eBPF program, for cgroup v2.

use super::{ANY, DeviceRule, RuleKind};
use crate::error::{Error, Result};
use crate::sort;
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
const JUMP: u8 = 0x05; // BPF_JMP | BPF_JA
const JUMP_IF_EQUAL: u8 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_UNLESS_EQUAL: u8 = 0x55; // BPF_JMP | BPF_JNE | BPF_K
const EXIT: u8 = 0x95; // BPF_JMP | BPF_EXIT

fn op(code: u8, registers: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers, offset, immediate }
}

/// Compiles the rules to a `BPF_PROG_TYPE_CGROUP_DEVICE` program.
///
/// It returns 1 to allow and 0 to deny. It checks the rules from the last to the first. The first match decides each requested
/// access, and allowed accesses are removed from the request. Rules for one type, major or minor number share its test, because
/// the kernel verifies each instruction when it loads the program, and each device node of an engine's list would need five.
///
/// Fails if the program is too long.
pub fn compile(rules: &[DeviceRule]) -> Result<Vec<Instruction>> {
    // struct bpf_cgroup_dev_ctx { u32 access_type (access << 16 | type), major, minor }
    let mut program = DeviceProgram {
        code: vec![
            op(LOAD_WORD, TYPE | CONTEXT << 4, 0, 0),
            op(LOAD_WORD, MAJOR | CONTEXT << 4, 4, 0),
            op(LOAD_WORD, MINOR | CONTEXT << 4, 8, 0),
            op(MOVE_REGISTER, ASKED | TYPE << 4, 0, 0),
            op(SHIFT_RIGHT, ASKED, 0, 16),
            op(AND, TYPE, 0, 0xffff),
        ],
        verdicts: [Vec::new(), Vec::new()],
    };
    let last = program.group(&grouped(rules), &[TYPE, MAJOR, MINOR]).unwrap_or(false);
    // Execution falls through to the last verdict. The other one follows it, if a jump leads there.
    program.verdict(last);
    if !program.verdicts[usize::from(!last)].is_empty() {
        program.verdict(!last);
    }
    fitting(program.code)
}

/// The rules in the order of their checks: the last one first.
///
/// Neighbours with the same verdict can change places, so those for one type and major number come together.
fn grouped(rules: &[DeviceRule]) -> Vec<&DeviceRule> {
    let mut run = 0;
    let keyed = rules.iter().rev().scan(true, |allow, rule| {
        run += u32::from(std::mem::replace(allow, rule.allow) != rule.allow);
        Some(((run, wanted(rule, TYPE), rule.major), rule))
    });
    let keyed: Vec<_> = keyed.collect();
    let order = sort::order(keyed.len(), &|a, b| (keyed[a].0, a) < (keyed[b].0, b));
    order.into_iter().map(|i| keyed[i].1).collect()
}

/// The number that a rule wants in a register.
fn wanted(rule: &DeviceRule, register: u8) -> Option<u32> {
    match (register, rule.kind) {
        (TYPE, RuleKind::All) => None,
        // BPF_DEVCG_DEV_BLOCK and BPF_DEVCG_DEV_CHAR.
        (TYPE, RuleKind::Block) => Some(1),
        (TYPE, RuleKind::Char) => Some(2),
        (MAJOR, _) => rule.major,
        _ => rule.minor,
    }
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

/// A program whose jumps to its two verdicts have no target yet.
struct DeviceProgram {
    code: Vec<Instruction>,
    /// The positions of the jumps to deny, and of those to allow.
    verdicts: [Vec<usize>; 2],
}

impl DeviceProgram {
    /// Appends rules that differ at most in these registers.
    ///
    /// It returns the verdict if one rule decides every request that gets here. Code after it would be unreachable, and the
    /// kernel's verifier refuses such code.
    fn group(&mut self, mut rules: &[&DeviceRule], registers: &[u8]) -> Option<bool> {
        let Some((register, others)) = registers.split_first() else {
            return rules.iter().find_map(|rule| self.access(rule));
        };
        while let Some(first) = rules.first() {
            let number = wanted(first, *register);
            let alike = rules.iter().take_while(|rule| wanted(rule, *register) == number).count();
            let (group, rest) = rules.split_at(alike);
            rules = rest;
            let guard = self.code.len();
            if number.is_some() {
                self.code.push(op(JUMP_UNLESS_EQUAL, *register, 0, 0));
            }
            let decided = self.group(group, others);
            match (number, decided) {
                (None, Some(_)) => return decided,
                (None, None) => continue,
                // Nothing else has to be compared, so one jump leads to the verdict.
                (Some(_), Some(allow)) if self.code.len() == guard + 1 => {
                    self.code[guard].code = JUMP_IF_EQUAL;
                    self.verdicts[usize::from(allow)].push(guard);
                }
                (Some(_), decided) => {
                    if let Some(allow) = decided {
                        self.jump(allow, op(JUMP, 0, 0, 0));
                    }
                    self.code[guard].offset = (self.code.len() - guard - 1) as i16;
                }
            }
            self.code[guard].immediate = number.unwrap_or(0) as i32;
        }
        None
    }

    /// Appends the test of a rule's accesses, for a device that the rule matches.
    fn access(&mut self, rule: &DeviceRule) -> Option<bool> {
        let access = i32::from(rule.access);
        if rule.access == ANY {
            return Some(rule.allow);
        }
        if rule.allow {
            self.code.push(op(AND, ASKED, 0, !access));
            self.jump(true, op(JUMP_IF_EQUAL, ASKED, 0, 0));
        } else {
            self.code.push(op(MOVE_REGISTER, SCRATCH | ASKED << 4, 0, 0));
            self.code.push(op(AND, SCRATCH, 0, access));
            self.jump(false, op(JUMP_UNLESS_EQUAL, SCRATCH, 0, 0));
        }
        None
    }

    fn jump(&mut self, allow: bool, jump: Instruction) {
        self.verdicts[usize::from(allow)].push(self.code.len());
        self.code.push(jump);
    }

    /// Appends a verdict, and makes it the target of its jumps.
    fn verdict(&mut self, allow: bool) {
        let here = self.code.len();
        for at in &self.verdicts[usize::from(allow)] {
            self.code[*at].offset = (here - at - 1) as i16;
        }
        self.code.extend([op(MOVE, VERDICT, 0, allow.into()), op(EXIT, 0, 0, 0)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::limits::devices::tests::{Dice, reference, requests};
    use crate::cgroup::limits::devices::{complete, deny_nothing};
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
                JUMP | JUMP_IF_EQUAL | JUMP_UNLESS_EQUAL => at += usize::try_from(i.offset).unwrap(),
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
    fn default_devices_share_their_tests() {
        let deny_all = DeviceRule { allow: false, kind: RuleKind::All, ..char_devices() };
        let rules = complete(&[deny_all]);
        let program = compile(&rules).unwrap();
        assert_eq!(program.len(), 26, "{program:?}");
        for kind in [RuleKind::Block, RuleKind::Char] {
            for (major, minor) in (0..140).flat_map(|major| (0..12).map(move |minor| (major, minor))) {
                for asked in 1..=ANY {
                    let is = interpret(&program, kind, major, minor, asked);
                    let should = reference(&rules, kind, major, minor, asked);
                    assert_eq!(is, should, "{asked} of {kind:?} {major}:{minor}");
                }
            }
        }
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
                    JUMP => todo.push(at + 1 + program[at].offset as usize),
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
        let rule = |n| DeviceRule { major: Some(n / 2), minor: Some(n), ..char_devices() };
        let rules: Vec<DeviceRule> = (0..5000).map(rule).collect();
        assert_eq!(compile(&rules[..2000]).unwrap().len(), 6 + 1 + 1000 * 3 + 4);
        let e = compile(&rules).unwrap_err().to_string();
        assert!(e.starts_with("linux.resources.devices: "), "{e}");
    }
}
