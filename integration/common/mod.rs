//! The harness of the kernel tests: real containers, run by the runtime under test, in a cage each.
//!
//! ```text
//! runner ── unshare ──> cage (pid 1 of its own pid and mount namespaces, a fresh tmpfs on /run)
//!                         └─> the test, which calls $RUNTIME; then the cage looks for what was left behind
//! ```
//! A test is a plain function over a [`Test`]. It panics to fail and calls [`Test::skip`] where the host lacks what it
//! needs; every command it runs is traced, and the trace is shown when it fails. Whatever mount, cgroup, process,
//! descriptor, state directory or file under `/run` a test leaves behind fails it too.
//!
//! `RUNTIME=runc` or `RUNTIME=crun` runs the same tests against those; what they answer otherwise is listed with its
//! reason in [`known`].

mod cage;
mod container;
mod host;
pub mod known;
mod output;
mod runner;
pub mod test;
pub mod tracer;
mod tty;

pub use container::Container;
pub use host::Hierarchy;
pub use output::{Output, Probed};
pub use runner::{rounds, run};
pub use test::{Runtime, Test, eventually, has_not_grown, own_memory};
pub use tty::{ConsoleSocket, Terminal};

/// A test by its name, `module::function`.
pub struct Case {
    /// `module::function`.
    pub name: &'static str,
    /// The test itself.
    pub run: fn(&Test),
}

/// The cases of a module: `pub const CASES: &[Case] = cases![one, another];`. A function left out is dead code, which
/// the lints refuse, so no test is forgotten.
#[macro_export]
macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        &[$($crate::common::Case { name: concat!(module_path!(), "::", stringify!($name)), run: $name }),*]
    };
}
