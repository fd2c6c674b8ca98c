//! The FIFOs at which init waits for `start`, and the call that lets it go on.
//!
//! There are two in the container's directory. `start` writes one byte into the first, and reads init's messages from the
//! second until init becomes the program, which closes init's ends. Init inherits both from the host and needs only read(2)
//! and write(2) for them.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::{Mode, SFlag};
use nix::unistd::{Pid, read};

use super::conversation::hear;
use super::wire::{Channel, Message, MessageKind};
use crate::error::{Context, Error, Result, engine};
use crate::state::locked::Locked;
use crate::state::observe::START;
use crate::state::record::ProcessMark;
use crate::state::store::Entry;
use crate::sys::file::mknodat;
use crate::sys::{interrupt, process, sealed_exe};

/// The name of the FIFO for init's messages to `start`.
const STARTED: &std::ffi::CStr = c"started.fifo";

/// How often init itself is checked while no message arrives.
const TICK: Duration = Duration::from_secs(1);

/// Init's ends.
pub struct InitFifos {
    /// `start` writes here.
    pub start: OwnedFd,
    /// `start` reads here.
    pub started: OwnedFd,
}

/// Makes the FIFOs, for the runtime's own user only.
///
/// Init holds both ends of both, so that neither side is missing before the start: a FIFO without a writer reads as ended, and
/// one without a reader cannot be written.
pub fn listen(dir: &Locked) -> Result<InitFifos> {
    let make = |name| -> Result<OwnedFd> {
        mknodat(dir.dir(), name, SFlag::S_IFIFO, Mode::from_bits_truncate(0o600), 0)?;
        Ok(dir.fifo(name, OFlag::O_RDWR)?)
    };
    Ok(InitFifos { start: make(START).at("start.fifo")?, started: make(STARTED).at("started.fifo")? })
}

/// A start in progress.
pub struct Starting {
    channel: Channel,
    init: Option<ProcessMark>,
    pidfd: Option<OwnedFd>,
}

/// Lets init go on.
pub fn call(dir: &Entry, init: Option<ProcessMark>) -> Result<Starting> {
    let pidfd = init.and_then(|init| process::pidfd_open(Pid::from_raw(init.pid)).ok());
    let pidfd = pidfd.filter(|_| init.is_some_and(|init| init.lives()));
    Ok(Starting { channel: say_go(dir).at("start.fifo")?, init, pidfd })
}

impl Starting {
    /// Init's pidfd; absent before Linux 5.3.
    pub fn init(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(AsFd::as_fd)
    }

    /// Waits until init has taken the word, has run its hooks, or runs the program.
    ///
    /// These are [`MessageKind::Heard`], [`MessageKind::Hooked`] and [`MessageKind::End`]. An earlier failure (the filter, a hook, the exec) is
    /// complete in its own words. If calls are recorded, the filter is loaded now, and `listener` takes its listener.
    pub fn wait(&self, wanted: MessageKind, listener: &dyn Fn(&OwnedFd) -> Result<()>) -> Result<()> {
        let executed = Cell::new(false);
        let wait = |fd: BorrowedFd<'_>| self.wait_for(fd, &executed);
        let message = hear(&self.channel, &[], self.init(), listener, &wait);
        let message = if executed.get() { Message::end() } else { message? };
        match (message.what, wanted) {
            (what, _) if what == wanted => Ok(()),
            // Init was killed before it took the word.
            (MessageKind::End, MessageKind::Heard) => Err(Error::new(engine::START_STOPPED)),
            (MessageKind::End, _) => Err(Error::new("init was killed while a startContainer hook ran")),
            _ => Err(message.instead_of(wanted)),
        }
    }

    /// Checks init itself now and then.
    ///
    /// A process of the container that may trace init can keep init's end open.
    fn wait_for(&self, from: BorrowedFd<'_>, executed: &Cell<bool>) -> Result<()> {
        while !interrupt::wait_for(from, Some(TICK))? {
            let Some(init) = self.init else { continue };
            if sealed_exe::is_left_by(init.pid) || !init.lives() {
                executed.set(true);
                return Err(Error::new("init is another program"));
            }
        }
        Ok(())
    }
}

fn say_go(dir: &Entry) -> Result<Channel> {
    let to = match dir.fifo(START, OFlag::O_WRONLY | OFlag::O_NONBLOCK) {
        Err(Errno::ENXIO) => return Err(Error::new(engine::START_STOPPED)),
        opened => opened?,
    };
    // An earlier start wrote this byte, and was killed before init took it. The descriptor is closed at once: a reader counts
    // as a container that waits.
    let _ = read(dir.fifo(START, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?, &mut [0; 16]);
    let from = dir.fifo(STARTED, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?;
    fcntl(&from, FcntlArg::F_SETFL(OFlag::empty())).at("fcntl")?;
    let channel = Channel::Fifos(from, to);
    channel.go()?;
    Ok(channel)
}
