//! Signals by number.
//!
//! The C libraries hide some signals from their sets (musl 32 to 34, glibc 32 and 33), and musl's sigaction(2)
//! synchronises threads, which costs 1 KB on x86_64.

use std::ffi::{c_int, c_long};
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

// rt_sigreturn(2)
#[cfg(target_arch = "x86_64")]
std::arch::global_asm!("embrun_restorer: mov eax, 15", "syscall");

/// The flag and the code by which a handler returns.
///
/// The kernel has such code itself, except on x86_64.
#[cfg(target_arch = "x86_64")]
fn restorer() -> (usize, usize) {
    const SA_RESTORER: usize = 0x0400_0000;
    unsafe extern "C" {
        fn embrun_restorer();
    }
    (SA_RESTORER, embrun_restorer as *const () as usize)
}

#[cfg(not(target_arch = "x86_64"))]
fn restorer() -> (usize, usize) {
    (0, 0)
}

/// Sets a signal's action: SIG_IGN, SIG_DFL or a handler.
///
/// # Safety
/// A handler takes the arguments that the kernel passes with these flags, and does only what signal-safety(7) permits.
pub unsafe fn set_action(signal: c_int, handler: libc::sighandler_t, flags: c_int) {
    let (with, restorer) = restorer();
    // The kernel's `struct sigaction` with an empty mask. riscv64 has no restorer, so that the mask is in its place.
    let action = [handler, flags as u32 as usize | with, restorer, 0, 0];
    let null = std::ptr::null_mut::<usize>();
    // SAFETY: the kernel reads one structure; the caller vouches for the handler.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, signal as c_long, action.as_ptr(), null, SIZE) };
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
    fn a_handler_runs_each_time_and_returns() {
        use std::sync::atomic::{AtomicI32, Ordering};
        static SUM: AtomicI32 = AtomicI32::new(0);
        extern "C" fn add(signal: c_int) {
            SUM.fetch_add(signal, Ordering::Relaxed);
        }
        let thread = std::thread::spawn(|| {
            // SAFETY: the handler adds to an atomic number; no other test uses the signal.
            unsafe { set_action(libc::SIGURG, add as extern "C" fn(_) as usize, libc::SA_RESTART) };
            for round in 1..=3 {
                // SAFETY: plain integers, and a signal to this thread.
                unsafe { libc::raise(libc::SIGURG) };
                assert_eq!(SUM.load(Ordering::Relaxed), round * libc::SIGURG);
            }
            // SAFETY: the default action ignores this signal.
            unsafe {
                set_action(libc::SIGURG, libc::SIG_DFL, 0);
                libc::raise(libc::SIGURG);
            }
            assert_eq!(SUM.load(Ordering::Relaxed), 3 * libc::SIGURG);
        });
        thread.join().unwrap();
    }

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
