//! Memory that a process shares with its clones.

use std::sync::atomic::AtomicU32;

use super::Errno;

/// Makes zeroed words that this process shares with its clones until they exec.
pub fn words(count: usize) -> Result<&'static [AtomicU32], Errno> {
    let (rights, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping, which is zeroed, aligned to a page and never unmapped. Zero is a valid atomic, and all
    // processes that have the mapping only use it as atomics.
    unsafe {
        let at = libc::mmap(std::ptr::null_mut(), count.max(1) * size_of::<AtomicU32>(), rights, kind, -1, 0);
        if at == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        Ok(std::slice::from_raw_parts(at.cast::<AtomicU32>(), count))
    }
}
