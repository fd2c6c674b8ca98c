//! `process`, of `config.json` and of `exec --process` (config.md, "Process").

use super::{Also, Flag, ListOf, Object, Path, Plain};
use crate::bundle::spec::{CpuAffinity, IoPriority, Process, Rlimit, Scheduler};
use crate::error::Quoted;
use crate::json::read::{Fault, Read};
use crate::json::shape::Shape::{self, Any, Must, Number, Word};
use crate::json::shape::{I32, U16, U32, U64};
use crate::json::value::Json;
use crate::text::Text;

/// The shape of `process` (config.md, Process).
pub static PROCESS: Shape = Also(
    &Object(&[
        ("terminal", &Flag),
        ("user", &USER),
        ("args", &Must(&Also(&ListOf(&Plain), at_least_a_program))),
        ("env", &ListOf(&Also(&Plain, env_entry))),
        ("cwd", &Must(&Path)),
        ("capabilities", &CAPABILITIES),
        ("rlimits", &Also(&ListOf(&RLIMIT), each_type_once)),
        ("noNewPrivileges", &Flag),
        ("oomScoreAdj", &Number(&(-1000, 1000, "is out of range (-1000 to 1000)"))),
        ("apparmorProfile", &Plain),
        ("selinuxLabel", &Plain),
        ("scheduler", &SCHEDULER),
        ("ioPriority", &IO_PRIORITY),
        ("consoleSize", &Any),
        ("execCPUAffinity", &Object(&[("initial", &Plain), ("final", &Plain)])),
    ]),
    console_size,
);

/// Reads a process. `args` has at least one entry; `consoleSize` is not even looked at without `terminal`.
pub fn process(v: &Json) -> Read<Box<Process>> {
    PROCESS.check(v)?;
    Ok(taken(v))
}

pub(super) fn taken(v: &Json) -> Box<Process> {
    let mut process = Box::<Process>::default();
    fill(&mut process, v);
    process
}

/// Takes each member where it belongs: the whole made of so many would be moved about.
#[inline(never)]
fn fill(p: &mut Process, v: &Json) {
    p.terminal = v.flag("terminal");
    if let Some(size) = v.get("consoleSize").filter(|_| p.terminal) {
        p.console_size = Some((size.number("height") as u16, size.number("width") as u16));
    }
    let user = v.section("user");
    p.user.uid = user.number("uid");
    p.user.gid = user.number("gid");
    p.user.umask = user.number_if_any("umask");
    p.user.additional_gids = user.all("additionalGids", |id| id.bits() as u32);
    p.args = v.texts("args");
    p.env = v.texts("env");
    p.cwd = v.text("cwd").unwrap_or_default();
    let capabilities = v.section("capabilities");
    p.capabilities.bounding = capabilities.texts("bounding");
    p.capabilities.effective = capabilities.texts("effective");
    p.capabilities.inheritable = capabilities.texts("inheritable");
    p.capabilities.permitted = capabilities.texts("permitted");
    p.capabilities.ambient = capabilities.texts("ambient");
    p.rlimits = v.all("rlimits", rlimit);
    p.no_new_privileges = v.flag("noNewPrivileges");
    p.oom_score_adj = v.number_if_any("oomScoreAdj").map(|score| score as i32);
    p.apparmor_profile = v.text("apparmorProfile");
    p.selinux_label = v.text("selinuxLabel");
    p.scheduler = v.get("scheduler").map(scheduler);
    p.io_priority = v.get("ioPriority").map(io_priority);
    if let Some(a) = v.get("execCPUAffinity") {
        p.exec_cpu_affinity = Some(CpuAffinity { initial: a.text("initial"), last: a.text("final") });
    }
}

fn console_size(v: &Json) -> Read<()> {
    static SIZE: Shape =
        Object(&[("consoleSize", &Object(&[("height", &Must(&U16)), ("width", &Must(&U16))]))]);
    if v.flag("terminal") { SIZE.check(v) } else { Ok(()) }
}

static USER: Shape = Object(&[
    ("uid", &ID),
    ("gid", &ID),
    ("umask", &Number(&(0, 0o777, "is not a umask (0 to 511, which is 0777)"))),
    ("additionalGids", &ListOf(&ID)),
]);

/// A user or group id.
pub(super) static ID: Shape = Also(&U32, not_no_id);

/// The system calls take the highest number for "leave as it is", which for a process that is root means: stay root.
fn not_no_id(v: &Json) -> Read<()> {
    match v {
        Json::Number("4294967295") => {
            Err(Fault::new("4294967295 is not an id (the kernel reads it as \"no change\")"))
        }
        _ => Ok(()),
    }
}

fn at_least_a_program(v: &Json) -> Read<()> {
    match v {
        Json::List(args) if args.is_empty() => {
            Err(Fault::new("must not be empty (the program to run comes first)"))
        }
        _ => Ok(()),
    }
}

/// `KEY=VALUE`, refused without a key or without `=`, as by runc.
fn env_entry(v: &Json) -> Read<()> {
    match v {
        Json::Str(entry) if !matches!(entry.find('='), Some(1..)) => {
            Err(Fault::of(format_args!("{} is not KEY=VALUE", Quoted(entry))))
        }
        _ => Ok(()),
    }
}

static CAPABILITIES: Shape = Object(&[
    ("bounding", &ListOf(&Plain)),
    ("effective", &ListOf(&Plain)),
    ("inheritable", &ListOf(&Plain)),
    ("permitted", &ListOf(&Plain)),
    ("ambient", &ListOf(&Plain)),
]);

