//! SIGINT, SIGTERM, SIGHUP and SIGQUIT while something is being made: they end the work, which is then taken back.
//!
//! The signals are blocked and looked for wherever the runtime waits. They are not consumed: in the foreground, what comes
//! when the program runs is passed on to it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::descriptor::close_for_good;
use super::once::Once;
use super::signal;
use crate::error::{Context, Error, Result};

const INTERRUPTS: [i32; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];

/// Becomes readable when one of them is pending.
static WATCH: Once<OwnedFd> = Once::empty();
/// A clone has the descriptor too, and is not the one to interrupt.
static ACTIVE: AtomicBool = AtomicBool::new(false);

/// From here on an interrupt is an error of [`check`] and [`wait_for`], and no longer the end of the process.
pub fn block() -> Result<()> {
    WATCH.set(signal::block(&INTERRUPTS).at("signalfd")?);
    ACTIVE.store(true, Ordering::Relaxed);
    Ok(())
}

/// From here on nothing is interrupted: in a clone, where it is the parent's matter, and when the work is done or taken
/// back.
pub fn forget() {
    ACTIVE.store(false, Ordering::Relaxed);
}

/// The same in a clone of this process, which needs each of its descriptors: it has no more use for this one.
pub fn forget_in_clone() {
    forget();
    if let Some(watch) = WATCH.known() {
        close_for_good(watch.as_fd());
    }
}

/// What to poll for interrupts, if they are blocked.
pub fn fd() -> Option<BorrowedFd<'static>> {
    WATCH.known().filter(|_| ACTIVE.load(Ordering::Relaxed)).map(AsFd::as_fd)
}

/// An error if an interrupt is pending.
pub fn check() -> Result<()> {
    let Some(fd) = fd() else { return Ok(()) };
    match poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], PollTimeout::ZERO) {
        Ok(0) | Err(Errno::EINTR) => Ok(()),
        Ok(_) => Err(Error::new("interrupted by a signal")),
        Err(e) => Err(Error::os("poll", e)),
    }
}

/// Waits until the descriptor can be written to; `false` if an interrupt comes first.
pub fn wait_to_write(other: BorrowedFd<'_>) -> bool {
    let Some(watch) = WATCH.known() else { return true };
    loop {
        let mut fds = [PollFd::new(other, PollFlags::POLLOUT), PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => {}
            waited => return waited.is_err() || fds[0].any().unwrap_or(true),
        }
    }
}

/// Waits until the descriptor can be read, for an interrupt, or so long: then it is false.
pub fn wait_for(other: BorrowedFd<'_>, longest: Option<Duration>) -> Result<bool> {
    // Rounded up, so as not to spin in the last millisecond.
    let longest = longest.map(|time| time + Duration::from_millis(1));
    let timeout = longest.map_or(PollTimeout::NONE, |t| PollTimeout::try_from(t).unwrap_or(PollTimeout::MAX));
    loop {
        let watch = fd();
        let mut fds =
            [PollFd::new(other, PollFlags::POLLIN), PollFd::new(watch.unwrap_or(other), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(0) => return Ok(false),
            Ok(_) if fds[0].any().unwrap_or(true) => return Ok(true),
            Ok(_) => check()?,
            Err(Errno::EINTR) => {}
            Err(e) => return Err(Error::os("poll", e)),
        }
    }
}
