//! Signals by number.
//!
//! The C libraries hide some signals from their sets (musl 32 to 34, glibc 32 and 33).

use std::ffi::c_long;
use std::os::fd::{AsFd, FromRawFd as _, OwnedFd, RawFd};

use nix::errno::Errno;

use super::done;

type Result<T> = std::result::Result<T, Errno>;

/// The size of the kernel's signal set, which has one bit per signal.
const SIZE: usize = size_of::<u64>();

/// Blocks all signals but these; returns a descriptor to read the others from.
pub fn block_all_but(open: &[i32]) -> Result<OwnedFd> {
    watch(libc::SIG_SETMASK, !set_of(open))
}

/// Blocks these signals as well; returns a descriptor to read them from.
pub fn block(signals: &[i32]) -> Result<OwnedFd> {
    watch(libc::SIG_BLOCK, set_of(signals))
}

/// Unblocks all signals.
pub fn block_none() {
    let _ = mask(libc::SIG_SETMASK, 0);
}

fn set_of(signals: &[i32]) -> u64 {
    signals.iter().fold(0, |set, signal| set | 1 << (signal - 1))
}

fn mask(how: i32, set: u64) -> Result<()> {
    let null = std::ptr::null_mut::<u64>();
    // SAFETY: the kernel reads one set.
    let answer =
        unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how as c_long, &raw const set, null, SIZE) };
    done(answer as i32)
}

fn watch(how: i32, set: u64) -> Result<OwnedFd> {
    mask(how, set)?;
    let flags = (libc::O_CLOEXEC | libc::O_NONBLOCK) as c_long;
    // SAFETY: the kernel reads one set and returns a new descriptor for us.
    unsafe {
        let fd = libc::syscall(libc::SYS_signalfd4, -1 as c_long, &raw const set, SIZE, flags);
        Ok(OwnedFd::from_raw_fd(Errno::result(fd)? as RawFd))
    }
}

/// Reads the next pending signal from such a descriptor.
pub fn next(signals: impl AsFd) -> Option<i32> {
    // The first word of `struct signalfd_siginfo` is the signal.
    let mut info = [0u8; 128];
    match nix::unistd::read(signals.as_fd(), &mut info) {
        Ok(128) => Some(i32::from_ne_bytes([info[0], info[1], info[2], info[3]])),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_blocked_signals_are_read_by_number() {
        let open = [libc::SIGSEGV, libc::SIGTRAP];
        // The mask is per thread, and the signals are sent to this thread.
        let thread = std::thread::spawn(move || {
            let signals = block_all_but(&open).unwrap();
            assert_eq!(next(&signals), None);
            let (process, thread) = (std::process::id() as c_long, nix::unistd::gettid().as_raw() as c_long);
            let not = [libc::SIGSEGV, libc::SIGTRAP, libc::SIGKILL, libc::SIGSTOP];
            for signal in (1..=64).filter(|signal| !not.contains(signal)) {
                // SAFETY: plain integers. The signal is blocked.
                unsafe { libc::syscall(libc::SYS_tgkill, process, thread, signal as c_long) };
                assert_eq!(next(&signals), Some(signal));
            }
        });
        thread.join().unwrap();
    }
}
