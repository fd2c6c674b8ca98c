//! Descriptors: sent, passed on by number, closed.

use std::ffi::{CStr, c_uint};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::OFlag;

use super::file::{AT_FDCWD, each_entry, openat};
use super::{Errno, done};

type Result<T> = std::result::Result<T, Errno>;

/// Sends bytes with one descriptor attached to the first (`SCM_RIGHTS`).
/// A closed peer raises no signal. It allocates nothing, because a filter's listener is sent under that filter.
pub fn send_fd(socket: BorrowedFd<'_>, bytes: &[u8], fd: BorrowedFd<'_>, flags: i32) -> Result<usize> {
    let mut iov = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // The header and one descriptor, on every supported architecture, with the header's alignment.
    let mut control = [0u64; 3];
    let length = size_of::<libc::c_int>() as u32;
    // SAFETY: an all-zero msghdr is valid; the memory that it points to lives through the call and is only read.
    // CMSG_SPACE of one descriptor is at most 24 bytes, so the header and the descriptor after it are inside
    // `control`.
    let sent = unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut iov;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(length) as _;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(length) as _;
        libc::CMSG_DATA(header).cast::<libc::c_int>().write_unaligned(fd.as_raw_fd());
        libc::sendmsg(socket.as_raw_fd(), &raw const message, flags | libc::MSG_NOSIGNAL)
    };
    Errno::result(sent).map(|n| n as usize)
}

/// Receives bytes, and the attached descriptor if there is one.
pub fn receive_fd(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> Result<(usize, Option<OwnedFd>)> {
    let mut iov = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let mut control = [0u64; 3];
    // SAFETY: an all-zero msghdr is valid. The kernel writes into `bytes` and `control`, into the latter at most a
    // header and one descriptor, which is then ours.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut iov;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_LEN(size_of::<libc::c_int>() as u32) as _;
        let n = Errno::result(libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC))?;
        let header = libc::CMSG_FIRSTHDR(&raw const message).as_ref();
        let fd = header
            .filter(|h| h.cmsg_level == libc::SOL_SOCKET && h.cmsg_type == libc::SCM_RIGHTS)
            .map(|h| OwnedFd::from_raw_fd(libc::CMSG_DATA(h).cast::<libc::c_int>().read_unaligned()));
        Ok((n as usize, fd))
    }
}

/// The number that the next new descriptor of this process will get.
pub fn next_descriptor() -> Result<RawFd> {
    // SAFETY: the duplicate is closed immediately, and nothing else has seen its number.
    unsafe {
        let fd = Errno::result(libc::fcntl(0, libc::F_DUPFD_CLOEXEC, 0))?;
        libc::close(fd);
        Ok(fd)
    }
}

/// Marks every descriptor from `first` on close-on-exec.
pub fn close_from_on_exec(first: RawFd) {
    each_from(first, true, AT_FDCWD, c"/proc/self/fd");
}

/// Closes every descriptor from `first` on.
pub fn close_from(first: RawFd) {
    each_from(first, false, AT_FDCWD, c"/proc/self/fd");
}

