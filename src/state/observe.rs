//! Derives a container's status from facts.
//!
//! [`status`] is pure; [`Facts::read`] asks the kernel for the facts. Nothing here waits.

use std::ffi::CStr;
use std::io::Write as _;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::read;

use super::record::{Phase, ProcessMark, Record};
use super::store::Entry;
use crate::cgroup::freeze::is_paused;
use crate::error::{Error, Result};
use crate::sys::boot::boot_id;
use crate::sys::file::open;
use crate::sys::once::Once;
use crate::sys::sealed_exe;

/// A container's status (runtime.md, "State"; `paused` is from runc).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    /// The spec's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

/// The facts that the kernel reports.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Whether the machine has not been rebooted since create.
    pub same_boot: bool,
    /// Whether the creating process is at work and alive.
    pub creator_lives: bool,
    /// Whether init is alive and not a zombie.
    pub init_lives: bool,
    /// Whether init waits for `start`.
    pub listening: bool,
    /// Whether the container's cgroup is frozen.
    pub frozen: bool,
}

/// Derives the status from the record and the facts.
pub fn status(record: &Record, facts: &Facts) -> Status {
    match record.phase {
        _ if !facts.same_boot => Status::Stopped,
        Phase::Planned | Phase::Creating if facts.creator_lives => Status::Creating,
        Phase::Planned | Phase::Creating => Status::Stopped,
        Phase::Created | Phase::Deleting if !facts.init_lives => Status::Stopped,
        _ if facts.frozen => Status::Paused,
        _ if facts.listening => Status::Created,
        _ => Status::Running,
    }
}

impl Facts {
    /// Asks the kernel for the facts.
    pub fn read(record: &Record, dir: &Entry) -> Result<Facts> {
        let same_boot = boot_id()? == record.boot_id;
        let init_lives = same_boot && record.init.as_ref().is_some_and(ProcessMark::lives);
        Ok(Facts {
            same_boot,
            creator_lives: same_boot && is_being_made(record) && record.creator.lives(),
            init_lives,
            listening: init_lives && listening(dir, record),
            frozen: init_lives && is_paused(&record.cgroup),
        })
    }
}

fn is_being_made(record: &Record) -> bool {
    matches!(record.phase, Phase::Planned | Phase::Creating)
}

/// Whether init waits for `start`.
/// Opening a FIFO for writing fails with ENXIO if no process has it open for reading (fifo(7)). A process of the
/// container may have inherited init's end, but then init runs another program by now.
fn listening(dir: &Entry, record: &Record) -> bool {
    let waits = || dir.fifo(START, OFlag::O_WRONLY | OFlag::O_NONBLOCK).is_ok();
    record.init.as_ref().is_some_and(|init| waits() && !sealed_exe::is_left_by(init.pid))
}

/// The contents of /proc/PID/stat that we use.
#[derive(Debug, PartialEq, Eq)]
pub struct Stat {
    /// `R`, `S`, `D`, `Z` and so on.
    pub state: u8,
    /// The session that it belongs to.
    pub session: i32,
    /// The kernel's flags of its first thread (`PF_…`).
    pub flags: u32,
    /// Number of threads, including a first thread that is a zombie.
    pub threads: u32,
    /// Start time in clock ticks since boot.
    pub start: u64,
}

impl Stat {
    /// Parses a line of /proc/PID/stat.
    /// The second field, the program's name in parentheses, may contain spaces and parentheses; it ends at the last
    /// closing parenthesis.
    pub fn parse(line: &[u8]) -> Option<Stat> {
        let end = line.iter().rposition(|b| *b == b')')?;
        let fields = std::str::from_utf8(line.get(end + 1..)?).ok()?;
        // The first field here is field 3 of the line.
        let mut fields = fields.split_ascii_whitespace();
        let state = *fields.next()?.as_bytes().first()?;
        let session = fields.nth(2)?.parse().ok()?;
        let flags = fields.nth(2)?.parse().ok()?;
        let threads = fields.nth(10)?.parse().ok()?;
        let start = fields.nth(1)?.parse().ok()?;
        Some(Stat { state, session, flags, threads, start })
    }

