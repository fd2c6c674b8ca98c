//! `linux.seccomp` as types, and its reader.

use super::arch::{self, Arch};
use crate::error::Quoted;
use crate::json::read::{Fault, Read};
use crate::json::shape::Shape::{self, Also, List as ListOf, Many, Must, Number, Object, Text as Plain};
use crate::json::shape::{U16, U64};
use crate::json::value::Json;
use crate::text::Text;

/// `SECCOMP_FILTER_FLAG_TSYNC` (`linux/seccomp.h`), Linux 3.17.
pub const TSYNC: u32 = 1;
/// `SECCOMP_FILTER_FLAG_LOG`, Linux 4.14.
pub const LOG: u32 = 1 << 1;
/// `SECCOMP_FILTER_FLAG_SPEC_ALLOW`, Linux 4.17.
pub const SPEC_ALLOW: u32 = 1 << 2;
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`, Linux 5.0.
pub const NEW_LISTENER: u32 = 1 << 3;
/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`, Linux 5.19.
pub const WAIT_KILLABLE_RECV: u32 = 1 << 5;

/// The flags that a policy can name.
pub static FLAGS: &[(u32, &str)] = &[
    (TSYNC, "SECCOMP_FILTER_FLAG_TSYNC"),
    (LOG, "SECCOMP_FILTER_FLAG_LOG"),
    (SPEC_ALLOW, "SECCOMP_FILTER_FLAG_SPEC_ALLOW"),
    (WAIT_KILLABLE_RECV, "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"),
];

/// The actions that a policy can name, with the default errno `EPERM`.
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

/// The calls that a listener cannot decide.
/// The runtime makes them under the filter before anyone listens. runc cannot do without write either, and engines'
/// tests rely on that; sendmsg is needed on kernels before 5.6.
const BEFORE_ANYBODY_LISTENS: [&str; 2] = ["write", "sendmsg"];

const EPERM: u16 = 1;
/// The largest errno; the kernel truncates larger ones (`MAX_ERRNO`).
const MAX_ERRNO: u16 = 4095;

/// The contents of `linux.seccomp`.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The action for calls that no rule matches.
    pub default_action: Action,
    /// The architectures, besides the native one, that the rules apply to.
    pub architectures: Vec<Arch>,
    /// Filter flags; `None` if the policy has no `flags` at all.
    pub flags: Option<u32>,
    /// The socket that receives the listener of `SCMP_ACT_NOTIFY`.
    pub listener_path: Option<Text>,
    /// Opaque data that is sent to this socket.
    pub listener_metadata: Option<Text>,
    /// The rules in file order.
    pub syscalls: Vec<Rule>,
}

/// One item of `syscalls`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The names of its calls, at least one.
    pub names: Vec<Text>,
    /// The action for them.
    pub action: Action,
    /// The conditions, all of which must hold.
    pub args: Vec<Arg>,
}

/// The action that a filter takes on a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Kills the process with SIGSYS.
    KillProcess,
    /// Kills the thread with SIGSYS.
    KillThread,
    /// Sends SIGSYS to the thread.
    Trap,
    /// Fails the call with this errno.
    Errno(u16),
    /// Asks a listener.
    Notify,
    /// Asks a tracer, which can read this number.
    Trace(u16),
    /// Allows the call and logs it.
    Log,
    /// Allows the call.
    Allow,
}

/// A condition on an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arg {
    /// The argument's index, 0 to 5.
    pub index: u8,
    /// The comparison.
    pub op: Op,
    /// The value to compare with, or the mask of [`Op::MaskedEq`].
    pub value: u64,
    /// The value to compare the masked argument with.
    pub value_two: u64,
}

/// An unsigned comparison.
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
    /// The filter's return value (`SECCOMP_RET_*` with its 16 bits of data).
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

    /// The filter's return value without the data.
    pub const fn kind(self) -> u32 {
        self.code() & 0xffff_0000
    }

    /// The spec's name.
    pub fn name(self) -> &'static str {
        ACTIONS.iter().find(|(a, _)| a.kind() == self.kind()).map_or("", |(_, name)| name)
    }
}

