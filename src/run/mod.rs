//! The interpreters: one performs the host's steps, the other init's in a clone.
//!
//! ```text
//! embrun create (host)                      init (its clone)                   embrun start
//!   reserve the id: directory, lock,
//!     record
//!   make and limit the cgroup
//!   open the namespaces to join
//!   make start.fifo and started.fifo
//!   clone ------------------------------->  dies with the host from here on
//!   write its pid to cgroup.procs           joins namespaces, mounts …
//! * answer <------------------------------  ask cgroup
//! * take the terminal, pass it on  <------  terminal + descriptor
//! * run prestart, createRuntime  <--------  ask runtime hooks
//!   answer ------------------------------>  createContainer hooks, pivot
//!                                           lets go of the host: closes all but the
//!                                             streams, preserved descriptors,
//!                                             conversation and FIFOs, wipes its
//!                                             command line
//!                                           privileges, finds the program
//! * pass the listener on  <---------------  announce (a filter with an agent)
//! * memory limit, pid file,  <------------  ask created
//!     durable record "created"
//!   answer ------------------------------>  outlives the host, ends the conversation
//!   hears "heard", ends  <----------------  heard; reads start.fifo <--------- go
//!                                           heard -------------------------> *
//!                                           filter, if not loaded yet
//!                                           startContainer hooks
//!                                           hooked ------------------------> *
//!                                           exec (or: failed) -------------> * end of file (or the error)
//!                                                                            * poststart hooks
//! ```
//!
//! `start` writes to start.fifo and reads from started.fifo ([`start_fifo`]). `run` has no FIFOs: the first conversation goes
//! on until exec, without "heard". If there are startContainer hooks, an end of file without "hooked" means that init was
//! killed while one ran.
//!
//! Without no_new_privs the filter is loaded between "lets go" and "privileges". Under the filter init only uses read(2) and
//! write(2) to talk; the host takes a listener by pidfd_getfd(2) ([`wire`]).
//!
//! `*`: while the command waits here it releases the lock of the container, so that other commands can use the container
//! ([`crate::state::work`]). When it has the lock again, it checks whether the container is still the same.
//!
//! `exec` into a pid namespace, and a container that joins one, need a stage process. It is never in the pid namespace:
//!
//! ```text
//! host                                      stage (its clone)                 the process
//!   clone ------------------------------->  asks cgroup, joins all other
//!                                             namespaces, mounts …
//!                                           joins the pid namespace for its
//!                                             clones, lets go of the host
//!                                           privileges, finds the program
//!                                           clone, as a child of the host --> waits
//!   adopt its own child <-----------------  entered, ends
//!   wait for the end of the stage
//!   answer ---------------------------------------------------------------->  dies with the host from here on
//!                                                                             new session
//! ```
//!
//! A process in that pid namespace that may trace the new one can speak in its place, and can keep its end of the conversation
//! open. Therefore the host only believes what the kernel confirms, and checks on init itself from time to time (`wait`).
//!
//! A container with a user namespace begins with one more point. Its init is cloned into new user and pid namespaces, unless it
//! joins others: those it joins first, with the host's rights, and it makes its pid namespace by a clone of its own, which the
//! host adopts as above.
//!
//! ```text
//! host                                      init
//!   write its pid to cgroup.procs           joins namespaces; makes or joins the user namespace
//!   write uid_map, gid_map,  <------------  ask user namespace
//!     oom_score_adj; own the cgroup
//!   answer ------------------------------>  becomes root inside, makes the other namespaces
//!   open a file of the plan in  <---------  open (the root, sources, devices), each when it is needed
//!     init's mount namespace
//!   or make an idmapped mount
//!   descriptor -------------------------->  binds or attaches it
//!   limits, pipes  <----------------------  ask created
//! ```
//!
//! Everything else is as above. `exec` holds no lock, makes no cgroup and no root, and runs no hooks.

mod attributes;
pub mod child;
pub mod conversation;
pub mod create;
pub mod diagnosis;
pub mod exec;
pub mod foreground;
pub mod hooks;
pub mod host;
mod id_helper;
mod idmap;
pub mod inherited;
pub mod init;
mod init_context;
mod link;
pub mod namespace;
mod net_devices;
pub mod notify;
pub mod outputs;
pub mod program;
mod rdt;
pub mod recorder;
pub mod relay;
pub mod start_fifo;
pub mod stdio;
mod step_trace;
pub mod take_down;
pub mod terminal;
mod time;
pub mod user_namespace;
mod wait;
pub mod wire;
mod words;
