//! seccomp(2): loading filters and serving their listeners.

use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd, OwnedFd};

use super::{Errno, done};

const SET_MODE_FILTER: libc::c_uint = 1;
const GET_ACTION_AVAIL: libc::c_uint = 2;
const MODE_FILTER: libc::c_int = 2;

/// The flag of a filter that answers with a listener.
const NEW_LISTENER: u32 = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as u32;

/// One instruction (`struct sock_filter`, `linux/filter.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct SockFilter {
    /// Operation.
    pub code: u16,
    /// Number of instructions to skip if the condition is true.
    pub jt: u8,
    /// Number of instructions to skip if it is false.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// Loads a filter into the calling thread; allocates nothing.
/// With `SECCOMP_FILTER_FLAG_NEW_LISTENER` it returns the listener. It needs no_new_privs or `CAP_SYS_ADMIN`
/// (`EACCES`).
pub fn load(program: &[SockFilter], flags: u32) -> Result<Option<OwnedFd>, Errno> {
    let len = u16::try_from(program.len()).map_err(|_| Errno::EINVAL)?;
    let fprog = libc::sock_fprog { len, filter: program.as_ptr() as *mut libc::sock_filter };
    // SAFETY: SockFilter has the layout of sock_filter; the kernel reads `len` of them and writes nothing.
    let mut answer = unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, &fprog) };
    if answer == -1 && Errno::last() == Errno::ENOSYS && flags == 0 {
        // Before Linux 3.17, or under a filter that hides seccomp(2).
        // SAFETY: as above.
        answer = unsafe { libc::prctl(libc::PR_SET_SECCOMP, MODE_FILTER, &fprog) }.into();
    }
    match answer {
        -1 => Err(Errno::last()),
        // SAFETY: with this flag the result is a new descriptor that nothing else owns (close-on-exec).
        fd if flags & NEW_LISTENER != 0 => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as i32) })),
        _ => Ok(None),
    }
}

/// Whether this kernel accepts these filter flags.
pub fn knows_flags(flags: u32) -> bool {
    // The kernel checks the flags before the program, which is null (EFAULT).
    // SAFETY: the kernel refuses a null program.
    let answer = unsafe {
        libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, std::ptr::null::<libc::sock_fprog>())
    };
    answer == -1 && Errno::last() == Errno::EFAULT
}

/// Whether this kernel has the action of this `SECCOMP_RET_*` code.
pub fn knows_action(code: u32) -> bool {
    // SAFETY: the kernel reads one word.
    let answer = unsafe { libc::syscall(libc::SYS_seccomp, GET_ACTION_AVAIL, 0, &code) };
    match answer {
        0 => true,
        // Before Linux 4.14 the query does not exist; such kernels have exactly the first actions.
        _ => Errno::last() != Errno::EOPNOTSUPP && filters() && is_old(code),
    }
}

/// Whether an action exists since Linux 3.5.
pub fn is_old(code: u32) -> bool {
    matches!(code, 0 | 0x0003_0000 | 0x0005_0000 | 0x7ff0_0000 | 0x7fff_0000)
}

fn filters() -> bool {
    // SAFETY: the kernel refuses a null program.
    let answer =
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, MODE_FILTER, std::ptr::null::<libc::sock_fprog>()) };
    answer == -1 && Errno::last() == Errno::EFAULT
}

/// The kernel's `struct seccomp_notif`.
#[repr(C)]
#[derive(Default)]
struct Notification {
    id: u64,
    pid: u32,
    flags: u32,
    number: i32,
    audit: u32,
    instruction: u64,
    args: [u64; 6],
}

/// The kernel's `struct seccomp_notif_resp`.
#[repr(C)]
struct Response {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// `_IOWR('!', …)`, which is the same on every supported architecture.
const fn request(number: u32, size: usize) -> u32 {
    3 << 30 | (size as u32) << 16 | (b'!' as u32) << 8 | number
}

/// A call that waits for a listener's decision.
pub struct WaitingCall {
    /// The kernel's id of the notification.
    pub id: u64,
    /// The calling process, in the listener's pid namespace.
    pub pid: i32,
    /// `AUDIT_ARCH_*` of the caller.
    pub audit: u32,
    /// The call's number.
    pub number: u32,
}

/// Receives the next waiting call from a listener (Linux 5.0).
/// Fails with ENOENT if the caller has ended.
pub fn receive(listener: BorrowedFd<'_>) -> Result<WaitingCall, Errno> {
    let mut n = Notification::default();
    // SAFETY: the kernel writes one seccomp_notif, which must be zero before.
    Errno::result(unsafe {
        libc::ioctl(listener.as_raw_fd(), request(0, size_of::<Notification>()) as _, &raw mut n)
    })?;
    Ok(WaitingCall { id: n.id, pid: n.pid as i32, audit: n.audit, number: n.number as u32 })
}

/// Lets a waiting call continue.
/// Uses `SECCOMP_USER_NOTIF_FLAG_CONTINUE` (Linux 5.5; EINVAL before).
pub fn proceed(listener: BorrowedFd<'_>, id: u64) -> Result<(), Errno> {
    let mut response = Response { id, value: 0, error: 0, flags: 1 };
    // SAFETY: the kernel reads one seccomp_notif_resp.
    let answer = unsafe {
        libc::ioctl(listener.as_raw_fd(), request(1, size_of::<Response>()) as _, &raw mut response)
    };
    done(answer as libc::c_int)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_program_is_refused() {
        let load_nothing = load(&[], 0);
        assert_eq!(load_nothing.unwrap_err(), Errno::EINVAL);
    }
}
