//! `linux.timeOffsets`: the clocks of a new time namespace.

use std::fmt;

use super::validate::{Refusal, refuse};
use crate::bundle::spec::{Linux, NamespaceKind};
use crate::text::{Keep, List, Text};

/// The offset of one clock from the clock of the runtime's namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeOffset {
    /// The kernel's number of the clock: Linux 5.6 knows no names.
    pub clock: u32,
    /// Seconds, which may be negative.
    pub seconds: i64,
    /// Nanoseconds, which count forward.
    pub nanoseconds: u32,
}

/// A line of `/proc/PID/timens_offsets`.
impl fmt::Display for TimeOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.clock, self.seconds, self.nanoseconds)
    }
}

/// The clocks that the specification names, with the kernel's numbers.
const CLOCKS: [(Text, u32); 2] =
    [("monotonic", libc::CLOCK_MONOTONIC as u32), ("boottime", libc::CLOCK_BOOTTIME as u32)];

/// The offsets of a new time namespace, if the configuration asks for one.
pub fn new_namespace(linux: &Linux) -> Option<List<TimeOffset>> {
    linux.namespace(NamespaceKind::Time).filter(|namespace| namespace.path.is_none())?;
    let mut offsets = Vec::new();
    for (name, clock) in CLOCKS {
        // The last of several counts, as everywhere in JSON.
        let given = linux.time_offsets.iter().rev().find(|(given, ..)| *given == name);
        offsets.extend(given.map(|(_, seconds, nanoseconds)| TimeOffset {
            clock,
            seconds: *seconds,
            nanoseconds: *nanoseconds,
        }));
    }
    Some(offsets.keep())
}

/// Refuses offsets without a new time namespace: they would have no effect.
pub fn validate(linux: &Linux, out: &mut Vec<Refusal>) {
    if linux.time_offsets.is_empty() {
        return;
    }
    let what = match linux.namespace(NamespaceKind::Time).map(|namespace| namespace.path) {
        Some(None) => return,
        Some(Some(_)) => "only a new time namespace has offsets (remove the path from linux.namespaces)",
        None => "needs a time namespace (add {\"type\": \"time\"} to linux.namespaces)",
    };
    refuse(out, format_args!("linux.timeOffsets"), format_args!("{what}"));
}

/// Writes the offsets for a plan or an error.
pub fn write_offsets(f: &mut fmt::Formatter<'_>, offsets: &[TimeOffset]) -> fmt::Result {
    for offset in offsets {
        let name = CLOCKS.iter().find(|(_, clock)| *clock == offset.clock).map_or("", |(name, _)| name);
        write!(f, " {name}={}s+{}ns", offset.seconds, offset.nanoseconds)?;
    }
    Ok(())
}
