//! Runs hooks, each with the state on stdin and bounded by its timeout.
//!
//! A hook gets the configured environment, or the caller's, as with runc and crun. The end of its output goes into its error.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Pid, pipe2, read};

use crate::bundle::spec::{Hook, HookKind, Hooks};
use crate::error::{Context, Error, Result};
use crate::json::value::Json;
use crate::log;
use crate::state::locked::Locked;
use crate::state::record::ProcessMark;
use crate::state::work::outside;
use crate::sys::heap::give_back;
use crate::sys::process::{self, CStrings, Cloned, Ended};
use crate::sys::{clock, descriptor, interrupt, killed};
use crate::text::c_text;

/// How much of a hook's last output is kept for its error, in bytes.
const LAST_WORDS: usize = 1024;

/// The surroundings of a hook that init runs.
#[derive(Default)]
pub struct HookContext<'a> {
    /// The directory it starts in, instead of the bundle.
    pub dir: Option<BorrowedFd<'a>>,
    /// Its environment if the config gives it none, instead of the runtime's.
    pub envp: Option<&'a CStrings>,
}

/// Runs the hooks of a kind in order, each with the state on its stdin.
///
/// The first failure ends it. Other commands may use the container while a hook runs. If one of them has taken the container
/// over, the slot is empty, and that is an error: the next hook does not run.
pub fn run_all(slot: &mut Option<Locked>, hooks: &Hooks, kind: HookKind, state: &Json) -> Result<()> {
    let mut hooks = kind.of(hooks).iter().enumerate();
    hooks.try_for_each(|(i, hook)| {
        run(&HookContext::default(), slot, hook, state).context(|| named(kind, i, hook))
    })
}

/// The same in init, which holds no lock.
pub fn run_in(place: &HookContext<'_>, hooks: &Hooks, kind: HookKind, state: &Json) -> Result<()> {
    let mut hooks = kind.of(hooks).iter().enumerate();
    hooks.try_for_each(|(i, hook)| run(place, &mut None, hook, state).context(|| named(kind, i, hook)))
}

/// Runs the poststop hooks from the nth on.
///
/// A failing hook causes a warning and the rest run all the same (runtime.md, "Lifecycle", step 13), unless the container was
/// taken over. An error of the runtime itself leaves the rest to a later delete. `done` gets the number of finished hooks after
/// each.
pub fn run_poststop(
    slot: &mut Option<Locked>,
    hooks: &[Hook],
    from: usize,
    state: &Json,
    mut done: impl FnMut(&Locked, usize),
) -> Result<()> {
    for (i, hook) in hooks.iter().enumerate().skip(from) {
        let ran = run(&HookContext::default(), slot, hook, state)
            .map_err(|e| e.context(named(HookKind::Poststop, i, hook)));
        let Some(dir) = slot else {
            // The command that has taken the container over has killed the hook, unless the note could not be read.
            return ran.or_else(|e| if e.errno().is_some() { Err(e) } else { Ok(()) });
        };
        if let Err(e) = ran {
            log::warn(&e.to_string());
        }
        done(dir, i + 1);
    }
    Ok(())
}

fn named(kind: HookKind, index: usize, hook: &Hook) -> String {
    format!("error running {kind} hook #{index}: {}", hook.path)
}

/// The arguments of a hook, prepared before the clone.
struct HookProgram {
    path: &'static CStr,
    argv: CStrings,
    envp: CStrings,
    /// The config gives it no environment.
    inherits: bool,
    dir: Option<&'static CStr>,
    stdin: OwnedFd,
}

