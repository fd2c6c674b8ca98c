//! The unused part of the stack.

/// Gives the memory below this function's frame back to the kernel.
///
/// A plan is compiled and performed deep in the stack. Those pages would stay in memory while a foreground command or a waiting
/// init does nothing, often for months. The kernel supplies zeroed pages when they are used again.
#[inline(never)]
pub fn give_back() {
    /// Room for the frame of the C library's call.
    const LIVE: usize = 1024;
    /// The stack that the kernel reserves for a new program.
    ///
    /// It is a multiple of every page size. With pages above 4 KiB either both ends are at a page, or the kernel refuses the call.
    const LENGTH: usize = 128 << 10;
    let here = 0_u8;
    let end = (&raw const here as usize - LIVE) & !0xfff;
    // SAFETY: stacks grow downwards on all supported processors, so nothing reads the memory again; the program has one
    // thread. An error about a part that is not mapped changes nothing.
    unsafe {
        libc::madvise((end - LENGTH) as *mut libc::c_void, LENGTH, libc::MADV_DONTNEED);
    }
}
