//! The standard streams that a container inherits.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{SFlag, makedev};

use crate::error::{Context, Error, Result};
use crate::plan::inside_path::InsidePath;
use crate::rootfs::procfs::ProcFs;
use crate::rootfs::resolve::Links;
use crate::rootfs::root::{RootDir, kind};
use crate::sys::descriptor;
use crate::sys::file::fstat;

/// Replaces the host's /dev/null by the container's.
///
/// No host file must stay open. /// The image's file of that name is opened only if it is the null device (CVE-2026-88265).
pub fn take_null(root: &RootDir, procfs: &ProcFs) -> Result<()> {
    let mut null = None;
    for n in 0..3 {
        let Some(fd) = descriptor::inherited(n) else { continue };
        let stat = fstat(fd)?;
        if kind(&stat) != SFlag::S_IFCHR || stat.st_rdev != makedev(1, 3) {
            continue;
        }
        if null.is_none() {
            let path = InsidePath::new("/dev/null").ok_or(Errno::EINVAL)?;
            let found = match root.resolve(&path, Links::Never) {
                // A container without its own devices keeps the inherited one.
                Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
                found => found.at("/dev/null")?,
            };
            let stat = found.stat()?;
            if kind(&stat) != SFlag::S_IFCHR || stat.st_rdev != makedev(1, 3) {
                return Err(Error::new("/dev/null in the root file system is not the null device"));
            }
            null = Some(procfs.reopen(found.as_fd(), OFlag::O_RDWR).map_err(|e| {
                match e {
                    Errno::EACCES => Error::os("open /dev/null", e)
                        .hint("the root file system may be on a mount with nodev: mount a tmpfs at /dev"),
                    e => Error::os("open /dev/null", e),
                }
            })?);
        }
        if let Some(null) = &null {
            descriptor::replace(n, null).at("dup2")?;
        }
    }
    Ok(())
}

/// Gives terminals and pipes to the container's user.
///
/// Otherwise the user could not open /dev/stdout. /// Files and devices keep their owner: they are not the container's.
pub fn own(uid: u32) -> Result<()> {
    for fd in (0..3).filter_map(descriptor::inherited) {
        let Ok(stat) = fstat(fd) else { continue };
        let terminal = || nix::unistd::isatty(fd).unwrap_or(false);
        if stat.st_uid == uid || !(kind(&stat) == SFlag::S_IFIFO || terminal()) {
            continue;
        }
        match nix::unistd::fchown(fd, Some(uid.into()), None) {
            // A read-only file system, or ids that the user namespace does not map.
            Ok(()) | Err(Errno::EPERM | Errno::EROFS | Errno::EINVAL | Errno::ENOSYS) => {}
            Err(e) => return Err(Error::os("fchown", e)),
        }
    }
    Ok(())
}
