//! The interpreters: the host process performs the host's steps, its clone performs init's.
//!
//! ```text
//! embrun create (host)                      init (its one clone)              embrun start
//!   reserve the id: directory, lock,
//!     durable record "creating"
//!   make and limit the cgroup
//!   listen on ROOT/ID/start.sock
//!   clone ------------------------------->  dies with the host from here on
//!   write its pid to cgroup.procs           joins namespaces, mounts …
//!   answer <------------------------------  ask cgroup
//!   take the terminal, pass it on  <------  terminal + descriptor
//!   run prestart, createRuntime  <--------  ask runtime hooks
//!   answer ------------------------------>  createContainer hooks, pivot, privileges,
//!                                           finds the program
//!   pid file, durable record "created" <--  ask created
//!   answer ------------------------------>  outlives the host, closes all but the socket
//!   sees the end of file, ends                                                connects
//!                                           seccomp, startContainer hooks <-- go
//!                                           exec (or: failed) ------------->  end of file (or the error)
//!                                                                             poststart hooks
//! ```
//!
//! `run` has no socket: the conversation goes on until exec. `exec` is the same with fewer steps.
//!
//! Whoever waits for init or a hook gives the lock of the container up for as long ([`crate::state::work`]).

pub mod exec;
pub mod foreground;
pub mod host;
pub mod inherited;
pub mod init;
pub mod interrupt;
pub mod killed;
pub mod outputs;
pub mod program;
pub mod public;
pub mod recorder;
pub mod relay;
pub mod start;
pub mod stdio;
pub mod take_down;
pub mod terminal;
mod wait;
pub mod wire;
