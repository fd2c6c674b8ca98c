//! Idmapped mounts (Linux 5.12).
//!
//! A mount gets its map while it is detached, by a process that has CAP_SYS_ADMIN over the file system. In a user namespace
//! init has no such rights, and the host makes these mounts for it.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::{set_dumpable, set_pdeathsig};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, SFlag};

use super::foreign_proc::nowhere;
use super::helper::made_by_a_helper;
use super::mount::with_hint;
use super::procfs::ProcFs;
use super::root::kind;
use crate::error::{Context, Error, Lossy, Result};
use crate::plan::idmap::Idmap;
use crate::plan::mounts::{MountObject, MountStep, NewMount};
use crate::plan::options::ms;
use crate::sys::descriptor::{self, send_fd};
use crate::sys::entry;
use crate::sys::file::{AT_FDCWD, fstat, mkdirat, mknodat, open, read_all};
use crate::sys::mount_api::{
    self, MOUNT_ATTR_IDMAP, MountAttr, clone_tree, mount, mount_setattr, move_mount,
};
use crate::sys::mountinfo;
use crate::sys::path::path_of;

/// The place of the mount in the helper's empty directory.
const PLACE: &CStr = c"/m";

/// Refuses a kernel without idmapped mounts, before anything is made.
pub fn check_kernel(index: usize) -> Result<()> {
    if mount_api::has_mount_setattr() {
        return Ok(());
    }
    Err(Error::of(format_args!("mounts[{index}]: an idmapped mount needs Linux 5.12")))
}

/// Makes the mount of an entry, detached, with the map of a user namespace.
pub fn make(step: &MountStep, data: Option<&CStr>, carrier: BorrowedFd<'_>) -> Result<OwnedFd> {
    let idmap = step.idmap.ok_or(Errno::EINVAL)?;
    let tree = match &step.what {
        // The server of a file system may not answer.
        MountObject::Bind { source, recursive } => {
            opened(&|| clone_tree(AT_FDCWD, source, *recursive)).about(format_args!("{}", Lossy(source)))?
        }
        MountObject::New(new) => new_fs(new, data).map_err(|e| with_hint(e, new.kind))?,
        _ => return Err(Errno::EINVAL.into()),
    };
    mapped(tree, step, idmap, carrier)
}

fn mapped(tree: OwnedFd, step: &MountStep, idmap: &Idmap, carrier: BorrowedFd<'_>) -> Result<OwnedFd> {
    let attributes =
        MountAttr { set: MOUNT_ATTR_IDMAP, userns_fd: carrier.as_raw_fd() as u64, ..MountAttr::default() };
    match mount_setattr(tree.as_fd(), idmap.recursive, &attributes) {
        Ok(()) => Ok(tree),
        Err(e) => Err(not_mapped(e, step, idmap)),
    }
}

