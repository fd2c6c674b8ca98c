//! A foreground `run` or `exec`: signals forwarded, orphans reaped, the terminal relayed, until the process ends.
//!
//! One thread, one poll loop. Signals are blocked before the clone ([`Signals::block`]), so that none is lost between
//! the child's birth and the loop: a SIGCHLD that came early would otherwise never be seen.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Pid, read, write};

use super::host::Child;
use crate::error::{Context, Result};
use crate::sys::process::{self, Ended};
use crate::sys::start::{STDIN, STDOUT};
use crate::sys::{signal, tty};

/// What a relayed chunk holds at most: a pipe that polls writable takes this much without blocking (PIPE_BUF).
const CHUNK: usize = 4096;

/// The signals of this process, blocked and read from a descriptor.
pub struct Signals(OwnedFd);

impl Signals {
    /// Blocks every signal that can be blocked and is not a fault of this program.
    pub fn block() -> Result<Signals> {
        let faults = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT, libc::SIGTRAP];
        signal::block_all_but(&faults).at("signalfd").map(Signals)
    }
}

/// Waits for the process to end while it passes on what comes: signals to the process, bytes between the terminal's
/// master and our own stdin and stdout. Every other child that ends (with a subreaper: the container's orphans) is
/// reaped.
pub fn supervise(signals: &Signals, child: &Child, terminal: Option<OwnedFd>) -> Result<Ended> {
    let mut relay = terminal.map(Relay::new).transpose()?;
    loop {
        while let Some((pid, ended)) = reap()? {
            if pid == child.pid {
                if let Some(relay) = &mut relay {
                    relay.drain(signals);
                }
                return Ok(ended);
            }
        }
        // No vector: this may go on for months, and memory is not given back (`sys::heap`).
        let mut fds = std::array::from_fn(|_| PollFd::new(signals.0.as_fd(), PollFlags::POLLIN));
        let count = 1 + relay.as_ref().map_or(0, |relay| relay.wants(&mut fds[1..]));
        match poll(&mut fds[..count], PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(e).at("poll"),
        }
        let ready: [bool; 4] = fds.map(|f| f.any().unwrap_or(true));
        while let Some(signal) = signal::next(&signals.0) {
            forward(signal, child, relay.as_ref());
        }
        if let Some(relay) = &mut relay {
            relay.serve(&ready[1..]);
        }
    }
}

fn reap() -> Result<Option<(Pid, Ended)>> {
    match process::wait(Pid::from_raw(-1), false) {
        Err(Errno::ECHILD) => Ok(None),
        other => other.at("waitpid"),
    }
}

fn forward(signal: i32, child: &Child, relay: Option<&Relay>) {
    match (signal, relay) {
        (libc::SIGCHLD | libc::SIGPIPE | libc::SIGURG, _) => {}
        (libc::SIGWINCH, Some(relay)) => relay.resize(),
        // The process may have ended meanwhile; the next round reaps it.
        _ => drop(child.signal(signal)),
    }
}

/// Bytes on their way in one direction.
#[derive(Default)]
struct Pipe {
    bytes: Vec<u8>,
    ended: bool,
}

impl Pipe {
    /// Reads a chunk, if the last one is gone.
    fn fill(&mut self, from: BorrowedFd<'_>) {
        let mut chunk = [0u8; CHUNK];
        match read(from, &mut chunk) {
            Ok(0) => self.ended = true,
            Ok(n) => self.bytes.extend_from_slice(&chunk[..n]),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // EIO is how a pty master says that nobody holds the slave any more (before Linux 4.13 we do not).
            Err(_) => self.ended = true,
        }
    }

    /// Writes what is there; whoever does not read any more gets nothing more.
    fn empty(&mut self, to: BorrowedFd<'_>) {
        match write(to, &self.bytes) {
            Ok(n) => drop(self.bytes.drain(..n)),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => {
                self.bytes.clear();
                self.ended = true;
            }
        }
    }

    fn can_read(&self) -> bool {
        !self.ended && self.bytes.is_empty()
    }
}

struct Relay {
    master: OwnedFd,
    /// Kept open, so that a program may close its terminal and open it again (Linux 4.13).
    _slave: Option<OwnedFd>,
    input: Pipe,
    output: Pipe,
    cooked: Option<libc::termios>,
}

