//! Names and texts of the errnos.
//!
//! The texts are musl's with a lower-case first letter, on every platform. One is glibc's (EUCLEAN), because musl
//! has none: damaged file systems return it, on flash after a loss of power.

use super::Errno;

/// A line for each number from 0 on: the name, and the text if there is one.
/// The numbers are the same on all supported architectures.
const TEXTS: &str = "\
UnknownErrno
EPERM operation not permitted
ENOENT no such file or directory
ESRCH no such process
EINTR interrupted system call
EIO i/O error
ENXIO no such device or address
E2BIG argument list too long
ENOEXEC exec format error
EBADF bad file descriptor
ECHILD no child process
EAGAIN resource temporarily unavailable
ENOMEM out of memory
EACCES permission denied
EFAULT bad address
ENOTBLK block device required
EBUSY resource busy
EEXIST file exists
EXDEV cross-device link
ENODEV no such device
ENOTDIR not a directory
EISDIR is a directory
EINVAL invalid argument
ENFILE too many open files in system
EMFILE no file descriptors available
ENOTTY not a tty
ETXTBSY text file busy
EFBIG file too large
ENOSPC no space left on device
ESPIPE invalid seek
EROFS read-only file system
EMLINK too many links
EPIPE broken pipe
EDOM domain error
ERANGE result not representable
EDEADLK resource deadlock would occur
ENAMETOOLONG filename too long
ENOLCK no locks available
ENOSYS function not implemented
ENOTEMPTY directory not empty
ELOOP symbolic link loop
UnknownErrno
ENOMSG no message of desired type
EIDRM identifier removed
ECHRNG
EL2NSYNC
EL3HLT
EL3RST
ELNRNG
EUNATCH
ENOCSI
EL2HLT
EBADE
EBADR
EXFULL
ENOANO
EBADRQC
EBADSLT
UnknownErrno
EBFONT
ENOSTR device not a stream
ENODATA no data available
ETIME device timeout
ENOSR out of streams resources
ENONET
ENOPKG
EREMOTE
ENOLINK link has been severed
EADV
ESRMNT
ECOMM
EPROTO protocol error
EMULTIHOP multihop attempted
EDOTDOT
EBADMSG bad message
EOVERFLOW value too large for data type
ENOTUNIQ
EBADFD file descriptor in bad state
EREMCHG
ELIBACC
ELIBBAD
ELIBSCN
ELIBMAX
ELIBEXEC
EILSEQ illegal byte sequence
ERESTART
ESTRPIPE
EUSERS
ENOTSOCK not a socket
EDESTADDRREQ destination address required
EMSGSIZE message too large
EPROTOTYPE protocol wrong type for socket
ENOPROTOOPT protocol not available
EPROTONOSUPPORT protocol not supported
ESOCKTNOSUPPORT socket type not supported
EOPNOTSUPP not supported
EPFNOSUPPORT protocol family not supported
EAFNOSUPPORT address family not supported by protocol
EADDRINUSE address in use
EADDRNOTAVAIL address not available
ENETDOWN network is down
ENETUNREACH network unreachable
ENETRESET connection reset by network
ECONNABORTED connection aborted
ECONNRESET connection reset by peer
ENOBUFS no buffer space available
EISCONN socket is connected
ENOTCONN socket not connected
ESHUTDOWN cannot send after socket shutdown
ETOOMANYREFS
ETIMEDOUT operation timed out
ECONNREFUSED connection refused
EHOSTDOWN host is down
EHOSTUNREACH host is unreachable
EALREADY operation already in progress
EINPROGRESS operation in progress
ESTALE stale file handle
EUCLEAN structure needs cleaning
ENOTNAM
ENAVAIL
EISNAM
EREMOTEIO remote I/O error
EDQUOT quota exceeded
ENOMEDIUM no medium found
EMEDIUMTYPE wrong medium type
ECANCELED operation canceled
ENOKEY required key not available
EKEYEXPIRED key has expired
EKEYREVOKED key has been revoked
EKEYREJECTED key was rejected by service
EOWNERDEAD previous owner died
ENOTRECOVERABLE state not recoverable
ERFKILL
EHWPOISON";

/// The name and the text of an errno.
pub fn texts(errno: Errno) -> (&'static str, &'static str) {
    let line = TEXTS.split('\n').nth(errno as usize).unwrap_or_default();
    line.split_once(' ').unwrap_or((line, "no error information"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_the_numbers() {
        assert_eq!(TEXTS.lines().count(), 134);
        for number in 0..140 {
            let errno = Errno::from_raw(number);
            assert_eq!(texts(errno).0, format!("{errno:?}"), "{number}");
        }
    }
}
