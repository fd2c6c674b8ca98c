//! `process` of `config.json` and of `exec --process` (config.md, "Process").

use crate::bundle::spec::{Capabilities, CpuAffinity, IoPriority, Process, Rlimit, Scheduler, User};
use crate::error::{Quoted, Result};
use crate::json::document;
use crate::json::read::{Fault, Read};
use crate::json::slot::{
    Bounds, Checked, Each, Later, Listed, Optional, Slot, Texts, Value, Within, Word, absolute, may, must,
};
use crate::names;
use crate::text::names::NameTable;
use crate::text::{Keep, Text};

/// Reads the document of `exec --process`.
///
/// `args` needs at least one entry; `consoleSize` is ignored without `terminal`.
pub fn process(text: &'static [u8]) -> Result<Box<Process>> {
    let mut process = Box::<Process>::default();
    document::read(text, &mut *process)?;
    Ok(process)
}

impl Slot for Box<Process> {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        (**self).fill(v)
    }
}

impl Slot for Process {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        let mut size = Later::<ConsoleSize>::new("consoleSize");
        v.object(&mut [
            may("terminal", &mut self.terminal),
            may("user", &mut self.user),
            must(
                "args",
                &mut Each(&mut |v| {
                    self.args.fill(v)?;
                    if !self.args.is_empty() {
                        return Ok(());
                    }
                    Err(Fault::new("must not be empty (the program to run comes first)"))
                }),
            ),
            may("env", &mut Texts(&mut self.env, env_entry)),
            must("cwd", &mut Checked(&mut self.cwd, absolute)),
            may("capabilities", &mut self.capabilities),
            may(
                "rlimits",
                &mut Each(&mut |v| {
                    Listed(&mut self.rlimits).fill(v)?;
                    each_type_once(&mut self.rlimits.iter().map(Rlimit::name))
                }),
            ),
            may("noNewPrivileges", &mut self.no_new_privileges),
            may(
                "oomScoreAdj",
                &mut Within(&mut self.oom_score_adj, &Bounds(-1000, 1000, "is out of range (-1000 to 1000)")),
            ),
            may("apparmorProfile", &mut self.apparmor_profile),
            may("selinuxLabel", &mut self.selinux_label),
            may(
                "scheduler",
                &mut Each(&mut |v| {
                    let mut scheduler = Scheduler::default();
                    scheduler.fill(v)?;
                    self.scheduler = Some(Box::new(scheduler).keep());
                    Ok(())
                }),
            ),
            may("ioPriority", &mut Optional(&mut self.io_priority)),
            may("execCPUAffinity", &mut Optional(&mut self.exec_cpu_affinity)),
            size.field(),
        ])?;
        if self.terminal {
            self.console_size = size.optional()?.map(|size| (size.height, size.width));
        }
        Ok(())
    }
}

#[derive(Default)]
struct ConsoleSize {
    height: u16,
    width: u16,
}

impl Slot for ConsoleSize {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        v.object(&mut [must("height", &mut self.height), must("width", &mut self.width)])
    }
}

impl Slot for User {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        let umask = &Bounds(0, 0o777, "is not a umask (0 to 511, which is 0777)");
        v.object(&mut [
            may("uid", &mut Id(&mut self.uid)),
            may("gid", &mut Id(&mut self.gid)),
            may("umask", &mut Within(&mut self.umask, umask)),
            may(
                "additionalGids",
                &mut Each(&mut |v| {
                    let mut all = Vec::new();
                    v.each(&mut Each(&mut |v| {
                        all.push(0);
                        all.last_mut().map_or(Ok(()), |id| Id(id).fill(v))
                    }))?;
                    self.additional_gids = all.keep();
                    Ok(())
                }),
            ),
        ])
    }
}

/// A user or group id.
pub(super) struct Id<'a>(pub(super) &'a mut u32);

impl Slot for Id<'_> {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        self.0.fill(v)?;
        // The system calls take the highest number for "unchanged", and then a process that is root would stay root.
        if *self.0 != u32::MAX {
            return Ok(());
        }
        Err(Fault::new("4294967295 is not an id (the kernel reads it as \"no change\")"))
    }
}

/// Like runc: an entry without a key or without `=` is refused.
fn env_entry(entry: Text) -> Read<()> {
    match entry.find('=') {
        Some(1..) => Ok(()),
        _ => Err(Fault::of(format_args!("{} is not KEY=VALUE", Quoted(entry)))),
    }
}

impl Slot for Capabilities {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        v.object(&mut [
            may("bounding", &mut self.bounding),
            may("effective", &mut self.effective),
            may("inheritable", &mut self.inheritable),
            may("permitted", &mut self.permitted),
            may("ambient", &mut self.ambient),
        ])
    }
}

impl Slot for CpuAffinity {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        v.object(&mut [may("initial", &mut self.initial), may("final", &mut self.last)])
    }
}

