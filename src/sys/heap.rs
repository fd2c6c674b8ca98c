//! A heap that never frees: memory is handed out from the front of fresh pages.
//!
//! A command allocates a few hundred KiB in the milliseconds it lives. Because freeing does nothing, the compiler leaves out every
//! destructor that would only free, a sixth of the program (docs/size.md gives the KB, and how to use another allocator).
//!
//! In exchange, code that runs for long must not allocate as it goes:
//! - The foreground of `run` and `exec` allocates nothing while it waits (the kernel tests measure it).
//! - `events` allocates inside [`scratch`], which gives everything back at once.
//! - A large document or table that is no longer needed is given back by name ([`give_back`]). A piece of 256 KiB and more is a mapping
//!   of its own, which grows without a copy. So a command stays within six times the size of its configuration.

use std::alloc::{GlobalAlloc, Layout};
use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::Errno;

/// What is asked of the kernel at a time. Pages cost nothing before they are touched.
const CHUNK: usize = 256 << 10;

/// The allocator, for `#[global_allocator]` of the program.
pub struct Heap;

/// Held while the others change.
static BUSY: AtomicBool = AtomicBool::new(false);
/// The arena in use: its first free address, its end, and its latest mapping if that is to be unmapped.
static ARENA: [AtomicUsize; 3] = [const { AtomicUsize::new(0) }; 3];
/// The arena not in use: that of [`scratch`], or in there the one that lasts.
static OTHER: [AtomicUsize; 3] = [AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(NO_MAPPING)];

/// The last link of a list of mappings. An arena that lasts keeps no list and has 0.
const NO_MAPPING: usize = 1;
/// A mapping in a list begins with the link to the one before and its own size.
const LINK: usize = 2 * size_of::<usize>();

/// Fresh memory, zeroed; null if the kernel has none.
#[inline(never)]
pub fn take(size: usize, align: usize) -> *mut u8 {
    locked(|| {
        let [top, end, mapped] = &ARENA;
        let at = top.load(Ordering::Relaxed).next_multiple_of(align);
        // At the start both are 0, and nothing fits.
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

/// Acts with an arena of its own, and unmaps that afterwards: one round of a loop that runs for months.
///
/// The result holds no memory. `act` must leave nothing that it allocated in what it borrows; [`super::once::Once`] allocates in
/// the arena that lasts. Not to be nested, and only for a program with one thread.
pub fn scratch(act: &dyn Fn() -> Result<(), Errno>) -> Result<(), Errno> {
    exchange();
    let result = act();
    let mut mapping = ARENA[2].load(Ordering::Relaxed);
    while mapping != NO_MAPPING {
        // SAFETY: the mapping is one of this arena's and begins with its link. Nothing of it is in use any more: see above.
        unsafe {
            let [before, length] = (mapping as *const [usize; 2]).read();
            libc::munmap(mapping as *mut libc::c_void, length);
            mapping = before;
        }
    }
    for (word, empty) in ARENA.iter().zip([0, 0, NO_MAPPING]) {
        word.store(empty, Ordering::Relaxed);
    }
    exchange();
    result
}

/// Makes a value in the arena that lasts, also from within [`scratch`].
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
        let [top, end, _] = &ARENA;
        let last = at + old == top.load(Ordering::Relaxed) && new < end.load(Ordering::Relaxed) - at;
        if last {
            if new < old {
                // SAFETY: what is cut off was the caller's, who has no more use for it. The next piece is to be zero.
                unsafe { ((at + new) as *mut u8).write_bytes(0, old - new) };
            }
            top.store(at + new, Ordering::Relaxed);
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
        let in_scratch = ARENA[2].load(Ordering::Relaxed) != 0;
        if layout.size() >= CHUNK && size >= CHUNK && !in_scratch {
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
    use std::sync::{Mutex, MutexGuard};

    /// `scratch` is for one thread, and tests are several.
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
            // Other tests allocate meanwhile, but not the 2 MiB of each round.
            assert!(now < *pages.get_or_insert(now) + 20 * 512, "{now} pages in round {round}");
        }
        let after = piece(100, 5);
        assert!(before.iter().all(|b| *b == 1) && after.iter().all(|b| *b == 5));
        assert!(lasts[0].iter().all(|b| *b == 4));
    }

    #[test]
    fn pieces_are_apart_aligned_zeroed_and_keep_what_they_hold() {
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
    fn a_large_piece_moves_and_shrinks_with_what_it_holds() {
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
                // Somebody else's piece, so that not all are the last one.
                Heap.alloc(fits(3)).write(1);
                old = new;
            }
        }
    }

    #[test]
    fn what_a_short_piece_leaves_is_zero_for_the_next() {
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
    fn giving_back_spares_the_neighbours() {
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
    fn a_large_piece_fits_and_an_impossible_one_is_refused() {
        let _alone = alone();
        // SAFETY: as above, and null is not looked into.
        unsafe {
            let large = Layout::from_size_align(3 * CHUNK, 8).unwrap();
            let piece = Heap.alloc(large);
            std::slice::from_raw_parts_mut(piece, 3 * CHUNK).fill(1);
            assert!(Heap.alloc(Layout::from_size_align(usize::MAX / 4, 8).unwrap()).is_null());
        }
    }
}
