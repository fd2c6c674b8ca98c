//! The log, in the two forms that runc writes and engines read.
//!
//! `--log FILE` is appended to. Each message is one line in one `write(2)`, so that lines of several runtimes do not mix.
//! containerd's shim decodes every line as JSON with a time in RFC 3339, and takes the last one of level "error" as the reason of
//! a failure; podman reads the whole file as one object. Therefore only important messages are written. Without a file, warnings
//! go to stderr. Errors always go to stderr, once, and also to the file if there is one. With `--debug` and no file, stderr is
//! the log, in the same forms: runc's tests and scripts look for `level=debug` and `level=error` there.
//!
//! The file may be a FIFO or a terminal. We wait for its reader for at most [`PATIENCE`]; then the message goes to stderr.

use std::fmt::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::stat::Mode;

use crate::error::{Context, Errno, Error, Result};
use crate::json::read::one_line;
use crate::json::value::Json;
use crate::sys::entry::{STDERR, write_all};
use crate::sys::file::{AT_FDCWD, create};
use crate::sys::once::Once;
use crate::sys::{clock, interrupt};

/// The longest wait for a reader of the log, in milliseconds.
const PATIENCE: u16 = 1000;

/// `--log-format`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LogFormat {
    Text,
    Json,
}

struct Log {
    file: Option<OwnedFd>,
    format: LogFormat,
    debug: bool,
    /// Waiting for the reader has timed out once.
    stuck: AtomicBool,
}

static LOG: Once<Log> = Once::empty();

/// Opens the log; must be called once, before anything is logged.
pub fn open(path: Option<&str>, format: LogFormat, debug: bool) -> Result<()> {
    let file = path
        .map(|path| open_file(path, OFlag::O_SYNC).about(format_args!("open log file {path}")))
        .transpose()?;
    LOG.set(Log { file, format, debug, stuck: AtomicBool::new(false) });
    Ok(())
}

/// Opens a file of the caller to append to it, or a FIFO that has a reader.
pub(crate) fn open_file(path: &str, sync: OFlag) -> Result<OwnedFd> {
    let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_NOCTTY | sync;
    const PAUSE: u16 = 10;
    for _ in 0..PATIENCE / PAUSE {
        match create(AT_FDCWD, path, flags | OFlag::O_NONBLOCK, Mode::from_bits_truncate(0o644)) {
            // The caller may be starting the reader at the same time.
            Err(Errno::ENXIO) => drop(poll(&mut [], PAUSE)),
            opened => return Ok(opened?),
        }
    }
    Err(Error::from(Errno::ENXIO).hint("a socket, or a FIFO that nobody reads"))
}

/// Whether the log is a file, as engines ask for.
pub fn is_file() -> bool {
    LOG.known().is_some_and(|log| log.file.is_some())
}

/// Warns about a problem that does not stop the command.
pub fn warn(message: &str) {
    write("warning", message);
}

/// Logs a detail if `--debug` is set.
pub fn debug(message: impl FnOnce() -> String) {
    if is_debug() {
        write("debug", &message());
    }
}

/// Whether details are logged.
pub fn is_debug() -> bool {
    LOG.known().is_some_and(|l| l.debug)
}

/// Reports the one error of a failed command, to stderr and to the log file.
pub fn error(error: &Error) {
    let message = error.to_string();
    if to_file("error", &message) {
        to_stderr("error", &message);
    } else {
        unlogged("error", &message);
    }
}

/// Writes to the log file, or to stderr if that fails.
fn write(level: &str, message: &str) {
    if !to_file(level, message) {
        unlogged(level, message);
    }
}

/// Writes a line of the log to stderr if that is the log, else for a person.
fn unlogged(level: &str, message: &str) {
    match LOG.known() {
        Some(Log { file: None, format, debug: true, .. }) => show(&stamped(*format, level, message)),
        _ => to_stderr(level, message),
    }
}

/// Writes a line to the log file; returns whether that succeeded.
fn to_file(level: &str, message: &str) -> bool {
    let Some(Log { file: Some(file), format, stuck, .. }) = LOG.known() else { return false };
    let text = stamped(*format, level, message);
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        match nix::unistd::write(file, rest) {
            Ok(n) => rest = &rest[n..],
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) if !stuck.load(Ordering::Relaxed) => {
                let room = poll(&mut [PollFd::new(file.as_fd(), PollFlags::POLLOUT)], PATIENCE);
                stuck.store(room == Ok(0), Ordering::Relaxed);
            }
            Err(_) => return false,
        }
    }
    true
}

