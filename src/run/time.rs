//! A new time namespace, entered by init itself.
//!
//! unshare(2) makes the namespace for the children only, and clone3(2) takes no flag for it on most kernels: the flag's bit is
//! part of clone(2)'s exit signal. So init sets the offsets while the namespace has no member, and then joins it, so that
//! the program is in it as well (time_namespaces(7)).

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};

use super::namespace;
use crate::bundle::spec::NamespaceKind;
use crate::error::{Context, Result};
use crate::plan::time::TimeOffset;
use crate::rootfs::procfs::ProcFs;

/// Makes a time namespace with these offsets, and joins it.
pub(super) fn enter_new(procfs: &ProcFs, offsets: &[TimeOffset]) -> Result<()> {
    let flag = CloneFlags::from_bits_retain(NamespaceKind::Time.clone_flag() as i32);
    unshare(flag).map_err(|e| namespace::not_made("unshare", e, NamespaceKind::Time.clone_flag()))?;
    if !offsets.is_empty() {
        // One write, because the file can be written while the namespace is empty only.
        let lines: String = offsets.iter().map(|offset| format!("{offset}\n")).collect();
        procfs.write_self("timens_offsets", lines.as_bytes()).map_err(|e| {
            let e = e.context("linux.timeOffsets");
            match e.errno() {
                Some(Errno::ERANGE) => e.hint("a clock with its offset must be between 0 and 146 years"),
                Some(Errno::EACCES | Errno::EPERM) => e.hint("needs CAP_SYS_TIME"),
                _ => e,
            }
        })?;
    }
    let fd = procfs.own_namespace("time_for_children", NamespaceKind::Time.clone_flag())?;
    setns(&fd, flag).at("setns")
}
