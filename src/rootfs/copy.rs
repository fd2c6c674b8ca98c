//! Copies a directory of the image into the tmpfs that will cover it (`tmpcopyup`).

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag};
use nix::unistd::read;

use super::root::kind;
use crate::error::{Context, Error, Lossy, Result};
use crate::sys::entry::write_all;
use crate::sys::file::{
    FileStat, chmodat, chownat, create, entries, fstat, lstatat, mkdirat, mknodat, openat, readlinkat,
    symlinkat,
};

/// The deepest nesting of directories; each level holds two descriptors.
const MAX_DEPTH: u32 = 128;

/// Copies the content of a directory into another one, with owners and modes.
///
/// Links are copied and never followed. Only regular files are opened.
pub fn directory(from: &impl AsFd, to: &impl AsFd) -> Result<()> {
    level(open_directory(from, c".")?, &open_directory(to, c".")?, MAX_DEPTH)
}

fn open_directory(at: &impl AsFd, name: &CStr) -> Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    Ok(openat(at, name, flags)?)
}

fn level(from: OwnedFd, to: &OwnedFd, depth: u32) -> Result<()> {
    if depth == 0 {
        return Err(Error::of(format_args!("directories are nested more than {MAX_DEPTH} deep")));
    }
    for (name, _) in entries(&from)? {
        one(&from, to, name, depth).about(format_args!("{}", Lossy(name)))?;
    }
    Ok(())
}

fn one(from: &OwnedFd, to: &OwnedFd, name: &CStr, depth: u32) -> Result<()> {
    let stat = lstatat(from, name)?;
    let mode = Mode::from_bits_truncate(stat.st_mode & 0o7777);
    match kind(&stat) {
        SFlag::S_IFDIR => {
            mkdirat(to, name, mode)?;
            level(open_directory(from, name)?, &open_directory(to, name)?, depth - 1)?;
        }
        SFlag::S_IFLNK => {
            let text = CString::new(readlinkat(from, name)?).map_err(|_| Errno::EINVAL)?;
            symlinkat(&text, to, name)?;
            return own(to, name, &stat);
        }
        SFlag::S_IFREG => content(from, to, name)?,
        other => mknodat(to, name, other, mode, stat.st_rdev)?,
    }
    own(to, name, &stat)?;
    // After chown, which clears the set-id bits, and by chmod, which ignores the umask.
    Ok(chmodat(to, name, mode)?)
}

fn own(to: &OwnedFd, name: &CStr, stat: &FileStat) -> Result<()> {
    Ok(chownat(to, name, stat.st_uid, Some(stat.st_gid))?)
}

fn content(from: &OwnedFd, to: &OwnedFd, name: &CStr) -> Result<()> {
    let flags = OFlag::O_NOFOLLOW;
    let from = openat(from, name, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | flags)?;
    if kind(&fstat(&from)?) != SFlag::S_IFREG {
        return Err(Error::from(Errno::ELOOP));
    }
    let to = create(to, name, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | flags, Mode::S_IRUSR)?;
    let mut buffer = [0; 16384];
    loop {
        match read(&from, &mut buffer)? {
            0 => return Ok(()),
            n => write_all(to.as_fd(), &buffer[..n])?,
        }
    }
}
