//! C's `main`, and what the standard library asks of the C library that is answered here.
//!
//! Part of the program alone, as `c_heap`.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int};

#[unsafe(no_mangle)]
extern "C" fn main(_: c_int, argv: *const *const c_char) -> c_int {
    // SAFETY: it is the C library that calls.
    unsafe { embrun::sys::start::begin(argv) };
    embrun::cli::main(embrun::sys::start::arguments()).into()
}

/// `strerror_r`, by the name that the standard library has for it: its words are part of this program already.
#[cfg(all(target_env = "musl", target_feature = "crt-static"))]
#[unsafe(no_mangle)]
unsafe extern "C" fn __xpg_strerror_r(errno: c_int, buffer: *mut u8, length: usize) -> c_int {
    let (_, words) = embrun::sys::errno::texts(embrun::error::Errno::from_raw(errno));
    if length == 0 {
        return libc::ERANGE;
    }
    let length = words.len().min(length - 1);
    // SAFETY: the caller's buffer has room for its length, of which one byte is left for the NUL.
    unsafe {
        buffer.copy_from_nonoverlapping(words.as_ptr(), length);
        buffer.add(length).write(0);
    }
    0
}
