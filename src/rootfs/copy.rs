//! Copying a directory of the image into a tmpfs that is going to cover it (`tmpcopyup`).

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmodat, fstat, fstatat, mkdirat, mknodat};
use nix::unistd::{Gid, Uid, fchownat, read, symlinkat, write};

use super::root::kind;
use crate::error::{Context, Error, Lossy, Result};

/// How deep directories may be nested: each level holds two descriptors and a frame.
const MAX_DEPTH: u32 = 128;

/// Copies all that is in a directory, with owners and modes, into another one. Links are copied, never followed, and no file
/// but a regular one is opened.
pub fn directory(from: &impl AsFd, to: &impl AsFd) -> Result<()> {
    level(open_directory(from, c".")?, &open_directory(to, c".")?, MAX_DEPTH)
}

fn open_directory(at: &impl AsFd, name: &CStr) -> Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(openat(at, name, flags, Mode::empty())?)
}

fn level(from: OwnedFd, to: &OwnedFd, depth: u32) -> Result<()> {
    if depth == 0 {
        return Err(Error::new(format!("directories are nested more than {MAX_DEPTH} deep")));
    }
    let listing = Dir::from_fd(from.try_clone()?)?;
    for entry in listing {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            one(&from, to, name, depth).about(format_args!("{}", Lossy(name)))?;
        }
    }
    Ok(())
}

fn one(from: &OwnedFd, to: &OwnedFd, name: &CStr, depth: u32) -> Result<()> {
    let stat = fstatat(from, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    let mode = Mode::from_bits_truncate(stat.st_mode & 0o7777);
    match kind(&stat) {
        SFlag::S_IFDIR => {
            mkdirat(to, name, mode)?;
            level(open_directory(from, name)?, &open_directory(to, name)?, depth - 1)?;
        }
        SFlag::S_IFLNK => {
            symlinkat(readlinkat(from, name)?.as_os_str(), to, name)?;
            return own(to, name, &stat);
        }
        SFlag::S_IFREG => content(from, to, name)?,
        other => mknodat(to, name, other, mode, stat.st_rdev)?,
    }
    own(to, name, &stat)?;
    // After the owner, whose change takes the set-id bits away; and past the umask.
    Ok(fchmodat(to, name, mode, FchmodatFlags::FollowSymlink)?)
}

fn own(to: &OwnedFd, name: &CStr, stat: &FileStat) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    Ok(fchownat(to, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?)
}

fn content(from: &OwnedFd, to: &OwnedFd, name: &CStr) -> Result<()> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let from =
        openat(from, name, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | flags, Mode::empty())?;
    if kind(&fstat(&from)?) != SFlag::S_IFREG {
        return Err(Error::from(Errno::ELOOP));
    }
    let to = openat(to, name, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | flags, Mode::S_IRUSR)?;
    let mut buffer = [0; 16384];
    loop {
        let mut rest = match read(&from, &mut buffer)? {
            0 => return Ok(()),
            n => &buffer[..n],
        };
        while !rest.is_empty() {
            rest = &rest[write(&to, rest)?..];
        }
    }
}
