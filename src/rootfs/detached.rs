//! Mounts that are made detached, changed, and only then attached.
//!
//! Since Linux 5.12 such a mount is in no namespace. Before, it is made on a directory or a file of the host's procfs, in our
//! own mount namespace, and moved from there. A mount is never looked up under a name that others control.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::SFlag;

use super::foreign_proc::ForeignProc;
use super::host_files::HostFiles;
use super::procfs::ProcFs;
use super::root::kind;
use crate::error::{Context, Error, Lossy, Result};
use crate::plan::options::{Change, attr, ms};
use crate::sys::file::{AT_FDCWD, fstat, open, openat};
use crate::sys::mount_api::{self, FdPath, MountAttr, mount_on};

/// The kernel interface for mounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// open_tree(2), mount_setattr(2), move_mount(2): Linux 5.12.
    Detached,
    /// mount(2) alone.
    Staged,
}

/// A mount that is not attached yet; afterwards, the attached mount.
#[derive(Debug)]
pub struct DetachedMount(OwnedFd);

impl AsFd for DetachedMount {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for DetachedMount {
    fn from(tree: OwnedFd) -> DetachedMount {
        DetachedMount(tree)
    }
}

impl From<DetachedMount> for OwnedFd {
    fn from(tree: DetachedMount) -> OwnedFd {
        tree.0
    }
}

/// The place where detached mounts are made.
#[derive(Debug)]
pub struct MountApi {
    api: Api,
    proc: ProcFs,
    private: bool,
    /// The way to files of the host, if this process must not open them.
    host: Option<HostFiles>,
}

/// A directory and a file that every procfs has and that no launch needs.
const STAGE_DIRECTORY: &CStr = c"fs";
const STAGE_FILE: &CStr = c"version";

/// The flags that the kernel locks in the mounts of a user namespace.
const LOCKABLE: u32 = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC | attr::NODIRATIME;

const LOOK: OFlag = OFlag::O_PATH.union(OFlag::O_CLOEXEC);

impl MountApi {
    /// Uses the best interface that the kernel has, unless one is chosen.
    pub fn new(proc: ProcFs, api: Option<Api>) -> MountApi {
        let best = || if mount_api::has_mount_setattr() { Api::Detached } else { Api::Staged };
        MountApi { api: api.unwrap_or_else(best), proc, private: false, host: None }
    }

    /// The same for a process that must not open files of the host.
    pub fn inside(proc: ProcFs, host: HostFiles) -> MountApi {
        MountApi { host: Some(host), ..MountApi::new(proc, None) }
    }

    /// Whether this process is in a user namespace, without rights over the host.
    pub fn is_inside(&self) -> bool {
        self.host.is_some()
    }

    /// Whether it can change the flags of a mount and of all mounts below.
    pub fn changes_all(&self) -> bool {
        self.api == Api::Detached
    }

    /// An `O_PATH` descriptor of a file of the host.
    pub fn open_host(&self, path: &CStr, flags: OFlag) -> std::result::Result<OwnedFd, Errno> {
        self.host.as_ref().map_or_else(|| open(path, flags), |host| host.open(path))
    }

    /// The idmapped mount of an entry, made by the host.
    pub fn host_mount(&self, index: usize) -> Result<OwnedFd> {
        let host = self.host.as_ref().ok_or_else(|| Error::new("no user namespace has the map"))?;
        Ok(host.mount(index)?)
    }

    /// The host's procfs.
    pub fn proc(&self) -> &ProcFs {
        &self.proc
    }

    /// Clones the mount at a path of the host, following links.
    pub fn clone_path(&mut self, path: &CStr, recursive: bool) -> Result<DetachedMount> {
        match self.api {
            Api::Detached if self.host.is_none() => {
                mount_api::clone_tree(AT_FDCWD, path, recursive).map(DetachedMount)
            }
            _ => {
                let file = self.open_host(path, LOOK).about(format_args!("{}", Lossy(path)))?;
                return self.clone_file(file.as_fd(), recursive).about(format_args!("{}", Lossy(path)));
            }
        }
        .about(format_args!("{}", Lossy(path)))
    }

