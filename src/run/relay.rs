//! Moves bytes between the container's terminal and the caller's standard streams.
//!
//! It never blocks on either side.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{MsgFlags, recv, send};
use nix::sys::stat::{SFlag, makedev};
use nix::unistd::{isatty, read, write};

use crate::error::Context;
use crate::sys::entry::{STDERR, STDIN, STDOUT};
use crate::sys::file::{fstat, kind, open};
use crate::sys::mount_api::FdPath;
use crate::sys::tty;

/// The most that is moved at once.
const CHUNK: usize = 4096;
/// More than a terminal buffers: 64 KiB to its master, and one page there.
const HELD: usize = 128 * 1024;

/// How a standard stream of the caller is used without blocking on it.
///
/// Its O_NONBLOCK flag stays as it is, because the caller and others share the open file.
enum Way {
    /// The terminal or pipe, opened once more.
    Own(OwnedFd),
    /// A socket, which takes a flag with each call.
    Socket,
    /// A file or a device like /dev/null, which never blocks.
    File,
    /// A terminal or pipe that cannot be opened again: used when ready, bit by bit.
    Shared,
}

struct Stream {
    fd: BorrowedFd<'static>,
    way: Way,
}

impl Stream {
    fn new(fd: BorrowedFd<'static>, access: OFlag) -> Stream {
        Stream { fd, way: Stream::way(fd, access) }
    }

    fn way(fd: BorrowedFd<'static>, access: OFlag) -> Way {
        let Ok(stat) = fstat(fd) else { return Way::Shared };
        match kind(&stat) {
            SFlag::S_IFSOCK => return Way::Socket,
            SFlag::S_IFIFO => {}
            SFlag::S_IFCHR if isatty(fd).unwrap_or(false) => {}
            _ => return Way::File,
        }
        // Opening either of these leads to another terminal: a new one, or the controlling one.
        if [makedev(5, 2), makedev(4, 0)].contains(&stat.st_rdev) {
            return Way::Shared;
        }
        let flags = access | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        open(FdPath::new(fd).as_c_str(), flags).map_or(Way::Shared, Way::Own)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        if let Way::Own(own) = &self.way { own.as_fd() } else { self.fd }
    }

    fn read(&self, chunk: &mut [u8]) -> nix::Result<usize> {
        match self.way {
            Way::Socket => recv(self.fd.as_raw_fd(), chunk, MsgFlags::MSG_DONTWAIT),
            _ => read(self.fd(), chunk),
        }
    }

    fn write(&self, bytes: &[u8]) -> nix::Result<usize> {
        match self.way {
            Way::Socket => send(self.fd.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL),
            // A terminal that polls writable takes this much in any case (the kernel's WAKEUP_CHARS).
            Way::Shared => write(self.fd, &bytes[..bytes.len().min(256)]),
            _ => write(self.fd(), bytes),
        }
    }
}

/// Bytes on their way in one direction.
///
/// Its size is fixed, because this may go on for months and memory is never freed (`sys::heap`).
struct Chunk {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Chunk {
    fn empty() -> Chunk {
        Chunk { bytes: vec![0; CHUNK], start: 0, end: 0 }
    }

    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Drops the content, but not the memory.
    fn clear(&mut self) {
        self.start = self.end;
    }

    /// Reads if the buffer is empty. `false` at the end or at a lasting error.
    fn fill(&mut self, read: impl FnOnce(&mut [u8]) -> nix::Result<usize>) -> bool {
        if !self.is_empty() {
            return true;
        }
        match read(&mut self.bytes) {
            Ok(0) => false,
            Ok(n) => {
                (self.start, self.end) = (0, n);
                true
            }
            Err(e) => is_of_this_moment(e),
        }
    }

    /// Writes the content of the buffer.
    fn drain(&mut self, write: impl FnOnce(&[u8]) -> nix::Result<usize>) -> nix::Result<()> {
        if !self.is_empty() {
            self.start += write(&self.bytes[self.start..self.end])?;
        }
        Ok(())
    }
}

fn is_of_this_moment(e: Errno) -> bool {
    matches!(e, Errno::EAGAIN | Errno::EINTR)
}

/// The container's terminal and the caller's streams.
pub struct Relay {
    master: OwnedFd,
    /// Kept open, so that a program may reopen its terminal (Linux 4.13).
    _slave: Option<OwnedFd>,
    stdin: Stream,
    stdout: Stream,
    input: Chunk,
    output: Chunk,
    /// Whether there may be more to read.
    more_input: bool,
    more_output: bool,
    /// The most that is read from now on; `None` while the program runs.
    left: Option<usize>,
    /// The reader of the output is gone.
    gone: bool,
    /// The loss of output was reported.
    reported: bool,
    /// The settings to restore on our own terminal, if there is one.
    cooked: Option<libc::termios>,
}

/// Gives the container's terminal the size of the caller's.
///
/// A serial line has no size.
pub fn resize(master: BorrowedFd<'_>) {
    let size = [STDIN, STDOUT, STDERR].into_iter().find_map(|stream| tty::size(stream).ok());
    if let Some(size) = size.filter(|size| *size != (0, 0)) {
        let _ = tty::set_size(master, size);
    }
}

impl Relay {
    /// Connects this terminal to our standard streams.
    pub fn new(master: OwnedFd) -> Relay {
        let _ = fcntl(&master, FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK));
        // Our own terminal, if there is one, passes every key through; the container's does the editing. A terminal that has
        // just been hung up cannot be set, and is found to be gone later.
        let cooked = tty::attributes(STDIN).ok();
        if let Some(cooked) = &cooked {
            let _ = tty::set_attributes(STDIN, &tty::raw(cooked));
        }
        Relay {
            _slave: tty::pty_peer(master.as_fd()).ok(),
            master,
            stdin: Stream::new(STDIN, OFlag::O_RDONLY),
            stdout: Stream::new(STDOUT, OFlag::O_WRONLY),
            input: Chunk::empty(),
            output: Chunk::empty(),
            more_input: true,
            more_output: true,
            left: None,
            gone: false,
            reported: false,
            cooked,
        }
    }

