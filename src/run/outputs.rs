//! What a launch gives its caller: the pid file, the terminal and the pidfd.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::unistd::Pid;

use crate::error::{Context, Error, Result};
use crate::sys::descriptor::send_fd;

/// Where the results go.
#[derive(Clone, Copy, Default)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub struct Outputs {
    /// A file for the pid.
    pub pid_file: Option<&'static Path>,
    /// A socket for the terminal's master.
    pub console_socket: Option<&'static Path>,
    /// A socket for a pidfd.
    pub pidfd_socket: Option<&'static Path>,
}

/// Writes the pid, without a newline (containerd's shims parse the file as it is), so that a reader sees all or nothing.
pub fn write_pid_file(path: Option<&Path>, pid: Pid) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    replace(path, pid.to_string().as_bytes()).about(format_args!("--pid-file {}", path.display()))
}

/// Writes a file in the place of the one that may be there, so that a reader sees all of the one or of the other.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    write_beside(path, Some(bytes))
}

/// An error if a file could not be written there, or if what is there is no file.
pub fn can_replace(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(there) if !there.is_file() => Err(Error::new("is there and no regular file")),
        _ => write_beside(path, None),
    }
}

/// Without bytes it is only tried.
fn write_beside(path: &Path, bytes: Option<&[u8]>) -> Result<()> {
    let name = path.file_name().ok_or_else(|| Error::new("is no file"))?;
    let temporary = path.with_file_name(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let write = || -> Result<()> {
        // One that is there is what an earlier process of our pid left when it was killed.
        let _ = fs::remove_file(&temporary);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o666).open(&temporary)?;
        match bytes {
            Some(bytes) => {
                file.write_all(bytes)?;
                Ok(fs::rename(&temporary, path)?)
            }
            None => Ok(fs::remove_file(&temporary)?),
        }
    };
    write().inspect_err(|_| drop(fs::remove_file(&temporary)))
}

/// Connects to the socket that takes the terminal and sends it the master with the name of the slave.
pub fn send_terminal(path: &Path, number: u32, master: BorrowedFd<'_>) -> Result<()> {
    let send = || -> Result<()> {
        let socket = connect_to(path)?;
        use std::os::fd::AsFd;
        Ok(send_fd(socket.as_fd(), format!("/dev/pts/{number}").as_bytes(), master, 0).map(drop)?)
    };
    send().about(format_args!("--console-socket {}", path.display()))
}

/// Connects to the socket that takes a pidfd and sends it.
pub fn send_pidfd(path: &Path, pidfd: BorrowedFd<'_>) -> Result<()> {
    let send = || -> Result<()> {
        let socket = connect_to(path)?;
        use std::os::fd::AsFd;
        Ok(send_fd(socket.as_fd(), b"pidfd", pidfd, 0).map(drop)?)
    };
    send().about(format_args!("--pidfd-socket {}", path.display()))
}

/// A connected stream socket. A longer path than an address holds (107 bytes) goes by the descriptor of its directory.
pub fn connect_to(path: &Path) -> Result<OwnedFd> {
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let (parent, name) = (path.parent(), path.file_name());
    let (address, _parent) = match (UnixAddr::new(path), parent, name) {
        (Err(nix::Error::ENAMETOOLONG), Some(parent), Some(name)) => {
            let parent = fs::File::open(parent)?;
            let short = Path::new("/proc/self/fd").join(parent.as_raw_fd().to_string()).join(name);
            (UnixAddr::new(&short)?, Some(parent))
        }
        (address, ..) => (address?, None),
    };
    connect(socket.as_raw_fd(), &address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_is_replaced_whole_and_has_no_newline() {
        let dir = std::env::temp_dir().join(format!("embrun-pid-file-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let path = dir.join("pid");
        fs::write(&path, "old and longer").unwrap();
        write_pid_file(Some(&path), Pid::from_raw(42)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "42");
        let missing = dir.join("no/pid");
        let e = write_pid_file(Some(&missing), Pid::from_raw(42)).unwrap_err().to_string();
        assert!(e.starts_with("--pid-file ") && e.contains("ENOENT"), "{e}");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_socket_may_have_a_long_path() {
        let dir = std::env::temp_dir().join(format!("embrun-{}-{}", std::process::id(), "x".repeat(120)));
        fs::create_dir(&dir).unwrap();
        let cwd = fs::File::open(&dir).unwrap();
        let short = format!("/proc/self/fd/{}/s", cwd.as_raw_fd());
        let listener = std::os::unix::net::UnixListener::bind(short).unwrap();
        assert!(connect_to(&dir.join("s")).is_ok());
        drop(listener);
        fs::remove_dir_all(&dir).unwrap();
    }
}
