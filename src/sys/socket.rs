//! Connections to other programs, which may not accept; datagram sockets.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, connect as connect_to, socket};

use super::Errno;
use super::clock;
use super::file::open;
use super::mount_api::FdPath;

/// Connects to the stream socket at `path`.
/// Fails with ETIMEDOUT if the connection takes longer than `patience`, since connect(2) blocks while the
/// listener's backlog is full (listen(2)). Writes have the same time limit. A path longer than an address (107
/// bytes, unix(7)) is reached through a descriptor of its directory.
pub fn connect(path: &str, patience: Duration) -> Result<UnixStream, Errno> {
    let deadline = clock::after(patience);
    let stream = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let stream = UnixStream::from(stream);
    stream.set_write_timeout(Some(patience)).map_err(|_| Errno::EDOM)?;
    let (address, _directory) = address(path)?;
    loop {
        match connect_to(stream.as_raw_fd(), &address) {
            Ok(()) => return Ok(stream),
            Err(Errno::EINTR) if !clock::is_past(deadline) => {}
            Err(Errno::EINTR | Errno::EAGAIN) => return Err(Errno::ETIMEDOUT),
            Err(e) => return Err(e),
        }
    }
}

/// The address of a path, valid while the descriptor is open.
fn address(path: &str) -> Result<(UnixAddr, Option<OwnedFd>), Errno> {
    match UnixAddr::new(path) {
        Err(Errno::ENAMETOOLONG) => {
            let (parent, name) = path.rsplit_once('/').unwrap_or((".", path));
            let directory = open(if parent.is_empty() { "/" } else { parent }, OFlag::O_PATH)?;
            Ok((in_directory(directory.as_fd(), name)?, Some(directory)))
        }
        address => Ok((address?, None)),
    }
}

/// The address of a name in a directory.
fn in_directory(directory: BorrowedFd<'_>, name: &str) -> Result<UnixAddr, Errno> {
    let path = FdPath::new(directory);
    UnixAddr::new(&*[path.as_c_str().to_bytes(), b"/", name.as_bytes()].concat())
}

fn datagram() -> Result<OwnedFd, Errno> {
    socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
}

/// A datagram socket that sends to `path`, or to an abstract name after `@`.
pub fn connect_datagram(path: &str) -> Result<OwnedFd, Errno> {
    let socket = datagram()?;
    let (address, _directory) = match path.strip_prefix('@') {
        Some(name) => (UnixAddr::new_abstract(name.as_bytes())?, None),
        None => address(path)?,
    };
    connect_to(socket.as_raw_fd(), &address).map(|()| socket)
}

/// A datagram socket with a new name in a directory, open to all who may enter it.
///
/// Its mode is 0777 without the umask.
pub fn bind_datagram(directory: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    let socket = datagram()?;
    bind(socket.as_raw_fd(), &in_directory(directory, name)?).map(|()| socket)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::net::UnixListener;

    use nix::sys::socket::{Backlog, listen};

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);

    #[test]
    fn socket_with_a_long_path_is_reached() {
        let dir = std::env::temp_dir().join(format!("embrun-{}-{}", std::process::id(), "x".repeat(120)));
        fs::create_dir(&dir).unwrap();
        let cwd = fs::File::open(&dir).unwrap();
        let short = format!("/proc/self/fd/{}/s", cwd.as_raw_fd());
        let listener = UnixListener::bind(short).unwrap();
        assert!(connect(dir.join("s").to_str().unwrap(), SHORT).is_ok());
        drop(listener);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn connecting_to_a_full_backlog_times_out() {
        let dir = std::env::temp_dir().join(format!("embrun-busy-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let path = dir.join("s");
        let listener = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(listener.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        listen(&listener, Backlog::new(0).unwrap()).unwrap();
        let _waits = UnixStream::connect(&path).unwrap();
        assert_eq!(connect(path.to_str().unwrap(), SHORT).unwrap_err(), Errno::ETIMEDOUT);
        fs::remove_dir_all(&dir).unwrap();
    }
}
