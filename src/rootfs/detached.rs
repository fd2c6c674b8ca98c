//! Mounts on their way to their place: made or cloned where nobody can interfere, changed, and only then attached.
//!
//! Linux 5.12 does this with mounts that are nowhere. Before, they are made on a directory or a file of the host's procfs,
//! in our own mount namespace, and moved from there: never do we look for a mount under a name that is not ours.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::SFlag;

use super::foreign_proc::ForeignProc;
use super::procfs::ProcFs;
use super::root::kind;
use crate::error::{Context, Error, Lossy, Result};
use crate::plan::options::{Change, attr, ms};
use crate::sys::file::{AT_FDCWD, fstat, open, openat};
use crate::sys::mount_api::{self, FdPath, MountAttr, mount_on};

/// How mounts are handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// open_tree(2), mount_setattr(2), move_mount(2): Linux 5.12.
    Detached,
    /// mount(2) alone.
    Staged,
}

/// A mount that is not in its place yet; afterwards, the mount itself.
#[derive(Debug)]
pub struct Tree(OwnedFd);

impl AsFd for Tree {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Tree> for OwnedFd {
    fn from(tree: Tree) -> OwnedFd {
        tree.0
    }
}

/// Where trees are made.
#[derive(Debug)]
pub struct Workshop {
    api: Api,
    proc: ProcFs,
    private: bool,
}

/// A directory and a file that every procfs has and that nobody needs while a container is made.
const STAGE_DIRECTORY: &CStr = c"fs";
const STAGE_FILE: &CStr = c"version";

const LOOK: OFlag = OFlag::O_PATH.union(OFlag::O_CLOEXEC);

impl Workshop {
    /// Takes the best API that the kernel has, unless one is chosen.
    pub fn new(proc: ProcFs, api: Option<Api>) -> Workshop {
        let best = || if mount_api::has_mount_setattr() { Api::Detached } else { Api::Staged };
        Workshop { api: api.unwrap_or_else(best), proc, private: false }
    }

    /// The host's procfs.
    pub fn proc(&self) -> &ProcFs {
        &self.proc
    }

    /// Clones what is at a path of the host, links followed.
    pub fn clone_path(&mut self, path: &CStr, recursive: bool) -> Result<Tree> {
        match self.api {
            Api::Detached => mount_api::clone_tree(AT_FDCWD, path, recursive).map(Tree),
            Api::Staged => {
                let file = open(path, LOOK).about(format_args!("{}", Lossy(path)))?;
                return self.clone_file(file.as_fd(), recursive).about(format_args!("{}", Lossy(path)));
            }
        }
        .about(format_args!("{}", Lossy(path)))
    }

    /// Clones the mount that a file is on, from the file on.
    pub fn clone_file(&mut self, file: BorrowedFd<'_>, recursive: bool) -> Result<Tree> {
        match self.api {
            Api::Detached => Ok(Tree(mount_api::clone_tree(file, c"", recursive)?)),
            Api::Staged => {
                let directory = kind(&fstat(file)?) == SFlag::S_IFDIR;
                let deep = if recursive { ms::REC } else { 0 };
                let source = FdPath::new(file);
                self.stage(directory, Some(source.as_c_str()), None, ms::BIND | deep, None)
            }
        }
    }

    /// Mounts a file system.
    pub fn new_fs(&mut self, kind: &CStr, source: &CStr, flags: u32, data: Option<&CStr>) -> Result<Tree> {
        self.stage(true, Some(source), Some(kind), flags, data)
    }

    /// Mounts the procfs of another pid namespace.
    pub(super) fn foreign_proc(&mut self, proc: &ForeignProc<'_>) -> Result<Tree> {
        match (proc.detached(&self.proc), self.api) {
            (Err(e), _) if e.errno() == Some(Errno::ENOSYS) => {
                self.stage_by(true, &|place, procfs| proc.attached(place, procfs))
            }
            (Ok(tree), Api::Staged) => {
                self.stage_by(true, &|place, _| Ok(mount_api::move_mount(tree.as_fd(), place)?))
            }
            (tree, _) => tree.map(Tree),
        }
    }

    fn stage(
        &mut self,
        directory: bool,
        source: Option<&CStr>,
        kind: Option<&CStr>,
        flags: u32,
        data: Option<&CStr>,
    ) -> Result<Tree> {
        self.stage_by(directory, &|place, _| Ok(mount_on(source, place, kind, flags, data)?))
    }