    /// Clones the mount of an open file, from that file on.
    pub fn clone_file(&mut self, file: BorrowedFd<'_>, recursive: bool) -> Result<DetachedMount> {
        match self.api {
            Api::Detached => Ok(DetachedMount(mount_api::clone_tree(file, c"", recursive)?)),
            Api::Staged => {
                let directory = kind(&fstat(file)?) == SFlag::S_IFDIR;
                let deep = if recursive { ms::REC } else { 0 };
                let source = FdPath::new(file);
                self.stage(directory, Some(source.as_c_str()), None, ms::BIND | deep, None)
            }
        }
    }

    /// Mounts a file system.
    pub fn new_fs(
        &mut self,
        kind: &CStr,
        source: &CStr,
        flags: u32,
        data: Option<&CStr>,
    ) -> Result<DetachedMount> {
        self.stage(true, Some(source), Some(kind), flags, data)
    }

    /// Mounts the procfs of another pid namespace.
    pub(super) fn foreign_proc(&mut self, proc: &ForeignProc<'_>) -> Result<DetachedMount> {
        match (proc.detached(&self.proc), self.api) {
            (Err(e), _) if e.errno() == Some(Errno::ENOSYS) => {
                self.stage_by(true, &|place, procfs| proc.attached(place, procfs))
            }
            (Ok(tree), Api::Staged) => {
                self.stage_by(true, &|place, _| Ok(mount_api::move_mount(tree.as_fd(), place)?))
            }
            (tree, _) => tree.map(DetachedMount),
        }
    }

    fn stage(
        &mut self,
        directory: bool,
        source: Option<&CStr>,
        kind: Option<&CStr>,
        flags: u32,
        data: Option<&CStr>,
    ) -> Result<DetachedMount> {
        self.stage_by(directory, &|place, _| Ok(mount_on(source, place, kind, flags, data)?))
    }

    fn stage_by(
        &mut self,
        directory: bool,
        mount: &dyn Fn(BorrowedFd<'_>, &ProcFs) -> Result<()>,
    ) -> Result<DetachedMount> {
        if !self.private {
            // A mount below a shared mount cannot be moved.
            mount_on(None, self.proc.as_fd(), None, ms::PRIVATE, None).at("make /proc private")?;
            self.private = true;
        }
        let name = if directory { STAGE_DIRECTORY } else { STAGE_FILE };
        let place = openat(&self.proc, name, LOOK)?;
        mount(place.as_fd(), &self.proc)?;
        Ok(DetachedMount(openat(&self.proc, name, LOOK)?))
    }

    /// Attaches a mount, with all mounts below it, on top of `target`.
    pub fn attach(&self, mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> std::result::Result<(), Errno> {
        match self.api {
            Api::Detached => mount_api::move_mount(mount, target),
            Api::Staged => mount_on(Some(FdPath::new(mount).as_c_str()), target, None, ms::MOVE, None),
        }
    }

    /// Changes the flags of the mount whose root is `mount`.
    pub fn change(&self, mount: BorrowedFd<'_>, change: &Change) -> Result<()> {
        let make = |change: &Change| match self.api {
            Api::Detached => set_attributes(mount, change),
            Api::Staged => remount(mount, change),
        };
        let done = match make(&Change { clear: change.clear | change.unasked, ..*change }) {
            Err(e) if change.unasked != 0 && e.errno() == Some(Errno::EPERM) => {
                make(&Change { clear: change.clear | change.unasked & !LOCKABLE, ..*change })
            }
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

/// statfs(2); missing in some C libraries.
const ST_NOSYMFOLLOW: u32 = 0x2000;
/// How mount(2) and statfs(2) write relatime.
const ST_RELATIME: u32 = 0x1000;

fn set_attributes(mount: BorrowedFd<'_>, change: &Change) -> Result<()> {
    let attributes = MountAttr {
        set: change.set.into(),
        clear: change.clear.into(),
        propagation: change.propagation.into(),
        userns_fd: 0,
    };
    match mount_api::mount_setattr(mount, change.recursive, &attributes) {
        // mount_setattr knows this attribute only since Linux 5.14.
        Err(Errno::EINVAL) if (change.set | change.clear) & attr::NOSYMFOLLOW != 0 => {
            if change.recursive {
                return Err(Error::from(Errno::EINVAL).hint("rnosymfollow and rsymfollow need Linux 5.14"));
            }
            remount(mount, change)
        }
        other => Ok(other?),
    }
}

/// The same by mount(2).
///
/// It sets the propagation in one call and all other flags, changed or not, in another.
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

/// The `MS_…` flags of a mount with the flags `now` (`ST_…`) after a change.
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
