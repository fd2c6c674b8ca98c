//! `events`: a container's usage and OOM kills, one JSON object for each line.
//!
//! runc prints the same, and containerd's shim reads it.

use std::os::fd::AsFd as _;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

use super::command::Globals;
use super::state::look;
use super::{print, units};
use crate::cgroup::oom::Oom;
use crate::error::{Context, Error, Quoted, Result, engine};
use crate::json::value::Json;
use crate::names;
use crate::state::observe::Status;
use crate::sys::entry::{STDOUT, write_all};
use crate::sys::process::pidfd_open;
use crate::sys::{clock, heap};
use crate::text::names::NameTable;

/// Prints the statistics once, or at each interval until the container has ended.
pub fn run(globals: &Globals, id: &str, once: bool, interval: Option<&str>) -> Result<()> {
    let interval = duration(interval.unwrap_or("5s")).map_err(|e| e.context("--interval"))?;
    let (_, record, status) = look(globals, id)?;
    let init = record.init.as_ref().filter(|_| !matches!(status, Status::Stopped | Status::Creating));
    let Some(init) = init else { return Err(Error::new(engine::NOT_RUNNING)) };
    let cgroup = record.cgroup();
    let stats = || line("stats", id, Some(cgroup.stats()));
    if once {
        return print(&stats());
    }
    // Before Linux 5.3 the end is noticed at the next interval.
    let pidfd = pidfd_open(Pid::from_raw(init.pid)).ok();
    let mut watch = cgroup.watch_oom().ok();
    let mut next = clock::after(interval);
    while init.lives() {
        let ended = pidfd.as_ref().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN));
        let killed = watch.as_ref().map(|w| w.poll()).map(|(fd, events)| PollFd::new(fd, events));
        let left = clock::until(next);
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let answer = match (ended, killed) {
            (Some(ended), Some(killed)) => poll(&mut [ended, killed], left),
            (Some(one), None) | (None, Some(one)) => poll(&mut [one], left),
            (None, None) => poll(&mut [], left),
        };
        match answer {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(Error::os("poll", e)),
        }
        match watch.as_mut().map_or(Oom::Quiet, |w| w.look()) {
            Oom::Killed => print_line(&|| line("oom", id, None))?,
            Oom::Gone => watch = None,
            Oom::Quiet => {}
        }
        if clock::is_past(next) && init.lives() {
            print_line(&stats)?;
            next = clock::after(interval);
        }
    }
    // The kill that ended the container may have come after the last look.
    match watch.map_or(Oom::Quiet, |mut w| w.look()) {
        Oom::Killed => print(&line("oom", id, None)),
        Oom::Gone | Oom::Quiet => Ok(()),
    }
}

/// Prints a line and frees its memory, because this may go on for months.
fn print_line(make: &dyn Fn() -> String) -> Result<()> {
    let write = || write_all(STDOUT, make().as_bytes());
    heap::scratch(&write).at("write to stdout")
}

fn line(kind: &str, id: &str, data: Option<Json>) -> String {
    let mut members = vec![("type", Json::str(kind)), ("id", Json::str(id))];
    if let Some(data) = data {
        members.push(("data", data));
    }
    Json::object(members).compact() + "\n"
}

/// A positive duration in Go's format: `5s`, `1m30s`, `1.5h`, `500ms`.
fn duration(text: &str) -> Result<Duration> {
    match nanoseconds(text) {
        Some(0) => Err(Error::new("duration interval must be greater than 0")),
        Some(n) => Ok(Duration::from_nanos(n)),
        None => Err(Error::of(format_args!("must be a duration such as 5s or 1m30s, is {}", Quoted(text)))),
    }
}

fn nanoseconds(text: &str) -> Option<u64> {
    static UNITS: NameTable<u64> = names! {
        "ns" => 1,
        "us" => 1_000,
        "µs" => 1_000,
        "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
    };
    let (mut rest, mut sum) = (text, 0u64);
    while !rest.is_empty() {
        let (number, after) = units::split(rest);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        sum = sum.checked_add(units::times(number, UNITS.get(unit)?)?)?;
        rest = after;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_as_go_writes_them() {
        for (text, ms) in [
            ("5s", 5000),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            ("500ms", 500),
            ("2500us", 2),
            ("1.s", 1000),
            (".5s", 500),
        ] {
            assert_eq!(duration(text).unwrap().as_millis(), ms, "{text}");
        }
        for text in ["", "0s", "5", "s", ".s", "5 s", "-5s", "1x", "1.2.3s", "99999999999999h", "1m30"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
