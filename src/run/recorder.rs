//! The agent that records a workload's system calls.
//!
//! It is a clone of the host process that holds the listener, writes down each call and lets it continue.
//!
//! It is a process of its own, so that the workload goes on if the host is killed. It holds only the listener and the way back
//! to the host.

use std::cell::OnceCell;
use std::io::{Read as _, Write as _};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Pid, read, write};

use crate::error::{Context, Errno, Error, Result};
use crate::log;
use crate::seccomp::recording::RecordedProfile;
use crate::sys::process::{self, Cloned};
use crate::sys::{descriptor, seccomp};

/// The host's side.
#[derive(Default)]
pub struct Recorder {
    clone: OnceCell<(UnixStream, Pid)>,
}

/// The result of the clone.
#[derive(Default)]
struct Seen {
    profile: RecordedProfile,
    /// A call without a name (`AUDIT_ARCH_*`, number); their number is not bounded.
    nameless: [u32; 2],
}

impl Recorder {
    /// Begins: from here on, the calls of the filter's processes are recorded.
    pub fn listen(&self, listener: &OwnedFd) -> Result<()> {
        let (ours, theirs) = UnixStream::pair()?;
        match process::clone(0, None).at("clone")? {
            Cloned::Child => serve(listener, &theirs.into()),
            Cloned::Parent { pid, .. } => {
                self.clone.set((ours, pid)).map_err(|_| Error::new("two listeners"))
            }
        }
    }

    /// Ends after the container has ended. The profile allows the calls that were seen.
    pub fn finish(self, profile: &mut RecordedProfile) -> Result<()> {
        let Some((mut clone, pid)) = self.clone.into_inner() else { return Ok(()) };
        let mut bytes = Vec::new();
        // It may have ended by itself and been reaped with the orphans.
        let _ = clone.write_all(b"E");
        clone.read_to_end(&mut bytes).at("hear from the recorder")?;
        let _ = process::wait(pid, true);
        let word = |at: usize| bytes[at..].first_chunk().map_or(0, |word| u32::from_le_bytes(*word));
        if bytes.len() < HEAD || word(0) == 0 && !profile.absorb(&bytes[HEAD..]) {
            return Err(Error::new("the recorder was killed: what it saw is lost"));
        }
        match Errno::from_raw(word(0) as i32) {
            Errno::EINVAL => {
                return Err(Error::new("recording needs Linux 5.5 (SECCOMP_USER_NOTIF_FLAG_CONTINUE)"));
            }
            e if word(0) != 0 => return Err(Error::os("the recorder", e)),
            _ => {}
        }
        if word(4) != 0 {
            log::warn(&format!(
                "system call {} of architecture {:#x} has no name here, and is not in the profile",
                word(8),
                word(4)
            ));
        }
        Ok(())
    }
}

/// An errno, 0 on success, and the call without a name; the profile follows.
const HEAD: usize = 12;

/// The main function of the clone.
fn serve(listener: &OwnedFd, host: &OwnedFd) -> ! {
    let _ = nix::sys::prctl::set_name(c"embrun:[RECORD]");
    // Everything else is closed, above all the lock of the container.
    if descriptor::replace(0, listener).and_then(|()| descriptor::replace(1, host)).is_err() {
        process::exit(1)
    }
    descriptor::close_from(2);
    let (Some(listener), Some(host)) = (descriptor::inherited(0), descriptor::inherited(1)) else {
        process::exit(1)
    };
    let mut seen = Seen::default();
    let errno = seen.all(listener, host).err().map_or(0, |e| e as u32);
    let [audit, number] = seen.nameless;
    let mut bytes: Vec<u8> = [errno, audit, number].into_iter().flat_map(u32::to_le_bytes).collect();
    bytes.extend(seen.profile.bytes());
    let mut rest = &bytes[..];
    while let Ok(n @ 1..) = write(host, rest) {
        rest = &rest[n..];
    }
    process::exit(0)
}

impl Seen {
    /// Answers until the host asks it to end, or no process is left (Linux 5.9).
    ///
    /// If the host dies, the workload goes on.
    fn all(&mut self, listener: BorrowedFd<'_>, host: BorrowedFd<'_>) -> std::result::Result<(), Errno> {
        let mut watched = 2;
        let end = loop {
            let mut fds = [PollFd::new(listener, PollFlags::POLLIN), PollFd::new(host, PollFlags::POLLIN)];
            match poll(&mut fds[..watched], PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                Err(e) => break Err(e),
                Ok(_) => {}
            }
            let answered = match fds[0].revents() {
                Some(events) if events.contains(PollFlags::POLLIN) => self.next(listener),
                Some(events) if !events.is_empty() => break Ok(()),
                _ => Ok(()),
            };
            if answered.is_err() {
                break answered;
            }
            if watched == 2 && fds[1].any().unwrap_or(false) {
                match read(host, &mut [0]) {
                    Ok(1) => return Ok(()),
                    _ => watched = 1,
                }
            }
        };
        // Unread data of the host would discard ours (ECONNRESET).
        let _ = read(host, &mut [0]);
        end
    }

    fn next(&mut self, listener: BorrowedFd<'_>) -> std::result::Result<(), Errno> {
        let call = match seccomp::receive(listener) {
            // The calling process was killed.
            Err(Errno::ENOENT | Errno::EINTR) => return Ok(()),
            other => other?,
        };
        if !self.profile.add(call.audit, call.number) {
            self.nameless = [call.audit, call.number];
        }
        match seccomp::proceed(listener, call.id) {
            Err(Errno::ENOENT) => Ok(()),
            // Without an answer every call would fail, even the one to exit.
            Err(e) => process::kill(Pid::from_raw(call.pid), libc::SIGKILL).and(Err(e)),
            Ok(()) => Ok(()),
        }
    }
}
