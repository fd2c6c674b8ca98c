//! Terminals for the tests: a console socket that receives one, and a new pair.

use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

/// A listening console socket.
pub struct ConsoleSocket {
    /// The path for `--console-socket` or `--pidfd-socket`.
    pub path: PathBuf,
    listener: UnixListener,
}

impl ConsoleSocket {
    /// Listens at `path`.
    pub fn listen(path: PathBuf) -> ConsoleSocket {
        ConsoleSocket { listener: UnixListener::bind(&path).expect("bind"), path }
    }

    /// Receives the terminal that the runtime sends.
    pub fn receive(self) -> Terminal {
        Terminal { master: self.receive_fd().into() }
    }

    /// Receives the descriptor that the runtime sends.
    #[allow(unsafe_code)]
    pub fn receive_fd(self) -> OwnedFd {
        let (stream, _) = self.listener.accept().expect("accept");
        let mut bytes = [0; 256];
        let mut buffer = nix::cmsg_space!([i32; 4]);
        let mut iov = [IoSliceMut::new(&mut bytes)];
        let message =
            recvmsg::<()>(stream.as_raw_fd(), &mut iov, Some(&mut buffer), MsgFlags::MSG_CMSG_CLOEXEC)
                .expect("recvmsg");
        let fds: Vec<i32> = message
            .cmsgs()
            .expect("room for the control messages")
            .filter_map(|c| if let ControlMessageOwned::ScmRights(fds) = c { Some(fds) } else { None })
            .flatten()
            .collect();
        assert_eq!(fds.len(), 1, "expected one descriptor over the socket");
        // SAFETY: the kernel has just created this descriptor for us, and nothing else uses it.
        unsafe { OwnedFd::from_raw_fd(fds[0]) }
    }
}

/// The master side of a terminal.
pub struct Terminal {
    master: File,
}

impl Terminal {
    /// Opens a terminal of this size: the master, and the slave for a command.
    pub fn pair(rows: u16, columns: u16) -> (Terminal, File) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(&size, None).expect("openpty");
        for fd in [&master, &slave] {
            nix::fcntl::fcntl(fd, nix::fcntl::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC)).expect("cloexec");
        }
        (Terminal { master: master.into() }, slave.into())
    }

    /// Writes input to the terminal.
    pub fn type_in(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).expect("write to the terminal");
    }

    /// Reads until `wanted` appears or the other side closes; returns everything read.
    #[track_caller]
    pub fn read_until(&mut self, wanted: &str) -> String {
        let mut seen = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            let text = String::from_utf8_lossy(&seen).into_owned();
            if text.contains(wanted) {
                return text;
            }
            match self.master.read(&mut chunk) {
                Ok(n) if n > 0 => seen.extend(&chunk[..n]),
                // EIO means that no slave is open any more.
                _ => panic!("{wanted:?} did not appear; the terminal printed {text:?}"),
            }
        }
    }

    /// Changes the size of the window.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        set_size(&self.master, size);
    }
}

#[allow(unsafe_code)]
fn set_size(file: &File, size: libc::winsize) {
    // SAFETY: TIOCSWINSZ reads one winsize, which lives for the call.
    let r = unsafe { libc::ioctl(file.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    assert_eq!(r, 0, "TIOCSWINSZ");
}
