//! `pause` and `resume`: the freezer stops and continues a container's processes.

use std::time::Duration;

use super::command::Globals;
use super::store;
use crate::error::{Error, Result, engine};
use crate::state::{Created, Held, Observed, Paused, Running};
use crate::sys::clock;

/// The time limit for the processes to stop.
const PATIENCE: Duration = Duration::from_secs(10);

/// Suspends a container.
pub fn pause(globals: &Globals, id: &str) -> Result<()> {
    match Observed::of(store(globals)?.lock(id)?)? {
        Observed::Running(container) => container.pause().map(drop),
        Observed::Created(container) => container.pause().map(drop),
        Observed::Paused(_) => Err(Error::new(engine::NOT_RUNNING).hint("it is paused")),
        _ => Err(Error::new(engine::NOT_RUNNING)),
    }
}

/// Resumes a container.
pub fn resume(globals: &Globals, id: &str) -> Result<()> {
    match Observed::of(store(globals)?.lock(id)?)? {
        Observed::Paused(container) => container.resume().map(drop),
        other => Err(Error::new(engine::NOT_PAUSED).hint(format_args!("it is {}", other.status().name()))),
    }
}

impl Running {
    fn pause(self) -> Result<Paused> {
        freeze(self.0)
    }
}

impl Created {
    fn pause(self) -> Result<Paused> {
        freeze(self.0)
    }
}

impl Paused {
    /// Whether it runs or waits for `start` afterwards is observed.
    fn resume(self) -> Result<Held> {
        self.0.record.cgroup().thaw()?;
        Ok(self.0)
    }
}

fn freeze(held: Held) -> Result<Paused> {
    held.record.cgroup().freeze(clock::after(PATIENCE))?;
    Ok(Paused(held))
}