/// The numbers of the resources.
///
/// They differ between architectures (MIPS), so they are libc's; the type of libc's constants differs between C libraries.
#[allow(clippy::unnecessary_cast)]
static RLIMITS: NameTable<u32> = names! {
    "RLIMIT_AS" => libc::RLIMIT_AS as u32,
    "RLIMIT_CORE" => libc::RLIMIT_CORE as u32,
    "RLIMIT_CPU" => libc::RLIMIT_CPU as u32,
    "RLIMIT_DATA" => libc::RLIMIT_DATA as u32,
    "RLIMIT_FSIZE" => libc::RLIMIT_FSIZE as u32,
    "RLIMIT_LOCKS" => libc::RLIMIT_LOCKS as u32,
    "RLIMIT_MEMLOCK" => libc::RLIMIT_MEMLOCK as u32,
    "RLIMIT_MSGQUEUE" => libc::RLIMIT_MSGQUEUE as u32,
    "RLIMIT_NICE" => libc::RLIMIT_NICE as u32,
    "RLIMIT_NOFILE" => libc::RLIMIT_NOFILE as u32,
    "RLIMIT_NPROC" => libc::RLIMIT_NPROC as u32,
    "RLIMIT_RSS" => libc::RLIMIT_RSS as u32,
    "RLIMIT_RTPRIO" => libc::RLIMIT_RTPRIO as u32,
    "RLIMIT_RTTIME" => libc::RLIMIT_RTTIME as u32,
    "RLIMIT_SIGPENDING" => libc::RLIMIT_SIGPENDING as u32,
    "RLIMIT_STACK" => libc::RLIMIT_STACK as u32,
};

impl Rlimit {
    /// The spec's name of the resource.
    pub fn name(&self) -> &'static str {
        RLIMITS.name(|n| n == self.resource).unwrap_or("RLIMIT_?")
    }
}

impl Slot for Rlimit {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        v.object(&mut [
            must("type", &mut Word(&mut self.resource, &RLIMITS)),
            must("soft", &mut self.soft),
            must("hard", &mut self.hard),
        ])?;
        if self.soft > self.hard {
            return Err(Fault::of(format_args!("{} is above hard ({})", self.soft, self.hard)).at("soft"));
        }
        Ok(())
    }
}

/// Refuses a type that is in the list twice.
pub(super) fn each_type_once(types: &mut dyn Iterator<Item = Text>) -> Read<()> {
    let mut before = Vec::new();
    for (i, kind) in types.enumerate() {
        if before.contains(&kind) {
            return Err(Fault::of(format_args!("{} is given twice", Quoted(kind))).at("type").at_index(i));
        }
        before.push(kind);
    }
    Ok(())
}

/// The policies of sched(7); Linux reserves the number of SCHED_ISO but refuses it.
#[allow(clippy::unnecessary_cast)]
static POLICIES: NameTable<u32> = names! {
    "SCHED_OTHER" => libc::SCHED_OTHER as u32,
    "SCHED_FIFO" => libc::SCHED_FIFO as u32,
    "SCHED_RR" => libc::SCHED_RR as u32,
    "SCHED_BATCH" => libc::SCHED_BATCH as u32,
    "SCHED_ISO" => 4,
    "SCHED_IDLE" => libc::SCHED_IDLE as u32,
    "SCHED_DEADLINE" => 6,
};

/// The flags in include/uapi/linux/sched.h.
static SCHEDULER_FLAGS: NameTable<u32> = names! {
    "SCHED_FLAG_RESET_ON_FORK" => 0x01,
    "SCHED_FLAG_RECLAIM" => 0x02,
    "SCHED_FLAG_DL_OVERRUN" => 0x04,
    "SCHED_FLAG_KEEP_POLICY" => 0x08,
    "SCHED_FLAG_KEEP_PARAMS" => 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN" => 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX" => 0x40,
};

impl Slot for Scheduler {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        v.object(&mut [
            must("policy", &mut Word(&mut self.policy, &POLICIES)),
            may("nice", &mut self.nice),
            may("priority", &mut self.priority),
            may(
                "flags",
                &mut Each(&mut |v| {
                    v.each(&mut Each(&mut |v| {
                        let mut flag = 0;
                        Word(&mut flag, &SCHEDULER_FLAGS).fill(v)?;
                        self.flags |= u64::from(flag);
                        Ok(())
                    }))
                }),
            ),
            may("runtime", &mut self.runtime),
            may("deadline", &mut self.deadline),
            may("period", &mut self.period),
        ])
    }
}

/// The classes in include/uapi/linux/ioprio.h.
static IO_CLASSES: NameTable<u8> =
    names! {"IOPRIO_CLASS_RT" => 1, "IOPRIO_CLASS_BE" => 2, "IOPRIO_CLASS_IDLE" => 3};

impl Slot for IoPriority {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        v.object(&mut [
            must("class", &mut Word(&mut self.class, &IO_CLASSES)),
            may("priority", &mut Within(&mut self.priority, &Bounds(0, 7, "is out of range (0 to 7)"))),
        ])
    }
}
