//! Writes classic BPF from the end to the beginning.
//!
//! Jumps only go forward, so a program that is written backwards knows every target when it writes the jump. A
//! conditional jump reaches 255 instructions; a farther one goes through an unconditional jump.

use crate::error::Error;
use crate::sys::seccomp::SockFilter;

/// The kernel's limit on the length of a program (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// Loads a word of `struct seccomp_data` into the accumulator.
pub const LOAD: u16 = 0x20;
/// Masks the accumulator.
pub const AND: u16 = 0x54;
/// Jumps always.
pub const JUMP: u16 = 0x05;
/// Jumps if the accumulator is equal.
pub const JEQ: u16 = 0x15;
/// Jumps if it is greater, unsigned.
pub const JGT: u16 = 0x25;
/// Jumps if it is greater or equal, unsigned.
pub const JGE: u16 = 0x35;
/// Returns a verdict.
pub const RETURN: u16 = 0x06;

/// The position of an instruction, counted from the end: the last one is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(usize);

/// The end of a program, as far as it has been written.
#[derive(Default)]
pub struct Code {
    reversed: Vec<SockFilter>,
    /// The label where each verdict was last written.
    returns: Vec<(u32, Label)>,
}

impl Code {
    /// Writes an instruction that continues at `next`.
    pub fn put(&mut self, code: u16, k: u32, next: Label) -> Label {
        if self.distance(next) > 0 {
            self.jump(next);
        }
        self.write(SockFilter { code, jt: 0, jf: 0, k })
    }

    /// Returns a label that returns a verdict, and writes it if none is near.
    pub fn give(&mut self, verdict: u32) -> Label {
        let known = self.returns.iter().position(|(v, _)| *v == verdict);
        if let Some(i) = known.filter(|i| self.distance(self.returns[*i].1) < 240) {
            return self.returns[i].1;
        }
        let label = self.write(SockFilter { code: RETURN, jt: 0, jf: 0, k: verdict });
        match known {
            Some(i) => self.returns[i].1 = label,
            None => self.returns.push((verdict, label)),
        }
        label
    }

    /// Writes a conditional jump.
    pub fn branch(&mut self, code: u16, k: u32, yes: Label, no: Label) -> Label {
        // `near` leaves room for one more instruction, because the second call may write one.
        let yes = self.near(yes);
        let no = self.near(no);
        let (jt, jf) = (self.distance(yes) as u8, self.distance(no) as u8);
        self.write(SockFilter { code, jt, jf, k })
    }

    /// Returns the program in execution order.
    pub fn finish(mut self) -> Vec<SockFilter> {
        self.reversed.reverse();
        self.reversed
    }

    /// Returns a near label that leads to `label`.
    /// It is still within reach after one more instruction.
    fn near(&mut self, label: Label) -> Label {
        if self.distance(label) < 255 {
            return label;
        }
        let target = self.reversed[label.0 - 1];
        if target.code == RETURN {
            return self.give(target.k);
        }
        self.jump(label)
    }

    fn jump(&mut self, label: Label) -> Label {
        let k = self.distance(label) as u32;
        self.write(SockFilter { code: JUMP, jt: 0, jf: 0, k })
    }

    /// How many instructions one written now must skip to reach `label`.
    fn distance(&self, label: Label) -> usize {
        self.reversed.len() - label.0
    }

    fn write(&mut self, instruction: SockFilter) -> Label {
        self.reversed.push(instruction);
        Label(self.reversed.len())
    }
}

/// The error for a filter with at least this many instructions.
pub fn too_long(instructions: usize) -> Error {
    Error::of(format_args!(
        "the filter has at least {instructions} instructions, the kernel takes {MAX_INSTRUCTIONS}: name fewer calls, \
         conditions or architectures"
    ))
}
