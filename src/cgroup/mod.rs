//! Control groups: limits, the place of a cgroup, and the operations on it.
//!
//! The limits that are asked for ([`limits::Resources`]) become, by pure conversions of each cgroup version
//! ([`limits::v1`], [`limits::v2`], [`limits::devices`]), files and values ([`limits::knob::Knob`]). The operations on a
//! container's cgroup are methods of its handle:
//!
//! | operation | of [`Cgroup`] | file |
//! |---|---|---|
//! | make it where it is planned; adopt one that is recorded | `create`, `adopt`, `location` | `create.rs`, `handle.rs` |
//! | put processes into it | `v2_dir`, `join_v1`, `join_v2`, `let_go`, `close_in_clone` | `join.rs`, `handle.rs` |
//! | name a cgroup below it to put one more process into | `inner`, `or_beside` | `sub_cgroup.rs` |
//! | set its limits, replace them | `limit`, `limit_memory`, `update` | `apply.rs`, `update.rs` |
//! | replace its device rules | `set_devices` | `device_rules.rs` |
//! | give it to its owner | `give` | `delegate.rs` |
//! | pause and resume it | `frozen`, `is_halted`, `freeze`, `thaw` | `freeze.rs` |
//! | list and kill its processes, remove it | `pids`, `kill`, `let_die`, `remove`, `remove_unused` | `kill.rs` |
//! | count, and notice the kills of the OOM killer | `oom_kills`, `killed_at_start`, `watch_oom` | `oom.rs` |
//! | measure it | `stats` | `stats.rs` |

pub mod apply;
mod create;
mod delegate;
mod device_rules;
pub mod freeze;
mod handle;
mod hierarchy;
mod join;
mod kill;
pub mod limits;
pub mod oom;
pub mod place;
pub mod planned;
pub mod planned_limits;
mod stats;
mod sub_cgroup;
pub mod systemd;
mod update;
mod walk;

pub use handle::Cgroup;