impl HookProgram {
    fn new(hook: &Hook, state: &Json) -> Result<HookProgram> {
        let c = |s: &str| c_text(s.as_bytes()).ok_or(Errno::EINVAL);
        // Texts of a document hold no NUL.
        let all = |strings: &[&str]| CStrings::new(strings.iter().filter_map(|s| c_text(s.as_bytes())));
        let argv = all(if hook.args.is_empty() { std::slice::from_ref(&hook.path) } else { hook.args });
        let dir = match state.get("bundle") {
            Some(Json::Str(bundle)) => Some(c(bundle)?),
            _ => None,
        };
        // A file and not a pipe: a hook that does not read cannot block us.
        let text = state.compact().into_bytes();
        let stdin = process::memory_file(c"state", &text).at("the state for its stdin")?;
        give_back(text);
        let inherits = hook.env.is_empty();
        let envp = if inherits { process::environment() } else { all(hook.env) };
        Ok(HookProgram { path: c(hook.path)?, argv, envp, inherits, dir, stdin })
    }

    /// The clone. It reports failures on the stderr that the runtime reads.
    fn perform(&self, place: &HookContext<'_>, output: &OwnedFd, gate: Option<Gate>) -> ! {
        let _ = nix::unistd::setsid();
        if gate.is_some_and(|gate| !gate.opens()) {
            process::exit(1)
        }
        process::default_signals();
        // The bundle is not visible after the pivot. Then the hook starts in its caller's directory.
        if let Some(dir) = place.dir {
            let _ = nix::unistd::fchdir(dir);
        } else if let Some(dir) = &self.dir {
            let _ = nix::unistd::chdir(*dir);
        }
        let streams = [&self.stdin, output, output];
        let moved = (0..).zip(streams).try_for_each(|(n, fd)| descriptor::replace(n, fd));
        // Closed, not close-on-exec: those stay open while the kernel resolves the path and its interpreter.
        descriptor::close_from(3);
        let envp = place.envp.filter(|_| self.inherits).unwrap_or(&self.envp);
        let errno = moved.err().unwrap_or_else(|| process::execve(self.path, &self.argv, envp));
        let _ = nix::unistd::write(crate::sys::entry::STDERR, crate::error::describe(errno).as_bytes());
        process::exit(127)
    }
}

/// Makes a hook wait until its mark is written.
///
/// It does not run if the runtime dies first.
struct Gate {
    theirs: OwnedFd,
    ours: OwnedFd,
}

impl Gate {
    fn new() -> Result<Gate> {
        let (theirs, ours) = pipe2(OFlag::O_CLOEXEC).at("pipe2")?;
        Ok(Gate { theirs, ours })
    }

    fn opens(self) -> bool {
        drop(self.ours);
        read(&self.theirs, &mut [0]) == Ok(1)
    }

    fn open(self) {
        let _ = nix::unistd::write(&self.ours, b"G");
    }
}

pub(super) fn run(
    place: &HookContext<'_>,
    slot: &mut Option<Locked>,
    hook: &Hook,
    state: &Json,
) -> Result<()> {
    let program = HookProgram::new(hook, state)?;
    let (output, theirs) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).at("pipe2")?;
    nix::fcntl::fcntl(&theirs, nix::fcntl::FcntlArg::F_SETFL(OFlag::empty())).at("fcntl")?;
    let gate = slot.is_some().then(Gate::new).transpose()?;
    let (pid, pidfd) = match process::clone(0, None).at("clone")? {
        Cloned::Child => program.perform(place, &theirs, gate),
        Cloned::Parent { pid, pidfd, .. } => (pid, pidfd),
    };
    drop(theirs);
    let mark = gate.as_ref().and_then(|_| ProcessMark::of(pid.as_raw()).ok());
    let mut words = LastWords::default();
    let ended = outside(slot, mark, || {
        gate.into_iter().for_each(Gate::open);
        let deadline = hook.timeout.map(|s| clock::after(Duration::from_secs(s.into())));
        let ended = watch(pid, pidfd.as_ref(), &output, deadline, &mut words);
        if !matches!(ended, Ok(Some(_))) {
            // It is killed with all that it has started: its session and, unless they left it, its process group.
            let _ = process::kill(Pid::from_raw(-pid.as_raw()), libc::SIGKILL);
            let _ = process::kill(pid, libc::SIGKILL);
            let _ = killed::wait(pid, pidfd.as_ref(), killed::DEADLINE);
        }
        ended
    });
    match ended? {
        Some(Ended::Exited(0)) => Ok(()),
        Some(Ended::Exited(status)) => Err(words.error(format!("exit status {status}"))),
        Some(Ended::Signalled(signal)) => {
            let why = if signal == libc::SIGSYS {
                " (bad system call: the seccomp profile forbids it)"
            } else {
                ""
            };
            Err(words.error(format!("killed by signal {signal}{why}")))
        }
        None => {
            Err(words.error(format!("timeout of {} s is over, killed", hook.timeout.unwrap_or_default())))
        }
    }
}

