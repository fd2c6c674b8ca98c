//! Runs and checks filter programs as the kernel does.

use super::code::MAX_INSTRUCTIONS;
use crate::sys::seccomp::SockFilter;

/// A system call as a filter sees it.
/// This is `struct seccomp_data` without the instruction pointer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Data {
    /// The call's number.
    pub number: u32,
    /// The caller's `AUDIT_ARCH_*`.
    pub audit: u32,
    /// The call's arguments.
    pub args: [u64; 6],
}

/// Runs a program that [`check`] accepts.
/// Returns its verdict and the number of executed instructions.
pub fn run(program: &[SockFilter], data: &Data) -> (u32, u32) {
    let (mut at, mut accumulator, mut executed) = (0, 0, 0);
    loop {
        let i = program[at];
        executed += 1;
        at += 1;
        let jump = |yes: bool| usize::from(if yes { i.jt } else { i.jf });
        match i.code {
            0x20 => accumulator = word(data, i.k),
            0x54 => accumulator &= i.k,
            0x05 => at += i.k as usize,
            0x15 => at += jump(accumulator == i.k),
            0x25 => at += jump(accumulator > i.k),
            0x35 => at += jump(accumulator >= i.k),
            0x45 => at += jump(accumulator & i.k != 0),
            0x06 => return (i.k, executed),
            other => panic!("instruction {other:#x} was not checked"),
        }
    }
}

fn word(data: &Data, offset: u32) -> u32 {
    match offset {
        0 => data.number,
        4 => data.audit,
        8 | 12 => 0,
        _ => {
            let arg = data.args[(offset as usize - 16) / 8];
            if (offset % 8 == 4) == cfg!(target_endian = "little") { (arg >> 32) as u32 } else { arg as u32 }
        }
    }
}

/// Checks a program as the kernel would and describes what is wrong.
/// The kernel's checks are `bpf_check_classic` and `seccomp_check_filter`. Only the instructions that [`run`] knows
/// are accepted.
pub fn check(program: &[SockFilter]) -> Result<(), String> {
    if program.is_empty() || program.len() > MAX_INSTRUCTIONS {
        return Err(format!("{} instructions", program.len()));
    }
    for (at, i) in program.iter().enumerate() {
        let left = program.len() - at - 1;
        let fine = match i.code {
            0x20 => i.k % 4 == 0 && i.k < 64,
            0x54 | 0x06 => true,
            0x05 => (i.k as usize) < left,
            0x15 | 0x25 | 0x35 | 0x45 => usize::from(i.jt) < left && usize::from(i.jf) < left,
            _ => false,
        };
        if !fine {
            return Err(format!("instruction {at}: {i:?} with {left} left"));
        }
    }
    match program.last() {
        Some(SockFilter { code: 0x06, .. }) => Ok(()),
        last => Err(format!("the last instruction is {last:?}")),
    }
}

/// Returns the most instructions that a call can take with any arguments.
pub fn worst(program: &[SockFilter], number: u32, audit: u32) -> u32 {
    let most = most(program);
    let (mut at, mut accumulator, mut executed) = (0, 0, 0);
    loop {
        let i = program[at];
        executed += 1;
        at += 1;
        let jump = |yes: bool| usize::from(if yes { i.jt } else { i.jf });
        match i.code {
            0x20 if i.k == 0 => accumulator = number,
            0x20 if i.k == 4 => accumulator = audit,
            0x20 => return executed - 1 + most[at - 1],
            0x54 => accumulator &= i.k,
            0x05 => at += i.k as usize,
            0x15 => at += jump(accumulator == i.k),
            0x25 => at += jump(accumulator > i.k),
            0x35 => at += jump(accumulator >= i.k),
            0x45 => at += jump(accumulator & i.k != 0),
            _ => return executed,
        }
    }
}

/// For each instruction, the longest path from it to the end, itself included.
fn most(program: &[SockFilter]) -> Vec<u32> {
    let mut most = vec![0; program.len()];
    for (at, i) in program.iter().enumerate().rev() {
        let after = |skip: usize| most.get(at + 1 + skip).copied().unwrap_or(0);
        most[at] = 1 + match i.code {
            0x06 => 0,
            0x05 => after(i.k as usize),
            0x20 | 0x54 => after(0),
            _ => after(i.jt.into()).max(after(i.jf.into())),
        };
    }
    most
}
