//! What `unified` changes in the files that the fields have set.

use super::knob::Knob;

/// Whether `unified`'s value replaces the whole value of a field.
///
/// If both are lines by device, or if a quota omits the period, `unified`'s value follows the field's.
pub(in crate::cgroup) fn replaces(file: &str, value: &str, knob: &Knob) -> bool {
    let whole = |value: &str| !value.trim_ascii().contains([' ', '\n']);
    knob.file == file && whole(knob.value) && whole(value)
}

/// 1 to 10000, as in `io.weight` and systemd, for the 10 to 1000 of `blockIO.weight` and BFQ.
pub(in crate::cgroup) fn io_weight(n: u64) -> u64 {
    1 + (n - 10) * 9999 / 990
}
