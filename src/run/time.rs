//! A new time namespace, entered by init itself.
//!
//! In a user namespace init may not write the file of its offsets, which belongs to root of the host. There the host writes it.
//!
//! unshare(2) makes the namespace for the children only, and clone3(2) takes no flag for it on most kernels: the flag's bit is
//! part of clone(2)'s exit signal. So init sets the offsets while the namespace has no member, and then joins it, so that
//! the program is in it as well (time_namespaces(7)).

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::Pid;

use super::namespace;
use super::user_namespace::write_of;
use crate::bundle::spec::NamespaceKind;
use crate::error::{Context, Error, Result};
use crate::plan::time::TimeOffset;
use crate::rootfs::procfs::ProcFs;

/// Makes a time namespace with these offsets, and joins it.
pub(super) fn enter_new(procfs: &ProcFs, offsets: &[TimeOffset]) -> Result<()> {
    let flag = CloneFlags::from_bits_retain(NamespaceKind::Time.clone_flag() as i32);
    unshare(flag).map_err(|e| namespace::not_made("unshare", e, NamespaceKind::Time.clone_flag()))?;
    if !offsets.is_empty() {
        procfs.write_self("timens_offsets", lines(offsets).as_bytes()).map_err(explained)?;
    }
    enter(procfs)
}

/// Joins the time namespace that was made for the children of this process.
pub(super) fn enter(procfs: &ProcFs) -> Result<()> {
    let flag = NamespaceKind::Time.clone_flag();
    let fd = procfs.own_namespace("time_for_children", flag)?;
    setns(&fd, CloneFlags::from_bits_retain(flag as i32)).at("setns")
}

/// Writes the offsets of the namespace that a process has made for its children.
pub(super) fn set_offsets_of(pid: Pid, offsets: &[TimeOffset]) -> Result<()> {
    write_of(pid, "timens_offsets", lines(offsets).as_bytes()).map_err(explained)
}

/// All offsets for one write, which must come while the namespace is empty.
fn lines(offsets: &[TimeOffset]) -> String {
    offsets.iter().map(|offset| format!("{offset}\n")).collect()
}

fn explained(e: Error) -> Error {
    let e = e.context("linux.timeOffsets");
    match e.errno() {
        Some(Errno::ERANGE) => e.hint("a clock with its offset must be between 0 and 146 years"),
        Some(Errno::EACCES | Errno::EPERM) => e.hint("needs CAP_SYS_TIME"),
        _ => e,
    }
}
