//! The harness of the kernel tests: each test runs real containers in its own cage.
//!
//! ```text
//! runner ── unshare ──> cage (pid 1 of its own pid and mount namespaces, a fresh tmpfs on /run)
//!                         └─> the test, which calls $RUNTIME; then the cage looks for leftovers
//! ```
//! A test is a plain function over a [`Test`]. It panics to fail and calls [`Test::skip`] if the host lacks a
//! feature. Every command it runs is recorded, and the record is shown if it fails. A mount, cgroup, process,
//! descriptor, state directory or file under `/run` that a test leaves behind fails it too.
//!
//! `RUNTIME=runc` or `RUNTIME=crun` runs the same tests with those runtimes; [`known`] lists their differences
//! with the reasons.

pub mod cage;
mod container;
mod host;
pub mod inject;
pub mod known;
mod output;
pub mod runner;
pub mod test;
pub mod tracer;
mod tty;

pub use container::Container;
pub use host::Hierarchy;
pub use output::{Output, Probed};
pub use runner::{rounds, run};
pub use test::{Runtime, Test, eventually, has_not_grown, own_memory};
pub use tty::{ConsoleSocket, Terminal};

/// A test with its name.
pub struct Case {
    /// The name, `module::function`.
    pub name: &'static str,
    /// The test itself.
    pub run: fn(&Test),
}

/// The cases of a module: `pub const CASES: &[Case] = cases![one, another];`.
///
/// A function that is left out is dead code, which the lints refuse, so no test is forgotten.
#[macro_export]
macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        &[$($crate::common::Case { name: concat!(module_path!(), "::", stringify!($name)), run: $name }),*]
    };
}
