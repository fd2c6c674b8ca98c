//! embrun: a small, static, runc-compatible OCI runtime.
//!
//! In one line: **decide in [`plan`], act in [`run`], be unsafe only in [`sys`], say it once in `main`.**
//! A bundle is read ([`bundle`]), compiled with what is known of the host ([`facts`]) into a plan, and the
//! plan is performed by two small interpreters, one in the host process and one in the container's init.
//!
//! | room | what lives there |
//! |---|---|
//! | [`bundle`] | untrusted JSON to a typed [`bundle::spec::Spec`]; container ids |
//! | [`cgroup`] | layouts, knobs, device rules: pure conversions and the file-system driver |
//! | [`cli`] | argv to a command, one file per command |
//! | [`error`] | the one error type, engine-matched strings, exit statuses |
//! | [`facts`] | what must be known of the host before planning |
//! | [`plan`] | the pure compiler: spec and facts to lists of steps |
//! | [`rootfs`] | acts on the container's root file system, each through its file descriptor |
//! | [`run`] | the interpreters: host and init, their conversation, exec |
//! | [`seccomp`] | the seccomp compiler |
//! | [`hooks`] | running the programs of `hooks` |
//! | [`namespace`] | namespaces to join, opened and checked |
//! | [`log`] | the log in runc's two forms |
//! | [`mod@packed`] | texts that are rarely read |
//! | [`state`] | records on disk, locks, and the observed status |
//! | [`sys`] | system calls: the only room with `unsafe` |

pub mod bundle;
pub mod cgroup;
pub mod cli;
pub mod error;
pub mod facts;
pub mod hooks;
pub mod json;
pub mod log;
pub mod namespace;
pub mod packed;
pub mod plan;
pub mod rootfs;
pub mod run;
pub mod seccomp;
pub mod sort;
pub mod state;
pub mod sys;
pub mod text;
