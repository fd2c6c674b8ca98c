//! `kill`: sends a signal to the container's process (runtime.md, "Kill").

use std::time::Duration;

use nix::errno::Errno;

use super::command::Globals;
use super::state::look;
use crate::error::{Error, Quoted, Result, engine};
use crate::state::mark;
use crate::state::observe::Status;
use crate::state::record::Record;
use crate::sys::boot::boot_id;
use crate::sys::clock;

/// The time limit for the end of all processes when the whole cgroup is killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends a signal. With the obsolete `all`, a stopped container is no error.
pub fn run(globals: &Globals, id: &str, signal: &str, all: bool) -> Result<()> {
    let (_, record, status) = look(globals, id)?;
    let signal = number(signal)?;
    match send(&record, status, signal) {
        Err(e) if all && e.is(engine::NOT_RUNNING) => Ok(()),
        other => other,
    }
}

fn send(record: &Record, status: Status, signal: i32) -> Result<()> {
    let runs = !matches!(status, Status::Stopped | Status::Creating);
    if signal == libc::SIGKILL && !record.own_pid_namespace {
        // Without a pid namespace, other processes outlive init. They can be killed even after the container has stopped.
        let cgroup = record.cgroup();
        if runs || (status == Status::Stopped && same_boot(record) && !cgroup.pids()?.is_empty()) {
            signal_init(record, signal)
                .or_else(|e| if e.is(engine::NOT_RUNNING) { Ok(()) } else { Err(e) })?;
            return cgroup.kill(clock::after(PATIENCE));
        }
    }
    if !runs {
        return Err(Error::new(engine::NOT_RUNNING));
    }
    signal_init(record, signal)?;
    if signal == libc::SIGKILL {
        // A frozen process of cgroup v1 does not die, and the payload may have frozen it in a cgroup below.
        record.cgroup().let_die();
    }
    Ok(())
}

fn same_boot(record: &Record) -> bool {
    boot_id().is_ok_and(|boot| boot == record.boot_id)
}

/// Signals init and no other process, even if pids are reused.
fn signal_init(record: &Record, signal: i32) -> Result<()> {
    let gone = || Error::new(engine::NOT_RUNNING);
    let init = record.init.as_ref().ok_or_else(gone)?;
    match mark::signal(init, signal) {
        Err(Errno::ESRCH) => Err(gone()),
        other => {
            other.map_err(|e| Error::os(format_args!("send signal {signal} to process {}", init.pid), e))
        }
    }
}

/// A signal by number or name, with or without SIG, in any case.
///
/// RTMIN+n and RTMAX-n too.
pub fn number(text: &str) -> Result<i32> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let found = text.parse().ok().or_else(|| named(name)).filter(|n| (0..=64).contains(n));
    found.ok_or_else(|| {
        Error::of(format_args!("unknown signal {}", Quoted(text)))
            .hint("a number up to 64, or a name such as TERM")
    })
}

/// The signals from 1 on.
const NAMES: &str = "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP \
    TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS";

/// RTMIN is 34, as in glibc, which most containers use.
fn named(name: &str) -> Option<i32> {
    let name = match name {
        "CLD" => "CHLD",
        "IOT" => "ABRT",
        "POLL" => "IO",
        _ => name,
    };
    if let Some(at) = NAMES.split(' ').position(|known| known == name) {
        return Some(at as i32 + 1);
    }
    let (base, offset) = name.split_at_checked(5)?;
    let (sign, from) = match base {
        "RTMIN" => ('+', 34),
        "RTMAX" => ('-', 64),
        _ => return None,
    };
    let n = match offset.strip_prefix(sign) {
        Some(digits) => i32::from(digits.parse::<u8>().ok()?),
        None => offset.is_empty().then_some(0)?,
    };
    Some(if sign == '+' { from + n } else { from - n }).filter(|n| (34..=64).contains(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_numbers_and_names() {
        for (text, n) in [
            ("9", 9),
            ("0", 0),
            ("64", 64),
            ("KILL", 9),
            ("SIGKILL", 9),
            ("sigterm", 15),
            ("Hup", 1),
            ("USR1", 10),
            ("WINCH", 28),
            ("CLD", 17),
            ("POLL", 29),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("rtmax", 64),
            ("RTMAX-14", 50),
        ] {
            assert_eq!(number(text).unwrap(), n, "{text}");
        }
        for text in
            ["", "SIG", "-9", "65", "FOO", "RTMIN+31", "RTMIN-1", "RTMAX+1", "RTMINI", "SIGSIGKILL", "9 "]
        {
            assert!(number(text).unwrap_err().to_string().starts_with("unknown signal "), "{text}");
        }
    }

    #[test]
    fn names_are_the_systems() {
        for signal in nix::sys::signal::Signal::iterator() {
            assert_eq!(number(signal.as_str()).unwrap(), signal as i32, "{signal}");
        }
        assert_eq!(NAMES.split(' ').count(), nix::sys::signal::Signal::iterator().count());
    }
}
