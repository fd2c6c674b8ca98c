//! Threads, processes, pipes and a signal handler in one program.
//!
//! A recorded call may fail with EINTR while it waits for the recorder (seccomp_unotify(2)), if a
//! signal has a handler. So no handler is there while the threads work, and the signal is blocked
//! until the call that waits for it.

use crate::act::errno;
use crate::fail;
use crate::json::text;
use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

static HANDLED: AtomicUsize = AtomicUsize::new(0);

/// Runs `count` threads, each with a child and two pipes.
/// Then it handles a signal in a wait.
pub fn act(count: i64) -> String {
    let threads: Vec<_> = (0..count).map(|_| std::thread::spawn(echo)).collect();
    for thread in threads {
        match thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(e)) => return errno(e),
            Err(_) => return text("panic"),
        }
    }
    interrupt();
    text(format!("handled {}", HANDLED.load(Ordering::Relaxed)))
}

/// Sends a line through a child and expects it back.
fn echo() -> io::Result<()> {
    let mut child = Command::new("/bin/cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    child.stdin.take().unwrap_or_else(|| fail("no pipe")).write_all(b"line\n")?;
    let out = child.wait_with_output()?;
    if out.stdout == b"line\n" { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

extern "C" fn handler(_: libc::c_int) {
    HANDLED.fetch_add(1, Ordering::Relaxed);
}

/// Sends SIGUSR1 to this thread while it is blocked, and lets it in by the wait.
fn interrupt() {
    unsafe {
        let mut blocked = std::mem::zeroed::<libc::sigset_t>();
        let mut before = std::mem::zeroed::<libc::sigset_t>();
        libc::sigaddset(&raw mut blocked, libc::SIGUSR1);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const blocked, &raw mut before);
        libc::signal(libc::SIGUSR1, handler as *const () as libc::sighandler_t);
        libc::raise(libc::SIGUSR1);
        libc::sigsuspend(&raw const before);
    }
}
