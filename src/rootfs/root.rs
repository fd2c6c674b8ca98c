//! The container's root as one file descriptor, from which every act on its content starts.
//!
//! What lies below it is hostile: an image, or a container that runs already and shares a volume, may put a link anywhere
//! and swap names at any time. Therefore a path is resolved once, by the kernel and as if the root were `/`, and what is
//! then done is done to the file that was found, by its descriptor, never by its name again.

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
use crate::sys::openat2::{is_missing, openat2};
use crate::sys::path::path_of;

pub use crate::sys::file::kind;

type Result<T> = std::result::Result<T, Errno>;

/// The mode of directories that are made on the way to something, as runc makes them.
const DIRECTORY: Mode = Mode::from_bits_truncate(0o755);

/// An `O_PATH` descriptor of something that was reached without leaving the root.
///
/// It can be mounted on and looked at, and it stays the same file whatever happens to names. It is never turned back into a
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
    /// What is known of the file.
    pub fn stat(&self) -> Result<FileStat> {
        fstat(&self.0)
    }

    /// Its kind: one of `S_IFDIR`, `S_IFREG`, `S_IFLNK` and so on.
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
    /// Takes a directory to be the root. The kernel resolves paths if it can.
    pub fn new(directory: OwnedFd) -> RootDir {
        RootDir::with(directory, Resolver::Kernel)
    }

    /// The same with a resolver of choice; a kernel that turns out to lack openat2 is not asked again.
    pub fn with(directory: OwnedFd, resolver: Resolver) -> RootDir {
        RootDir { fd: directory, resolver: Cell::new(resolver) }
    }

    /// Which resolver is in use.
    pub fn resolver(&self) -> Resolver {
        self.resolver.get()
    }

    /// Finds what a path leads to.
    pub fn resolve(&self, path: &InsidePath, links: Links) -> Result<Handle> {
        self.find(path.as_c_str(), links).map(Handle)
    }

    /// Whether what was found is the root itself. A mount on it hides nothing from init, which goes on below.
    pub fn is(&self, found: &Handle) -> Result<bool> {
        let (root, stat) = (fstat(&self.fd)?, found.stat()?);
        // Bound to another place it is the same file under another path.
        Ok((root.st_dev, root.st_ino) == (stat.st_dev, stat.st_ino) && path_of(&self.fd)? == path_of(found)?)
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
                // Somebody renames without end to keep us from resolving a `..`; the walk does not depend on that.
                Err(Errno::EAGAIN) => {}
                other => return other,
            }
        }
        resolve::walk(self.as_fd(), path.to_bytes(), links, Missing::Fails)
    }

    /// Finds a directory, after making it and those above it where they are missing.
    ///
    /// A directory is made in the one that was found before it, and then looked at like any other, so nothing that appears
    /// meanwhile leads out. Where a link leads to nothing, the directory is made where it leads, inside the root.
    pub fn mkdir_all(&self, path: &InsidePath, links: Links, mode: Mode) -> Result<Handle> {
        let (found, _) = self.find_or_make(path, links, Missing::Directories(mode))?;
        if found.kind()? == SFlag::S_IFDIR { Ok(found) } else { Err(Errno::ENOTDIR) }
    }

    /// Finds anything but a directory, or makes an empty file where nothing is, with the directories above it.
    ///
    /// It is never opened for writing: an existing file is left as it is.
    pub fn create_file(&self, path: &InsidePath, links: Links, mode: Mode) -> Result<Handle> {
        let (found, _) = self.find_or_make(path, links, Missing::File { mode, on_the_way: DIRECTORY })?;
        if found.kind()? == SFlag::S_IFDIR { Err(Errno::EISDIR) } else { Ok(found) }
    }

    /// Finds what a path leads to, or makes it; and whether it had to be made.
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

    /// The directory that a device or a link goes into, made if it is missing. `/dev` is a place of its own: an image whose
    /// `/dev` is a link would have them made in a volume of the host.
    pub fn directory(&self, path: &InsidePath) -> Result<Handle> {
        let links = if path.is_within("dev") { Links::Never } else { Links::Follow };
        self.mkdir_all(path, links, DIRECTORY)
    }
}

/// What stands under a name in a directory, links not followed.
pub fn open_name(directory: impl AsFd, name: &CStr) -> Result<Handle> {
    openat(directory, name, OFlag::O_PATH | OFlag::O_NOFOLLOW).map(Handle)
}

/// The root directory of this process.
pub fn here() -> crate::error::Result<RootDir> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(RootDir::new(open(c"/", flags).at("open /")?))
}
