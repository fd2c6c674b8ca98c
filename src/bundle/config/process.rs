//! `process`, of `config.json` and of `exec --process` (config.md, "Process").

use super::{absolute, list, string, text};
use crate::bundle::json::Json;
use crate::bundle::read::{Fault, Read, boolean, integer, object, word};
use crate::bundle::spec::{
    Capabilities, CpuAffinity, IoPriority, List, Process, Rlimit, Scheduler, Text, User,
};
use crate::error::Quoted;

/// Reads a process. `args` has at least one entry; `consoleSize` is not even looked at without `terminal`.
pub fn process(v: &Json) -> Read<Process> {
    object(v)?;
    let terminal = v.or_default("terminal", boolean)?;
    Ok(Process {
        terminal,
        console_size: if terminal { v.optional("consoleSize", console_size)? } else { None },
        user: v.or_default("user", user)?,
        args: args(v)?,
        env: list(v, "env", env_entry)?,
        cwd: v.required("cwd", absolute)?,
        capabilities: v.optional("capabilities", capabilities)?,
        rlimits: rlimits(v)?,
        no_new_privileges: v.or_default("noNewPrivileges", boolean)?,
        oom_score_adj: v.optional("oomScoreAdj", oom_score_adj)?,
        apparmor_profile: text(v, "apparmorProfile")?,
        selinux_label: text(v, "selinuxLabel")?,
        scheduler: v.optional("scheduler", scheduler)?,
        io_priority: v.optional("ioPriority", io_priority)?,
        exec_cpu_affinity: v.optional("execCPUAffinity", cpu_affinity)?,
    })
}

fn console_size(v: &Json) -> Read<(u16, u16)> {
    object(v)?;
    Ok((v.required("height", integer)?, v.required("width", integer)?))
}

fn user(v: &Json) -> Read<User> {
    object(v)?;
    Ok(User {
        uid: v.or_default("uid", id)?,
        gid: v.or_default("gid", id)?,
        umask: v.optional("umask", |m| match integer(m)? {
            mask @ 0..=0o777 => Ok(mask),
            mask => Err(Fault::new(format!("{mask} is not a umask (0 to 511, which is 0777)"))),
        })?,
        additional_gids: list(v, "additionalGids", id)?,
    })
}

/// A user or group id. The system calls take the highest number for "leave as it is", which for a process that is root
/// means: stay root.
pub(super) fn id(v: &Json) -> Read<u32> {
    match integer(v)? {
        u32::MAX => Err(Fault::new("4294967295 is not an id (the kernel reads it as \"no change\")")),
        id => Ok(id),
    }
}

fn args(v: &Json) -> Read<List<Text>> {
    let args = list(v, "args", string)?;
    if args.is_empty() {
        v.required("args", |_| Err(Fault::new("must not be empty (the program to run comes first)")))
    } else {
        Ok(args)
    }
}

/// `KEY=VALUE`, refused without a key or without `=`, as by runc.
fn env_entry(v: &Json) -> Read<Text> {
    let entry = string(v)?;
    match entry.find('=') {
        Some(1..) => Ok(entry),
        _ => Err(Fault::new(format!("{} is not KEY=VALUE", Quoted(entry)))),
    }
}

fn capabilities(v: &Json) -> Read<Capabilities> {
    object(v)?;
    Ok(Capabilities {
        bounding: list(v, "bounding", string)?,
        effective: list(v, "effective", string)?,
        inheritable: list(v, "inheritable", string)?,
        permitted: list(v, "permitted", string)?,
        ambient: list(v, "ambient", string)?,
    })
}

/// The numbers differ between architectures (MIPS), so they are libc's; its type for them differs between C libraries.
#[allow(clippy::unnecessary_cast)]
const RLIMITS: [(&str, u32); 16] = [
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

fn rlimits(v: &Json) -> Read<List<Rlimit>> {
    let all = list(v, "rlimits", rlimit)?;
    for (i, one) in all.iter().enumerate() {
        if all[..i].iter().any(|earlier| earlier.resource == one.resource) {
            let name =
                RLIMITS.iter().find(|(_, number)| *number == one.resource).map_or("", |(name, _)| name);
            return Err(Fault::new(format!("{} is given twice", Quoted(name)))
                .at("type")
                .at_index(i)
                .at("rlimits"));
        }
    }
    Ok(all)
}

fn rlimit(v: &Json) -> Read<Rlimit> {
    object(v)?;
    let limit = Rlimit {
        resource: v.required("type", |t| word(t, &RLIMITS))?,
        soft: v.required("soft", integer)?,
        hard: v.required("hard", integer)?,
    };
    if limit.soft > limit.hard {
        return Err(Fault::new(format!("{} is above hard ({})", limit.soft, limit.hard)).at("soft"));
    }
    Ok(limit)
}

fn oom_score_adj(v: &Json) -> Read<i32> {
    match integer(v)? {
        score @ -1000..=1000 => Ok(score),
        score => Err(Fault::new(format!("{score} is out of range (-1000 to 1000)"))),
    }
}

/// sched(7); SCHED_ISO has a number but no kernel has it.
#[allow(clippy::unnecessary_cast)]
const POLICIES: [(&str, u32); 6] = [
    ("SCHED_OTHER", libc::SCHED_OTHER as u32),
    ("SCHED_FIFO", libc::SCHED_FIFO as u32),
    ("SCHED_RR", libc::SCHED_RR as u32),
    ("SCHED_BATCH", libc::SCHED_BATCH as u32),
    ("SCHED_IDLE", libc::SCHED_IDLE as u32),
    ("SCHED_DEADLINE", 6),
];

/// include/uapi/linux/sched.h
const SCHEDULER_FLAGS: [(&str, u64); 7] = [
    ("SCHED_FLAG_RESET_ON_FORK", 0x01),
    ("SCHED_FLAG_RECLAIM", 0x02),
    ("SCHED_FLAG_DL_OVERRUN", 0x04),
    ("SCHED_FLAG_KEEP_POLICY", 0x08),
    ("SCHED_FLAG_KEEP_PARAMS", 0x10),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
];

fn scheduler(v: &Json) -> Read<Scheduler> {
    object(v)?;
    Ok(Scheduler {
        policy: v.required("policy", |p| word(p, &POLICIES))?,
        nice: v.or_default("nice", integer)?,
        priority: v.or_default("priority", integer)?,
        flags: list(v, "flags", |f| word(f, &SCHEDULER_FLAGS))?.iter().fold(0, |all, flag| all | flag),
        runtime: v.or_default("runtime", integer)?,
        deadline: v.or_default("deadline", integer)?,
        period: v.or_default("period", integer)?,
    })
}

/// include/uapi/linux/ioprio.h
const IO_CLASSES: [(&str, u8); 3] =
    [("IOPRIO_CLASS_RT", 1), ("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3)];

fn io_priority(v: &Json) -> Read<IoPriority> {
    object(v)?;
    Ok(IoPriority {
        class: v.required("class", |c| word(c, &IO_CLASSES))?,
        priority: v.or_default("priority", |p| match integer(p)? {
            level @ 0..=7 => Ok(level),
            level => Err(Fault::new(format!("{level} is out of range (0 to 7)"))),
        })?,
    })
}

fn cpu_affinity(v: &Json) -> Read<CpuAffinity> {
    object(v)?;
    Ok(CpuAffinity { initial: text(v, "initial")?, last: text(v, "final")? })
}
