//! embrun: a small, static, runc-compatible OCI runtime.
//!
//! In one line: **decide in [`plan`], act in [`run`], be unsafe only in [`sys`], say it once in `main`.**
//! A bundle is read ([`bundle`]), compiled with what is known of the host ([`facts`]) into a plan, and the
//! plan is performed by two small interpreters, one in the host process and one in the container's init.
//!
//! The rooms from top to bottom. An import leads downwards only.
//!
//! | room | what lives there |
//! |---|---|
//! | [`cli`] | argv to a command, one file per command |
//! | [`run`] | the interpreters: host and init, their conversation, hooks, namespaces, exec |
//! | [`state`] | records on disk, locks, marked processes, and the observed status |
//! | [`rootfs`] | acts on the container's root file system, each through its file descriptor |
//! | [`plan`] | the pure compiler: spec and facts to lists of steps |
//! | [`facts`] | what must be known of the host before planning |
//! | [`bundle`] | untrusted JSON to a typed [`bundle::spec::Spec`]; container ids |
//! | [`seccomp`] | the seccomp compiler |
//! | [`cgroup`] | limits as pure conversions, the place of a cgroup, systemd, and the operations on a cgroup |
//! | [`log`] | the log in runc's two forms |
//! | [`json`] | documents: parsed, read with checks in one pass, and written |
//! | [`mod@packed`] | texts that are rarely read |
//! | [`sort`], [`text`] | one way to put things in order; texts that live as long as the process |
//! | [`sys`] | system calls: the only room with `unsafe` |
//! | [`error`] | the one error type, engine-matched strings, exit statuses |

pub mod bundle;
pub mod cgroup;
pub mod cli;
pub mod error;
pub mod facts;
pub mod json;
pub mod log;
pub mod packed;
pub mod plan;
pub mod rootfs;
pub mod run;
pub mod seccomp;
pub mod sort;
pub mod state;
pub mod sys;
pub mod text;
