//! Explains a policy: the reason for a call's verdict, and the filter as text.

#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::num::ParseIntError;

use super::arch::{Arch, X32_BIT};
use super::code::{AND, JEQ, JGT, JUMP, LOAD, RETURN};
use super::compile::{FOREIGN, Filter, compile, listed};
use super::policy::{ACTIONS, Action, Arg, Op, Policy};
use super::rules::Rules;
use super::sim::{self, Data};
use super::syscalls::Call;
use crate::error::{Error, Quoted, Result, describe};
use crate::sys::seccomp::SockFilter;

/// Reports which rule decides a call, given by name or number, and its result.
pub fn explain(policy: &Policy, native: Arch, arch: Arch, call: &str, args: &[u64]) -> Result<String> {
    let filter = compile(policy, native)?;
    let audit = audit(arch)?;
    let number = match number(call).map(u32::try_from) {
        Ok(Ok(number)) => number,
        _ => Call::find(call)
            .ok_or_else(|| Error::of(format_args!("unknown system call {}", Quoted(call))))?
            .number(arch)
            .ok_or_else(|| Error::of(format_args!("{} has no system call {call}", arch.name())))?,
    };
    let mut data = Data { number, audit, args: [0; 6] };
    if args.len() > data.args.len() {
        return Err(Error::of(format_args!("a system call has 6 arguments, not {}", args.len())));
    }
    data.args[..args.len()].copy_from_slice(args);
    let listed = listed(policy, native);
    let arch = owner(arch, number, &listed);
    if !arch.wide() {
        // A 32-bit caller has no upper halves, and x32 calls ignore them.
        data.args = data.args.map(|a| a & u64::from(u32::MAX));
    }
    let (verdict, executed) = sim::run(&filter.program, &data);
    let name = Call::of(arch, number).map_or("no known call", Call::name);
    let mut out = format!("{name}, number {number} of {}", arch.name());
    if native != Arch::NATIVE {
        // The answer may differ where another architecture is native.
        let _ = write!(out, " on a machine of {}", native.name());
    }
    let _ = writeln!(out, ": {}", told(verdict));
    if listed.contains(&arch) {
        reason(&mut out, policy, arch, &data, verdict)?;
    } else {
        let _ = writeln!(out, "because: architectures does not list {}", arch.name());
    }
    let worst = sim::worst(&filter.program, number, audit);
    let _ = writeln!(out, "instructions: {executed}, at most {worst} with other arguments");
    Ok(out)
}

/// Returns the architecture that a call number belongs to.
/// x86_64 and x32 share an audit value, and the kernel tells their calls apart by one bit of the number. The number
/// -1 is no call.
fn owner(arch: Arch, number: u32, listed: &[Arch]) -> Arch {
    match arch {
        Arch::X86_64 | Arch::X32 if number == u32::MAX && !listed.contains(&Arch::X32) => Arch::X86_64,
        Arch::X86_64 | Arch::X32 if number & X32_BIT != 0 => Arch::X32,
        Arch::X32 => Arch::X86_64,
        _ => arch,
    }
}

fn reason(out: &mut String, policy: &Policy, arch: Arch, data: &Data, verdict: u32) -> Result<()> {
    let rules = Rules::new(policy);
    let mut variants = Vec::new();
    rules.decide(arch, &mut |same| {
        if same[0].number == data.number {
            variants.extend_from_slice(same);
        }
    })?;
    for v in &variants {
        let value = |a: &Arg| data.args[usize::from(a.index)];
        if let Some(a) = v.args.iter().find(|a| !a.holds(value(a))) {
            let _ = writeln!(out, "not syscalls[{}]: {} fails for {:#x}", v.rule, condition(a), value(a));
            continue;
        }
        let _ = write!(out, "because: syscalls[{}] (", v.rule);
        for (i, a) in v.args.iter().enumerate() {
            let _ = write!(out, "{}{}", if i > 0 { " and " } else { "" }, condition(a));
        }
        out.push_str(if v.args.is_empty() { "always)\n" } else { ")\n" });
        return Ok(());
    }
    let default = policy.default_action;
    if !variants.is_empty() || verdict == default.code() {
        let _ = writeln!(out, "because: defaultAction ({})", default.name());
    } else if verdict == FOREIGN {
        // Like libseccomp: numbers above the x32 range count as x32 if x32 is not listed.
        let _ = writeln!(out, "because: architectures does not list {}", Arch::X32.name());
    } else {
        out.push_str("because: newer than all that the policy names");
        if let Some(newest) = rules.newest(arch, 0, data.number).and_then(|n| Call::of(arch, n)) {
            let _ = write!(out, " (the newest of these: {})", newest.name());
        }
        let _ = writeln!(out, ", and the default is {}", default.name());
    }
    Ok(())
}

