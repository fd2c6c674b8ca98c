//! The host's procfs, verified once, and writes beneath it that nothing mounted over it can redirect.
//!
//! Security labels, sysctls and the OOM score are set by writing to files of procfs. Whoever could put another file under
//! that name, by a mount or a link, would leave the container without its label (CVE-2019-19921, CVE-2025-52881). So the
//! procfs is opened and verified before anything of the container is in sight, and every file is opened from that
//! descriptor, over no link and no mount.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use nix::errno::Errno;
use nix::fcntl::{OFlag, ResolveFlag, open, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

use super::root::{Handle, kind};
use crate::error::{Context, Error, Result};
use crate::sys::openat2::{is_missing, openat2};

/// The root directory of a procfs, proven to be one.
#[derive(Debug)]
pub struct ProcFs(OwnedFd);

impl AsFd for ProcFs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Whether something is in procfs.
pub fn is_procfs(file: impl AsFd) -> std::result::Result<bool, Errno> {
    Ok(fstatfs(file)?.filesystem_type() == PROC_SUPER_MAGIC)
}

impl ProcFs {
    /// Opens `/proc`, which must be the root of a procfs.
    pub fn open() -> Result<ProcFs> {
        let fd = open(c"/proc", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
            .context(|| "open /proc")?;
        ProcFs::verify(fd).context(|| "/proc")
    }

    fn verify(fd: OwnedFd) -> Result<ProcFs> {
        // The root of every procfs is inode 1: nothing else in it can pass for it.
        let real = is_procfs(&fd)? && fstat(&fd)?.st_ino == 1;
        if real { Ok(ProcFs(fd)) } else { Err(Error::new("is not a procfs (mount -t proc proc /proc)")) }
    }

    /// Writes a text in one go to a file below `/proc`, such as `sys/net/ipv4/ip_forward`.
    pub fn write(&self, path: &CStr, text: &[u8]) -> Result<()> {
        let file = self
            .open_beneath(path, OFlag::O_WRONLY | OFlag::O_NOCTTY)
            .context(|| format!("open /proc/{}", path.to_string_lossy()))?;
        let written = nix::unistd::write(&file, text);
        match written {
            Ok(n) if n == text.len() => Ok(()),
            Ok(_) => Err(Error::from(Errno::EIO)),
            Err(e) => Err(e.into()),
        }
        .context(|| format!("write {:?} to /proc/{}", String::from_utf8_lossy(text), path.to_string_lossy()))
    }

    /// Writes to a file of the calling process, such as `oom_score_adj`.
    pub fn write_self(&self, path: &str, text: &[u8]) -> Result<()> {
        self.write(&self.below(c"self", path)?, text)
    }

    /// Writes to a file of the calling thread, such as `attr/exec`; of its process before Linux 3.17.
    pub fn write_thread(&self, path: &str, text: &[u8]) -> Result<()> {
        let file = self.below(c"thread-self", path).or_else(|_| self.below(c"self", path))?;
        self.write(&file, text)
    }

    /// Sets a kernel parameter, given as its path below `/proc/sys` ([`crate::plan::sysctl::path`]).
    pub fn sysctl(&self, path: &str, value: &str) -> Result<()> {
        let path = CString::new(format!("sys/{path}")).map_err(|_| Error::from(Errno::EINVAL))?;
        self.write(&path, value.as_bytes())
    }

    /// Opens a file that is already proven to be inside the container for reading.
    ///
    /// Opening a device, a FIFO or a socket may hang or do something; only a regular file is opened.
    pub fn reopen_regular(&self, file: &Handle) -> std::result::Result<OwnedFd, Errno> {
        if file.kind()? != SFlag::S_IFREG {
            return Err(Errno::EINVAL);
        }
        let number = std::os::fd::AsRawFd::as_raw_fd(&file.as_fd());
        let path = CString::new(format!("self/fd/{number}")).map_err(|_| Errno::EINVAL)?;
        let fd = openat(
            &self.0,
            path.as_c_str(),
            OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?;
        // Another mount over `fd` in procfs would have shown us another file.
        let (is, was) = (fstat(&fd)?, file.stat()?);
        let same = is.st_dev == was.st_dev && is.st_ino == was.st_ino;
        if same { Ok(fd) } else { Err(Errno::EXDEV) }
    }

    /// `self/path`, with the link read instead of followed: procfs says there which process we are in *its* pid
    /// namespace, which need not be ours.
    fn below(&self, link: &CStr, path: &str) -> Result<CString> {
        let text = readlinkat(&self.0, link).context(|| format!("read /proc/{}", link.to_string_lossy()))?;
        let mut whole = text.as_bytes().to_vec();
        whole.push(b'/');
        whole.extend_from_slice(path.as_bytes());
        CString::new(whole).map_err(|_| Error::from(Errno::EINVAL))
    }

    /// Opens a file below `/proc` over no link, no mount and no `..`.
    fn open_beneath(&self, path: &CStr, flags: OFlag) -> std::result::Result<OwnedFd, Errno> {
        let how = ResolveFlag::RESOLVE_BENEATH
            | ResolveFlag::RESOLVE_NO_XDEV
            | ResolveFlag::RESOLVE_NO_SYMLINKS
            | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        match openat2(self.as_fd(), path, flags, how) {
            Err(e) if is_missing(e) => self.walk_beneath(path, flags),
            other => other,
        }
    }

    /// The same for kernels before 5.6. A mount of another procfs over a part of this one is told by its mount id.
    fn walk_beneath(&self, path: &CStr, flags: OFlag) -> std::result::Result<OwnedFd, Errno> {
        let device = fstat(&self.0)?.st_dev;
        let mut here: Option<OwnedFd> = None;
        let mut names = path.to_bytes().split(|b| *b == b'/').filter(|n| !n.is_empty()).peekable();
        while let Some(name) = names.next() {
            if name == b".." {
                return Err(Errno::EXDEV);
            }
            let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
            let look = if names.peek().is_some() { OFlag::O_PATH | OFlag::O_DIRECTORY } else { flags };
            let from = here.as_ref().map_or(self.as_fd(), |fd| fd.as_fd());
            let next =
                openat(from, name.as_c_str(), look | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
            let stat = fstat(&next)?;
            if stat.st_dev != device || kind(&stat) == SFlag::S_IFLNK {
                return Err(Errno::EXDEV);
            }
            here = Some(next);
        }
        here.ok_or(Errno::EISDIR)
    }
}
