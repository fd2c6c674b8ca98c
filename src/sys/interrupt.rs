//! SIGINT, SIGTERM, SIGHUP and SIGQUIT interrupt a creation, which is then undone.
//!
//! The signals are blocked, and checked wherever the runtime waits. They are not consumed: in the foreground, a signal that
//! arrives late is forwarded to the program.

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

/// Becomes readable when one of the signals is pending.
static WATCH: Once<OwnedFd> = Once::empty();
/// A clone has the descriptor too, and is not to be interrupted.
static ACTIVE: AtomicBool = AtomicBool::new(false);

/// From here on an interrupt does not end the process.
///
/// It is an error of [`check`] and [`wait_for`].
pub fn block() -> Result<()> {
    WATCH.set(signal::block(&INTERRUPTS).at("signalfd")?);
    ACTIVE.store(true, Ordering::Relaxed);
    Ok(())
}

/// From here on nothing is interrupted.
///
/// A clone leaves interrupts to its parent. The parent calls it when the work is done or undone.
pub fn forget() {
    ACTIVE.store(false, Ordering::Relaxed);
}

/// The same in a clone, which closes the descriptor too.
pub fn forget_in_clone() {
    forget();
    if let Some(watch) = WATCH.known() {
        close_for_good(watch.as_fd());
    }
}

/// From here on interrupts count again, for a command that still waits.
pub fn heed() {
    ACTIVE.store(true, Ordering::Relaxed);
}

/// The descriptor to poll for interrupts, if they are blocked.
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

/// Waits until the descriptor is writable; `false` if an interrupt comes first.
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

/// Waits until the descriptor is readable; `false` at an interrupt or the timeout.
pub fn wait_for(other: BorrowedFd<'_>, longest: Option<Duration>) -> Result<bool> {
    // Rounded up, so that the last millisecond is not a busy loop.
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
