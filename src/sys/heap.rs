//! A heap that never frees: it hands out memory from the front of fresh pages.
//!
//! A command allocates a few hundred KiB in the milliseconds it lives. Because freeing does nothing, the compiler
//! leaves out every destructor that would only free, a sixth of the program (docs/size.md gives the KB, and how to
//! use another allocator).
//!
//! In exchange, code that runs for long must not keep allocating:
//! - The foreground of `run` and `exec` allocates nothing while it waits (the kernel tests measure it).
//! - `events` allocates inside [`scratch`], which gives everything back at once.
//! - A large document or table is given back by name once it is no longer needed ([`give_back`]). A piece of 256
//!   KiB or more is a separate mapping, which grows without a copy. So a command stays within six times the size of
//!   its configuration.

use std::alloc::{GlobalAlloc, Layout};
use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::Errno;

/// The size of a chunk of fresh pages, which cost nothing until touched.
const CHUNK: usize = 256 << 10;

/// The allocator, for `#[global_allocator]` of the program.
pub struct Heap;

/// True while a thread changes the arenas.
static BUSY: AtomicBool = AtomicBool::new(false);
/// The current arena: first free address, end, latest mapping to unmap later.
static ARENA: [AtomicUsize; 3] = [const { AtomicUsize::new(0) }; 3];
/// The other arena: that of [`scratch`], or inside it the lasting one.
static OTHER: [AtomicUsize; 3] = [AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(NO_MAPPING)];

/// The largest use, in bytes, after which an arena is kept for the next round.
const KEPT: usize = 32 << 10;
/// The end of a list of mappings; a lasting arena keeps no list and has 0.
const NO_MAPPING: usize = 1;
/// Size of the header of a listed mapping: link to the previous one, own size.
const LINK: usize = 2 * size_of::<usize>();

/// Returns fresh zeroed memory; null if the kernel has none.
#[inline(never)]
pub fn take(size: usize, align: usize) -> *mut u8 {
    locked(|| {
        let [top, end, mapped] = &ARENA;
        let at = top.load(Ordering::Relaxed).next_multiple_of(align);
        // At the start both are 0, so nothing fits.
        if size < end.load(Ordering::Relaxed).saturating_sub(at) {
            top.store(at + size, Ordering::Relaxed);
            return at as *mut u8;
        }
        let before = mapped.load(Ordering::Relaxed);
        if size >= CHUNK && before == 0 {
            return map(size, align);
        }
        let Some(length) = size.checked_add(align + LINK).map(|needed| needed.max(CHUNK)) else {
            return std::ptr::null_mut();
        };
        let at = map(length, align);
        if at.is_null() {
            return at;
        }
        end.store(at as usize + length, Ordering::Relaxed);
        let mut first = at as usize;
        if before != 0 {
            // SAFETY: the mapping is new, begins at a page and is longer than a link.
            unsafe { at.cast::<[usize; 2]>().write([before, length]) };
            mapped.store(first, Ordering::Relaxed);
            first = (first + LINK).next_multiple_of(align);
        }
        top.store(first + size, Ordering::Relaxed);
        first as *mut u8
    })
}

/// Runs `act` with its own arena and gives that back afterwards.
/// This is for one round of a loop that runs for months, or that has many rounds: a small arena serves the next one.
///
/// The result holds no memory. `act` must store nothing that it allocated in borrowed values; [`super::once::Once`]
/// allocates in the lasting arena. Calls must not be nested, and the program must have one thread.
pub fn scratch(act: &dyn Fn() -> Result<(), Errno>) -> Result<(), Errno> {
    exchange();
    let result = act();
    let [top, end, mapped] = &ARENA;
    let mut mapping = mapped.load(Ordering::Relaxed);
    let first = mapping.saturating_add(LINK);
    let used = top.load(Ordering::Relaxed).saturating_sub(first);
    let mut empty = [0, 0, NO_MAPPING];
    while mapping != NO_MAPPING {
        // SAFETY: the mapping belongs to this arena and begins with its link. Nothing uses it any more, as required
        // above. A small one is kept, and what was used of it is zeroed, as its users expect.
        unsafe {
            let [before, length] = (mapping as *const [usize; 2]).read();
            if before == NO_MAPPING && first == mapping + LINK && used <= KEPT {
                (first as *mut u8).write_bytes(0, used);
                empty = [first, end.load(Ordering::Relaxed), mapping];
            } else {
                libc::munmap(mapping as *mut libc::c_void, length);
            }
            mapping = before;
        }
    }
    for (word, empty) in ARENA.iter().zip(empty) {
        word.store(empty, Ordering::Relaxed);
    }
    exchange();
    result
}

