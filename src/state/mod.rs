//! What is kept of a container, and what is observed of it.
//!
//! On disk are facts only ([`record`]): process ids with their start times, the boot they belong to, the bundle, the cgroup.
//! The status is never stored; it is observed ([`observe`]) whenever somebody asks.
//!
//! `ROOT/ID` (0711, in a ROOT of 0700) holds:
//!
//! | file | what | written |
//! |---|---|---|
//! | `record` | the private record, with a checksum | durably: before the first side effect, when created, when deleting |
//! | `config.json` | the configuration as it was at create; the way back if both others are damaged | once, before `record` says `created` |
//! | `state.json` | runc's documented keys for other programs, and a copy of the record | when created; not durable |
//! | `start.fifo`, `started.fifo` | init waits at the first until it is started, and says over the second what fails then | when created |
//! | `work` | who works at the container without its lock, and the hook that is waited for ([`work`]) | around each such wait |
//!
//! Every command that changes something holds an exclusive lock on `ROOT/ID`, but not while it waits for a program that is not
//! its own; `state`, `list`, `exec` and `kill` hold none and rely on the record being replaced whole.

pub mod holder;
pub mod observe;
mod rebuild;
pub mod record;
pub mod store;
#[cfg(test)]
mod tests;
pub mod work;

use crate::error::{Error, Result, engine};
use crate::json::value::Json;
use observe::{Facts, Status};
use record::Record;
use store::Locked;

/// A container whose lock is held.
pub struct Held {
    /// Its directory.
    pub dir: Locked,
    /// What is kept of it.
    pub record: Record,
}

/// Init waits for `start`.
pub struct Created(pub Held);

/// The container's program runs.
pub struct Running(pub Held);

/// Its processes are suspended.
pub struct Paused(pub Held);

/// There is no process of it (but perhaps of its cgroup) left.
pub struct Stopped(pub Held);

/// A container in the state that was observed when it was locked. The transitions consume these values.
pub enum Observed {
    /// A create that was interrupted: whoever holds the lock now is not the creator.
    Creating(Held),
    /// Init waits for `start`.
    Created(Created),
    /// The container's program runs.
    Running(Running),
    /// Its processes are suspended.
    Paused(Paused),
    /// There is no process of it left.
    Stopped(Stopped),
}

impl Observed {
    /// Observes a container that was locked.
    pub fn of(dir: Locked) -> Result<Observed> {
        let record = dir.record()?.ok_or_else(|| Error::new(engine::NOT_EXIST))?;
        Observed::with(dir, record)
    }

    /// The same with a record that was read.
    pub fn with(dir: Locked, record: Record) -> Result<Observed> {
        let status = observe::status(&record, &Facts::read(&record, &dir)?);
        let held = Held { dir, record };
        Ok(match status {
            Status::Creating => Observed::Creating(held),
            Status::Created => Observed::Created(Created(held)),
            Status::Running => Observed::Running(Running(held)),
            Status::Paused => Observed::Paused(Paused(held)),
            Status::Stopped => Observed::Stopped(Stopped(held)),
        })
    }

    /// The status, for messages.
    pub fn status(&self) -> Status {
        match self {
            Observed::Creating(_) => Status::Creating,
            Observed::Created(_) => Status::Created,
            Observed::Running(_) => Status::Running,
            Observed::Paused(_) => Status::Paused,
            Observed::Stopped(_) => Status::Stopped,
        }
    }

    /// The container, whatever its state.
    pub fn held(self) -> Held {
        match self {
            Observed::Creating(h) => h,
            Observed::Created(Created(h)) => h,
            Observed::Running(Running(h)) => h,
            Observed::Paused(Paused(h)) => h,
            Observed::Stopped(Stopped(h)) => h,
        }
    }
}

/// The container state of the runtime spec (runtime.md, "State"), as hooks get it on stdin.
pub fn hook_state(record: &Record, status: Status, pid: i32) -> Json {
    let mut members = vec![
        ("ociVersion", Json::Str(record.oci_version)),
        ("id", Json::Str(record.id)),
        ("status", status.name().into()),
    ];
    if pid != 0 {
        members.push(("pid", pid.into()));
    }
    members.push(("bundle", Json::Str(record.bundle)));
    members.extend(annotations(record));
    Json::object(members)
}

/// The same with what runc adds to it, in runc's order: what `state` prints and `list --format json` lists.
pub fn public_state(record: &Record, status: Status, owner: &str) -> Json {
    let pid = match status {
        Status::Stopped | Status::Creating => 0,
        _ => record.init.as_ref().map_or(0, |p| p.pid),
    };
    let mut members = vec![
        ("ociVersion", Json::Str(record.oci_version)),
        ("id", Json::Str(record.id)),
        ("pid", pid.into()),
        ("status", status.name().into()),
        ("bundle", Json::Str(record.bundle)),
        ("rootfs", Json::Str(record.rootfs)),
        ("created", Json::Str(record.created)),
    ];
    members.extend(annotations(record));
    members.push(("owner", owner.into()));
    Json::object(members)
}

fn annotations(record: &Record) -> Option<(&'static str, Json)> {
    (!record.annotations.is_empty()).then_some(("annotations", Json::Pairs(record.annotations)))
}