/// The shape of a profile (config-linux.md, Seccomp).
pub static POLICY: Shape = Object(&[
    ("defaultAction", &Also(&Plain, default_action)),
    ("defaultErrnoRet", &U16),
    ("architectures", &ListOf(&Also(&Plain, architecture))),
    ("flags", &ListOf(&Also(&Plain, flag))),
    ("listenerPath", &Plain),
    ("listenerMetadata", &Plain),
    ("syscalls", &Many(&RULE)),
]);

static RULE: Shape = Object(&[
    ("names", &Must(&Also(&ListOf(&Plain), some_call))),
    ("action", &Must(&Also(&Plain, action))),
    ("errnoRet", &U16),
    ("args", &ListOf(&ARG)),
]);

static ARG: Shape = Object(&[
    ("index", &Must(&Number(&(0, 5, "is not an argument (0 to 5)")))),
    ("op", &Must(&Also(&Plain, operator))),
    ("value", &Must(&U64)),
    ("valueTwo", &U64),
]);

/// Reads `linux.seccomp`; `None` if it asks for no filter.
/// Like runc, a section without default action and rules means "no filter"; engines may write that.
pub fn section(v: &Json) -> Read<Option<Policy>> {
    if v.text("defaultAction").is_none() && !v.has_items("syscalls") {
        return POLICY.check(v).map(|()| None);
    }
    policy(v).map(Some)
}

/// Reads a profile.
pub fn policy(v: &Json) -> Read<Policy> {
    POLICY.check(v)?;
    if v.text("defaultAction").is_none() {
        return Err(Fault::new("is required").at("defaultAction"));
    }
    let mut policy = Policy {
        default_action: with_errno(v, "defaultAction", "defaultErrnoRet")?,
        architectures: v.texts("architectures").iter().filter_map(|name| named(name, arch::ALL)).collect(),
        flags: v.get("flags").map(|_| {
            v.texts("flags").iter().filter_map(|name| named(name, FLAGS)).fold(0, |all, flag| all | flag)
        }),
        listener_path: v.text("listenerPath"),
        listener_metadata: v.text("listenerMetadata"),
        syscalls: Vec::new(),
    };
    v.each_item("syscalls", &mut |rule| {
        let action = with_errno(rule, "action", "errnoRet")?;
        let args = rule.items("args").iter().map(arg).collect();
        policy.syscalls.push(Rule { names: rule.texts("names").to_vec(), action, args });
        Ok(())
    })?;
    listener(&policy)?;
    Ok(policy)
}

fn listener(policy: &Policy) -> Read<()> {
    if policy.listener_metadata.is_some() && policy.listener_path.is_none() {
        return Err(Fault::new("needs listenerPath").at("listenerMetadata"));
    }
    if policy.default_action == Action::Notify {
        return Err(Fault::new("SCMP_ACT_NOTIFY cannot be the default action").at("defaultAction"));
    }
    for (i, rule) in policy.syscalls.iter().enumerate().filter(|(_, r)| r.action == Action::Notify) {
        let at = |f: Fault, key| f.at(key).at_index(i).at("syscalls");
        if policy.listener_path.is_none() {
            return Err(at(Fault::new("SCMP_ACT_NOTIFY needs listenerPath"), "action"));
        }
        if let Some(name) = rule.names.iter().find(|name| BEFORE_ANYBODY_LISTENS.contains(name)) {
            return Err(at(Fault::of(format_args!("SCMP_ACT_NOTIFY cannot be used for {name}")), "names"));
        }
    }
    Ok(())
}

