//! The notify socket of a container, and the relay of its messages (sd_notify(3)).
//!
//! ```text
//! create, run    make <state>/notify/inside; init binds it at /run/notify, read-only
//! start, run     make notify.sock in it before the program runs, relay its messages to $NOTIFY_SOCKET
//! ```
//!
//! A detached command ends once it has relayed `READY=1`, as in runc, or when the container ends. A `run` in the foreground
//! relays until the end.
//!
//! The container writes the messages. Only the lines that [`passes`] accepts are relayed, at most one message in each
//! [`PAUSE`]. Descriptors are not received: the kernel drops them. A message that cannot be sent yet keeps the next from being
//! read, so a flood fills the socket's own queue and blocks its sender.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv, send};
use nix::sys::stat::Mode;
use nix::unistd::pipe2;

use crate::error::{Context, Result};
use crate::log;
use crate::state::locked::Locked;
use crate::state::record::ProcessMark;
use crate::state::store::Entry;
use crate::sys::descriptor::send_fd;
use crate::sys::entry::variable;
use crate::sys::exact_modes::ExactModes;
use crate::sys::file::{mkdirat, openat, unlinkat};
use crate::sys::{clock, interrupt, socket};

/// The directory that the container sees, in one that no other user may enter.
///
/// The socket itself is open to all users, because the container's are not known.
pub const INSIDE: &str = "notify/inside";
/// The time between two messages.
const PAUSE: Duration = Duration::from_millis(20);
/// systemd reads no more of a message.
const LARGEST: usize = 4096;
/// How long systemd may take to handle all messages.
const BARRIER: Duration = Duration::from_secs(30);
/// How often init itself is checked if there is no pidfd.
const TICK: Duration = Duration::from_secs(1);

/// The socket at which the caller waits for readiness, if it does.
pub fn callers_socket() -> Option<&'static str> {
    variable("NOTIFY_SOCKET").filter(|path| !path.is_empty())
}

/// Makes the directory of the socket.
pub fn make_directory(dir: &Locked) -> Result<()> {
    let _exact = ExactModes::begin();
    mkdirat(dir.dir(), "notify", Mode::from_bits_truncate(0o700)).at("mkdir notify")?;
    mkdirat(dir.dir(), INSIDE, Mode::from_bits_truncate(0o755)).about(format_args!("mkdir {INSIDE}"))
}

/// An entry for poll(2), which ignores `idle`.
pub fn watched<'a>(fd: Option<BorrowedFd<'a>>, idle: BorrowedFd<'a>) -> PollFd<'a> {
    fd.map_or(PollFd::new(idle, PollFlags::empty()), |fd| PollFd::new(fd, PollFlags::POLLIN))
}

/// Makes the socket, in place of one that a killed `start` has left.
pub fn listen(dir: &Entry) -> Result<OwnedFd> {
    let make = || {
        let inside = openat(dir.dir(), INSIDE, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW)?;
        let _ = unlinkat(&inside, "notify.sock");
        let _exact = ExactModes::begin();
        socket::bind_datagram(inside.as_fd(), "notify.sock")
    };
    make().at("make the notify socket")
}

/// A relay from the container to the caller.
pub struct Readiness {
    inside: OwnedFd,
    caller: OwnedFd,
    /// `MAINPID=` and the process that is reported as the service's.
    main_pid: String,
    /// The message that waits for room.
    message: Filtered,
    next: Instant,
}

impl Readiness {
    /// Connects to the caller's socket; without it nothing is relayed.
    pub fn new(inside: OwnedFd, main_pid: i32) -> Option<Readiness> {
        let path = callers_socket()?;
        match socket::connect_datagram(path).about(format_args!("NOTIFY_SOCKET {path}")) {
            Ok(caller) => {
                // Memory is never freed, so no message may take any.
                let (message, main_pid) = (Filtered::default(), format!("MAINPID={main_pid}"));
                Some(Readiness { inside, caller, main_pid, message, next: Instant::now() })
            }
            Err(e) => {
                log::warn(&e.hint("readiness is not passed on").to_string());
                None
            }
        }
    }

    /// The relay of a created container; a warning if `create` was not asked for it.
    pub fn of_created(dir: &Entry, main_pid: i32) -> Result<Option<Readiness>> {
        if callers_socket().is_none() {
            return Ok(None);
        }
        match listen(dir) {
            Err(e) if e.errno() == Some(Errno::ENOENT) => {
                log::warn("NOTIFY_SOCKET: was not set at create, readiness is not passed on");
                Ok(None)
            }
            made => Ok(Readiness::new(made?, main_pid)),
        }
    }

