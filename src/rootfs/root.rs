//! The container's root as one descriptor, where all work on its content starts.
//!
//! Everything below it is hostile: an image, or a running container that shares a volume, may place links anywhere and swap
//! names at any time. So a path is resolved once, by the kernel and as if the root were `/`. All work then uses the descriptor
//! of the file that was found, never its name again.

use std::cell::Cell;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, ResolveFlag};
use nix::sys::stat::{Mode, SFlag};

use super::resolve::{self, Missing};
use super::{Links, Resolver};
use crate::error::Context;
use crate::plan::inside_path::InsidePath;
use crate::sys::exact_modes::ExactModes;
use crate::sys::file::{FileStat, fstat, open, openat};
use crate::sys::openat2::{is_missing, openat2, openat2_cached};
use crate::sys::path::path_of;

pub use crate::sys::file::kind;

type Result<T> = std::result::Result<T, Errno>;

/// The mode of directories that are made on the way, as in runc.
const DIRECTORY: Mode = Mode::from_bits_truncate(0o755);

/// An `O_PATH` descriptor of a file that was reached without leaving the root.
///
/// It can be inspected and mounted on, and it stays the same file whatever happens to names. It is never turned back into a
/// path below the root.
#[derive(Debug)]
pub struct Handle(OwnedFd);

impl AsFd for Handle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Handle> for OwnedFd {
    fn from(handle: Handle) -> OwnedFd {
        handle.0
    }
}

impl Handle {
    /// The file's attributes.
    pub fn stat(&self) -> Result<FileStat> {
        fstat(&self.0)
    }

    /// Its file type: `S_IFDIR`, `S_IFREG`, `S_IFLNK` and so on.
    pub fn kind(&self) -> Result<SFlag> {
        Ok(kind(&self.stat()?))
    }
}

/// The root of the container's file system.
#[derive(Debug)]
pub struct RootDir {
    fd: OwnedFd,
    resolver: Cell<Resolver>,
}

impl AsFd for RootDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl RootDir {
    /// Uses a directory as the root. The kernel resolves paths if it can.
    pub fn new(directory: OwnedFd) -> RootDir {
        RootDir::with(directory, Resolver::Kernel)
    }

    /// The same with a chosen resolver. A kernel that lacks openat2 is not asked again.
    pub fn with(directory: OwnedFd, resolver: Resolver) -> RootDir {
        RootDir { fd: directory, resolver: Cell::new(resolver) }
    }

    /// The resolver in use.
    pub fn resolver(&self) -> Resolver {
        self.resolver.get()
    }

    /// Finds the file that a path leads to.
    pub fn resolve(&self, path: &InsidePath, links: Links) -> Result<Handle> {
        self.find(path.as_c_str(), links).map(Handle)
    }

    /// Whether a file is the root itself. Init would not notice a mount on it.
    pub fn is(&self, found: &Handle) -> Result<bool> {
        let (root, stat) = (fstat(&self.fd)?, found.stat()?);
        // Bound to another place it is the same file under another path.
        Ok((root.st_dev, root.st_ino) == (stat.st_dev, stat.st_ino) && path_of(&self.fd)? == path_of(found)?)
    }

    /// Opens the file that a path leads to, through links, as `O_PATH`.
    pub fn open(&self, path: &CStr) -> Result<OwnedFd> {
        self.find(path, Links::Follow)
    }

    /// The same from the kernel's cache alone, or an error.
    pub fn open_cached(&self, path: &CStr) -> Result<OwnedFd> {
        let how = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        openat2_cached(self.as_fd(), path, OFlag::O_PATH, how)
    }

    fn find(&self, path: &CStr, links: Links) -> Result<OwnedFd> {
        if self.resolver.get() == Resolver::Kernel {
            let path = if path.is_empty() { c"." } else { path };
            let mut flags = OFlag::O_PATH;
            flags.set(OFlag::O_NOFOLLOW, links == Links::NotLast);
            let mut how = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
            how.set(ResolveFlag::RESOLVE_NO_SYMLINKS, links == Links::Never);
            match openat2(self.as_fd(), path, flags, how) {
                Err(e) if is_missing(e) => self.resolver.set(Resolver::Walk),
                // A rename loop keeps the kernel from resolving a `..`; the walk is immune to that.
                Err(Errno::EAGAIN) => {}
                other => return other,
            }
        }
        resolve::walk(self.as_fd(), path.to_bytes(), links, Missing::Fails)
    }

    /// Finds a directory, and makes it and its parents where they are missing.
    ///
    /// Each directory is made in the one that was found before it, and then opened like any other, so nothing that appears
    /// meanwhile leads outside. If a link leads to nothing, the directory is made at its target, inside the root.
    pub fn mkdir_all(&self, path: &InsidePath, links: Links, mode: Mode) -> Result<Handle> {
        let (found, _) = self.find_or_make(path, links, Missing::Directories(mode))?;
        if found.kind()? == SFlag::S_IFDIR { Ok(found) } else { Err(Errno::ENOTDIR) }
    }

    /// Finds a file that is no directory, or makes an empty one and its parents.
    ///
    /// It is never opened for writing: an existing file keeps its content.
    pub fn create_file(&self, path: &InsidePath, links: Links, mode: Mode) -> Result<Handle> {
        let (found, _) = self.find_or_make(path, links, Missing::File { mode, on_the_way: DIRECTORY })?;
        if found.kind()? == SFlag::S_IFDIR { Err(Errno::EISDIR) } else { Ok(found) }
    }

    /// Finds the file that a path leads to, or makes it; and whether it was made.
    pub(super) fn find_or_make(
        &self,
        path: &InsidePath,
        links: Links,
        missing: Missing,
    ) -> Result<(Handle, bool)> {
        match self.resolve(path, links) {
            Err(Errno::ENOENT) => {
                let _exact = ExactModes::begin();
                resolve::walk(self.as_fd(), path.as_bytes(), links, missing).map(|fd| (Handle(fd), true))
            }
            other => other.map(|found| (found, false)),
        }
    }

    /// The directory for a device or a link, made if it is missing.
    ///
    /// Links are not followed in `/dev`: an image whose `/dev` is a link would get its devices in a volume of the host.
    pub fn directory(&self, path: &InsidePath) -> Result<Handle> {
        let links = if path.is_within("dev") { Links::Never } else { Links::Follow };
        self.mkdir_all(path, links, DIRECTORY)
    }
}

/// Opens a name in a directory without following links.
pub fn open_name(directory: impl AsFd, name: &CStr) -> Result<Handle> {
    openat(directory, name, OFlag::O_PATH | OFlag::O_NOFOLLOW).map(Handle)
}

/// The root directory of this process.
pub fn here() -> crate::error::Result<RootDir> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(RootDir::new(open(c"/", flags).at("open /")?))
}
