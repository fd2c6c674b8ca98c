//! The trace of a clone's steps.

use std::sync::atomic::AtomicUsize;

use crate::bundle::spec::NamespaceKind;
use crate::error::Result;
use crate::json::read::one_line;
use crate::plan::Launch;
use crate::plan::step::InitStep;
use crate::seccomp::arch::Arch;
use crate::seccomp::sim::{Data, run};
use crate::sys::shared;
use crate::trace::{self, CloneTrace};

/// Prepares the trace of the clone whose last part is called `name`.
pub(super) fn expect(launch: &Launch, name: &'static str) -> Result<()> {
    if !trace::is_on() {
        return Ok(());
    }
    let count = launch.init.len();
    let mut clone = CloneTrace {
        steps: Vec::new(),
        staged: 0,
        name,
        timed: count,
        times: shared::words(count)?,
        written: AtomicUsize::new(0),
    };
    for step in &launch.init {
        clone.steps.push(one_line(step.to_string()));
        match step {
            InitStep::CloneInit | InitStep::EnterPidNamespace => clone.staged = clone.steps.len(),
            _ => {}
        }
        if hides_clock(launch, step) {
            clone.timed = clone.timed.min(clone.steps.len());
        }
    }
    trace::expect_clone(clone);
    Ok(())
}

/// Whether the host's clock cannot be read after a step.
///
/// A time namespace has another one. Reading the clock is a system call on some machines, and the filter may forbid it.
fn hides_clock(launch: &Launch, step: &InitStep) -> bool {
    match step {
        InitStep::NewTimeNamespace(_) | InitStep::EnterTimeNamespace => true,
        InitStep::JoinNamespace { kind, .. } => *kind == NamespaceKind::Time,
        InitStep::Seccomp => !allows_clock(launch),
        _ => false,
    }
}

/// Whether the filter allows the system calls that read the clock.
fn allows_clock(launch: &Launch) -> bool {
    #[cfg(target_pointer_width = "32")]
    const CALLS: &[libc::c_long] = &[libc::SYS_clock_gettime, 403];
    #[cfg(target_pointer_width = "64")]
    const CALLS: &[libc::c_long] = &[libc::SYS_clock_gettime];
    let (Some(audit), Some(filter)) = (Arch::NATIVE.audit(), &launch.filter) else { return false };
    CALLS.iter().all(|number| {
        let args = [libc::CLOCK_MONOTONIC as u64, 0, 0, 0, 0, 0];
        run(&filter.program, &Data { number: *number as u32, audit, args }).0 == libc::SECCOMP_RET_ALLOW
    })
}
