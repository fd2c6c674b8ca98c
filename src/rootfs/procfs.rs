//! The host's procfs, verified once, and writes to it that no mount can redirect.
//!
//! Security labels, sysctls and the OOM score are set by writing to files of procfs. Anyone who puts another file under such a
//! name, by a mount or a link, leaves the container without its label (CVE-2019-19921, CVE-2025-52881). So the procfs is
//! opened and verified before anything of the container is visible, and every file is opened from that descriptor, through no
//! link and no mount.

use std::cell::Cell;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, ResolveFlag};
use nix::sys::stat::SFlag;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

use super::resolve::Resolver;
use super::root::{Handle, kind};
use crate::error::{Context, Error, Lossy, Quoted, Result, engine};
use crate::sys::file::{fstat, open, openat, readlinkat};
use crate::sys::namespace::kind_of;
use crate::sys::openat2::{is_missing, openat2};

/// The root directory of a procfs, verified to be one.
#[derive(Debug)]
pub struct ProcFs {
    fd: OwnedFd,
    resolver: Cell<Resolver>,
}

impl AsFd for ProcFs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Whether a file is in procfs.
pub fn is_procfs(file: impl AsFd) -> std::result::Result<bool, Errno> {
    Ok(fstatfs(file)?.filesystem_type() == PROC_SUPER_MAGIC)
}

impl ProcFs {
    /// Opens `/proc`, which must be the root of a procfs.
    pub fn open() -> Result<ProcFs> {
        ProcFs::with(Resolver::Kernel)
    }

    /// The same with a chosen resolver. A kernel that lacks openat2 is not asked again.
    pub fn with(resolver: Resolver) -> Result<ProcFs> {
        ProcFs::of(open(c"/proc", OFlag::O_PATH | OFlag::O_DIRECTORY).at("open /proc")?, resolver)
    }

    /// Uses an open directory, which must be the root of a procfs.
    pub fn of(fd: OwnedFd, resolver: Resolver) -> Result<ProcFs> {
        // The root of every procfs is inode 1, and no other file in it has that number.
        let real = is_procfs(&fd)? && fstat(&fd)?.st_ino == 1;
        if !real {
            return Err(Error::new("/proc is not a procfs (mount -t proc proc /proc)"));
        }
        Ok(ProcFs { fd, resolver: Cell::new(resolver) })
    }

    /// Writes a text to a file below `/proc`, such as `sys/net/ipv4/ip_forward`.
    pub fn write(&self, path: &CStr, text: &[u8]) -> Result<()> {
        let file = self
            .open_beneath(path, OFlag::O_WRONLY | OFlag::O_NOCTTY)
            .about(format_args!("open /proc/{}", Lossy(path)))
            .map_err(|e| match e.errno() {
                Some(Errno::EXDEV) => e.hint("something is mounted over it"),
                _ => e,
            })?;
        let written = nix::unistd::write(&file, text);
        match written {
            Ok(n) if n == text.len() => Ok(()),
            Ok(_) => Err(Error::from(Errno::EIO)),
            Err(e) => Err(e.into()),
        }
        .context(|| format!("write {} to /proc/{}", Quoted(&String::from_utf8_lossy(text)), Lossy(path)))
    }

    /// Writes to a file of the calling process, such as `oom_score_adj`.
    pub fn write_self(&self, path: &str, text: &[u8]) -> Result<()> {
        self.write(&self.below(c"self", path)?, text)
    }

    /// Writes to a file of the calling thread (of its process before Linux 3.17).
    pub fn write_thread(&self, path: &str, text: &[u8]) -> Result<()> {
        let file = self.below(c"thread-self", path).or_else(|_| self.below(c"self", path))?;
        self.write(&file, text)
    }

    /// Asks AppArmor to confine the next program.
    ///
    /// `exec` replaces the present profile, `stack` adds to it.
    pub fn set_profile(&self, verb: &str, profile: &str) -> Result<()> {
        // Since Linux 5.8 each security module has files of its own.
        let mut attribute = "attr/apparmor/exec";
        if self
            .open_beneath(&self.below(c"self", attribute)?, OFlag::O_PATH)
            .is_err_and(|e| e == Errno::ENOENT)
        {
            attribute = "attr/exec";
        }
        self.set_attribute(attribute, &format!("{verb} {profile}")).map_err(|e| match e.errno() {
            // Without the words of the errno, by which engines mean that the program is missing.
            Some(Errno::ENOENT) => Error::of(format_args!(
                "write {1} to {0}/proc/self/{attribute}{0}: the profile is not loaded (load it with apparmor_parser -r FILE)",
                engine::ATTRIBUTE_QUOTE,
                Quoted(profile)
            )),
            _ => e,
        })
        .at("process.apparmorProfile")
    }

    /// Asks SELinux for a label.
    ///
    /// The attribute is `attr/exec` for the next program and `attr/keycreate` for new keys.
    pub fn set_label(&self, attribute: &str, label: &str) -> Result<()> {
        self.set_attribute(attribute, label)
            .map_err(|e| match e.errno() {
                Some(Errno::EINVAL) => e.hint("the policy does not have this label"),
                _ => e,
            })
            .at("process.selinuxLabel")
    }

    fn set_attribute(&self, attribute: &str, text: &str) -> Result<()> {
        let path = self.below(c"self", attribute)?;
        let file = self.open_beneath(&path, OFlag::O_WRONLY | OFlag::O_NOCTTY);
        file.and_then(|file| nix::unistd::write(&file, text.as_bytes())).map(drop).about(format_args!(
            "write {1} to {0}/proc/{2}{0}",
            engine::ATTRIBUTE_QUOTE,
            Quoted(text),
            Lossy(&path)
        ))
    }

