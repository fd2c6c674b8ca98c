//! How `unified` changes the files that the fields set.

use super::knob::Knob;

/// Whether `unified`'s value replaces the whole value of a field.
///
/// If both are lines by device, or if a quota omits the period, `unified`'s value follows the field's.
pub(in crate::cgroup) fn replaces(file: &str, value: &str, knob: &Knob) -> bool {
    let whole = |value: &str| !value.trim_ascii().contains([' ', '\n']);
    knob.file == file && whole(knob.value) && whole(value)
}

/// Converts 10 to 1000 of `blockIO.weight` and BFQ to 1 to 10000 of `io.weight`.
///
/// systemd uses the latter, too.
pub(in crate::cgroup) fn io_weight(n: u64) -> u64 {
    1 + (n - 10) * 9999 / 990
}
