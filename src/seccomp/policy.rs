//! `linux.seccomp` as types, and its reader.

use super::arch::{self, Arch};
use crate::bundle::json::Json;
use crate::bundle::read::{Fault, Read, integer, object, text};
use crate::bundle::shape::Shape;
use crate::bundle::spec::Text;
use crate::error::Quoted;

/// `SECCOMP_FILTER_FLAG_TSYNC` (`linux/seccomp.h`).
pub const TSYNC: u32 = 1;
/// `SECCOMP_FILTER_FLAG_LOG`, Linux 4.14.
pub const LOG: u32 = 1 << 1;
/// `SECCOMP_FILTER_FLAG_SPEC_ALLOW`, Linux 4.17.
pub const SPEC_ALLOW: u32 = 1 << 2;
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`, Linux 5.0.
pub const NEW_LISTENER: u32 = 1 << 3;
/// `SECCOMP_FILTER_FLAG_TSYNC_ESRCH`, Linux 5.7.
pub const TSYNC_ESRCH: u32 = 1 << 4;
/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`, Linux 5.19.
pub const WAIT_KILLABLE_RECV: u32 = 1 << 5;

/// The flags that a policy can name.
pub static FLAGS: &[(u32, &str)] = &[
    (TSYNC, "SECCOMP_FILTER_FLAG_TSYNC"),
    (LOG, "SECCOMP_FILTER_FLAG_LOG"),
    (SPEC_ALLOW, "SECCOMP_FILTER_FLAG_SPEC_ALLOW"),
    (WAIT_KILLABLE_RECV, "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"),
];

/// The actions that a policy can name. What takes an errno has `EPERM` here, which is the default.
pub static ACTIONS: &[(Action, &str)] = &[
    (Action::Allow, "SCMP_ACT_ALLOW"),
    (Action::Errno(EPERM), "SCMP_ACT_ERRNO"),
    (Action::KillThread, "SCMP_ACT_KILL"),
    (Action::KillProcess, "SCMP_ACT_KILL_PROCESS"),
    (Action::KillThread, "SCMP_ACT_KILL_THREAD"),
    (Action::Log, "SCMP_ACT_LOG"),
    (Action::Notify, "SCMP_ACT_NOTIFY"),
    (Action::Trace(EPERM), "SCMP_ACT_TRACE"),
    (Action::Trap, "SCMP_ACT_TRAP"),
];

/// The operators that a policy can name.
pub static OPERATORS: &[(Op, &str)] = &[
    (Op::Eq, "SCMP_CMP_EQ"),
    (Op::Ge, "SCMP_CMP_GE"),
    (Op::Gt, "SCMP_CMP_GT"),
    (Op::Le, "SCMP_CMP_LE"),
    (Op::Lt, "SCMP_CMP_LT"),
    (Op::MaskedEq, "SCMP_CMP_MASKED_EQ"),
    (Op::Ne, "SCMP_CMP_NE"),
];

const EPERM: u16 = 1;
/// The kernel cuts larger ones down to this (`MAX_ERRNO`).
const MAX_ERRNO: u16 = 4095;

/// What `linux.seccomp` asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// What happens to a call that no rule is about.
    pub default_action: Action,
    /// The architectures besides the native one whose calls the rules are about.
    pub architectures: Vec<Arch>,
    /// Filter flags; `None` when the policy has no `flags` at all.
    pub flags: Option<u32>,
    /// The socket that gets the listener of `SCMP_ACT_NOTIFY`.
    pub listener_path: Option<Text>,
    /// What the socket is told besides; opaque.
    pub listener_metadata: Option<Text>,
    /// The rules in the order of the file.
    pub syscalls: Vec<Rule>,
}

/// One item of `syscalls`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The calls it is about; at least one.
    pub names: Vec<Text>,
    /// What happens to them.
    pub action: Action,
    /// The conditions under which it does, all of which must hold.
    pub args: Vec<Arg>,
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The process dies of SIGSYS.
    KillProcess,
    /// The thread dies of SIGSYS.
    KillThread,
    /// The thread gets SIGSYS.
    Trap,
    /// The call fails with this errno.
    Errno(u16),
    /// A listener decides.
    Notify,
    /// A tracer decides; it reads this number.
    Trace(u16),
    /// The call is made, and logged.
    Log,
    /// The call is made.
    Allow,
}

/// A condition on an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arg {
    /// Which argument, 0 to 5.
    pub index: u8,
    /// How it is compared.
    pub op: Op,
    /// What it is compared with; the mask of [`Op::MaskedEq`].
    pub value: u64,
    /// What the masked argument is compared with.
    pub value_two: u64,
}

/// How an argument is compared, unsigned.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Ge,
    Gt,
    MaskedEq,
}

