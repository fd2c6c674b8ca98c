//! The heap of a program that soon ends: memory is handed out from the front of fresh pages and never taken back.
//!
//! A command allocates a few hundred KiB in the milliseconds it lives. Since giving back does nothing, the compiler leaves
//! out every destructor that does no more than that: a sixth of the program. What may stay for long, the foreground of `run`
//! and `exec` and the rounds of `events`, allocates nothing while it waits, or lets a child do it (the kernel tests measure
//! these).

use std::alloc::{GlobalAlloc, Layout};
use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What is asked of the kernel at a time. Pages cost nothing before they are touched.
const CHUNK: usize = 256 << 10;

/// The allocator, for `#[global_allocator]` of the program.
pub struct Heap;

/// Taken while the others are changed.
static BUSY: AtomicBool = AtomicBool::new(false);
/// The first free address, and the first that is not ours.
static TOP: AtomicUsize = AtomicUsize::new(0);
static END: AtomicUsize = AtomicUsize::new(0);

/// Fresh memory, zeroed; null if the kernel has none.
#[inline(never)]
pub fn take(size: usize, align: usize) -> *mut u8 {
    locked(|| {
        let at = TOP.load(Ordering::Relaxed).next_multiple_of(align);
        // At the start both are 0, and nothing fits.
        if size < END.load(Ordering::Relaxed).saturating_sub(at) {
            TOP.store(at + size, Ordering::Relaxed);
            return at as *mut u8;
        }
        // Alignments above a page are not asked for by anything here.
        let Some(want) = size.checked_next_multiple_of(CHUNK).filter(|_| align <= 4096) else {
            return std::ptr::null_mut();
        };
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping, which nobody else knows of.
        let at = unsafe {
            libc::mmap(std::ptr::null_mut(), want, rights, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
        };
        if at == libc::MAP_FAILED {
            return std::ptr::null_mut();
        }
        TOP.store(at as usize + size, Ordering::Relaxed);
        END.store(at as usize + want, Ordering::Relaxed);
        at.cast()
    })
}

/// Makes the piece that was handed out last longer, if it is that.
fn extend(at: usize, old: usize, new: usize) -> bool {
    locked(|| {
        let last = at + old == TOP.load(Ordering::Relaxed) && new < END.load(Ordering::Relaxed) - at;
        if last {
            TOP.store(at + new, Ordering::Relaxed);
        }
        last
    })
}

fn locked<T>(act: impl FnOnce() -> T) -> T {
    while BUSY.swap(true, Ordering::Acquire) {
        spin_loop();
    }
    let result = act();
    BUSY.store(false, Ordering::Release);
    result
}

// SAFETY: each piece lies in a mapping of ours, aligned, and in no other piece: the top only rises, under the lock.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        take(layout.size(), layout.align())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        take(layout.size(), layout.align())
    }

    #[inline]
    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}

    #[inline(never)]
    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // What is cut off stays used: it is not zero any more.
        if size <= layout.size() || extend(old as usize, layout.size(), size) {
            return old;
        }
        let new = take(size, layout.align());
        if !new.is_null() {
            // SAFETY: the old piece is the caller's and smaller; the new one is no part of it.
            unsafe { new.copy_from_nonoverlapping(old, layout.size()) };
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_apart_aligned_zeroed_and_keep_what_they_hold() {
        let threads: Vec<_> = (0..4u8)
            .map(|mark| {
                std::thread::spawn(move || {
                    let mut vectors = Vec::new();
                    for i in 1..3000usize {
                        let layout = Layout::from_size_align(i % 700 + 1, 1 << (i % 8)).unwrap();
                        // SAFETY: the piece is written and read within its layout.
                        unsafe {
                            let piece = Heap.alloc_zeroed(layout);
                            assert_eq!(piece as usize % layout.align(), 0);
                            let bytes = std::slice::from_raw_parts_mut(piece, layout.size());
                            assert!(bytes.iter().all(|b| *b == 0));
                            bytes.fill(mark);
                            let piece = Heap.realloc(piece, layout, layout.size() * 2);
                            let bytes = std::slice::from_raw_parts_mut(piece, layout.size() * 2);
                            assert!(bytes[..layout.size()].iter().all(|b| *b == mark));
                            bytes.fill(mark);
                            vectors.push(&*bytes);
                        }
                    }
                    assert!(vectors.iter().all(|v| v.iter().all(|b| *b == mark)));
                })
            })
            .collect();
        threads.into_iter().for_each(|t| t.join().unwrap());
    }

    #[test]
    fn a_large_piece_fits_and_an_impossible_one_is_refused() {
        // SAFETY: as above, and null is not looked into.
        unsafe {
            let large = Layout::from_size_align(3 * CHUNK, 8).unwrap();
            let piece = Heap.alloc(large);
            std::slice::from_raw_parts_mut(piece, 3 * CHUNK).fill(1);
            assert!(Heap.alloc(Layout::from_size_align(usize::MAX / 4, 8).unwrap()).is_null());
        }
    }
}
