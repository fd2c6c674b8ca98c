//! Plain system calls under the names of the C library's functions.
//!
//! musl's functions also serve kernels before Linux 2.6.39, threads that can be cancelled, and its own signals. embrun needs none of
//! that, which saves 3 KB (`docs/size.md`). Only the program contains this, and only if musl is linked statically, like `c_heap`.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_long, c_ulong, c_void};

#[cfg(target_pointer_width = "64")]
use libc::{SYS_fchown as FCHOWN, SYS_fcntl as FCNTL, SYS_mmap as MMAP};
#[cfg(target_pointer_width = "32")]
use libc::{SYS_fchown32 as FCHOWN, SYS_fcntl64 as FCNTL, SYS_mmap2 as MMAP};
use libc::{gid_t, msghdr, off_t, syscall, uid_t};

/// Defines functions that only make the system call.
macro_rules! calls {
    ($($name:ident($($argument:ident: $of:ty),*) -> $result:ty = $number:expr;)*) => {$(
        /// # Safety
        /// As for the function of the C library.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($argument: $of),*) -> $result {
            // The kernel reads whole registers, of which the upper half of an `int` is undefined.
            // SAFETY: the caller passes what the system call needs.
            unsafe { syscall($number, $($argument as c_long),*) as $result }
        }
    )*};
}

calls! {
    dup3(old: c_int, new: c_int, flags: c_int) -> c_int = libc::SYS_dup3;
    fchdir(directory: c_int) -> c_int = libc::SYS_fchdir;
    fchown(file: c_int, owner: uid_t, group: gid_t) -> c_int = FCHOWN;
    // The third argument is a number or a pointer.
    fcntl(file: c_int, command: c_int, argument: c_ulong) -> c_int = FCNTL;
    mremap(old: *mut c_void, length: usize, new: usize, flags: c_int) -> *mut c_void = libc::SYS_mremap;
    prctl(option: c_int, a: c_ulong, b: c_ulong, c: c_ulong, d: c_ulong) -> c_int = libc::SYS_prctl;
    pipe2(ends: *mut c_int, flags: c_int) -> c_int = libc::SYS_pipe2;
    recvmsg(socket: c_int, message: *mut msghdr, flags: c_int) -> isize = libc::SYS_recvmsg;
    sendmsg(socket: c_int, message: *const msghdr, flags: c_int) -> isize = libc::SYS_sendmsg;
    socket(family: c_int, kind: c_int, protocol: c_int) -> c_int = libc::SYS_socket;
    socketpair(family: c_int, kind: c_int, protocol: c_int, ends: *mut c_int) -> c_int = libc::SYS_socketpair;
}

/// # Safety
/// As for mmap(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn mmap(
    at: *mut c_void,
    length: usize,
    protection: c_int,
    flags: c_int,
    file: c_int,
    offset: off_t,
) -> *mut c_void {
    // mmap2(2) takes the offset in pages of 4 KiB.
    let offset = if cfg!(target_pointer_width = "32") { offset >> 12 } else { offset };
    let (protection, flags, file) = (protection as c_long, flags as c_long, file as c_long);
    // SAFETY: the caller passes what the system call needs.
    unsafe { syscall(MMAP, at, length, protection, flags, file, offset as c_long) as *mut c_void }
}