/// Waits until the hook has ended, or `None` at the deadline.
///
/// A helper that the hook leaves behind may keep its stdout open; it is not waited for.
fn watch(
    pid: Pid,
    pidfd: Option<&OwnedFd>,
    output: &OwnedFd,
    deadline: Option<Instant>,
    words: &mut LastWords,
) -> Result<Option<Ended>> {
    let mut open = true;
    loop {
        if let Some((_, ended)) = process::wait(pid, false).at("waitpid")? {
            words.listen(output.as_fd());
            return Ok(Some(ended));
        }
        let left = deadline.map(clock::until);
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(None);
        }
        // Without a pidfd (before Linux 5.2) its end is polled.
        let nap = if pidfd.is_some() { Duration::from_secs(60) } else { Duration::from_millis(10) };
        let wait = left.unwrap_or(nap).min(nap).as_millis() as u16;
        // An array: a hook may take long, and memory is never freed (`sys::heap`).
        let mut fds = std::array::from_fn::<_, 3, _>(|_| PollFd::new(output.as_fd(), PollFlags::POLLIN));
        let mut count = usize::from(open);
        for fd in [pidfd.map(|fd| fd.as_fd()), interrupt::fd()].into_iter().flatten() {
            fds[count] = PollFd::new(fd, PollFlags::POLLIN);
            count += 1;
        }
        match poll(&mut fds[..count], PollTimeout::from(wait.max(1))) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(Error::os("poll", e)),
        }
        interrupt::check()?;
        open &= words.listen(output.as_fd());
    }
}

/// The end of a hook's output.
#[derive(Default)]
struct LastWords(Vec<u8>);

impl LastWords {
    /// Reads the available output. False when there will be no more.
    fn listen(&mut self, from: BorrowedFd<'_>) -> bool {
        let mut chunk = [0u8; 4096];
        loop {
            match read(from, &mut chunk) {
                Ok(0) => return false,
                Ok(n) => {
                    self.0.extend_from_slice(&chunk[..n]);
                    let surplus = self.0.len().saturating_sub(LAST_WORDS);
                    self.0.drain(..surplus);
                }
                Err(Errno::EINTR) => {}
                Err(e) => return e == Errno::EAGAIN,
            }
        }
    }

    /// An error with the output on the same line.
    fn error(&self, what: String) -> Error {
        let text = String::from_utf8_lossy(&self.0);
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        if words.is_empty() {
            Error::new(what)
        } else {
            Error::of(format_args!("{what}: {}", words.join(" ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_a_flood_is_its_end() {
        let mut words = LastWords::default();
        let (from, to) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).unwrap();
        let flood = "x".repeat(3000) + "\n the\tend";
        nix::unistd::write(&to, flood.as_bytes()).unwrap();
        assert!(words.listen(from.as_fd()));
        drop(to);
        assert!(!words.listen(from.as_fd()));
        let e = words.error("exit status 1".into()).to_string();
        assert!(e.starts_with("exit status 1: xxx") && e.ends_with("x the end") && e.len() < 1100);
    }
}
