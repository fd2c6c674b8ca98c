//! The host's waits for init, all of them bounded.

use std::cell::Cell;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use crate::cgroup::Cgroup;
use crate::error::{Error, Result};
use crate::sys::{interrupt, process, sealed_exe};

/// How long a cgroup may be frozen during a create.
///
/// Nobody pauses it on purpose then.
const FROZEN: Duration = Duration::from_secs(5);
/// The interval of the first checks; the longer the wait, the rarer the checks.
const TICK: Duration = Duration::from_secs(1);

/// The limits of a wait.
pub struct Limits<'a> {
    /// Init's cgroup.
    pub cgroup: &'a Cgroup,
    /// A container is being created. `exec --ignore-paused` waits for `resume` instead.
    pub making: bool,
    /// The child that is expected to speak.
    pub child: Pid,
    /// It is about to execute the program, which closes its end.
    pub executes: bool,
    /// It has executed the program, and its end is still open.
    pub executed: Cell<bool>,
    /// The time limit of init; no limit while it runs a hook that has none.
    pub patience: Option<Duration>,
}

impl Limits<'_> {
    /// Waits until the channel can be read.
    ///
    /// It fails at the time limit, and if init cannot go on because its cgroup is frozen. It does not wait for a process of
    /// the container that traces init and keeps init's end open.
    pub fn wait(&self, channel: BorrowedFd<'_>) -> Result<()> {
        let (mut start, mut frozen) = (Instant::now(), None);
        let mut tick = TICK;
        loop {
            let left = self.patience.map_or(tick, |patience| patience.saturating_sub(start.elapsed()));
            if interrupt::wait_for(channel, Some(left.min(tick)))? {
                return Ok(());
            }
            if process::has_ended(self.child) {
                // Init may have spoken just before.
                return match interrupt::wait_for(channel, Some(Duration::ZERO))? {
                    true => Ok(()),
                    false => Err(Error::new("init has ended without a word")),
                };
            }
            if self.executes && sealed_exe::is_left_by(self.child.as_raw()) {
                self.executed.set(true);
                return Err(Error::new("init runs the program"));
            }
            let now = Instant::now();
            if !self.making && self.cgroup.frozen() {
                start = now;
            } else if self.cgroup.is_halted() {
                if now - *frozen.get_or_insert(now) >= FROZEN {
                    return Err(Error::new("init cannot go on: its cgroup, or one above it, is frozen"));
                }
                continue;
            } else if self.patience.is_some_and(|patience| start.elapsed() >= patience) {
                let seconds = start.elapsed().as_secs();
                return Err(Error::of(format_args!("init has not answered for {seconds} s")));
            }
            frozen = None;
            // Each check reads into memory that is never freed.
            tick = (tick + TICK / 4).min(TICK * 30);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::place::location::Location;
    use std::os::fd::AsFd;

    #[test]
    fn a_wait_ends_with_a_word_or_at_its_limit() {
        let (host, init) = std::os::unix::net::UnixDatagram::pair().unwrap();
        let limits = Limits {
            cgroup: &Cgroup::adopt(&Location::default()),
            making: true,
            child: nix::unistd::getpid(),
            executes: false,
            executed: Cell::new(false),
            patience: Some(Duration::from_millis(50)),
        };
        let e = limits.wait(host.as_fd()).unwrap_err().to_string();
        assert_eq!(e, "init has not answered for 0 s");
        init.send(b"x").unwrap();
        limits.wait(host.as_fd()).unwrap();
        Limits { patience: None, ..limits }.wait(host.as_fd()).unwrap();
    }
}