impl Action {
    /// What a filter returns for it (`SECCOMP_RET_*` and its 16 bits of data).
    pub const fn code(self) -> u32 {
        match self {
            Action::KillProcess => 0x8000_0000,
            Action::KillThread => 0,
            Action::Trap => 0x0003_0000,
            Action::Errno(n) => 0x0005_0000 | n as u32,
            Action::Notify => 0x7fc0_0000,
            Action::Trace(n) => 0x7ff0_0000 | n as u32,
            Action::Log => 0x7ffc_0000,
            Action::Allow => 0x7fff_0000,
        }
    }

    /// The same without the data.
    pub const fn kind(self) -> u32 {
        self.code() & 0xffff_0000
    }

    /// The spec's name.
    pub fn name(self) -> &'static str {
        ACTIONS.iter().find(|(a, _)| a.kind() == self.kind()).map_or("", |(_, name)| name)
    }
}

/// Reads `linux.seccomp`.
pub fn policy(v: &Json) -> Read<Policy> {
    static TEXTS: Shape =
        Shape::Object(&[("listenerPath", &Shape::Text), ("listenerMetadata", &Shape::Text)]);
    TEXTS.check(v)?;
    let policy = Policy {
        default_action: action(v, "defaultAction", "defaultErrnoRet")?,
        architectures: v.list("architectures", |a| named(a, "architecture", arch::ALL))?,
        flags: match v.get("flags") {
            Some(_) => Some(flags(v)?),
            None => None,
        },
        listener_path: v.text("listenerPath"),
        listener_metadata: v.text("listenerMetadata"),
        syscalls: v.list("syscalls", rule)?,
    };
    listener(&policy)?;
    Ok(policy)
}

fn listener(policy: &Policy) -> Read<()> {
    if policy.listener_metadata.is_some() && policy.listener_path.is_none() {
        return Err(Fault::new("needs listenerPath").at("listenerMetadata"));
    }
    // The runtime itself hands the listener over when the filter is in force: nobody could answer for these calls yet.
    // (write is what runc cannot do without, and engines' tests know that.)
    if policy.default_action == Action::Notify {
        return Err(Fault::new("SCMP_ACT_NOTIFY cannot be the default action").at("defaultAction"));
    }
    for (i, rule) in policy.syscalls.iter().enumerate().filter(|(_, r)| r.action == Action::Notify) {
        let at = |f: Fault, key| f.at(key).at_index(i).at("syscalls");
        if policy.listener_path.is_none() {
            return Err(at(Fault::new("SCMP_ACT_NOTIFY needs listenerPath"), "action"));
        }
        if let Some(name) = rule.names.iter().find(|n| ["write", "sendmsg", "recvfrom"].contains(*n)) {
            return Err(at(Fault::new(format!("SCMP_ACT_NOTIFY cannot be used for {name}")), "names"));
        }
    }
    Ok(())
}

fn flags(v: &Json) -> Read<u32> {
    Ok(v.list("flags", |f| named(f, "flag", FLAGS))?.iter().fold(0, |all, flag| all | flag))
}

fn rule(v: &Json) -> Read<Rule> {
    let v = object(v)?;
    v.required("names", |_| Ok(()))?;
    let names = v.list("names", text)?;
    if names.is_empty() {
        return Err(Fault::new("must name at least one system call").at("names"));
    }
    Ok(Rule { names, action: action(v, "action", "errnoRet")?, args: v.list("args", arg)? })
}

fn arg(v: &Json) -> Read<Arg> {
    let v = object(v)?;
    let index = v.required("index", integer::<u8>)?;
    if index > 5 {
        return Err(Fault::new(format!("{index} is not an argument (0 to 5)")).at("index"));
    }
    Ok(Arg {
        index,
        op: v.required("op", |o| named(o, "operator", OPERATORS))?,
        value: v.required("value", integer)?,
        value_two: v.or_default("valueTwo", integer)?,
    })
}

/// An action and the errno that stands beside it.
fn action(v: &Json, key: &str, errno_key: &str) -> Read<Action> {
    let action = v.required(key, |a| named(a, "action", ACTIONS))?;
    let Some(errno) = v.optional(errno_key, integer::<u16>)? else { return Ok(action) };
    match action {
        Action::Errno(_) if errno > MAX_ERRNO => {
            Err(Fault::new(format!("{errno} is not an errno (0 to {MAX_ERRNO})")).at(errno_key))
        }
        Action::Errno(_) => Ok(Action::Errno(errno)),
        Action::Trace(_) => Ok(Action::Trace(errno)),
        _ => Err(Fault::new(format!("{} takes no errno", action.name())).at(errno_key)),
    }
}