    /// Reads the stat of a process; `None` if it does not exist.
    /// It allocates nothing, because waiting callers use it in a loop.
    pub fn read(pid: i32) -> Option<Stat> {
        let (mut path, mut line) = ([0; 32], [0; 1024]);
        write!(&mut path[..], "/proc/{pid}/stat").ok()?;
        let path = CStr::from_bytes_until_nul(&path).ok()?;
        // Other errors, such as ENOMEM, do not prove that it has ended.
        for _ in 0..50 {
            match open(path, OFlag::O_RDONLY).and_then(|file| read(file, &mut line)) {
                Ok(n) => return Stat::parse(&line[..n]),
                Err(Errno::ENOENT | Errno::ESRCH) => break,
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        None
    }
}

impl ProcessMark {
    /// Marks an existing process.
    pub fn of(pid: i32) -> Result<ProcessMark> {
        let stat = Stat::read(pid)
            .ok_or_else(|| Error::of(format_args!("read /proc/{pid}/stat: no such process")))?;
        Ok(ProcessMark { pid, start: stat.start })
    }

    /// Marks this process.
    ///
    /// It asks the kernel only once, because each wait for init notes the mark.
    pub fn own() -> Result<ProcessMark> {
        static OWN: Once<ProcessMark> = Once::empty();
        let pid = std::process::id() as i32;
        // A clone has another pid.
        match OWN.known().filter(|own| own.pid == pid) {
            Some(own) => Ok(*own),
            None => ProcessMark::of(pid).map(|own| *OWN.set(own)),
        }
    }

    /// Whether the process exists and is not a zombie.
    /// A process whose first thread has ended is alive while other threads run.
    pub fn lives(&self) -> bool {
        self.stat().is_some_and(|s| !matches!(s.state, b'Z' | b'X' | b'x') || s.threads > 1)
    }

    /// Whether another process can enter its namespaces.
    /// False if its first thread has ended or is exiting. An init that exits waits for the rest of its pid
    /// namespace, where no process can be created any more.
    pub fn can_be_entered(&self) -> bool {
        const PF_EXITING: u32 = 4;
        self.stat().is_some_and(|s| s.flags & PF_EXITING == 0)
    }

    fn stat(&self) -> Option<Stat> {
        Stat::read(self.pid).filter(|s| s.start == self.start)
    }
}

/// The name of the FIFO at which init waits, in the container's directory.
pub const START: &CStr = c"start.fifo";

#[cfg(test)]
mod tests {
    use super::super::record::tests::sample;
    use super::*;

    #[test]
    fn status_follows_from_phase_and_facts() {
        let all =
            Facts { same_boot: true, creator_lives: true, init_lives: true, listening: true, frozen: true };
        let ready = Facts { creator_lives: false, frozen: false, ..all };
        for (phase, facts, expected) in [
            (Phase::Planned, all, Status::Creating),
            (Phase::Creating, all, Status::Creating),
            (Phase::Creating, Facts { creator_lives: false, ..all }, Status::Stopped),
            (Phase::Creating, Facts { same_boot: false, ..all }, Status::Stopped),
            (Phase::Created, ready, Status::Created),
            (Phase::Created, Facts { listening: false, ..ready }, Status::Running),
            (Phase::Created, Facts { frozen: true, ..ready }, Status::Paused),
            (Phase::Created, Facts { listening: false, frozen: true, ..ready }, Status::Paused),
            (Phase::Created, Facts { init_lives: false, frozen: true, ..ready }, Status::Stopped),
            (Phase::Created, Facts { same_boot: false, ..ready }, Status::Stopped),
            (Phase::Deleting, Facts { init_lives: false, ..ready }, Status::Stopped),
            (Phase::Deleting, Facts { listening: false, ..ready }, Status::Running),
        ] {
            assert_eq!(status(&Record { phase, ..sample() }, &facts), expected, "{phase:?} {facts:?}");
        }
    }

    #[test]
    fn hostile_program_names_do_not_shift_the_fields() {
        let rest = "S 1 12 12 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 8888 99 18446744073709551615";
        for name in ["sh", "a b", ") S 1 2 3", "((", "a) R 1 1 1 1", "\u{fffd}", ""] {
            let line = format!("12 ({name}) {rest}\n");
            assert_eq!(
                Stat::parse(line.as_bytes()),
                Some(Stat { state: b'S', session: 12, flags: 4_194_560, threads: 1, start: 4711 }),
                "{name}"
            );
        }
        for broken in ["", "12", "12 (sh", "12 (sh)", "12 (sh) S 1 2", "12 (sh) S 1 2 x"] {
            assert_eq!(Stat::parse(broken.as_bytes()), None, "{broken}");
        }
    }

    #[test]
    fn mark_does_not_match_a_process_with_another_start_time() {
        let me = ProcessMark::of(std::process::id() as i32).unwrap();
        assert!(me.lives());
        assert!(!ProcessMark { start: me.start + 1, ..me }.lives());
        assert!(ProcessMark::of(i32::MAX).is_err());
    }
}
