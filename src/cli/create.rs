//! `create`: makes a container and applies all of config.json but the program.
//!
//! See runtime.md, "Create".

use super::command::{CreateOptions, Globals};
use super::compile;
use crate::bundle::id;
use crate::bundle::load::{Loaded, load_with};
use crate::error::Result;
use crate::sys::{interrupt, sealed_exe};
use crate::trace;

/// Makes the container and leaves it waiting for `start`.
pub fn run(globals: &Globals, id: &str, options: &CreateOptions) -> Result<u8> {
    sealed_exe::ensure()?;
    interrupt::block()?;
    let mode = Mode { await_start: true, detach: true };
    compile::creation(globals, id, options, mode, None, load(id, options)?)?.launch(globals.root, None)?;
    Ok(0)
}

/// The difference between `create` and `run`.
#[derive(Clone, Copy)]
pub struct Mode {
    /// Init waits for `start`.
    pub await_start: bool,
    /// The runtime does not stay to relay a terminal.
    pub detach: bool,
}

/// Reads the bundle of a new container.
pub fn load(id: &str, options: &CreateOptions) -> Result<Loaded> {
    trace::step(&"read the bundle");
    id::check(id)?;
    load_with(options.bundle, options.config.unwrap_or("config.json"))
}