    /// Whether the user namespace of this process denies setgroups(2) (Linux 3.19).
    pub fn denies_groups(&self) -> Result<bool> {
        let file = match self.open_beneath(&self.below(c"self", "setgroups")?, OFlag::O_RDONLY) {
            Err(Errno::ENOENT) => return Ok(false),
            other => other.at("open /proc/self/setgroups")?,
        };
        let mut word = [0; 4];
        nix::unistd::read(&file, &mut word).at("read /proc/self/setgroups")?;
        Ok(word == *b"deny")
    }

    /// Sets a kernel parameter, given as its path below `/proc/sys`.
    ///
    /// [`crate::plan::sysctl::path`] makes that path.
    pub fn sysctl(&self, path: &str, value: &str) -> Result<()> {
        let path = CString::new(format!("sys/{path}")).map_err(|_| Error::from(Errno::EINVAL))?;
        self.write(&path, value.as_bytes())
    }

    /// Opens a namespace of this process, and checks its kind, a `CLONE_NEW…` flag.
    pub fn own_namespace(&self, name: &str, kind: u64) -> Result<OwnedFd> {
        let path = self.below(c"self", &format!("ns/{name}"))?;
        let fd = openat(&self.fd, path.as_c_str(), OFlag::O_RDONLY)
            .about(format_args!("open /proc/{}", Lossy(&path)))?;
        // The path is a magic link, so a mount over it is noticed only here.
        if kind_of(&fd) == Ok(kind) { Ok(fd) } else { Err(Error::from(Errno::EXDEV).context(Lossy(&path))) }
    }

    /// Opens a regular file for reading that is proven to be inside the container.
    ///
    /// Opening a device, a FIFO or a socket may hang or have side effects.
    pub fn reopen_regular(&self, file: &Handle) -> std::result::Result<OwnedFd, Errno> {
        if file.kind()? != SFlag::S_IFREG {
            return Err(Errno::EINVAL);
        }
        self.reopen(file.as_fd(), OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)
    }

    /// `self/path`, with the text of the link `self` instead of the link.
    ///
    /// procfs gives there the pid of this process in *its* pid namespace, which may differ from ours.
    fn below(&self, link: &CStr, path: &str) -> Result<CString> {
        let text = readlinkat(&self.fd, link).about(format_args!("read /proc/{}", Lossy(link)))?;
        let mut whole = text;
        whole.push(b'/');
        whole.extend_from_slice(path.as_bytes());
        CString::new(whole).map_err(|_| Error::from(Errno::EINVAL))
    }

    /// Opens a file below `/proc` through no link, no mount and no `..`.
    fn open_beneath(&self, path: &CStr, flags: OFlag) -> std::result::Result<OwnedFd, Errno> {
        if self.resolver.get() == Resolver::Kernel {
            let how = ResolveFlag::RESOLVE_BENEATH
                | ResolveFlag::RESOLVE_NO_XDEV
                | ResolveFlag::RESOLVE_NO_SYMLINKS
                | ResolveFlag::RESOLVE_NO_MAGICLINKS;
            match openat2(self.as_fd(), path, flags, how) {
                Err(e) if is_missing(e) => self.resolver.set(Resolver::Walk),
                other => return other,
            }
        }
        self.walk_beneath(path, flags)
    }

    /// The same for kernels before 5.6.
    ///
    /// A mount over a part of this procfs has another device or, if it is a part of the same procfs, another mount id.
    fn walk_beneath(&self, path: &CStr, flags: OFlag) -> std::result::Result<OwnedFd, Errno> {
        let device = fstat(&self.fd)?.st_dev;
        let mount = self.mount_id(self.as_fd());
        let mut here = openat(&self.fd, c".", OFlag::O_PATH)?;
        for name in path.to_bytes().split(|b| *b == b'/').filter(|n| !n.is_empty()) {
            let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
            let look = OFlag::O_PATH | OFlag::O_NOFOLLOW;
            let next = openat(&here, name.as_c_str(), look)?;
            let stat = fstat(&next)?;
            if name.as_c_str() == c".." || stat.st_dev != device || self.mount_id(next.as_fd()) != mount {
                return Err(Errno::EXDEV);
            }
            if kind(&stat) == SFlag::S_IFLNK {
                return Err(Errno::ELOOP);
            }
            here = next;
        }
        self.reopen(here.as_fd(), flags)
    }

    /// Opens the file of an `O_PATH` descriptor again.
    pub fn reopen(&self, file: BorrowedFd<'_>, flags: OFlag) -> std::result::Result<OwnedFd, Errno> {
        let path = CString::new(format!("self/fd/{}", file.as_raw_fd())).map_err(|_| Errno::EINVAL)?;
        let fd = openat(&self.fd, path.as_c_str(), flags)?;
        // A mount over that part of procfs would have led to another file.
        let (is, was) = (fstat(&fd)?, fstat(file)?);
        if is.st_dev == was.st_dev && is.st_ino == was.st_ino { Ok(fd) } else { Err(Errno::EXDEV) }
    }

    /// The id of the mount that a file is on (`/proc/self/fdinfo`, Linux 3.15).
    fn mount_id(&self, file: BorrowedFd<'_>) -> Option<u32> {
        let path = CString::new(format!("self/fdinfo/{}", file.as_raw_fd())).ok()?;
        let info = openat(&self.fd, path.as_c_str(), OFlag::O_RDONLY).ok()?;
        let mut text = [0; 512];
        let length = nix::unistd::read(&info, &mut text).ok()?;
        let text = std::str::from_utf8(&text[..length]).ok()?;
        text.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim_ascii().parse().ok()
    }
}