fn condition(a: &Arg) -> String {
    let op = match a.op {
        Op::Eq | Op::MaskedEq => "==",
        Op::Ne => "!=",
        Op::Lt => "<",
        Op::Le => "<=",
        Op::Ge => ">=",
        Op::Gt => ">",
    };
    let mask = if a.op == Op::MaskedEq { format!(" & {:#x}", a.value) } else { String::new() };
    format!("args[{}]{mask} {op} {:#x}", a.index, a.compared())
}

/// Formats a verdict in the spec's words.
fn told(verdict: u32) -> String {
    let data = verdict & 0xffff;
    let Some((name, action)) = ACTIONS.pairs().find(|(_, a)| a.kind() == verdict & 0xffff_0000) else {
        return format!("{verdict:#x}");
    };
    match action {
        Action::Errno(_) => {
            format!("{name} {data}: {}", describe(crate::error::Errno::from_raw(data as i32)))
        }
        Action::Trace(_) => format!("{name} {data}"),
        _ => name.to_owned(),
    }
}

/// Parses a number in decimal or, with `0x`, in hexadecimal.
pub fn number(text: &str) -> std::result::Result<u64, ParseIntError> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    }
}

fn audit(arch: Arch) -> Result<u32> {
    arch.audit().ok_or_else(|| {
        Error::of(format_args!("the system calls of {} are not known to this build", arch.name()))
    })
}

/// Lists the filter's instructions and their cost.
pub fn dump(policy: &Policy, native: Arch) -> Result<String> {
    audit(native)?;
    let filter = compile(policy, native)?;
    let mut out = String::new();
    for warning in &filter.warnings {
        let _ = writeln!(out, "; {warning}");
    }
    let _ = writeln!(out, "; {} instructions, flags {:#x}", filter.program.len(), filter.flags);
    for arch in listed(policy, native) {
        if let Some(Cost { tenths, worst, name }) = Cost::of(&filter, arch) {
            let (arch, whole, tenths) = (arch.name(), tenths / 10, tenths % 10);
            let _ = writeln!(
                out,
                "; {arch}: a call takes {whole}.{tenths} instructions on average, {worst} at most ({name})"
            );
        }
    }
    for (at, i) in filter.program.iter().enumerate() {
        let _ = write!(out, "{at:4}: ");
        instruction(&mut out, at + 1, i);
    }
    Ok(out)
}

/// The cost of a filter for the calls of one architecture.
#[derive(Debug)]
pub struct Cost {
    /// Mean instructions per call, in tenths, with the most expensive arguments.
    pub tenths: u32,
    /// Number of instructions of the most expensive call.
    pub worst: u32,
    /// Name of the most expensive call.
    pub name: &'static str,
}

impl Cost {
    /// Computes the cost over all known calls; `None` if no call is known.
    pub fn of(filter: &Filter, arch: Arch) -> Option<Cost> {
        let audit = arch.audit()?;
        let (mut sum, mut count, mut most) = (0, 0, (0, ""));
        for call in Call::all() {
            let Some(number) = call.number(arch) else { continue };
            let worst = sim::worst(&filter.program, number, audit);
            sum += worst;
            count += 1;
            most = most.max((worst, call.name()));
        }
        (count > 0).then(|| Cost { tenths: sum * 10 / count, worst: most.0, name: most.1 })
    }
}

/// Writes one instruction as a line; `next` is the index of the following one.
fn instruction(out: &mut String, next: usize, i: &SockFilter) {
    let (yes, no, k) = (next + usize::from(i.jt), next + usize::from(i.jf), i.k);
    let op = match i.code {
        JEQ => "==",
        JGT => ">",
        _ => ">=",
    };
    let _ = match i.code {
        LOAD => writeln!(out, "A = {}", field(k)),
        AND => writeln!(out, "A &= {k:#x}"),
        JUMP => writeln!(out, "goto {}", next + k as usize),
        RETURN => writeln!(out, "return {}", told(k)),
        _ => writeln!(out, "if A {op} {k:#x} goto {yes} else {no}"),
    };
}

fn field(offset: u32) -> String {
    match offset {
        0 => "number".to_owned(),
        4 => "architecture".to_owned(),
        _ => {
            let low = (offset % 8 == 0) == cfg!(target_endian = "little");
            format!("{} half of args[{}]", if low { "lower" } else { "upper" }, (offset - 16) / 8)
        }
    }
}
