//! A policy in words: why a call is answered as it is, and the filter as people read it.

use std::fmt::Write as _;

use super::arch::Arch;
use super::code::SockFilter;
use super::compile::{Filter, compile, listed};
use super::policy::{ACTIONS, Action, Arg, Op, Policy};
use super::rules::Rules;
use super::sim::{self, Data};
use super::syscalls::Call;
use crate::error::{Error, Quoted, Result, describe};

/// Which rule decides over a call, and what happens. `call` is a name or a number.
pub fn explain(policy: &Policy, native: Arch, arch: Arch, call: &str, args: &[u64]) -> Result<String> {
    let filter = compile(policy, native)?;
    let audit = arch.audit().ok_or_else(|| unknown(arch))?;
    let number = match call.parse() {
        Ok(number) => number,
        Err(_) => number_of(arch, call)?,
    };
    let mut data = Data { number, audit, args: [0; 6] };
    if args.len() > data.args.len() {
        return Err(Error::new(format!("a system call has 6 arguments, not {}", args.len())));
    }
    data.args[..args.len()].copy_from_slice(args);
    let (verdict, executed) = sim::run(&filter.program, &data);
    let name = Call::of(arch, number).map_or("no known call", Call::name);
    let mut out = format!("{name}, number {number} of {}: {}\n", arch.name(), told(verdict));
    reason(&mut out, policy, native, arch, &data)?;
    let worst = sim::worst(&filter.program, number, audit);
    let _ = writeln!(out, "instructions: {executed}, at most {worst} with other arguments");
    Ok(out)
}

fn number_of(arch: Arch, name: &str) -> Result<u32> {
    let call = Call::find(name).ok_or_else(|| Error::new(format!("unknown system call {}", Quoted(name))))?;
    call.number(arch).ok_or_else(|| Error::new(format!("{} has no system call {name}", arch.name())))
}

fn unknown(arch: Arch) -> Error {
    Error::new(format!("the system calls of {} are not known to this build", arch.name()))
}

fn reason(out: &mut String, policy: &Policy, native: Arch, arch: Arch, data: &Data) -> Result<()> {
    if !listed(policy, native).contains(&arch) {
        let _ = writeln!(out, "because: architectures does not list {}", arch.name());
        return Ok(());
    }
    let rules = Rules::new(policy);
    let decisions = rules.decisions(arch)?;
    let variants = decisions.into_iter().find(|(n, _)| *n == data.number).map(|(_, v)| v).unwrap_or_default();
    let default = policy.default_action;
    for v in &variants {
        let failed = v.args.iter().find(|a| !a.holds(data.args[usize::from(a.index)]));
        let Some(a) = failed else {
            let conditions: Vec<String> = v.args.iter().map(condition).collect();
            let when = if conditions.is_empty() { "always" } else { &conditions.join(" and ") };
            let _ = writeln!(out, "because: syscalls[{}] ({when})", v.rule);
            return Ok(());
        };
        let value = data.args[usize::from(a.index)];
        let _ = writeln!(out, "not syscalls[{}]: {} fails for {value:#x}", v.rule, condition(a));
    }
    let by_default = sim::run(&compile(policy, native)?.program, data).0 == default.code();
    let newest = rules.newest(arch, 0, data.number).and_then(|n| Call::of(arch, n));
    match newest {
        Some(newest) if variants.is_empty() && !by_default => {
            let _ = writeln!(
                out,
                "because: newer than all that the policy names (the newest of these: {}), and the default is {}",
                newest.name(),
                default.name()
            );
        }
        _ => {
            let _ = writeln!(out, "because: defaultAction ({})", default.name());
        }
    }
    Ok(())
}

fn condition(a: &Arg) -> String {
    let index = a.index;
    let op = match a.op {
        Op::MaskedEq => return format!("args[{index}] & {:#x} == {:#x}", a.value, a.value_two),
        Op::Eq => "==",
        Op::Ne => "!=",
        Op::Lt => "<",
        Op::Le => "<=",
        Op::Ge => ">=",
        Op::Gt => ">",
    };
    format!("args[{index}] {op} {:#x}", a.value)
}

/// A verdict in the spec's words.
fn told(verdict: u32) -> String {
    let kind = |v: u32| v & 0xffff_0000;
    let data = verdict & 0xffff;
    let Some((action, _)) = ACTIONS.iter().find(|(a, _)| kind(a.code()) == kind(verdict)) else {
        return format!("{verdict:#x}");
    };
    let name = action.name();
    match action {
        Action::Errno(_) => {
            format!("{name} {data}: {}", describe(crate::error::Errno::from_raw(data as i32)))
        }
        Action::Trace(_) => format!("{name} {data}"),
        _ => name.to_owned(),
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
        if let Some(cost) = Cost::of(&filter, arch) {
            let _ = writeln!(
                out,
                "; {}: a call takes {}.{} instructions on average, {} at most ({})",
                arch.name(),
                cost.tenths / 10,
                cost.tenths % 10,
                cost.worst,
                cost.name
            );
        }
    }
    for (at, i) in filter.program.iter().enumerate() {
        let _ = writeln!(out, "{at:4}: {}", instruction(at, i));
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

fn instruction(at: usize, i: &SockFilter) -> String {
    let to = |skip: usize| at + 1 + skip;
    let jump = |op| format!("if A {op} {:#x} goto {} else {}", i.k, to(i.jt.into()), to(i.jf.into()));
    match i.code {
        0x20 => format!("A = {}", field(i.k)),
        0x54 => format!("A &= {:#x}", i.k),
        0x05 => format!("goto {}", to(i.k as usize)),
        0x15 => jump("=="),
        0x25 => jump(">"),
        0x35 => jump(">="),
        0x06 => format!("return {}", told(i.k)),
        other => format!("{other:#x} {} {} {:#x}", i.jt, i.jf, i.k),
    }
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