    fn stage_by(
        &mut self,
        directory: bool,
        mount: &dyn Fn(BorrowedFd<'_>, &ProcFs) -> Result<()>,
    ) -> Result<Tree> {
        if !self.private {
            // From below a shared mount nothing can be moved away.
            mount_on(None, self.proc.as_fd(), None, ms::PRIVATE, None).at("make /proc private")?;
            self.private = true;
        }
        let name = if directory { STAGE_DIRECTORY } else { STAGE_FILE };
        let place = openat(&self.proc, name, LOOK)?;
        mount(place.as_fd(), &self.proc)?;
        Ok(Tree(openat(&self.proc, name, LOOK)?))
    }

    /// Puts a mount, with all below it, on top of what is at `target`.
    pub fn attach(&self, mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> std::result::Result<(), Errno> {
        match self.api {
            Api::Detached => mount_api::move_mount(mount, target),
            Api::Staged => mount_on(Some(FdPath::new(mount).as_c_str()), target, None, ms::MOVE, None),
        }
    }

    /// Changes the mount that `mount` is the root of.
    pub fn change(&self, mount: BorrowedFd<'_>, change: &Change) -> Result<()> {
        let make = |change: &Change| match self.api {
            Api::Detached => set_attributes(mount, change),
            Api::Staged => remount(mount, change),
        };
        let done = match make(&Change { clear: change.clear | change.unasked, ..*change }) {
            Err(e) if change.unasked != 0 && e.errno() == Some(Errno::EPERM) => make(change),
            done => done,
        };
        done.about(format_args!("set {change}"))?;
        // A kernel that does not know the flag ignores it.
        if change.set & attr::NOSYMFOLLOW != 0 && mount_api::mount_flags(mount)? & ST_NOSYMFOLLOW == 0 {
            return Err(Error::new("nosymfollow needs Linux 5.10"));
        }
        Ok(())
    }
}

/// statfs(2); not in every libc.
const ST_NOSYMFOLLOW: u32 = 0x2000;
/// How mount(2) and statfs(2) tell relatime.
const ST_RELATIME: u32 = 0x1000;

fn set_attributes(mount: BorrowedFd<'_>, change: &Change) -> Result<()> {
    let attributes = MountAttr {
        set: change.set.into(),
        clear: change.clear.into(),
        propagation: change.propagation.into(),
        userns_fd: 0,
    };
    match mount_api::mount_setattr(mount, change.recursive, &attributes) {
        // mount_setattr knows this attribute since 5.14 only.
        Err(Errno::EINVAL) if (change.set | change.clear) & attr::NOSYMFOLLOW != 0 => {
            if change.recursive {
                return Err(Error::from(Errno::EINVAL).hint("rnosymfollow and rsymfollow need Linux 5.14"));
            }
            remount(mount, change)
        }
        other => Ok(other?),
    }
}

/// The same by mount(2), which takes the propagation by itself and all the flags at once, those not changed too.
fn remount(mount: BorrowedFd<'_>, change: &Change) -> Result<()> {
    if change.propagation != 0 {
        let deep = if change.recursive { ms::REC } else { 0 };
        mount_on(None, mount, None, change.propagation | deep, None)?;
    }
    if change.set | change.clear == 0 {
        return Ok(());
    }
    if change.recursive {
        return Err(Error::from(Errno::ENOSYS).hint("recursive mount options need Linux 5.12"));
    }
    let now = mount_api::mount_flags(mount)?;
    Ok(mount_on(None, mount, None, ms::REMOUNT | ms::BIND | changed(now, change), None)?)
}

/// `MS_…` of a mount that has the flags `now` (`ST_…`), after a change.
fn changed(now: u32, change: &Change) -> u32 {
    // (attribute, flag of statfs, flag of mount)
    const FLAGS: [(u32, u32, u32); 6] = [
        (attr::RDONLY, 1, ms::RDONLY),
        (attr::NOSUID, 2, ms::NOSUID),
        (attr::NODEV, 4, ms::NODEV),
        (attr::NOEXEC, 8, ms::NOEXEC),
        (attr::NODIRATIME, 0x800, ms::NODIRATIME),
        (attr::NOSYMFOLLOW, ST_NOSYMFOLLOW, ms::NOSYMFOLLOW),
    ];
    let plain = FLAGS.iter().fold(0, |all, (attribute, is, flag)| {
        let on = change.set & attribute != 0 || now & is != 0 && change.clear & attribute == 0;
        if on { all | flag } else { all }
    });
    let times = match (change.set & attr::ATIME, change.clear & attr::ATIME) {
        (attr::NOATIME, _) => ms::NOATIME,
        (attr::STRICTATIME, _) => ms::STRICTATIME,
        (_, 0) if now & 0x400 != 0 => ms::NOATIME,
        (_, 0) if now & ST_RELATIME == 0 => ms::STRICTATIME,
        _ => ms::RELATIME,
    };
    plain | times
}
