//! Signals by their numbers, all of them: the C libraries hide some from their sets (musl 32 to 34, glibc 32 and 33).

use std::ffi::c_long;
use std::os::fd::{AsFd, FromRawFd as _, OwnedFd, RawFd};

use nix::errno::Errno;

use super::done;

type Result<T> = std::result::Result<T, Errno>;

/// The size of the kernel's set of signals, one bit each from the first on.
const SIZE: usize = size_of::<u64>();

/// Blocks every signal but these, and returns a descriptor that the blocked ones can be read from.
pub fn block_all_but(open: &[i32]) -> Result<OwnedFd> {
    watch(libc::SIG_SETMASK, !set_of(open))
}

/// Blocks these signals too, and returns a descriptor that they can be read from.
pub fn block(signals: &[i32]) -> Result<OwnedFd> {
    watch(libc::SIG_BLOCK, set_of(signals))
}

/// Lets every signal come.
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
    // SAFETY: the kernel reads one set; a new descriptor of ours comes out.
    unsafe {
        let fd = libc::syscall(libc::SYS_signalfd4, -1 as c_long, &raw const set, SIZE, flags);
        Ok(OwnedFd::from_raw_fd(Errno::result(fd)? as RawFd))
    }
}

/// The next signal that waits at such a descriptor.
pub fn next(signals: impl AsFd) -> Option<i32> {
    // `struct signalfd_siginfo`, whose first word is the signal.
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
    fn all_signals_are_read_by_number_but_those_left_open() {
        let open = [libc::SIGSEGV, libc::SIGTRAP];
        // The mask is a thread's, and so are signals that are sent to it.
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
