//! The stored state of a container, and its observed status.
//!
//! The disk holds only facts ([`record`]): process ids with start times, their boot, the bundle, the cgroup. The status is never
//! stored; every command observes it ([`observe`]).
//!
//! `ROOT/ID` (0711, in a ROOT of 0700) contains:
//!
//! | file | content | written |
//! |---|---|---|
//! | `record` | the private record, with a checksum | durably: before the first side effect, when created, when a delete kills or runs hooks |
//! | `config.json` | the configuration at create; used if `record` and `state.json` are both damaged | once, before `record` says `created` |
//! | `state.json` | runc's documented keys for other programs, and a copy of the record | when created; not durably |
//! | `start.fifo`, `started.fifo` | init waits at the first for `start`, and reports later errors over the second | when created |
//! | `work` | the command that works without the lock, and the hook that it waits for ([`work`]) | around each such wait |
//!
//! Every command that changes something holds an exclusive lock on `ROOT/ID`, except while it waits for a process
//! that is not its own. `state`, `list`, `exec` and `kill` take no lock; they rely on the record being replaced
//! atomically.

pub mod holder;
pub mod locked;
pub mod mark;
pub mod observe;
pub mod public;
mod rebuild;
pub mod record;
pub mod store;
#[cfg(test)]
mod tests;
pub mod work;

use locked::Locked;
use observe::{Facts, Status};
use record::Record;

use crate::error::{Error, Result, engine};
use crate::json::value::Json;

/// A container whose lock we hold.
pub struct Held {
    /// The locked state directory.
    pub dir: Locked,
    /// The container's record.
    pub record: Record,
}

/// A container whose init waits for `start`.
pub struct Created(pub Held);

/// A container whose program runs.
pub struct Running(pub Held);

/// A container whose processes are frozen.
pub struct Paused(pub Held);

/// A container without processes, except perhaps in its cgroup.
pub struct Stopped(pub Held);

/// A locked container in its observed state.
///
/// The transitions consume these values.
pub enum Observed {
    /// An interrupted create; its creator would still hold the lock.
    Creating(Held),
    /// Init waits for `start`.
    Created(Created),
    /// The container's program runs.
    Running(Running),
    /// Its processes are frozen.
    Paused(Paused),
    /// It has no processes left.
    Stopped(Stopped),
}

impl Observed {
    /// Observes a container that was locked.
    pub fn of(dir: Locked) -> Result<Observed> {
        let record = dir.record()?.ok_or_else(|| Error::new(engine::NOT_EXIST))?;
        Observed::with(dir, record)
    }

    /// Observes a locked container whose record was already read.
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

    /// Returns the container in any state.
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

/// The container state of the spec (runtime.md, "State"), as hooks read it.
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

/// The container state with runc's additions, in runc's order.
/// `state` and `list --format json` print it.
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
