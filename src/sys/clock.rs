//! The time of day, with 64 bits on every architecture, and deadlines.

use std::time::{Duration, Instant};

/// Seconds since 1970 and nanoseconds (CLOCK_REALTIME).
///
/// On 32-bit musl the libc crate has a `time_t` of 32 bits. Therefore we first try the kernel's 64-bit call (Linux
/// 5.1), which works after 2038. Older kernels cannot represent later times anyway.
pub fn now() -> (i64, u32) {
    #[cfg(target_pointer_width = "32")]
    {
        const CLOCK_GETTIME64: libc::c_long = 403;
        let mut time = [0i64; 2];
        // SAFETY: the kernel writes a struct __kernel_timespec, two 64-bit words, to a buffer of exactly that size.
        if unsafe { libc::syscall(CLOCK_GETTIME64, libc::CLOCK_REALTIME, time.as_mut_ptr()) } == 0 {
            // On 32-bit kernels the upper half of the second word is padding.
            return (time[0], time[1] as u32);
        }
    }
    read(libc::CLOCK_REALTIME)
}

/// Seconds and nanoseconds of a clock of the kernel.
fn read(clock: libc::clockid_t) -> (i64, u32) {
    // SAFETY: all-zero is a valid timespec, and the call writes one.
    let time = unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(clock, &mut time);
        time
    };
    (time.tv_sec as i64, time.tv_nsec as u32)
}

/// Microseconds of a clock of the kernel.
pub fn micros(clock: libc::clockid_t) -> u64 {
    let (seconds, nanoseconds) = read(clock);
    seconds as u64 * 1_000_000 + u64::from(nanoseconds / 1000)
}

/// The instant after `time` from now, for a deadline.
/// Out of line, like the two below, because many places use deadlines.
#[inline(never)]
pub fn after(time: Duration) -> Instant {
    Instant::now() + time
}

/// The time left until `deadline`; zero if it has passed.
#[inline(never)]
pub fn until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// Whether `deadline` has passed.
#[inline(never)]
pub fn is_past(deadline: Instant) -> bool {
    Instant::now() >= deadline
}
