//! Short-lived clones that act where this process must not be, or that may hang.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::{getpid, getppid};

use crate::error::{Context, Error, Result};
use crate::sys::descriptor::{self, receive_fd};
use crate::sys::killed;
use crate::sys::process::{self, Cloned, Ended};

/// The result of a helper, which reports an errno alone.
pub type Done = std::result::Result<(), Errno>;

/// The time limit of a helper.
///
/// Others could stop it in the namespace that it has joined, and the server of a file system may not answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Runs `work` in a clone, and waits for it. The clone dies with this process.
pub fn by_a_helper(work: &dyn Fn() -> Done) -> Result<()> {
    let parent = getpid();
    let (pid, pidfd) = match process::clone(0, None).at("clone")? {
        Cloned::Child => {
            // A server may hold it after its kill, and the caller may wait for the end of what it reads from us.
            (0..3).filter_map(descriptor::inherited).for_each(descriptor::close_for_good);
            let ready = set_pdeathsig(Signal::SIGKILL);
            // It may have ended before that. In another pid namespace its number is 0.
            let lives = ready.and_then(|()| match getppid() {
                up if up == parent || up.as_raw() == 0 => Ok(()),
                _ => Err(Errno::ESRCH),
            });
            process::exit(status(lives.and_then(|()| work())))
        }
        Cloned::Parent { pid, pidfd, .. } => (pid, pidfd),
    };
    match killed::wait(pid, pidfd.as_ref(), PATIENCE).at("waitpid")? {
        Some(Ended::Exited(0)) => Ok(()),
        Some(Ended::Exited(errno)) => Err(Errno::from_raw(errno.into()).into()),
        Some(Ended::Signalled(signal)) => Err(Error::of(format_args!("signal {signal} killed the helper"))),
        None => {
            let _ = process::kill(pid, libc::SIGKILL);
            // The kernel may not end it as long as a server holds its request.
            let _ = killed::wait(pid, pidfd.as_ref(), Duration::from_secs(1));
            Err(Error::os("a helper", Errno::ETIMEDOUT))
        }
    }
}

/// The descriptor that a helper sends over the socket.
pub fn made_by_a_helper(work: &dyn Fn(&OwnedFd) -> Done) -> Result<OwnedFd> {
    // The helper has sent everything once it has ended.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).at("socketpair")?;
    by_a_helper(&|| work(&theirs))?;
    let (_, fd) = receive_fd(ours.as_fd(), &mut [0]).at("hear from the helper")?;
    fd.ok_or_else(|| Error::os("take a descriptor from the helper", Errno::EMFILE))
}

/// The exit status of a helper.
pub(super) fn status(done: Done) -> i32 {
    done.err().map_or(0, |e| e as i32)
}