    /// Gives the container's terminal the current size of ours.
    pub fn resize(&self) {
        resize(self.master.as_fd());
    }

    /// Whether the caller's side is gone. Dropping the relay hangs the terminal up.
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// The descriptors to poll: master, stdin, stdout.
    ///
    /// `idle` replaces one that is not to be waited for, because a hung-up descriptor reports that even if nothing is asked.
    pub fn wants<'a>(&'a self, idle: BorrowedFd<'a>) -> [PollFd<'a>; 3] {
        let slot = |fd: BorrowedFd<'a>, watched: bool, wanted: &[(bool, PollFlags)]| {
            let flags =
                wanted.iter().filter(|(when, _)| *when).fold(PollFlags::empty(), |all, (_, f)| all | *f);
            PollFd::new(if watched || !flags.is_empty() { fd } else { idle }, flags)
        };
        let reads_output = self.left.is_none() && self.more_output && self.output.is_empty();
        let (input, output) = (!self.input.is_empty(), !self.output.is_empty());
        let master = [(reads_output, PollFlags::POLLIN), (input, PollFlags::POLLOUT)];
        [
            slot(self.master.as_fd(), false, &master),
            // A terminal that hangs up is noticed even while nothing may be read from it.
            slot(
                self.stdin.fd(),
                self.more_input && self.cooked.is_some(),
                &[(self.more_input && !input, PollFlags::POLLIN)],
            ),
            // Once no input can arrive, the caller is gone as soon as nothing reads the output.
            slot(self.stdout.fd(), !self.more_input, &[(output, PollFlags::POLLOUT)]),
        ]
    }

    /// Moves bytes after a poll of the descriptors of [`Relay::wants`].
    pub fn serve(&mut self, [master, stdin, stdout]: [PollFlags; 3]) {
        if !stdin.is_empty() {
            self.take_input(stdin);
        }
        if !(master | stdin).is_empty() && self.left.is_none() {
            let kept = self.input.drain(|bytes| write(&self.master, bytes));
            if kept.is_err_and(|e| !is_of_this_moment(e)) {
                self.input.clear();
            }
            self.take_output();
        }
        if self.output.is_empty() && stdout.intersects(PollFlags::POLLERR | PollFlags::POLLHUP) {
            self.gone = true;
        }
        if !stdout.is_empty() || self.never_waits() {
            self.give_output();
        }
    }

    fn take_input(&mut self, polled: PollFlags) {
        let stdin = &self.stdin;
        self.more_input = self.input.fill(|chunk| stdin.read(chunk));
        // The end of a file or pipe is the end of the input. A terminal in whose background we are gives an error.
        self.gone |= self.cooked.is_some() && polled.contains(PollFlags::POLLHUP);
    }

    fn take_output(&mut self) {
        if self.more_output {
            let master = &self.master;
            // EIO on a pty's master means that nothing holds the slave (before Linux 4.13 we do not).
            self.more_output = self.output.fill(|chunk| read(master, chunk));
        }
    }

    fn give_output(&mut self) {
        let stdout = &self.stdout;
        match self.output.drain(|bytes| stdout.write(bytes)) {
            Ok(()) => {}
            Err(e) if is_of_this_moment(e) => {}
            // A file may have room again later; the program must not wait for that.
            Err(e @ (Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG)) => {
                self.output.clear();
                if !std::mem::replace(&mut self.reported, true) {
                    crate::log::warn(&crate::error::Error::os("stdout: output is lost", e).to_string());
                }
            }
            Err(_) => self.gone = true,
        }
    }

    /// Hands on the last output after the program has ended; whether some must wait.
    pub fn finish(&mut self) -> bool {
        self.more_input = false;
        self.input.clear();
        // From now on, other processes may write to the terminal without end.
        let mut left = self.left.unwrap_or(HELD);
        loop {
            if self.never_waits() {
                self.give_output();
            }
            if self.gone || !self.output.is_empty() || left == 0 {
                break;
            }
            self.take_output();
            if self.output.is_empty() {
                break;
            }
            left = left.saturating_sub(self.output.end);
        }
        self.left = Some(left);
        !self.gone && !self.output.is_empty()
    }

    /// Whether stdout may be written to without a poll.
    fn never_waits(&self) -> bool {
        !matches!(self.stdout.way, Way::Shared)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(cooked) = &self.cooked {
            let _ = tty::set_attributes(STDIN, cooked);
        }
    }
}

/// Prepares the container's terminal before its program runs.
///
/// It gets the size of the caller's terminal. Its lines end as the program ends them: the terminal that shows them adds the
/// carriage return, and a pipe or a file gets none, as with runc.
pub fn prepare(master: &OwnedFd) -> crate::error::Result<()> {
    resize(master.as_fd());
    let mut theirs = tty::attributes(master.as_fd()).at("tcgetattr")?;
    theirs.c_oflag &= !libc::ONLCR;
    tty::set_attributes(master.as_fd(), &theirs).at("tcsetattr")
}
