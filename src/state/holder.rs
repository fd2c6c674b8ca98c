//! Finds the process that holds a lock, for errors.

use nix::sys::stat::{major, minor};

use super::record::ProcessMark;
use super::store::Entry;
use crate::error::Error;
use crate::sys::file::{AT_FDCWD, fstat, read_text, readlinkat};

/// The error for a lock that is taken.
/// It names the holder if the kernel shows it (/proc/locks, proc(5)).
pub fn busy(entry: &Entry) -> Error {
    let text = format!("container {} is in use by another command", entry.id());
    let error = Error::caused(text, libc::EAGAIN);
    match holder(entry) {
        Some(pid) => {
            let name = read_text(&format!("/proc/{pid}/comm")).unwrap_or_default();
            error.hint(format_args!("process {pid}, {}", name.trim_ascii_end()))
        }
        None => error,
    }
}

fn holder(entry: &Entry) -> Option<i32> {
    let stat = fstat(entry.dir()).ok()?;
    let place = format!("{:02x}:{:02x}:{}", major(stat.st_dev), minor(stat.st_dev), stat.st_ino);
    let locks = read_text("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, "FLOCK", _, _, pid, locked, ..] = fields[..] else { return None };
        (locked == place).then(|| pid.parse().ok()).flatten()
    })
}

/// Returns the process that holds the lock, if it runs this program too.
/// Other programs that lock the directory are left alone.
pub fn command(entry: &Entry) -> Option<ProcessMark> {
    let mark = ProcessMark::of(holder(entry)?).ok()?;
    (mark.pid != std::process::id() as i32 && program(mark.pid)? == program(std::process::id() as i32)?)
        .then_some(mark)
}

/// Returns the name of the file that a process runs.
/// For a copy in memory or a replaced file, the kernel appends " (deleted)".
fn program(pid: i32) -> Option<Vec<u8>> {
    let link = readlinkat(AT_FDCWD, &*format!("/proc/{pid}/exe")).ok()?;
    let name = link.rsplit(|b| matches!(b, b'/' | b':')).next()?;
    Some(name.strip_suffix(b" (deleted)").unwrap_or(name).to_owned())
}
