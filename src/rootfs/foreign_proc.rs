//! The procfs of a pid namespace in which others already run.
//!
//! A procfs shows the pid namespace of the process that mounts it. Init cannot be that process: while it prepares the root, it
//! is in the host's mount namespace, and everybody in the pid namespace could read the host's mounts in its
//! `/proc/PID/mountinfo`. So a helper moves into an empty mount namespace, closes everything, enters the pid namespace by a
//! clone, makes the file system there and sends it back, not mounted. Init mounts it: in a user namespace the kernel allows that
//! only where another procfs is fully visible, which is not so in an empty mount namespace.
//!
//! Before Linux 5.2 a mount cannot leave its mount namespace. There the helper stays in init's mount namespace for one call of
//! mount(2), with a directory of the host's procfs as its root. A process in the pid namespace that has CAP_SYS_PTRACE and
//! looks at that very moment can reach the host.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{chdir, chroot, fchdir, pivot_root};

use super::helper::{Done, by_a_helper, made_by_a_helper, status};
use super::procfs::{ProcFs, is_procfs};
use crate::error::{Error, Result};
use crate::plan::options::{attr, ms};
use crate::sys::descriptor::{self, send_fd};
use crate::sys::entry;
use crate::sys::file::fstat;
use crate::sys::mount_api::{mount, mount_superblock, new_superblock};
use crate::sys::process::{self, Cloned, Ended};

/// A procfs that is to be mounted.
pub(super) struct ForeignProc<'a> {
    pub(super) namespace: BorrowedFd<'a>,
    pub(super) source: &'a CStr,
    pub(super) flags: u32,
    pub(super) data: Option<&'a CStr>,
}

impl ForeignProc<'_> {
    /// Mounts it detached (Linux 5.2; ENOSYS before).
    pub(super) fn detached(&self, procfs: &ProcFs) -> Result<OwnedFd> {
        let fs = made_by_a_helper(&|socket| {
            nowhere()?;
            let keep = [socket.as_raw_fd(), self.namespace.as_raw_fd()];
            let [socket, namespace] = descriptor::keep_only(3, keep, procfs.as_fd())?;
            let there = || -> Done {
                let fs = new_superblock(c"proc", self.source, self.data)?;
                send_fd(socket.as_fd(), b"P", fs.as_fd(), 0).map(drop)
            };
            inside(namespace, &there)
        })?;
        let tree = mount_superblock(fs.as_fd(), attributes(self.flags))?;
        // Others in the pid namespace may have tampered with the helper.
        let real = is_procfs(&tree)? && fstat(&tree)?.st_ino == 1;
        if real { Ok(tree) } else { Err(Error::new("the helper sent something else than a procfs")) }
    }

    /// Mounts it on a directory of this mount namespace.
    pub(super) fn attached(&self, place: BorrowedFd<'_>, procfs: &ProcFs) -> Result<()> {
        by_a_helper(&|| {
            fchdir(place)?;
            let [namespace] = descriptor::keep_only(3, [self.namespace.as_raw_fd()], procfs.as_fd())?;
            // With this root, /proc/PID/mountinfo shows no mount outside of it.
            chroot(c".")?;
            inside(namespace, &|| mount(Some(self.source), c"/", Some(c"proc"), self.flags, self.data))
        })
    }
}

/// Acts in a clone that is in the pid namespace.
///
/// The clone's parent waits for it and ends with its status.
fn inside(namespace: OwnedFd, there: &dyn Fn() -> Done) -> Done {
    setns(&namespace, CloneFlags::CLONE_NEWPID)?;
    drop(namespace);
    entry::wipe();
    match process::clone_unchecked(0, None)? {
        Cloned::Child => {
            let ready = set_pdeathsig(Signal::SIGKILL);
            process::exit(status(ready.and_then(|()| there())))
        }
        Cloned::Parent { pid, .. } => match process::wait(pid, true)? {
            Some((_, Ended::Exited(0))) => Ok(()),
            Some((_, Ended::Exited(errno))) => Err(Errno::from_raw(errno.into())),
            _ => Err(Errno::EIO),
        },
    }
}

/// Moves this process into a mount namespace that holds one empty directory.
pub(super) fn nowhere() -> Done {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None, c"/", None, ms::PRIVATE | ms::REC, None)?;
    mount(Some(c"tmpfs"), c"/proc", Some(c"tmpfs"), 0, Some(c"mode=755,size=64k"))?;
    chdir(c"/proc")?;
    match pivot_root(c".", c".") {
        Ok(()) => umount2(c".", MntFlags::MNT_DETACH)?,
        // The root of an initramfs cannot be pivoted away. Its mounts are not visible from here.
        Err(Errno::EINVAL) => chroot(c".")?,
        Err(e) => return Err(e),
    }
    chdir(c"/")
}

/// The `MOUNT_ATTR_…` of `MS_…`; the lowest four are the same.
fn attributes(flags: u32) -> u32 {
    let when = |flag, attribute| if flags & flag != 0 { attribute } else { 0 };
    let times = when(ms::NOATIME, attr::NOATIME) | when(ms::STRICTATIME, attr::STRICTATIME);
    flags & 0xf | times | when(ms::NODIRATIME, attr::NODIRATIME)
}