/// The same for init in the user namespace `users`.
///
/// The source of a bind mount is opened in init's mount namespace, because an earlier mount of the container may hold it.
pub fn make_for_init(
    step: &MountStep,
    carrier: BorrowedFd<'_>,
    users: BorrowedFd<'_>,
    mounts: BorrowedFd<'_>,
    open: &dyn Fn(&CStr) -> std::result::Result<OwnedFd, Errno>,
) -> Result<OwnedFd> {
    let (tree, tmpfs) = match &step.what {
        MountObject::New(new) => (make(step, new.data, carrier)?, new.kind == c"tmpfs"),
        MountObject::Bind { source, recursive } => {
            let copy = || {
                let file = open(source)?;
                // Only a process in the same mount namespace can copy it.
                setns(mounts, CloneFlags::CLONE_NEWNS)?;
                clone_tree(file.as_fd(), c"", *recursive)
            };
            let tree = opened(&copy).about(format_args!("{}", Lossy(source)))?;
            (mapped(tree, step, step.idmap.ok_or(Errno::EINVAL)?, carrier)?, false)
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    // Files of a new tmpfs come from the container. Those of other file systems may be devices or programs of others.
    if tmpfs { Ok(tree) } else { locked(&tree, users).at("lock its flags") }
}

/// A copy of a tree with the flags that a user namespace cannot clear.
///
/// The kernel locks them, and makes each mount a slave, when it copies a mount namespace for another user namespace. So a
/// helper makes such a copy. It is in the user namespace by then, where others may look at it: it has let go of the host, and
/// its root is an empty directory.
fn locked(tree: &OwnedFd, users: BorrowedFd<'_>) -> Result<OwnedFd> {
    let procfs = ProcFs::open()?;
    made_by_a_helper(&|socket| {
        // A server may not answer this either.
        let directory = kind(&fstat(tree)?) == SFlag::S_IFDIR;
        nowhere()?;
        let keep = [socket.as_raw_fd(), tree.as_raw_fd(), users.as_raw_fd()];
        let [socket, tree, users] = descriptor::keep_only(3, keep, procfs.as_fd())?;
        entry::wipe();
        let mode = Mode::from_bits_truncate(0o755);
        if directory {
            mkdirat(AT_FDCWD, PLACE, mode)?
        } else {
            mknodat(AT_FDCWD, PLACE, SFlag::S_IFREG, mode, 0)?
        }
        move_mount(tree.as_fd(), open(PLACE, OFlag::O_PATH)?.as_fd())?;
        setns(&users, CloneFlags::CLONE_NEWUSER)?;
        set_dumpable(false)?;
        // The change of credentials has cleared it.
        set_pdeathsig(Signal::SIGKILL)?;
        unshare(CloneFlags::CLONE_NEWNS)?;
        send_fd(socket.as_fd(), b"M", clone_tree(AT_FDCWD, PLACE, true)?.as_fd(), 0).map(drop)
    })
}

/// A new mount, detached. A helper makes it in a mount namespace that ends with it.
fn new_fs(new: &NewMount, data: Option<&CStr>) -> Result<OwnedFd> {
    made_by_a_helper(&|socket| {
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(None, c"/", None, ms::PRIVATE | ms::REC, None)?;
        mount(Some(new.source), c"/proc", Some(new.kind), new.flags, data)?;
        let tree = clone_tree(AT_FDCWD, c"/proc", false)?;
        send_fd(socket.as_fd(), b"M", tree.as_fd(), 0).map(drop)
    })
}

/// A descriptor that a helper opens.
fn opened(open: &dyn Fn() -> std::result::Result<OwnedFd, Errno>) -> Result<OwnedFd> {
    made_by_a_helper(&|socket| send_fd(socket.as_fd(), b"M", open()?.as_fd(), 0).map(drop))
}

fn not_mapped(errno: Errno, step: &MountStep, idmap: &Idmap) -> Error {
    let error = Error::os(format_args!("mounts[{}].{}", step.index, idmap.field), errno);
    match errno {
        Errno::EINVAL => {
            let kinds = kinds(step, idmap.recursive).unwrap_or_default();
            error.hint(format_args!("this kernel cannot idmap a file system of type {kinds}"))
        }
        Errno::EPERM => error.hint("a mount can be idmapped once, with CAP_SYS_ADMIN over its file system"),
        _ => error,
    }
}

/// The types of the file systems in a mount, for an error.
fn kinds(step: &MountStep, recursive: bool) -> Result<String> {
    let source = match &step.what {
        MountObject::Bind { source, .. } => source,
        MountObject::New(new) => return Ok(Lossy(new.kind).to_string()),
        _ => return Ok(String::new()),
    };
    let path = path_of(&opened(&|| open(*source, OFlag::O_PATH))?)?;
    let table = read_all(open(c"/proc/self/mountinfo", OFlag::O_RDONLY)?, usize::MAX)?;
    let is_in = |path: &[u8], top: &[u8]| {
        path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/") || top == b"/")
    };
    let mounts = mountinfo::mounts(&table);
    // The mount that the source is on is the last of the longest mount points.
    let own = mounts.iter().filter(|m| is_in(&path, &m.point)).max_by_key(|m| m.point.len());
    let below = mounts.iter().filter(|m| recursive && m.point != path && is_in(&m.point, &path));
    let mut kinds: Vec<String> = Vec::new();
    for mount in own.into_iter().chain(below) {
        let kind = String::from_utf8_lossy(mount.kind).into_owned();
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    Ok(kinds.join(" or "))
}
