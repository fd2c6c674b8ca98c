//! A policy in words: why a call is answered as it is, and the filter as people read it.

use std::fmt::Write as _;

use super::arch::Arch;
use super::code::{AND, JEQ, JGT, JUMP, LOAD, RETURN, SockFilter};
use super::compile::{Filter, compile, listed};
use super::policy::{ACTIONS, Action, Arg, Op, Policy};
use super::rules::Rules;
use super::sim::{self, Data};
use super::syscalls::Call;
use crate::error::{Error, Quoted, Result, describe};

/// Which rule decides over a call, and what happens. `call` is a name or a number.
pub fn explain(policy: &Policy, native: Arch, arch: Arch, call: &str, args: &[u64]) -> Result<String> {
    let filter = compile(policy, native)?;
    let arch_name = arch.name();
    let audit = arch
        .audit()
        .ok_or_else(|| Error::new(format!("the system calls of {arch_name} are not known to this build")))?;
    let number = match call.parse() {
        Ok(number) => number,
        Err(_) => Call::find(call)
            .ok_or_else(|| Error::new(format!("unknown system call {}", Quoted(call))))?
            .number(arch)
            .ok_or_else(|| Error::new(format!("{arch_name} has no system call {call}")))?,
    };
    let mut data = Data { number, audit, args: [0; 6] };
    if args.len() > data.args.len() {
        return Err(Error::new(format!("a system call has 6 arguments, not {}", args.len())));
    }
    data.args[..args.len()].copy_from_slice(args);
    let (verdict, executed) = sim::run(&filter.program, &data);
    let name = Call::of(arch, number).map_or("no known call", Call::name);
    let mut out = format!("{name}, number {number} of {arch_name}: {}\n", told(verdict));
    if listed(policy, native).contains(&arch) {
        reason(&mut out, policy, arch, &data, verdict)?;
    } else {
        let _ = writeln!(out, "because: architectures does not list {arch_name}");
    }
    let worst = sim::worst(&filter.program, number, audit);
    let _ = writeln!(out, "instructions: {executed}, at most {worst} with other arguments");
    Ok(out)
}

fn reason(out: &mut String, policy: &Policy, arch: Arch, data: &Data, verdict: u32) -> Result<()> {
    let rules = Rules::new(policy);
    let mut by_rules = false;
    for v in rules.decisions(arch)?.iter().filter(|v| v.number == data.number) {
        by_rules = true;
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
    let newest = rules.newest(arch, 0, data.number).and_then(|n| Call::of(arch, n));
    let _ = match newest {
        Some(newest) if !by_rules && verdict != default.code() => writeln!(
            out,
            "because: newer than all that the policy names (the newest of these: {}), and the default is {}",
            newest.name(),
            default.name()
        ),
        _ => writeln!(out, "because: defaultAction ({})", default.name()),
    };
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

/// A verdict in the spec's words.
fn told(verdict: u32) -> String {
    let data = verdict & 0xffff;
    let Some((action, name)) = ACTIONS.iter().find(|(a, _)| a.kind() == verdict & 0xffff_0000) else {
        return format!("{verdict:#x}");
    };
    match action {
        Action::Errno(_) => {
            format!("{name} {data}: {}", describe(crate::error::Errno::from_raw(data as i32)))
        }
        Action::Trace(_) => format!("{name} {data}"),
        _ => (*name).to_owned(),
    }
}

/// The filter, instruction by instruction, and what it costs.
pub fn dump(policy: &Policy, native: Arch) -> Result<String> {
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

/// What a filter costs the calls of an architecture.
#[derive(Debug)]
pub struct Cost {
    /// Tenths of instructions of a call, at the worst arguments, on average over all calls.
    pub tenths: u32,
    /// The most that one takes.
    pub worst: u32,
    /// Which.
    pub name: &'static str,
}

impl Cost {
    /// Costs out every known call; `None` without known calls.
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

/// A line for an instruction; `next` is the number of the one that follows.
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