    /// The descriptor to wait for, and for how long; without it, only the time.
    pub fn wants(&self) -> (Option<BorrowedFd<'_>>, PollTimeout) {
        if self.message.length > 0 || !clock::is_past(self.next) {
            return (None, PollTimeout::try_from(PAUSE).unwrap_or(PollTimeout::ZERO));
        }
        (Some(self.inside.as_fd()), PollTimeout::NONE)
    }

    /// Relays a message, if one is there and it is time for it.
    pub fn serve(&mut self) -> Progress {
        if self.message.length == 0 {
            if !clock::is_past(self.next) {
                return Progress::Later;
            }
            let mut bytes = [0; LARGEST];
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
            let Ok(length) = recv(self.inside.as_raw_fd(), &mut bytes, flags) else {
                return Progress::Nothing;
            };
            self.next = clock::after(PAUSE);
            // A longer message is dropped.
            self.message.fill(bytes.get(..length).unwrap_or_default(), &self.main_pid);
        }
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        match send(self.caller.as_raw_fd(), self.message.text(), flags) {
            _ if self.message.length == 0 => return Progress::Later,
            Err(Errno::EAGAIN) => return Progress::Later,
            _ => self.message.length = 0,
        }
        if self.message.ready { Progress::Ready } else { Progress::Later }
    }

    /// Relays the last messages of a container that has ended.
    pub fn finish(&mut self) {
        // More than the queue of a socket holds.
        for _ in 0..64 {
            self.next = Instant::now();
            match self.serve() {
                Progress::Nothing => return,
                _ if self.message.length > 0 => return,
                _ => {}
            }
        }
    }

    /// Relays until the container is ready or has ended.
    pub fn until_ready(mut self, init: Option<ProcessMark>, pidfd: Option<BorrowedFd<'_>>) -> Result<()> {
        let mut tick = TICK;
        let mut look = clock::after(TICK);
        loop {
            match self.serve() {
                Progress::Ready => return self.barrier(),
                // Others may go on to send without init, or the caller may not read.
                Progress::Later if clock::is_past(look) => {
                    look = clock::after(TICK);
                    if has_ended(init, pidfd)? {
                        self.finish();
                        return if self.message.ready { self.barrier() } else { Ok(()) };
                    }
                }
                Progress::Later => {}
                Progress::Nothing if !has_ended(init, pidfd)? => {}
                // Its last message may have arrived in between.
                Progress::Nothing => {
                    self.finish();
                    return if self.message.ready { self.barrier() } else { Ok(()) };
                }
            }
            interrupt::check()?;
            let idle = self.caller.as_fd();
            let (inside, pause) = self.wants();
            let fds = [inside, pidfd.filter(|_| inside.is_some()), interrupt::fd()];
            let mut fds = fds.map(|fd| watched(fd, idle));
            let timeout = match pidfd {
                None if inside.is_some() => PollTimeout::try_from(tick).unwrap_or(PollTimeout::MAX),
                _ => pause,
            };
            // Each check reads into memory that is never freed.
            tick = (tick + TICK / 4).min(TICK * 30);
            match poll(&mut fds, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(e) => return Err(e).at("poll"),
            }
        }
    }

