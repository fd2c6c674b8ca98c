//! The heap of a program that soon ends: memory is handed out from the front of fresh pages and not taken back.
//!
//! A piece of 256 KiB and more is a mapping of its own, which grows without a copy. What is large and has served is given back
//! by name ([`give_back`]): a configuration may have 16 MiB, and the memory of a command is to stay within six times that.
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
        if size >= CHUNK {
            return map(size, align);
        }
        // At the start both are 0, and nothing fits.
        if size < END.load(Ordering::Relaxed).saturating_sub(at) {
            TOP.store(at + size, Ordering::Relaxed);
            return at as *mut u8;
        }
        let at = map(CHUNK, align);
        if !at.is_null() {
            TOP.store(at as usize + size, Ordering::Relaxed);
            END.store(at as usize + CHUNK, Ordering::Relaxed);
        }
        at
    })
}

/// A new mapping. It begins at a page, of 4, 16 or 64 KiB; nothing here asks for a larger alignment than the least of these.
fn map(size: usize, align: usize) -> *mut u8 {
    if align > 4096 || size > isize::MAX as usize {
        return std::ptr::null_mut();
    }
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping, which nobody else knows of.
    let at = unsafe {
        libc::mmap(std::ptr::null_mut(), size, rights, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
    };
    if at == libc::MAP_FAILED { std::ptr::null_mut() } else { at.cast() }
}

/// Makes the piece that was handed out last longer or shorter, if it is that.
fn resize(at: usize, old: usize, new: usize) -> bool {
    locked(|| {
        let last = at + old == TOP.load(Ordering::Relaxed) && new < END.load(Ordering::Relaxed) - at;
        if last {
            if new < old {
                // SAFETY: what is cut off was the caller's, who has no more use for it. The next piece is to be zero.
                unsafe { ((at + new) as *mut u8).write_bytes(0, old - new) };
            }
            TOP.store(at + new, Ordering::Relaxed);
        }
        last
    })
}

/// Gives the memory of a large piece back, which nothing else does: of a document or a table that has served.
pub fn give_back<T: Copy>(piece: Vec<T>) {
    // No page is larger. What lies beside whole ones may be somebody else's.
    const PAGE: usize = 64 << 10;
    let at = piece.as_ptr() as usize;
    let (from, to) = (at.next_multiple_of(PAGE), (at + piece.capacity() * size_of::<T>()) & !(PAGE - 1));
    if from < to {
        // SAFETY: the pages are the vector's alone, whose values are not looked at again, and become zero. This holds for any
        // allocator that takes private memory from the kernel.
        unsafe { libc::madvise(from as *mut libc::c_void, to - from, libc::MADV_DONTNEED) };
    }
}

fn locked<T>(act: impl FnOnce() -> T) -> T {
    while BUSY.swap(true, Ordering::Acquire) {
        spin_loop();
    }
    let result = act();
    BUSY.store(false, Ordering::Release);
    result
}

// SAFETY: each piece lies in a mapping of ours, aligned, and in no other piece: the top moves under the lock, and down only by the
// end of the piece that is cut short.
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
        if layout.size() >= CHUNK && size >= CHUNK {
            // SAFETY: a piece of this size is a mapping of its own. Its pages move, they are not copied.
            let new = unsafe { libc::mremap(old.cast(), layout.size(), size, libc::MREMAP_MAYMOVE) };
            return if new == libc::MAP_FAILED { std::ptr::null_mut() } else { new.cast() };
        }
        if resize(old as usize, layout.size(), size) || size <= layout.size() {
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
    fn a_large_piece_moves_and_shrinks_with_what_it_holds() {
        let fits = |size| Layout::from_size_align(size, 8).unwrap();
        // SAFETY: each piece is written and read within its layout.
        unsafe {
            let mut piece = Heap.alloc(fits(1000));
            std::slice::from_raw_parts_mut(piece, 1000).fill(7);
            let mut old = 1000;
            for new in
                [CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK, CHUNK + 9, 1000, 2 * CHUNK, 40 * CHUNK, 17, 1000]
            {
                piece = Heap.realloc(piece, fits(old), new);
                assert!(
                    std::slice::from_raw_parts(piece, new.min(17)).iter().all(|b| *b == 7),
                    "{old} to {new}"
                );
                // Somebody else's piece, so that not all are the last one.
                Heap.alloc(fits(3)).write(1);
                old = new;
            }
        }
    }

    #[test]
    fn what_a_short_piece_leaves_is_zero_for_the_next() {
        // SAFETY: as above.
        unsafe {
            let layout = Layout::from_size_align(64, 1).unwrap();
            let piece = Heap.alloc(layout);
            std::slice::from_raw_parts_mut(piece, 64).fill(9);
            assert_eq!(Heap.realloc(piece, layout, 10), piece);
            for _ in 0..100 {
                assert!(std::slice::from_raw_parts(Heap.alloc_zeroed(layout), 64).iter().all(|b| *b == 0));
            }
        }
    }

    #[test]
    fn giving_back_spares_the_neighbours() {
        for length in [0, 1, 1000, 65_535, 65_536, 131_072, 200_000, 5 << 20] {
            let before = vec![1u8; 100_000];
            let given = vec![2u8; length];
            let after = vec![3u8; 100_000];
            give_back(given);
            assert!(before.iter().all(|b| *b == 1) && after.iter().all(|b| *b == 3));
        }
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
