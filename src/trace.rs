//! `--trace FILE`: a line for each step, with the time at which it began.
//!
//! A line has the microseconds since the process began, the process (`host`, `stage`, `init` or `exec`) and the step, with
//! tabs between them. Only the host process has the file open. Its clone notes the times of its steps in memory that both
//! share, and the host writes the clone's lines before its own next one. So the clone makes no system call for the trace, and
//! no descriptor can leak into the container.

use std::fmt;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use nix::fcntl::OFlag;

use crate::error::{Context as _, Result};
use crate::json::read::one_line;
use crate::log;
use crate::sys::clock;
use crate::sys::descriptor::close_for_good;
use crate::sys::once::Once;

struct Trace {
    file: OwnedFd,
    /// The start of the process on the monotonic clock, in microseconds.
    began: u64,
    /// Whether this process is the clone, which may not write.
    in_clone: AtomicBool,
}

/// The trace of a clone.
pub struct CloneTrace {
    /// The texts of its steps.
    pub steps: Vec<String>,
    /// The number of steps that a stage process performs.
    pub staged: usize,
    /// The name of the process that performs the others.
    pub name: &'static str,
    /// The number of first steps for which the clone may read the clock.
    pub timed: usize,
    /// The times, in the memory of both processes; 0 for a step that has not begun.
    pub times: &'static [AtomicU32],
    /// The number of steps whose lines are written.
    pub written: AtomicUsize,
}

static TRACE: Once<Trace> = Once::empty();
static CLONE: Once<CloneTrace> = Once::empty();

/// The time of a step whose process could not read the host's clock.
const UNKNOWN: u32 = u32::MAX;

/// Opens the trace; must be called once, before the first step.
pub fn open(path: &str) -> Result<()> {
    let file = log::open_file(path, OFlag::empty()).about(format_args!("--trace {path}"))?;
    // A command that executes itself again keeps its CPU time, so that the trace contains both starts.
    let began = clock::micros(libc::CLOCK_MONOTONIC) - clock::micros(libc::CLOCK_PROCESS_CPUTIME_ID);
    TRACE.set(Trace { file, began, in_clone: AtomicBool::new(false) });
    Ok(())
}

/// Whether steps are traced.
pub fn is_on() -> bool {
    TRACE.known().is_some()
}

impl Trace {
    fn now(&self) -> u64 {
        clock::micros(libc::CLOCK_MONOTONIC) - self.began
    }

    /// Ignores errors: a trace that cannot be written must not stop the command.
    fn write(&self, time: &dyn fmt::Display, process: &str, step: &str) {
        let _ = nix::unistd::write(&self.file, format!("{time}\t{process}\t{step}\n").as_bytes());
    }

    fn write_clone(&self, clone: &CloneTrace) {
        let mut at = clone.written.load(Ordering::Relaxed);
        while let (Some(step), Some(time)) = (clone.steps.get(at), clone.times.get(at)) {
            let time: &dyn fmt::Display = match time.load(Ordering::Acquire) {
                0 => break,
                UNKNOWN => &"-",
                known => &{ known },
            };
            self.write(time, if at < clone.staged { "stage" } else { clone.name }, step);
            at += 1;
        }
        clone.written.store(at, Ordering::Relaxed);
    }
}

/// Traces a step of the host process, which begins now.
pub fn step(step: &dyn fmt::Display) {
    let Some(trace) = TRACE.known().filter(|trace| !trace.in_clone.load(Ordering::Relaxed)) else { return };
    let now = trace.now();
    if let Some(clone) = CLONE.known() {
        trace.write_clone(clone);
    }
    trace.write(&now, "host", &one_line(step.to_string()));
}

/// Prepares the trace of a clone.
pub fn expect_clone(clone: CloneTrace) {
    CLONE.set(clone);
}

/// Closes the file in the clone.
pub fn close_in_clone() {
    if let Some(trace) = TRACE.known() {
        trace.in_clone.store(true, Ordering::Relaxed);
        close_for_good(trace.file.as_fd());
    }
}

/// Notes that a step of the clone begins now; makes no system call.
pub fn step_of_clone(step: usize) {
    let (Some(trace), Some(CloneTrace { times, timed, .. })) = (TRACE.known(), CLONE.known()) else { return };
    let time = if step < *timed { trace.now() as u32 } else { UNKNOWN };
    if let Some(slot) = times.get(step) {
        slot.store(time, Ordering::Release);
    }
}
