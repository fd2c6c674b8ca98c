//! `linux.seccomp` as types, and its reader.

#[cfg(test)]
mod tests;

use super::arch::{self, Arch};
use crate::error::Quoted;
use crate::json::document;
use crate::json::read::{Fault, Read};
use crate::json::slot::{Bounds, Each, Slot, Value, Within, may, must};
use crate::json::value::Json;
use crate::names;
use crate::text::Text;
use crate::text::names::NameTable;

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
pub static FLAGS: NameTable<u32> = names! {
    "SECCOMP_FILTER_FLAG_TSYNC" => TSYNC,
    "SECCOMP_FILTER_FLAG_LOG" => LOG,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => SPEC_ALLOW,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => WAIT_KILLABLE_RECV,
};

/// The actions that a policy can name, with the default errno `EPERM`.
pub static ACTIONS: NameTable<Action> = names! {
    "SCMP_ACT_ALLOW" => Action::Allow,
    "SCMP_ACT_ERRNO" => Action::Errno(EPERM),
    "SCMP_ACT_KILL" => Action::KillThread,
    "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
    "SCMP_ACT_KILL_THREAD" => Action::KillThread,
    "SCMP_ACT_LOG" => Action::Log,
    "SCMP_ACT_NOTIFY" => Action::Notify,
    "SCMP_ACT_TRACE" => Action::Trace(EPERM),
    "SCMP_ACT_TRAP" => Action::Trap,
};

/// The operators that a policy can name.
pub static OPERATORS: NameTable<Op> = names! {
    "SCMP_CMP_EQ" => Op::Eq,
    "SCMP_CMP_GE" => Op::Ge,
    "SCMP_CMP_GT" => Op::Gt,
    "SCMP_CMP_LE" => Op::Le,
    "SCMP_CMP_LT" => Op::Lt,
    "SCMP_CMP_MASKED_EQ" => Op::MaskedEq,
    "SCMP_CMP_NE" => Op::Ne,
};

/// The calls that a listener cannot decide.
///
/// The runtime makes them under the filter before anyone listens. runc needs write, too, and engines' tests rely on that; Linux
/// before 5.6 needs sendmsg.
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
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    /// The names of its calls, at least one.
    pub names: Vec<Text>,
    /// The action for them.
    pub action: Action,
    /// The conditions, all of which must hold.
    pub args: Vec<Arg>,
}

/// The action that a filter takes on a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// Kills the process with SIGSYS.
    #[default]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Op {
    #[default]
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
        ACTIONS.name(|a| a.kind() == self.kind()).unwrap_or("")
    }
}

/// Reads a profile that is already in memory.
pub fn policy(v: &Json) -> Read<Policy> {
    let mut policy = None;
    document::read_value(v, &mut ProfileSlot(&mut policy))?;
    policy.ok_or_else(|| Fault::new("is required").at("defaultAction"))
}

/// The slot for a profile.
pub struct ProfileSlot<'a>(pub &'a mut Option<Policy>);

impl Slot for ProfileSlot<'_> {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        let mut parts = Parts::default();
        parts.fill(v)?;
        *self.0 = Some(parts.policy()?);
        Ok(())
    }
}

/// The slot for `linux.seccomp`, which may be empty.
///
/// Like in runc, it asks for no filter if it has neither a default action nor rules: engines may write that for "none".
pub struct Section<'a>(pub &'a mut Option<Policy>);

impl Slot for Section<'_> {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        let mut parts = Parts::default();
        parts.fill(v)?;
        if parts.default_action.is_some() || !parts.syscalls.is_empty() {
            *self.0 = Some(parts.policy()?);
        }
        Ok(())
    }
}

/// The slot for `linux.seccomp` of an existing container, for its listener.
///
/// The rules are left out.
pub struct Listener<'a>(pub &'a mut Option<Policy>);

impl Slot for Listener<'_> {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        let mut parts = Parts { without_rules: true, ..Parts::default() };
        parts.fill(v)?;
        *self.0 = parts.default_action.map(|_| parts.policy()).transpose()?;
        Ok(())
    }
}

