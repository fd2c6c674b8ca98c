//! The input of a process: arguments, environment, standard streams.
//!
//! The program's entry is C's `main`. The standard library's own start code keeps arguments and environment behind
//! locks, since a thread could change them; a program without threads saves several KB by leaving that out.

use std::ffi::{CStr, c_char, c_int};
use std::fmt;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicPtr, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Errno;

unsafe extern "C" {
    static environ: *const *const c_char;
}

static ARGUMENTS: AtomicPtr<*const c_char> = AtomicPtr::new(std::ptr::null_mut());

/// Prepares the process; must be called first.
///
/// A standard stream that the caller left closed becomes /dev/null. Otherwise a file that is opened later would get its number
/// and be written to as if it were the stream.
///
/// # Safety
/// `argv` is that of C's `main`.
pub unsafe fn begin(argv: *const *const c_char) {
    ARGUMENTS.store(argv.cast_mut(), Ordering::Relaxed);
    for fd in 0..3 {
        // SAFETY: plain numbers and a C string. openat(2) returns the lowest free number, which is the closed one.
        unsafe {
            let (dir, null, flags) = (libc::AT_FDCWD, c"/dev/null".as_ptr(), libc::O_RDWR);
            let open = || libc::syscall(libc::SYS_openat, dir, null, flags) as i32;
            if libc::fcntl(fd, libc::F_GETFD) < 0 && open() != fd {
                libc::_exit(1);
            }
        }
    }
}

/// Whether the program's file gives its caller another user or group (execve(2)).
///
/// The kernel passes the ids in the auxiliary vector, so this makes no system call.
pub fn is_set_id() -> bool {
    // SAFETY: reads numbers that the kernel has left in this process.
    let [uid, euid, gid, egid] =
        [libc::AT_UID, libc::AT_EUID, libc::AT_GID, libc::AT_EGID].map(|id| unsafe { libc::getauxval(id) });
    uid != euid || gid != egid
}

/// The arguments, starting with the program's name.
pub fn arguments() -> impl Iterator<Item = &'static CStr> {
    strings(ARGUMENTS.load(Ordering::Relaxed))
}

/// The environment, as `NAME=VALUE`.
pub fn environment() -> impl Iterator<Item = &'static CStr> {
    strings(environment_list())
}

/// An environment variable, if it exists and is UTF-8.
pub fn variable(name: &str) -> Option<&'static str> {
    environment().find_map(|entry| {
        let value = entry.to_bytes().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        std::str::from_utf8(value).ok()
    })
}

/// Overwrites the arguments and environment that the kernel shows.
/// `/proc/PID/cmdline` and `environ` then show a title and zeros. Afterwards nothing in this process may use
/// [`arguments`], [`environment`], [`variable`] or their results; `cli` copies its arguments.
pub fn wipe() {
    let mut title = &b"embrun init"[..];
    for string in strings(ARGUMENTS.load(Ordering::Relaxed)).chain(environment()) {
        let length = string.to_bytes().len();
        let shown = &title[..title.len().min(length)];
        // SAFETY: the strings are in this process's own writable memory, each with `length` bytes before its NUL,
        // and nothing reads them any more.
        unsafe {
            let start = string.as_ptr().cast_mut().cast::<u8>();
            start.write_bytes(0, length);
            start.copy_from_nonoverlapping(shown.as_ptr(), shown.len());
        }
        title = b"";
    }
}

fn environment_list() -> *const *const c_char {
    // SAFETY: nothing in this program changes it.
    unsafe { environ }
}

fn strings(mut list: *const *const c_char) -> impl Iterator<Item = &'static CStr> {
    std::iter::from_fn(move || {
        // SAFETY: null (in tests there is no list), or a NULL-terminated list of C strings that live as long as the
        // process.
        unsafe {
            let string = list.as_ref().filter(|s| !s.is_null())?;
            list = list.add(1);
            Some(CStr::from_ptr(*string))
        }
    })
}

/// Descriptor 0, which is open since [`begin`].
pub const STDIN: BorrowedFd<'static> = stream(0);
/// Descriptor 1, which is open since [`begin`].
pub const STDOUT: BorrowedFd<'static> = stream(1);
/// Descriptor 2, which is open since [`begin`].
pub const STDERR: BorrowedFd<'static> = stream(2);

const fn stream(fd: c_int) -> BorrowedFd<'static> {
    // SAFETY: open from the start, and never closed.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// Writes all bytes, despite signals and even to a non-blocking descriptor.
pub fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match nix::unistd::write(fd, bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => drop(poll(&mut [PollFd::new(fd, PollFlags::POLLOUT)], PollTimeout::NONE)),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Writes a text in pieces, so that a large one is never in memory as a whole.
pub fn write_text(
    fd: BorrowedFd<'_>,
    content: &dyn Fn(&mut dyn fmt::Write) -> fmt::Result,
) -> Result<(), Errno> {
    let mut pieces = Pieces { fd, waiting: [0; ENOUGH], length: 0, done: Ok(()) };
    match content(&mut pieces) {
        Ok(()) => write_all(fd, &pieces.waiting[..pieces.length]),
        Err(fmt::Error) => pieces.done,
    }
}

/// The size of the pieces; a page of the stack, because the heap never frees.
const ENOUGH: usize = 4096;

struct Pieces<'a> {
    fd: BorrowedFd<'a>,
    /// Text that is not yet written.
    waiting: [u8; ENOUGH],
    length: usize,
    done: Result<(), Errno>,
}

impl fmt::Write for Pieces<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.length + text.len() > ENOUGH {
            self.done = write_all(self.fd, &self.waiting[..self.length]);
            self.length = 0;
            if text.len() > ENOUGH {
                self.done = self.done.and_then(|()| write_all(self.fd, text.as_bytes()));
                return self.done.map_err(|_| fmt::Error);
            }
            self.done.map_err(|_| fmt::Error)?;
        }
        self.waiting[self.length..][..text.len()].copy_from_slice(text.as_bytes());
        self.length += text.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_equals_that_of_the_standard_library() {
        for (name, value) in std::env::vars() {
            assert_eq!(variable(&name), Some(&*value));
        }
        assert_eq!(variable("EMBRUN_NO_SUCH"), None);
        assert_eq!(environment().count(), std::env::vars_os().count());
        assert_eq!(arguments().count(), 0);
    }
}