/// Has the container's terminal end a line as the program does: what shows it, if that is a terminal, adds the carriage
/// return, and a pipe or a file gets none, as by runc. Before the program can write.
pub fn relayed(master: &OwnedFd) -> Result<()> {
    let mut theirs = tty::attributes(master.as_fd()).at("tcgetattr")?;
    theirs.c_oflag &= !libc::ONLCR;
    tty::set_attributes(master.as_fd(), &theirs).at("tcsetattr")
}

impl Relay {
    fn new(master: OwnedFd) -> Result<Relay> {
        // It is polled for both directions at once, and must never be waited for in one of them.
        fcntl(&master, FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK)).at("fcntl")?;
        // Our own terminal, if there is one, hands every key through; the container's does the editing.
        let cooked = tty::attributes(STDIN).ok();
        if let Some(cooked) = &cooked {
            tty::set_attributes(STDIN, &tty::raw(cooked)).at("tcsetattr")?;
        }
        let slave = tty::pty_peer(master.as_fd()).ok();
        let relay = Relay { master, _slave: slave, input: Pipe::default(), output: Pipe::default(), cooked };
        relay.resize();
        Ok(relay)
    }

    /// Gives the container's terminal the size of ours.
    fn resize(&self) {
        if let Ok(size) = tty::size(STDIN) {
            let _ = tty::set_size(self.master.as_fd(), size);
        }
    }

    /// Sets up to three descriptors to poll, in the order that [`Relay::serve`] takes their answers; how many.
    fn wants<'a>(&'a self, fds: &mut [PollFd<'a>]) -> usize {
        let mut count = 0;
        let when = |wanted: bool, flag| if wanted { flag } else { PollFlags::empty() };
        let mut master = when(self.output.can_read(), PollFlags::POLLIN);
        master |= when(!self.input.bytes.is_empty(), PollFlags::POLLOUT);
        let mut add = |fd: BorrowedFd<'a>, events: PollFlags| {
            // A descriptor with nothing asked still reports POLLHUP, for ever: it is left out.
            if !events.is_empty() {
                fds[count] = PollFd::new(fd, events);
                count += 1;
            }
        };
        add(self.master.as_fd(), master);
        add(STDIN, when(self.input.can_read(), PollFlags::POLLIN));
        add(STDOUT, when(!self.output.bytes.is_empty(), PollFlags::POLLOUT));
        count
    }

    /// Moves bytes where a descriptor is ready; the flags come in the order of [`Relay::wants`].
    fn serve(&mut self, ready: &[bool]) {
        let mut ready = ready.iter().copied();
        let mut take = |wanted: bool| wanted && ready.next().unwrap_or(false);
        let (fill_out, empty_in) = (self.output.can_read(), !self.input.bytes.is_empty());
        let (fill_in, empty_out) = (self.input.can_read(), !self.output.bytes.is_empty());
        let master = take(fill_out || empty_in);
        let (stdin, stdout) = (take(fill_in), take(empty_out));
        if master && fill_out {
            self.output.fill(self.master.as_fd());
        }
        if master && empty_in {
            self.input.empty(self.master.as_fd());
        }
        if stdin {
            self.input.fill(STDIN);
        }
        if stdout {
            self.output.empty(STDOUT);
        }
    }

    /// After the process has ended: what it wrote last still goes out, unless nobody takes it and SIGTERM comes.
    fn drain(&mut self, signals: &Signals) {
        loop {
            while !self.output.bytes.is_empty() {
                // A stdout that does not block would be written to over and over.
                let stdout = PollFd::new(STDOUT, PollFlags::POLLOUT);
                let mut fds = [stdout, PollFd::new(signals.0.as_fd(), PollFlags::POLLIN)];
                match poll(&mut fds, PollTimeout::NONE) {
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(_) => return,
                }
                if fds[0].any().unwrap_or(true) {
                    self.output.empty(STDOUT);
                    continue;
                }
                while let Some(signal) = signal::next(&signals.0) {
                    if signal == libc::SIGTERM {
                        return;
                    }
                }
            }
            let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
            let more = poll(&mut fds, PollTimeout::ZERO).is_ok_and(|n| n > 0);
            if !more || self.output.ended {
                return;
            }
            self.output.fill(self.master.as_fd());
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(cooked) = &self.cooked {
            let _ = tty::set_attributes(STDIN, cooked);
        }
    }
}
