//! C's `main`, and a function of the C library that the standard library needs.
//!
//! Only the program contains this, like `c_heap`.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int};

#[unsafe(no_mangle)]
extern "C" fn main(_: c_int, argv: *const *const c_char) -> c_int {
    // SAFETY: the C library calls us with its own `argv`.
    unsafe { embrun::sys::entry::begin(argv) };
    embrun::cli::main(embrun::sys::entry::arguments()).into()
}

/// `strerror_r` under the name that the standard library uses.
/// The error texts are already a part of this program.
#[cfg(all(target_env = "musl", target_feature = "crt-static"))]
#[unsafe(no_mangle)]
unsafe extern "C" fn __xpg_strerror_r(errno: c_int, buffer: *mut u8, length: usize) -> c_int {
    let (_, words) = embrun::sys::errno::texts(embrun::error::Errno::from_raw(errno));
    if length == 0 {
        return libc::ERANGE;
    }
    let length = words.len().min(length - 1);
    // SAFETY: the caller's buffer has room for `length` bytes, of which the last is kept for the NUL.
    unsafe {
        buffer.copy_from_nonoverlapping(words.as_ptr(), length);
        buffer.add(length).write(0);
    }
    0
}