/// Makes a value in the lasting arena, even inside [`scratch`].
pub fn lasting<T>(make: impl FnOnce() -> T) -> T {
    let inside = ARENA[2].load(Ordering::Relaxed) != 0;
    if inside {
        exchange();
    }
    let value = make();
    if inside {
        exchange();
    }
    value
}

fn exchange() {
    for (ours, other) in ARENA.iter().zip(&OTHER) {
        other.store(ours.swap(other.load(Ordering::Relaxed), Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// Creates a mapping, which begins at a page of 4, 16 or 64 KiB.
/// Callers never need a larger alignment than 4 KiB.
fn map(size: usize, align: usize) -> *mut u8 {
    if align > 4096 || size > isize::MAX as usize {
        return std::ptr::null_mut();
    }
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping, which nothing else knows of.
    let at = unsafe {
        libc::mmap(std::ptr::null_mut(), size, rights, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
    };
    if at == libc::MAP_FAILED { std::ptr::null_mut() } else { at.cast() }
}

/// Resizes the piece that was handed out last; false if `at` is another one.
fn resize(at: usize, old: usize, new: usize) -> bool {
    locked(|| {
        let [top, end, _] = &ARENA;
        let is_last = at + old == top.load(Ordering::Relaxed);
        // A piece of CHUNK bytes or more must be a separate mapping, because it is resized as one.
        let last = is_last && new < CHUNK && new < end.load(Ordering::Relaxed) - at;
        if last {
            if new < old {
                // SAFETY: the caller has no more use for its cut-off part. The next piece must be zeroed.
                unsafe { ((at + new) as *mut u8).write_bytes(0, old - new) };
            }
            top.store(at + new, Ordering::Relaxed);
        }
        last
    })
}

/// Gives the memory of a large piece back to the kernel.
/// Nothing else does that for a document or table that is no longer needed.
pub fn give_back<T: Copy>(piece: Vec<T>) {
    // No page is larger. Memory beside whole pages may belong to other pieces.
    const PAGE: usize = 64 << 10;
    let at = piece.as_ptr() as usize;
    let (from, to) = (at.next_multiple_of(PAGE), (at + piece.capacity() * size_of::<T>()) & !(PAGE - 1));
    if from < to {
        // SAFETY: the pages belong to the vector alone; they become zero, and its values are not read again. This
        // holds for every allocator that takes private memory from the kernel.
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

// SAFETY: each piece is in a mapping of ours, aligned, and overlaps no other piece: the top moves under the lock,
// and moves down only by the cut-off end of a piece.
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
        let in_scratch = ARENA[2].load(Ordering::Relaxed) != 0;
        if layout.size() >= CHUNK && size >= CHUNK && !in_scratch {
            // SAFETY: a piece of this size is a separate mapping. Its pages are moved, not copied.
            let new = unsafe { libc::mremap(old.cast(), layout.size(), size, libc::MREMAP_MAYMOVE) };
            return if new == libc::MAP_FAILED { std::ptr::null_mut() } else { new.cast() };
        }
        if resize(old as usize, layout.size(), size) || size <= layout.size() {
            return old;
        }
        let new = take(size, layout.align());
        if !new.is_null() {
            // SAFETY: the old piece is the caller's and smaller; the new one does not overlap it.
            unsafe { new.copy_from_nonoverlapping(old, layout.size()) };
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Mutex, MutexGuard};

    /// Serialises the tests, because `scratch` is for one thread.
    fn alone() -> MutexGuard<'static, ()> {
        static ALONE: Mutex<()> = Mutex::new(());
        ALONE.lock().unwrap()
    }

    fn piece(size: usize, mark: u8) -> &'static mut [u8] {
        // SAFETY: the piece is new and has this size.
        let bytes = unsafe { std::slice::from_raw_parts_mut(take(size, 64), size) };
        assert!(bytes.iter().all(|b| *b == 0), "fresh memory is zero");
        bytes.fill(mark);
        bytes
    }

    fn mappings() -> usize {
        std::fs::read_to_string("/proc/self/statm").unwrap().split(' ').next().unwrap().parse().unwrap()
    }

    #[test]
    fn scratch_is_unmapped_and_the_rest_lasts() {
        let _alone = alone();
        let before = piece(100, 1);
        let mut lasts = Vec::new();
        let seen = std::cell::RefCell::new(&mut lasts);
        let mut pages = None;
        for round in 0..50 {
            let ended = scratch(&|| {
                for i in 0..40 {
                    piece(10_000 + i, 2);
                }
                piece(3 * CHUNK, 3);
                let layout = Layout::from_size_align(2 * CHUNK, 8).unwrap();
                // SAFETY: the piece is written and read within its layout.
                unsafe {
                    let large = Heap.alloc(layout);
                    large.write(7);
                    assert_eq!(Heap.realloc(large, layout, 5 * CHUNK).read(), 7);
                }
                if round == 0 {
                    lasting(|| seen.borrow_mut().push(piece(1000, 4)));
                }
                if round % 2 == 0 { Ok(()) } else { Err(Errno::EPIPE) }
            });
            assert_eq!(ended.is_ok(), round % 2 == 0);
            let now = mappings();
            // Other tests allocate meanwhile, but less than the 2 MiB of each round.
            assert!(now < *pages.get_or_insert(now) + 20 * 512, "{now} pages in round {round}");
        }
        let after = piece(100, 5);
        assert!(before.iter().all(|b| *b == 1) && after.iter().all(|b| *b == 5));
        assert!(lasts[0].iter().all(|b| *b == 4));
    }

    #[test]
    fn small_scratch_serves_the_next_round_with_zeroes() {
        let _alone = alone();
        let at = std::cell::Cell::new(0);
        for round in 0..4 {
            let act = || {
                let here = piece(5000, 9).as_ptr() as usize;
                assert!(round == 0 || here == at.get(), "the mapping is kept");
                at.set(here);
                piece(if round == 2 { KEPT } else { 3 }, 8);
                Ok(())
            };
            scratch(&act).unwrap();
            at.set(if round == 2 { 0 } else { at.get() });
            if round == 2 {
                break;
            }
        }
        scratch(&|| {
            piece(KEPT, 7);
            Ok(())
        })
        .unwrap();
    }

    #[test]
    fn pieces_are_disjoint_aligned_zeroed_and_keep_their_content() {
        let _alone = alone();
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
    fn resized_large_piece_keeps_its_content() {
        let _alone = alone();
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
                // Allocate another piece, so that ours is not always the last one.
                Heap.alloc(fits(3)).write(1);
                old = new;
            }
        }
    }

    #[test]
    fn piece_that_grows_to_a_chunk_becomes_a_mapping() {
        let _alone = alone();
        // SAFETY: each piece is written and read within its layout.
        unsafe {
            // It has a chunk for itself, with some bytes left.
            let small = Layout::from_size_align(CHUNK - 1, 8).unwrap();
            let piece = Heap.alloc(small);
            piece.write(7);
            let chunk = Heap.realloc(piece, small, CHUNK + 8);
            let neighbour = Heap.alloc(Layout::from_size_align(1, 1).unwrap());
            neighbour.write(9);
            let large = Heap.realloc(chunk, Layout::from_size_align(CHUNK + 8, 8).unwrap(), 3 * CHUNK);
            assert!(!large.is_null());
            assert_eq!((large.read(), neighbour.read()), (7, 9));
        }
    }

    #[test]
    fn cut_off_end_of_a_piece_is_zeroed_for_the_next() {
        let _alone = alone();
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
    fn give_back_does_not_touch_neighbours() {
        let _alone = alone();
        for length in [0, 1, 1000, 65_535, 65_536, 131_072, 200_000, 5 << 20] {
            let before = vec![1u8; 100_000];
            let given = vec![2u8; length];
            let after = vec![3u8; 100_000];
            give_back(given);
            assert!(before.iter().all(|b| *b == 1) && after.iter().all(|b| *b == 3));
        }
    }

    #[test]
    fn large_piece_is_allocated_and_an_impossible_one_is_refused() {
        let _alone = alone();
        // SAFETY: as above, and null is not dereferenced.
        unsafe {
            let large = Layout::from_size_align(3 * CHUNK, 8).unwrap();
            let piece = Heap.alloc(large);
            std::slice::from_raw_parts_mut(piece, 3 * CHUNK).fill(1);
            assert!(Heap.alloc(Layout::from_size_align(usize::MAX / 4, 8).unwrap()).is_null());
        }
    }
}
