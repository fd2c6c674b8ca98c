//! The fuzz targets: each checks one input beside an oracle.
//!
//! A target panics if its result is not that of the oracle. docs/fuzzing.md lists targets and oracles. `run.sh` builds and runs
//! them; cargo-fuzz works too.
#![warn(missing_docs)]

pub mod argv;
pub mod cgroups_path;
pub mod config;
pub mod devices;
pub mod draw;
pub mod heap;
pub mod lifecycle;
pub mod messages;
pub mod model;
pub mod mount_options;
pub mod passwd;
pub mod plans;
pub mod procfs;
pub mod record;
pub mod resolve;
pub mod scratch;
pub mod seccomp;
pub mod spec;
pub mod sysctl;
pub mod values;

#[path = "../../seccomp/meaning.rs"]
#[allow(missing_docs)]
mod meaning;
#[path = "../../seccomp/random.rs"]
#[allow(missing_docs, dead_code)]
mod random;

#[global_allocator]
static HEAP: heap::Heap = heap::Heap;