    /// Waits until systemd has handled the messages (sd_notify_barrier(3)).
    ///
    /// It finds the service by the sender, which must live until then.
    fn barrier(&self) -> Result<()> {
        let deadline = clock::after(BARRIER);
        let (ours, theirs) = pipe2(OFlag::O_CLOEXEC).at("pipe2")?;
        while send_fd(self.caller.as_fd(), b"BARRIER=1", theirs.as_fd(), libc::MSG_DONTWAIT)
            == Err(Errno::EAGAIN)
        {
            interrupt::check()?;
            if clock::is_past(deadline) {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
        drop(theirs);
        interrupt::wait_for(ours.as_fd(), Some(clock::until(deadline))).map(drop)
    }
}

/// The result of [`Readiness::serve`].
#[derive(Clone, Copy, PartialEq)]
pub enum Progress {
    /// No message is there.
    Nothing,
    /// There may be more after a pause.
    Later,
    /// `READY=1` was relayed.
    Ready,
}

fn has_ended(init: Option<ProcessMark>, pidfd: Option<BorrowedFd<'_>>) -> Result<bool> {
    match pidfd {
        Some(fd) => interrupt::wait_for(fd, Some(Duration::ZERO)),
        None => Ok(!init.is_some_and(|init| init.lives())),
    }
}

/// The lines of a message that are relayed.
struct Filtered {
    bytes: Vec<u8>,
    length: usize,
    ready: bool,
}

impl Default for Filtered {
    fn default() -> Filtered {
        Filtered { bytes: vec![0; LARGEST + 32], length: 0, ready: false }
    }
}

impl Filtered {
    fn fill(&mut self, message: &[u8], main_pid: &str) {
        self.ready = false;
        for line in message.split(|byte| *byte == b'\n').filter(|line| passes(line)) {
            self.ready |= line == b"READY=1";
            self.add(line);
        }
        if self.ready {
            self.add(main_pid.as_bytes());
        }
    }

    fn add(&mut self, line: &[u8]) {
        let end = self.length + line.len();
        let Some(room) = self.bytes.get_mut(self.length..=end) else { return };
        room[..line.len()].copy_from_slice(line);
        room[line.len()] = b'\n';
        self.length = end + 1;
    }

    fn text(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Whether a line of the container is relayed.
///
/// The others would change what systemd believes of the service: its main process, its descriptors, its watchdog's time.
fn passes(line: &[u8]) -> bool {
    let Some((key, value)) = std::str::from_utf8(line).ok().and_then(|line| line.split_once('=')) else {
        return false;
    };
    match key {
        "READY" | "RELOADING" | "STOPPING" => value == "1",
        "WATCHDOG" => value == "1" || value == "trigger",
        "EXTEND_TIMEOUT_USEC" | "MONOTONIC_USEC" => {
            !value.is_empty() && value.len() <= 20 && value.bytes().all(|digit| digit.is_ascii_digit())
        }
        // It is shown on terminals.
        "STATUS" => !value.chars().any(char::is_control),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filtered(message: &[u8]) -> String {
        let mut filtered = Filtered::default();
        filtered.fill(message, "MAINPID=42");
        String::from_utf8(filtered.text().to_vec()).unwrap()
    }

    #[test]
    fn known_lines_pass() {
        for line in [
            "RELOADING=1",
            "STOPPING=1",
            "WATCHDOG=1",
            "WATCHDOG=trigger",
            "EXTEND_TIMEOUT_USEC=18446744073709551615",
            "MONOTONIC_USEC=1",
            "STATUS=",
            "STATUS=größer = besser",
        ] {
            assert_eq!(filtered(line.as_bytes()), format!("{line}\n"));
        }
        assert_eq!(filtered(b"STATUS=up\nREADY=1\n"), "STATUS=up\nREADY=1\nMAINPID=42\n");
    }

    #[test]
    fn other_lines_do_not_pass() {
        for line in [
            "MAINPID=1",
            "MAINPIDFDID=1",
            "FDSTORE=1",
            "FDSTOREREMOVE=1",
            "FDNAME=x",
            "FDPOLL=0",
            "ERRNO=1",
            "BUSERROR=x",
            "EXIT_STATUS=0",
            "WATCHDOG_USEC=0",
            "BARRIER=1",
            "NOTIFYACCESS=all",
            "READY=0",
            "READY=11",
            " READY=1",
            "ready=1",
            "READY",
            "=1",
            "",
            "EXTEND_TIMEOUT_USEC=",
            "EXTEND_TIMEOUT_USEC=-1",
            "EXTEND_TIMEOUT_USEC=1 2",
            "EXTEND_TIMEOUT_USEC=000000000000000000001",
            "STATUS=\u{1b}[2J",
            "STATUS=\u{9b}2J",
            "STATUS=a\rb",
            "STATUS=\0",
        ] {
            assert_eq!(filtered(line.as_bytes()), "", "{line:?}");
        }
        assert_eq!(filtered(b"STATUS=\xff"), "");
        assert_eq!(filtered(b"MAINPID=1\nREADY=1\nMAINPID=2"), "READY=1\nMAINPID=42\n");
    }

    #[test]
    fn message_of_the_largest_size_fits() {
        let mut message = "READY=1\n".repeat(LARGEST / 8);
        assert_eq!(message.len(), LARGEST);
        assert!(filtered(message.as_bytes()).ends_with("READY=1\nMAINPID=42\n"));
        message.replace_range(LARGEST - 1.., "1");
        assert!(filtered(message.as_bytes()).ends_with("READY=1\nMAINPID=42\n"));
    }
}
