//! embrun: a small, static, runc-compatible OCI runtime.
//!
//! In one line: **decide in [`plan`], act in [`run`], be unsafe only in [`sys`], report once in `main`.** A bundle is read
//! ([`bundle`]) and compiled with facts about the host ([`facts`]) into a plan. Two small interpreters perform the plan, one in
//! the host process and one in the container's init.
//!
//! These are the modules from top to bottom. Imports lead downwards only.
//!
//! | module | contents |
//! |---|---|
//! | [`cli`] | argv to a command, one file per command |
//! | [`run`] | the interpreters of host and init, their conversation, hooks, namespaces, exec |
//! | [`state`] | records on disk, locks, marked processes, and the observed status |
//! | [`rootfs`] | operations on the container's root file system, all through descriptors |
//! | [`plan`] | the pure compiler from spec and facts to lists of steps |
//! | [`facts`] | the facts about the host that planning needs |
//! | [`bundle`] | untrusted JSON to a typed [`bundle::spec::Spec`]; container ids |
//! | [`seccomp`] | the seccomp compiler |
//! | [`cgroup`] | limits as pure conversions, the place of a cgroup, systemd, and operations on a cgroup |
//! | [`trace`] | the times of the steps |
//! | [`log`] | the log in runc's two formats |
//! | [`json`] | documents: read with checks in one pass, and written |
//! | [`sort`] | the one sort function |
//! | [`sys`] | system calls: the only module with `unsafe` |
//! | [`mod@packed`], [`text`] | packed texts that few commands need; strings that are never freed, and the search in texts |
//! | [`error`] | the one error type, strings that engines match, exit statuses |

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
pub mod trace;
