//! seccomp(2).

use std::os::fd::{FromRawFd, OwnedFd};

use super::Errno;
use crate::seccomp::code::SockFilter;
use crate::seccomp::compile::Support;
use crate::seccomp::policy::{ACTIONS, FLAGS, NEW_LISTENER, TSYNC, TSYNC_ESRCH, WAIT_KILLABLE_RECV};

const SET_MODE_FILTER: libc::c_uint = 1;
const GET_ACTION_AVAIL: libc::c_uint = 2;
const MODE_FILTER: libc::c_int = 2;

/// Loads a filter into the calling thread; with `SECCOMP_FILTER_FLAG_NEW_LISTENER` the answer is the listener. Allocates
/// nothing. Needs no_new_privs or `CAP_SYS_ADMIN` (`EACCES`).
pub fn load(program: &[SockFilter], flags: u32) -> Result<Option<OwnedFd>, Errno> {
    let len = u16::try_from(program.len()).map_err(|_| Errno::EINVAL)?;
    let fprog = libc::sock_fprog { len, filter: program.as_ptr() as *mut libc::sock_filter };
    // SAFETY: SockFilter has the layout of sock_filter; the kernel reads `len` of them and writes nothing.
    let mut answer = unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, &fprog) };
    if answer == -1 && Errno::last() == Errno::ENOSYS && flags == 0 {
        // Before Linux 3.17, or where the call itself is filtered.
        // SAFETY: as above.
        answer = unsafe { libc::prctl(libc::PR_SET_SECCOMP, MODE_FILTER, &fprog) }.into();
    }
    match answer {
        -1 => Err(Errno::last()),
        // SAFETY: with this flag the answer is a new file descriptor that nothing else owns (close-on-exec).
        fd if flags & NEW_LISTENER != 0 => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as i32) })),
        0 => Ok(None),
        // The thread that could not be synchronised.
        _ => Err(Errno::ESRCH),
    }
}

/// What this kernel knows of seccomp. No filters at all is no actions.
pub fn support() -> Support {
    // The kernel looks at the flags before the program, which is nowhere (EFAULT).
    let knows = |flags: u32| {
        // SAFETY: a null program is refused.
        let answer = unsafe {
            libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, std::ptr::null::<libc::sock_fprog>())
        };
        answer == -1 && Errno::last() == Errno::EFAULT
    };
    let mut flags = 0;
    for flag in FLAGS.iter().map(|(flag, _)| *flag).chain([NEW_LISTENER]) {
        let with = match flag {
            WAIT_KILLABLE_RECV => NEW_LISTENER,
            _ => 0,
        };
        if knows(flag | with) {
            flags |= flag;
        }
    }
    if flags & TSYNC != 0 && knows(TSYNC | TSYNC_ESRCH) {
        flags |= TSYNC_ESRCH;
    }
    Support { flags, actions: actions() }
}

fn actions() -> u32 {
    let mut actions = 0;
    for (i, (action, _)) in ACTIONS.iter().enumerate() {
        let code = action.code() & 0xffff_0000;
        // SAFETY: the kernel reads one word.
        let answer = unsafe { libc::syscall(libc::SYS_seccomp, GET_ACTION_AVAIL, 0, &code) };
        let available = match answer {
            0 => true,
            // Before Linux 4.14 the question itself is unknown; what there was then has been there from the first.
            _ => Errno::last() != Errno::EOPNOTSUPP && filters() && old(code),
        };
        actions |= u32::from(available) << i;
    }
    actions
}

/// The actions of Linux 3.5.
fn old(code: u32) -> bool {
    matches!(code, 0 | 0x0003_0000 | 0x0005_0000 | 0x7ff0_0000 | 0x7fff_0000)
}

fn filters() -> bool {
    // SAFETY: a null program is refused.
    let answer =
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, MODE_FILTER, std::ptr::null::<libc::sock_fprog>()) };
    answer == -1 && Errno::last() == Errno::EFAULT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_answers_knows_the_first_actions() {
        let support = support();
        for (i, (action, name)) in ACTIONS.iter().enumerate() {
            if old(action.code() & 0xffff_0000) {
                assert!(support.actions & 1 << i != 0, "{name}: {support:?}");
            }
        }
        assert!(support.flags & TSYNC != 0, "{support:?}");
    }

    #[test]
    fn a_program_that_does_not_end_is_refused() {
        let load_nothing = load(&[], 0);
        assert_eq!(load_nothing.unwrap_err(), Errno::EINVAL);
    }
}
