//! What `unified` changes in the files that the fields have set.

use super::knob::Knob;

/// Whether the file's value for `unified` takes the place of the whole value that a field has for it. Of two lines by device, or
/// of a quota that leaves the period out, the second only follows the first.
pub(in crate::cgroup) fn replaces(file: &str, value: &str, knob: &Knob) -> bool {
    let whole = |value: &str| !value.trim_ascii().contains([' ', '\n']);
    knob.file == file && whole(knob.value) && whole(value)
}

/// 1 to 10000 as `io.weight` and systemd have it, for the 10 to 1000 of `blockIO.weight` and BFQ.
pub(in crate::cgroup) fn io_weight(n: u64) -> u64 {
    1 + (n - 10) * 9999 / 990
}
