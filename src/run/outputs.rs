//! The results of a launch: the pid file, the terminal and the pidfd.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag};
use nix::unistd::Pid;

use crate::error::{Context, Error, Result};
use crate::plan::Outputs;
use crate::sys::descriptor::send_fd;
use crate::sys::entry::write_all;
use crate::sys::file::{AT_FDCWD, create, give_name, kind, lstatat, renameat, unlinkat};
use crate::sys::socket::connect;

/// The longest time that the caller may take to receive them.
const PATIENCE: Duration = Duration::from_secs(10);

/// Refuses a pid file that must not be replaced, before the first side effect.
pub fn check(outputs: &Outputs) -> Result<()> {
    outputs.pid_file.map_or(Ok(()), |path| is_replaceable(path).about(format_args!("--pid-file {path}")))
}

/// Writes the pid atomically, without a newline: containerd's shims need that.
pub fn write_pid_file(path: &str, pid: Pid) -> Result<()> {
    let write = || {
        is_replaceable(path)?;
        // The pid of an earlier process is worthless. If no file exists, no temporary name is needed.
        let _ = unlinkat(AT_FDCWD, path);
        replace(path, pid.to_string().as_bytes())
    };
    write().about(format_args!("--pid-file {}", path))
}

/// Replaces a file atomically: a reader sees the old content or the new one.
pub fn replace(path: &str, bytes: &[u8]) -> Result<()> {
    is_replaceable(path)?;
    write_beside(path, Some(bytes))
}

/// An error if no file could be written there, or if it is no regular file.
pub fn can_replace(path: &str) -> Result<()> {
    is_replaceable(path)?;
    write_beside(path, None)
}

/// Refuses to replace a device, a FIFO, a link or a directory.
fn is_replaceable(path: &str) -> Result<()> {
    match lstatat(AT_FDCWD, path) {
        Ok(there) if kind(&there) != SFlag::S_IFREG => Err(Error::new("exists and is not a regular file")),
        _ => Ok(()),
    }
}

/// Writes a file, or with no bytes only tries.
///
/// The file gets a temporary name only if [`write_unnamed`] fails.
fn write_beside(path: &str, bytes: Option<&[u8]>) -> Result<()> {
    let (dir, name) = split(path);
    if matches!(name, "" | "." | "..") {
        return Err(Error::new("is no file"));
    }
    if write_unnamed(dir, path, bytes).is_ok() {
        return Ok(());
    }
    let temporary = format!("{dir}.{name}.{}", std::process::id());
    let write = || {
        // An existing one is left from a killed process that had our pid.
        let _ = unlinkat(AT_FDCWD, &*temporary);
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        let file = create(AT_FDCWD, &*temporary, flags, Mode::from_bits_truncate(0o666))?;
        match bytes {
            Some(bytes) => {
                write_all(file.as_fd(), bytes)?;
                renameat(AT_FDCWD, &temporary, path)
            }
            None => unlinkat(AT_FDCWD, &*temporary),
        }
    };
    let written = write();
    if written.is_err() {
        let _ = unlinkat(AT_FDCWD, &*temporary);
    }
    Ok(written?)
}

/// Writes a file that has no name before it is complete.
///
/// So a killed process leaves nothing behind. It needs O_TMPFILE from the file system, and a free name.
fn write_unnamed(dir: &str, path: &str, bytes: Option<&[u8]>) -> std::result::Result<(), Errno> {
    let dir = if dir.is_empty() { "." } else { dir };
    let flags = OFlag::O_WRONLY | OFlag::O_TMPFILE;
    let file = create(AT_FDCWD, dir, flags, Mode::from_bits_truncate(0o666))?;
    match bytes {
        Some(bytes) => {
            write_all(file.as_fd(), bytes)?;
            give_name(&file, path)
        }
        None => Ok(()),
    }
}

/// Splits a path before its last name.
fn split(path: &str) -> (&str, &str) {
    path.split_at(path.rfind('/').map_or(0, |slash| slash + 1))
}

/// Sends the terminal's master and the slave's name to the console socket.
pub fn send_terminal(path: &str, number: u32, master: BorrowedFd<'_>) -> Result<()> {
    let send = || -> Result<()> {
        let socket = connect(path, PATIENCE)?;
        Ok(send_fd(socket.as_fd(), format!("/dev/pts/{number}").as_bytes(), master, 0).map(drop)?)
    };
    send().about(format_args!("--console-socket {}", path))
}

/// Connects to the pidfd socket and sends the pidfd.
pub fn send_pidfd(path: &str, pidfd: BorrowedFd<'_>) -> Result<()> {
    let send = || -> Result<()> {
        let socket = connect(path, PATIENCE)?;
        Ok(send_fd(socket.as_fd(), b"pidfd", pidfd, 0).map(drop)?)
    };
    send().about(format_args!("--pidfd-socket {}", path))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A name beside it is left by a process that is killed.
    #[test]
    fn a_pid_file_needs_no_other_name() {
        // On a file system that supports O_TMPFILE.
        let dir =
            std::path::Path::new("/dev/shm").join(format!("embrun-pid-file-alone-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        fs::create_dir(dir.join(format!(".pid.{}", std::process::id()))).unwrap();
        let path = dir.join("pid");
        for old in [None, Some("an older one")] {
            old.iter().for_each(|old| fs::write(&path, old).unwrap());
            write_pid_file(path.to_str().unwrap(), Pid::from_raw(42)).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), "42");
        }
        assert!(replace(path.to_str().unwrap(), b"what is there is kept until the end").is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "42");
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_pid_file_is_replaced_whole_and_has_no_newline() {
        let dir = std::env::temp_dir().join(format!("embrun-pid-file-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let path = dir.join("pid");
        fs::write(&path, "old and longer").unwrap();
        write_pid_file(path.to_str().unwrap(), Pid::from_raw(42)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "42");
        let missing = dir.join("no/pid");
        let e = write_pid_file(missing.to_str().unwrap(), Pid::from_raw(42)).unwrap_err().to_string();
        assert!(e.starts_with("--pid-file ") && e.contains("ENOENT"), "{e}");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        fs::remove_dir_all(&dir).unwrap();
    }
}
