//! The debug lines of runc that scripts and its tests look for.
//!
//! Each is true of embrun too. Lines about work that embrun does not do are left out.

use super::host::Subject;
use crate::log::debug;
use crate::plan::Launch;
use crate::plan::attribute_step::AttributeStep;
use crate::plan::step::InitStep;

/// Before the clone; the configured processors and the filter's flags.
pub(super) fn cloning(launch: &Launch) {
    // The program runs from a read-only clone of its mount, or from a copy in memory (`sealed_exe`).
    debug(|| "runc exeseal: using /proc/self/exe clone".into());
    debug(|| "nsexec container setup".into());
    let first = launch.init.iter().find_map(|step| match step {
        InitStep::Attribute(AttributeStep::CpuAffinity(cpus)) => Some(*cpus),
        _ => None,
    });
    if let Some(cpus @ [_, ..]) = first {
        let mask = cpus.iter().fold(0, |mask, cpu| mask | 1u64.checked_shl(*cpu).unwrap_or(0));
        debug(|| format!("nsexec: affinity: {mask:#x}"));
    }
    if let Some(filter) = &launch.filter {
        debug(|| format!("seccomp filter flags: {}", filter.flags));
    }
}

/// After the clone.
pub(super) fn cloned() {
    debug(|| "child process in init()".into());
}

/// The process has closed its end of the conversation.
pub(super) fn closed(subject: Subject<'_>) {
    debug(|| {
        match subject {
            Subject::New(_) => "init: closing the pipe to signal completion",
            Subject::Running => "setns_init: about to exec",
        }
        .into()
    });
}
