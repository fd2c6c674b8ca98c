//! Sends and receives file descriptors.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::Errno;

/// Sends bytes with one descriptor attached to the first (`SCM_RIGHTS`).
/// A closed peer raises no signal. It allocates nothing, because a filter's listener is sent under that filter.
pub fn send_fd(socket: BorrowedFd<'_>, bytes: &[u8], fd: BorrowedFd<'_>, flags: i32) -> Result<usize, Errno> {
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
pub fn receive_fd(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> Result<(usize, Option<OwnedFd>), Errno> {
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