/// Renumbers the descriptors `keep` from `first` on; closes all others above.
/// Descriptors below `first` stay open across exec. `procfs` lists the descriptors on old kernels, and is closed
/// too.
///
/// Returns the new owners. The previous owners must be forgotten, because their numbers now belong to other files.
pub fn keep_only<const N: usize>(
    first: RawFd,
    keep: [RawFd; N],
    procfs: BorrowedFd<'_>,
) -> Result<[OwnedFd; N]> {
    let mut fds = keep;
    renumber(first, &mut fds, procfs)?;
    // SAFETY: these numbers now belong to nobody else.
    Ok(fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// The part of [`keep_only`] that is the same for each count.
#[inline(never)]
fn renumber(first: RawFd, fds: &mut [RawFd], procfs: BorrowedFd<'_>) -> Result<()> {
    let end = first + fds.len() as RawFd;
    // SAFETY: plain integers; the caller promises that nothing uses the replaced and closed descriptors any more.
    unsafe {
        let elsewhere = |fd: RawFd| Errno::result(libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, end));
        let mut list = procfs.as_raw_fd();
        if (first..end).contains(&list) {
            list = elsewhere(list)?;
        }
        for i in 0..fds.len() {
            let place = first + i as RawFd;
            if let Some(other) = fds[i + 1..].iter_mut().find(|fd| **fd == place) {
                *other = elsewhere(place)?;
            }
            if fds[i] != place {
                Errno::result(libc::dup3(fds[i], place, libc::O_CLOEXEC))?;
            }
            fds[i] = place;
        }
        (3..first).for_each(keep_across_exec);
        each_from(end, false, BorrowedFd::borrow_raw(list), c"self/fd");
        Ok(())
    }
}

/// Acts on every descriptor from `first` on; allocates nothing.
/// Uses close_range(2) (Linux 5.9; with close-on-exec 5.11), or else the list in procfs, because the limit may have
/// been lowered after the descriptors were opened.
fn each_from(first: RawFd, on_exec: bool, dir: BorrowedFd<'_>, list: &CStr) {
    let flags: c_uint = if on_exec { 4 } else { 0 };
    // SAFETY: nothing uses the descriptors that the caller names any more; close-on-exec is harmless.
    let r = unsafe { libc::syscall(libc::SYS_close_range, first as c_uint, c_uint::MAX, flags) };
    if r == 0 {
        return;
    }
    let act = |fd: RawFd| {
        // SAFETY: as above; a number that is not open answers EBADF.
        unsafe {
            if on_exec {
                libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
            } else {
                libc::close(fd);
            }
        }
    };
    let by_list = || -> Result<()> {
        let list = openat(dir, list, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
        each_entry(list.as_fd(), &mut |name, _| {
            let number = name.to_str().ok().and_then(|name| name.parse().ok());
            number.filter(|fd| *fd >= first && *fd != list.as_raw_fd()).into_iter().for_each(act);
        })
    };
    if by_list().is_err() {
        let last = super::process::most_open_files().min(1 << 20) as RawFd;
        let dir = dir.as_raw_fd();
        (first..last).filter(|fd| *fd != dir).for_each(act);
        // The limit may have left no number for opening the list. Try again, now that some are free.
        let _ = by_list();
        if dir >= first {
            act(dir);
        }
    }
}

/// Closes a descriptor whose owner is static and no longer used.
pub fn close_for_good(fd: BorrowedFd<'_>) {
    // SAFETY: the caller promises that nothing uses or drops the owner again, so a reused number does no harm.
    unsafe { libc::close(fd.as_raw_fd()) };
}

/// Takes ownership of a descriptor that the kernel just installed (SCM_RIGHTS).
pub fn adopt(fd: RawFd) -> OwnedFd {
    // SAFETY: nothing else knows the number yet.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Borrows an inherited descriptor by its number, if it is open.
pub fn inherited(fd: RawFd) -> Option<BorrowedFd<'static>> {
    // SAFETY: it was checked to be open, and embrun closes no descriptor that it did not open.
    unsafe { (libc::fcntl(fd, libc::F_GETFD) >= 0).then(|| BorrowedFd::borrow_raw(fd)) }
}

/// Whether a descriptor was inherited through exec.
/// Descriptors that this program opens are close-on-exec, and inherited ones cannot be.
pub fn came_by_exec(fd: RawFd) -> bool {
    // SAFETY: plain integers; a number that is not open answers EBADF.
    unsafe { libc::fcntl(fd, libc::F_GETFD) == 0 }
}

/// Makes the standard stream `number` a duplicate of `fd`.
pub fn replace(number: RawFd, fd: &OwnedFd) -> Result<()> {
    // SAFETY: nothing in this program owns the standard streams.
    done(unsafe { libc::dup2(fd.as_raw_fd(), number) })
}

/// Keeps an inherited descriptor open across exec.
fn keep_across_exec(fd: RawFd) {
    // SAFETY: sets flags of a number; harmless if it is not open.
    unsafe { libc::fcntl(fd, libc::F_SETFD, 0) };
}