fn arg(v: &Json) -> Arg {
    Arg {
        index: v.number("index") as u8,
        op: named(v.text("op").unwrap_or_default(), OPERATORS).unwrap_or(Op::Eq),
        value: v.long("value"),
        value_two: v.long("valueTwo"),
    }
}

/// Combines an action with the errno in the field beside it.
fn with_errno(v: &Json, key: &str, errno_key: &str) -> Read<Action> {
    let action = named(v.text(key).unwrap_or_default(), ACTIONS).unwrap_or(Action::KillProcess);
    let Some(errno) = v.number_if_any(errno_key).map(|errno| errno as u16) else { return Ok(action) };
    match action {
        Action::Errno(_) if errno > MAX_ERRNO => {
            Err(Fault::of(format_args!("{errno} is not an errno (0 to {MAX_ERRNO})")).at(errno_key))
        }
        Action::Errno(_) => Ok(Action::Errno(errno)),
        Action::Trace(_) => Ok(Action::Trace(errno)),
        _ => Err(Fault::of(format_args!("{} takes no errno", action.name())).at(errno_key)),
    }
}

/// Looks up a name in a table.
fn named<T: Copy>(name: &str, names: &[(T, &str)]) -> Option<T> {
    names.iter().find(|(_, n)| *n == name).map(|(t, _)| *t)
}

fn default_action(v: &Json) -> Read<()> {
    known(v, "action", &|name| name.is_empty() || named(name, ACTIONS).is_some())
}

fn action(v: &Json) -> Read<()> {
    known(v, "action", &|name| named(name, ACTIONS).is_some())
}

fn architecture(v: &Json) -> Read<()> {
    known(v, "architecture", &|name| named(name, arch::ALL).is_some())
}

fn flag(v: &Json) -> Read<()> {
    known(v, "flag", &|name| named(name, FLAGS).is_some())
}

fn operator(v: &Json) -> Read<()> {
    known(v, "operator", &|name| named(name, OPERATORS).is_some())
}

fn known(v: &Json, what: &str, is_known: &dyn Fn(&str) -> bool) -> Read<()> {
    match v {
        Json::Str(name) if !is_known(name) => Err(Fault::of(format_args!("unknown {what} {}", Quoted(name)))),
        _ => Ok(()),
    }
}

fn some_call(v: &Json) -> Read<()> {
    match v {
        Json::List(names) if names.is_empty() => Err(Fault::new("must name at least one system call")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn read(text: &str) -> Read<Policy> {
        policy(&Json::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn profiles_of_engines_are_read() {
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
    fn section_without_default_action_and_rules_means_no_filter() {
        let read = |text: &str| section(&Json::parse(text.as_bytes()).unwrap());
        for text in ["{}", r#"{"defaultAction":"","architectures":["SCMP_ARCH_X86_64"],"syscalls":[]}"#] {
            assert_eq!(read(text).unwrap(), None, "{text}");
        }
        assert!(read(r#"{"defaultAction":"SCMP_ACT_KILL"}"#).unwrap().is_some());
        for (text, says) in [
            ("[]", "must be an object"),
            (r#"{"defaultAction":5}"#, "defaultAction: must be a string"),
            (r#"{"architectures":["amd64"]}"#, "architectures[0]: unknown architecture"),
            (
                r#"{"defaultAction":"","syscalls":[{"names":["a"],"action":"SCMP_ACT_LOG"}]}"#,
                "defaultAction: is required",
            ),
        ] {
            let e = Error::from(read(text).unwrap_err()).to_string();
            assert!(e.contains(says), "{e:?} does not say {says:?}");
        }
    }

    #[test]
    fn errors_name_the_field() {
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
                r#"{"defaultAction":"SCMP_ACT_LOG","listenerPath":"/a","syscalls":[{"names":["a","sendmsg"],"action":"SCMP_ACT_NOTIFY"}]}"#
                    .to_owned(),
                "syscalls[0].names: SCMP_ACT_NOTIFY cannot be used for sendmsg",
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
