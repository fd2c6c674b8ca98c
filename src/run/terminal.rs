//! The container's terminal: init makes it inside, and its master is handed out.
//!
//! The image or a volume may hold anything below /dev, so no path that could lead elsewhere is opened: the multiplexer is
//! verified to be on the container's own devpts, the slave is opened from the master (TIOCGPTPEER), and /dev/console is
//! mounted on a descriptor (CVE-2025-52565, CVE-2026-88264).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{SFlag, makedev};

use super::wire::Channel;
use crate::error::{Context, Error, Result};
use crate::plan::inside_path::InsidePath;
use crate::rootfs::procfs::ProcFs;
use crate::rootfs::resolve::Links;
use crate::rootfs::root::{Handle, RootDir, kind};
use crate::sys::file::fstat;
use crate::sys::{descriptor, tty};

/// Linux's `DEVPTS_SUPER_MAGIC`.
const DEVPTS: i64 = 0x1cd1;

/// Makes a terminal in the container, sends its master, returns its slave.
pub fn make(root: &RootDir, procfs: &ProcFs, size: Option<(u16, u16)>, channel: &Channel) -> Result<OwnedFd> {
    let master = open_master(root, procfs)?;
    tty::unlock_pty(master.as_fd()).at("ioctl TIOCSPTLCK")?;
    let number = tty::pty_number(master.as_fd()).at("ioctl TIOCGPTN")?;
    let slave = open_slave(root, procfs, master.as_fd(), number)?;
    if let Some(size) = size {
        tty::set_size(slave.as_fd(), size).at("ioctl TIOCSWINSZ")?;
    }
    channel.terminal(number, master.as_fd())?;
    Ok(slave)
}

/// Makes it the standard streams of this process.
pub fn take(slave: &OwnedFd) -> Result<()> {
    (0..3).try_for_each(|n| descriptor::replace(n, slave)).at("dup2")
}

fn open_master(root: &RootDir, procfs: &ProcFs) -> Result<OwnedFd> {
    let ptmx = find(root, "/dev/pts/ptmx")
        .map_err(|e| e.hint("process.terminal needs a devpts mount at /dev/pts"))?;
    is_devpts(ptmx.as_fd(), (5, 2)).at("/dev/pts/ptmx")?;
    procfs.reopen(ptmx.as_fd(), OFlag::O_RDWR | OFlag::O_NOCTTY).at("open /dev/pts/ptmx")
}

fn open_slave(root: &RootDir, procfs: &ProcFs, master: BorrowedFd<'_>, number: u32) -> Result<OwnedFd> {
    match tty::pty_peer(master) {
        // Linux before 4.13.
        Err(Errno::ENOTTY | Errno::EINVAL) => {
            let slave = find(root, &format!("/dev/pts/{number}"))?;
            // Unix98 slaves have majors 136 to 143 (devices.txt).
            is_devpts(slave.as_fd(), (136 + u64::from(number) / 256, u64::from(number) % 256))?;
            procfs.reopen(slave.as_fd(), OFlag::O_RDWR | OFlag::O_NOCTTY).at("open the terminal")
        }
        other => other.at("ioctl TIOCGPTPEER"),
    }
}

fn find(root: &RootDir, path: &str) -> Result<Handle> {
    let inside = InsidePath::new(path).ok_or(Errno::EINVAL)?;
    root.resolve(&inside, Links::Never).at(path)
}

/// Checks that this is the character device of that number, on a devpts.
fn is_devpts(fd: BorrowedFd<'_>, (major, minor): (u64, u64)) -> Result<()> {
    let stat = fstat(fd)?;
    let fs = nix::sys::statfs::fstatfs(fd)?;
    let right = kind(&stat) == SFlag::S_IFCHR
        && stat.st_rdev == makedev(major, minor)
        && fs.filesystem_type().0 as i64 == DEVPTS;
    if right { Ok(()) } else { Err(Error::new("is not what it claims to be: no terminal of a devpts")) }
}
