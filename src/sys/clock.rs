//! The time of day, 64 bits wide on every architecture, and deadlines.

use std::time::{Duration, Instant};

/// Seconds since 1970 and nanoseconds (CLOCK_REALTIME).
///
/// The C library's `time_t` is 32 bits wide in the libc crate for 32-bit musl; the kernel's own 64-bit call (5.1) is
/// asked first, so that the clock does not end in 2038. Kernels without it cannot count further anyway.
pub fn now() -> (i64, u32) {
    #[cfg(target_pointer_width = "32")]
    {
        const CLOCK_GETTIME64: libc::c_long = 403;
        let mut time = [0i64; 2];
        // SAFETY: the kernel writes a struct __kernel_timespec, two 64-bit words, to a buffer of just that size.
        if unsafe { libc::syscall(CLOCK_GETTIME64, libc::CLOCK_REALTIME, time.as_mut_ptr()) } == 0 {
            // The upper half of the second word is padding on 32-bit kernels.
            return (time[0], time[1] as u32);
        }
    }
    // SAFETY: all-zero is a valid timespec, and the call writes one.
    let time = unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_REALTIME, &mut time);
        time
    };
    (time.tv_sec as i64, time.tv_nsec as u32)
}

/// The moment that is so long from now, for a deadline. Out of line, as the two below: deadlines are in many places.
#[inline(never)]
pub fn after(time: Duration) -> Instant {
    Instant::now() + time
}

/// How long it is until then; zero if it has passed.
#[inline(never)]
pub fn until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// Whether it has come.
#[inline(never)]
pub fn is_past(deadline: Instant) -> bool {
    Instant::now() >= deadline
}