/// A name of a table, as what it stands for.
fn named<T: Copy>(v: &Json, what: &str, names: &[(T, &str)]) -> Read<T> {
    let name = text(v)?;
    names.iter().find(|(_, n)| *n == name).map(|(t, _)| *t).ok_or_else(|| unknown(what, name))
}

#[cold]
#[inline(never)]
fn unknown(what: &str, name: &str) -> Fault {
    Fault::new(format!("unknown {what} {}", Quoted(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn read(text: &str) -> Read<Policy> {
        policy(&Json::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn reads_what_engines_write() {
        let p = read(
            r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,"architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X32"],
            "flags":["SECCOMP_FILTER_FLAG_LOG"],"syscalls":[{"names":["clone"],"action":"SCMP_ACT_ALLOW","errnoRet":null,
            "args":[{"index":0,"value":2114060288,"valueTwo":0,"op":"SCMP_CMP_MASKED_EQ"}]},
            {"names":["ptrace"],"action":"SCMP_ACT_TRACE"}]}"#,
        )
        .unwrap();
        assert_eq!(p.default_action, Action::Errno(38));
        assert_eq!(p.architectures, [Arch::X86_64, Arch::X32]);
        assert_eq!(p.flags, Some(LOG));
        assert_eq!(
            p.syscalls[0].args[0],
            Arg { index: 0, op: Op::MaskedEq, value: 0x7e02_0000, value_two: 0 }
        );
        assert_eq!(p.syscalls[1].action, Action::Trace(1));
        assert_eq!(read(r#"{"defaultAction":"SCMP_ACT_KILL"}"#).unwrap().flags, None);
    }

    #[test]
    fn faults_name_the_field() {
        let rule = |rest| {
            format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{{"names":["a"]}},{rest}]}}"#)
                .replace(r#"{"names":["a"]}"#, r#"{"names":["a"],"action":"SCMP_ACT_LOG"}"#)
        };
        for (text, says) in [
            ("{}".to_owned(), "defaultAction: is required"),
            (r#"{"defaultAction":"ALLOW"}"#.to_owned(), r#"defaultAction: unknown action "ALLOW""#),
            (
                r#"{"defaultAction":"SCMP_ACT_KILL","defaultErrnoRet":1}"#.to_owned(),
                "defaultErrnoRet: SCMP_ACT_KILL takes no errno",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":4096}"#.to_owned(),
                "defaultErrnoRet: 4096 is not an errno (0 to 4095)",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_LOG","architectures":["SCMP_ARCH_X86","amd64"]}"#.to_owned(),
                r#"architectures[1]: unknown architecture "amd64""#,
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_LOG","flags":["SECCOMP_FILTER_FLAG_NEW_LISTENER"]}"#.to_owned(),
                r#"flags[0]: unknown flag "SECCOMP_FILTER_FLAG_NEW_LISTENER""#,
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_LOG","listenerMetadata":"x"}"#.to_owned(),
                "listenerMetadata: needs listenerPath",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#.to_owned(),
                "defaultAction: SCMP_ACT_NOTIFY cannot be the default",
            ),
            (rule(r#"{"names":[],"action":"SCMP_ACT_LOG"}"#), "syscalls[1].names: must name at least one"),
            (rule(r#"{"action":"SCMP_ACT_LOG"}"#), "syscalls[1].names: is required"),
            (rule(r#"{"names":["b"]}"#), "syscalls[1].action: is required"),
            (
                rule(r#"{"names":["b"],"action":"SCMP_ACT_ALLOW","errnoRet":1}"#),
                "syscalls[1].errnoRet: SCMP_ACT_ALLOW takes no errno",
            ),
            (
                rule(r#"{"names":["b"],"action":"SCMP_ACT_NOTIFY"}"#),
                "syscalls[1].action: SCMP_ACT_NOTIFY needs listenerPath",
            ),
            (
                rule(
                    r#"{"names":["b"],"action":"SCMP_ACT_TRAP","args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]}"#,
                ),
                "syscalls[1].args[0].index: 6 is not an argument",
            ),
            (
                rule(
                    r#"{"names":["b"],"action":"SCMP_ACT_TRAP","args":[{"index":0,"value":-1,"op":"SCMP_CMP_EQ"}]}"#,
                ),
                "syscalls[1].args[0].value: -1 is out of range",
            ),
            (
                rule(r#"{"names":["b"],"action":"SCMP_ACT_TRAP","args":[{"index":0,"value":1,"op":"=="}]}"#),
                r#"syscalls[1].args[0].op: unknown operator "==""#,
            ),
        ] {
            let e = Error::from(read(&text).unwrap_err()).to_string();
            assert!(e.contains(says), "{e:?} does not say {says:?}");
        }
    }
}