/// The numbers differ between architectures (MIPS), so they are libc's; its type for them differs between C libraries.
#[allow(clippy::unnecessary_cast)]
static RLIMITS: [(Text, u32); 16] = [
    ("RLIMIT_AS", libc::RLIMIT_AS as u32),
    ("RLIMIT_CORE", libc::RLIMIT_CORE as u32),
    ("RLIMIT_CPU", libc::RLIMIT_CPU as u32),
    ("RLIMIT_DATA", libc::RLIMIT_DATA as u32),
    ("RLIMIT_FSIZE", libc::RLIMIT_FSIZE as u32),
    ("RLIMIT_LOCKS", libc::RLIMIT_LOCKS as u32),
    ("RLIMIT_MEMLOCK", libc::RLIMIT_MEMLOCK as u32),
    ("RLIMIT_MSGQUEUE", libc::RLIMIT_MSGQUEUE as u32),
    ("RLIMIT_NICE", libc::RLIMIT_NICE as u32),
    ("RLIMIT_NOFILE", libc::RLIMIT_NOFILE as u32),
    ("RLIMIT_NPROC", libc::RLIMIT_NPROC as u32),
    ("RLIMIT_RSS", libc::RLIMIT_RSS as u32),
    ("RLIMIT_RTPRIO", libc::RLIMIT_RTPRIO as u32),
    ("RLIMIT_RTTIME", libc::RLIMIT_RTTIME as u32),
    ("RLIMIT_SIGPENDING", libc::RLIMIT_SIGPENDING as u32),
    ("RLIMIT_STACK", libc::RLIMIT_STACK as u32),
];

impl Rlimit {
    /// The spec's name of the resource.
    pub fn name(&self) -> &'static str {
        RLIMITS.iter().find(|(_, n)| *n == self.resource).map_or("RLIMIT_?", |(name, _)| name)
    }
}

static RLIMIT: Shape = Also(
    &Object(&[("type", &Must(&Word(&RLIMITS))), ("soft", &Must(&U64)), ("hard", &Must(&U64))]),
    soft_within_hard,
);

fn soft_within_hard(v: &Json) -> Read<()> {
    let limit = rlimit(v);
    if limit.soft > limit.hard {
        return Err(Fault::of(format_args!("{} is above hard ({})", limit.soft, limit.hard)).at("soft"));
    }
    Ok(())
}

fn rlimit(v: &Json) -> Rlimit {
    Rlimit { resource: v.word("type", &RLIMITS), soft: v.long("soft"), hard: v.long("hard") }
}

/// Of a list whose items have a `type`.
pub(super) fn each_type_once(v: &Json) -> Read<()> {
    let Json::List(all) = v else { return Ok(()) };
    for (i, one) in all.iter().enumerate() {
        let kind = one.text("type").unwrap_or_default();
        if all[..i].iter().any(|earlier| earlier.text("type") == Some(kind)) {
            return Err(Fault::of(format_args!("{} is given twice", Quoted(kind))).at("type").at_index(i));
        }
    }
    Ok(())
}

/// sched(7). Linux has reserved the number of SCHED_ISO, and refuses it.
#[allow(clippy::unnecessary_cast)]
static POLICIES: [(Text, u32); 7] = [
    ("SCHED_OTHER", libc::SCHED_OTHER as u32),
    ("SCHED_FIFO", libc::SCHED_FIFO as u32),
    ("SCHED_RR", libc::SCHED_RR as u32),
    ("SCHED_BATCH", libc::SCHED_BATCH as u32),
    ("SCHED_ISO", 4),
    ("SCHED_IDLE", libc::SCHED_IDLE as u32),
    ("SCHED_DEADLINE", 6),
];

/// include/uapi/linux/sched.h
static SCHEDULER_FLAGS: [(Text, u32); 7] = [
    ("SCHED_FLAG_RESET_ON_FORK", 0x01),
    ("SCHED_FLAG_RECLAIM", 0x02),
    ("SCHED_FLAG_DL_OVERRUN", 0x04),
    ("SCHED_FLAG_KEEP_POLICY", 0x08),
    ("SCHED_FLAG_KEEP_PARAMS", 0x10),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
];

static SCHEDULER: Shape = Object(&[
    ("policy", &Must(&Word(&POLICIES))),
    ("nice", &I32),
    ("priority", &I32),
    ("flags", &ListOf(&Word(&SCHEDULER_FLAGS))),
    ("runtime", &U64),
    ("deadline", &U64),
    ("period", &U64),
]);

fn scheduler(v: &Json) -> &'static Scheduler {
    Box::leak(Box::new(Scheduler {
        policy: v.word("policy", &POLICIES),
        nice: v.number("nice") as i32,
        priority: v.number("priority") as i32,
        flags: v.words("flags", &SCHEDULER_FLAGS).into(),
        runtime: v.long("runtime"),
        deadline: v.long("deadline"),
        period: v.long("period"),
    }))
}

/// include/uapi/linux/ioprio.h
static IO_CLASSES: [(Text, u32); 3] =
    [("IOPRIO_CLASS_RT", 1), ("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3)];

static IO_PRIORITY: Shape = Object(&[
    ("class", &Must(&Word(&IO_CLASSES))),
    ("priority", &Number(&(0, 7, "is out of range (0 to 7)"))),
]);

fn io_priority(v: &Json) -> IoPriority {
    IoPriority { class: v.word("class", &IO_CLASSES) as u8, priority: v.number("priority") as u8 }
}
