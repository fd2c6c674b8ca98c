//! `state`: returns the state of a container (runtime.md, "Query State").

use super::command::Globals;
use super::{print, store};
use crate::error::{Error, Result, engine};
use crate::state::observe::{Facts, Status, status};
use crate::state::public_state;
use crate::state::record::Record;
use crate::state::store::Entry;

/// Prints a container's state.
pub fn run(globals: &Globals, id: &str) -> Result<()> {
    let (_, record, status) = look(globals, id)?;
    print(&public_state(&record, status, "").pretty(2))
}

/// The state of a container, read without its lock.
pub fn look(globals: &Globals, id: &str) -> Result<(Entry, Record, Status)> {
    let entry = store(globals)?.entry(id)?;
    let record = entry.record()?.ok_or_else(|| Error::new(engine::NOT_EXIST))?;
    let status = status(&record, &Facts::read(&record, &entry)?);
    Ok((entry, record, status))
}
