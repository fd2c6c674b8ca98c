//! The C library's allocation functions, on top of [`embrun::sys::heap`].
//!
//! Only the program contains this, and only if the C library is linked statically. Tests and other users of the
//! library keep the C library's allocator.
#![allow(unsafe_code)]

use embrun::sys::heap::take;

/// The size of the header before each piece, which contains the piece's size.
/// 16 bytes, because C promises this alignment for every type.
const HEAD: usize = 16;

#[unsafe(no_mangle)]
extern "C" fn malloc(size: usize) -> *mut u8 {
    let Some(whole) = size.checked_add(HEAD) else { return std::ptr::null_mut() };
    let at = take(whole, HEAD);
    if at.is_null() {
        return at;
    }
    // SAFETY: the piece is ours and longer than its header.
    unsafe {
        at.cast::<usize>().write(size);
        at.add(HEAD)
    }
}

#[unsafe(no_mangle)]
extern "C" fn calloc(count: usize, size: usize) -> *mut u8 {
    count.checked_mul(size).map_or(std::ptr::null_mut(), |size| malloc(size))
}

#[unsafe(no_mangle)]
extern "C" fn free(_: *mut u8) {}

/// # Safety
/// `old` is null or came from `malloc`.
#[unsafe(no_mangle)]
unsafe extern "C" fn realloc(old: *mut u8, size: usize) -> *mut u8 {
    let new = malloc(size);
    if !old.is_null() && !new.is_null() {
        // SAFETY: `old` came from malloc, so its size stands before it, and no more than that is copied.
        unsafe {
            let had = old.sub(HEAD).cast::<usize>().read();
            new.copy_from_nonoverlapping(old, had.min(size));
        }
    }
    new
}
