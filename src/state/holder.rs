//! Who holds a lock, for errors.

use super::store::Entry;
use crate::error::Error;
use crate::sys::file::{fstat, read_text};

/// The error for a lock that was not to be had, with who holds it as far as the kernel tells (proc(5), /proc/locks).
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
    let inode = fstat(entry.dir()).ok()?.st_ino.to_string();
    let locks = read_text("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, "FLOCK", _, _, pid, place, ..] = fields[..] else { return None };
        (place.rsplit(':').next() == Some(&inode)).then(|| pid.parse().ok()).flatten()
    })
}