/// Writes one line, without the control characters that a message may quote.
fn to_stderr(level: &str, message: &str) {
    show(&format!("embrun: {level}: {}\n", one_line(message.to_owned())));
}

fn show(line: &str) {
    // A stopped terminal must not keep a signal from ending us.
    if interrupt::wait_to_write(STDERR) {
        let _ = write_all(STDERR, line.as_bytes());
    }
}

fn stamped(format: LogFormat, level: &str, message: &str) -> String {
    let (secs, _) = clock::now();
    line(format, level, message, &rfc3339(secs, 0))
}

fn line(format: LogFormat, level: &str, message: &str, time: &str) -> String {
    let mut text = match format {
        LogFormat::Json => {
            let pairs = [("level", level), ("msg", message), ("time", time)];
            Json::object(pairs.map(|(k, v)| (k, v.into()))).compact()
        }
        LogFormat::Text => {
            format!("time={} level={level} msg={}", Json::str(time).compact(), Json::str(message).compact())
        }
    };
    text.push('\n');
    text
}

/// The current time as [`rfc3339`] writes it.
pub fn now_rfc3339() -> String {
    let (secs, nanos) = clock::now();
    rfc3339(secs, nanos)
}

/// Formats a point in time like Go's `RFC3339Nano`, in UTC.
///
/// The arguments are seconds since 1970 and nanoseconds. The fraction has no trailing zeros and is omitted if it is zero.
pub fn rfc3339(secs: i64, nanos: u32) -> String {
    let (days, second) = (secs.div_euclid(86_400), secs.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
    let mut out = format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}");
    if nanos != 0 {
        let _ = write!(out, ".{nanos:09}");
        out.truncate(out.trim_end_matches('0').len());
    }
    out.push('Z');
    out
}

/// Converts days since 1970-01-01 to year, month and day of the Gregorian calendar.
///
/// It counts cycles of 400 years (146,097 days) from the first of March of year 0, so that a leap day is the last day of its
/// year.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (cycle, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let january_or_february = i64::from(month <= 2);
    (cycle * 400 + year + january_or_february, month, of_year - (153 * from_march + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_gos_rfc3339nano() {
        for (secs, nanos, text) in [
            (0, 0, "1970-01-01T00:00:00Z"),
            (951_782_400, 0, "2000-02-29T00:00:00Z"),
            (1_709_251_199, 120_000_000, "2024-02-29T23:59:59.12Z"),
            (1_735_689_599, 1, "2024-12-31T23:59:59.000000001Z"),
            (4_102_444_800, 0, "2100-01-01T00:00:00Z"),
            (2_147_483_648, 0, "2038-01-19T03:14:08Z"),
            (-1, 0, "1969-12-31T23:59:59Z"),
            (253_402_300_799, 0, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(secs, nanos), text);
        }
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_one_before() {
        let mut last = civil(-1);
        assert_eq!(last, (1969, 12, 31));
        for day in 0..146_097 {
            let (y, m, d) = civil(day);
            let leap = last.0 % 4 == 0 && (last.0 % 100 != 0 || last.0 % 400 == 0);
            let length = match last.1 {
                2 => 28 + i64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            let next = match last {
                (y, m, d) if d < length => (y, m, d + 1),
                (y, 12, _) => (y + 1, 1, 1),
                (y, m, _) => (y, m + 1, 1),
            };
            assert_eq!((y, m, d), next);
            last = next;
        }
    }

    #[test]
    fn lines_are_one_line_and_decode() {
        let text = line(LogFormat::Json, "error", "a \"b\"\nc\u{1}", "2024-01-01T00:00:00Z");
        assert_eq!(text.matches('\n').count(), 1);
        let json = Json::parse(text.as_bytes()).unwrap();
        assert_eq!(json.get("msg"), Some(&Json::str("a \"b\"\nc\u{1}")));
        assert_eq!(json.get("level"), Some(&Json::str("error")));
        let text = line(LogFormat::Text, "error", "a \"b\"", "2024-01-01T00:00:00Z");
        assert_eq!(text, "time=\"2024-01-01T00:00:00Z\" level=error msg=\"a \\\"b\\\"\"\n");
    }
}
