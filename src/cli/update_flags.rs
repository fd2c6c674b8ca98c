//! The flags of `update` that set a resource.

use crate::names;
use crate::text::names::NameTable;

/// The type of a flag's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An integer.
    Number,
    /// Bytes, optionally with a unit.
    Size,
    /// A string.
    Text,
}

/// A flag, its section and member in `linux.resources`, and its type.
pub type ResourceFlag = (&'static str, &'static str, &'static str, Kind);

/// Every flag that sets a resource, with a colon between flag, section and member.
static FIELDS: NameTable<Kind> = names! {
    "blkio-weight:blockIO:weight" => Kind::Number,
    "cpu-period:cpu:period" => Kind::Number,
    "cpu-quota:cpu:quota" => Kind::Number,
    "cpu-burst:cpu:burst" => Kind::Number,
    "cpu-share:cpu:shares" => Kind::Number,
    "cpu-rt-period:cpu:realtimePeriod" => Kind::Number,
    "cpu-rt-runtime:cpu:realtimeRuntime" => Kind::Number,
    "cpuset-cpus:cpu:cpus" => Kind::Text,
    "cpuset-mems:cpu:mems" => Kind::Text,
    "cpu-idle:cpu:idle" => Kind::Number,
    "memory:memory:limit" => Kind::Size,
    "memory-reservation:memory:reservation" => Kind::Size,
    "memory-swap:memory:swap" => Kind::Size,
    "pids-limit:pids:limit" => Kind::Number,
};

/// Every flag that sets a resource.
pub fn fields() -> impl Iterator<Item = ResourceFlag> {
    FIELDS.pairs().filter_map(|(names, kind)| {
        let (flag, place) = names.split_once(':')?;
        let (section, member) = place.split_once(':')?;
        Some((flag, section, member, kind))
    })
}