/// The members of a profile.
#[derive(Default)]
struct Parts {
    default_action: Option<Action>,
    default_errno: Option<u16>,
    architectures: Vec<Arch>,
    flags: Option<u32>,
    listener_path: Option<Text>,
    listener_metadata: Option<Text>,
    syscalls: Vec<Rule>,
    without_rules: bool,
}

impl Slot for Parts {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        v.object(&mut [
            may(
                "defaultAction",
                &mut Each(&mut |v| {
                    let name = v.text()?;
                    self.default_action =
                        if name.is_empty() { None } else { Some(named("action", &ACTIONS, name)?) };
                    Ok(())
                }),
            ),
            may("defaultErrnoRet", &mut self.default_errno),
            may(
                "architectures",
                &mut Each(&mut |v| {
                    v.each(&mut Each(&mut |v| {
                        self.architectures.push(named("architecture", &arch::ALL, v.text()?)?);
                        Ok(())
                    }))
                }),
            ),
            may(
                "flags",
                &mut Each(&mut |v| {
                    let all = self.flags.insert(0);
                    v.each(&mut Each(&mut |v| {
                        *all |= named("flag", &FLAGS, v.text()?)?;
                        Ok(())
                    }))
                }),
            ),
            may("listenerPath", &mut self.listener_path),
            may("listenerMetadata", &mut self.listener_metadata),
            may(
                "syscalls",
                &mut Each(&mut |v| {
                    if self.without_rules { Ok(()) } else { self.syscalls.fill(v) }
                }),
            ),
        ])
    }
}

impl Parts {
    fn policy(self) -> Read<Policy> {
        let Some(action) = self.default_action else {
            return Err(Fault::new("is required").at("defaultAction"));
        };
        let policy = Policy {
            default_action: with_errno(action, "defaultErrnoRet", self.default_errno)?,
            architectures: self.architectures,
            flags: self.flags,
            listener_path: self.listener_path,
            listener_metadata: self.listener_metadata,
            syscalls: self.syscalls,
        };
        listener(&policy)?;
        Ok(policy)
    }
}

impl Slot for Rule {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        let mut errno = None;
        v.object(&mut [
            must(
                "names",
                &mut Each(&mut |v| {
                    self.names.fill(v)?;
                    if self.names.is_empty() {
                        Err(Fault::new("must name at least one system call"))
                    } else {
                        Ok(())
                    }
                }),
            ),
            must("action", &mut Named(&mut self.action, "action", &ACTIONS)),
            may("errnoRet", &mut errno),
            may("args", &mut self.args),
        ])?;
        self.action = with_errno(self.action, "errnoRet", errno)?;
        Ok(())
    }
}

impl Slot for Arg {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        v.object(&mut [
            must("index", &mut Within(&mut self.index, &Bounds(0, 5, "is not an argument (0 to 5)"))),
            must("op", &mut Named(&mut self.op, "operator", &OPERATORS)),
            must("value", &mut self.value),
            may("valueTwo", &mut self.value_two),
        ])
    }
}

/// The slot for a name of a table; stores the value that belongs to it.
struct Named<'a, T: 'static>(&'a mut T, &'static str, &'static NameTable<T>);

impl<T: Copy> Slot for Named<'_, T> {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        *self.0 = named(self.1, self.2, v.text()?)?;
        Ok(())
    }
}

/// The value that belongs to a name of a table.
fn named<T: Copy>(what: &str, names: &NameTable<T>, name: &str) -> Read<T> {
    names.get(name).ok_or_else(|| Fault::of(format_args!("unknown {what} {}", Quoted(name))))
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
            return Err(at(
                Fault::of(format_args!("SCMP_ACT_NOTIFY cannot be used for the {name} syscall")),
                "names",
            ));
        }
    }
    Ok(())
}

/// The action with the errno that its rule gives.
fn with_errno(action: Action, key: &str, errno: Option<u16>) -> Read<Action> {
    let Some(errno) = errno else { return Ok(action) };
    match action {
        Action::Errno(_) if errno > MAX_ERRNO => {
            Err(Fault::of(format_args!("{errno} is not an errno (0 to {MAX_ERRNO})")).at(key))
        }
        Action::Errno(_) => Ok(Action::Errno(errno)),
        Action::Trace(_) => Ok(Action::Trace(errno)),
        _ => Err(Fault::of(format_args!("{} takes no errno", action.name())).at(key)),
    }
}
