//! Resolving a path below a root without openat2(2): for kernels before 5.6, for seccomp filters that hide it, and for paths
//! that are still to be made.
//!
//! One component at a time, each opened without following links. The directories passed through stay open on a stack, and
//! `..` goes back to the one before: the kernel is never asked for a parent, which a rename may have moved out of the root.
//! Links are read and their text walked the same way, from the root again if it is absolute. So what is missing can be made
//! where a link leads to nothing (images have an `/etc/resolv.conf` that is one), and it is made inside the root.

use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

use super::root::kind;
use crate::sys::file::{fstat, mkdirat, mknodat, openat, readlinkat};

/// Which symbolic links a resolution follows. Links of procfs that lead to files instead of names are followed by none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// All, as if the root were `/`.
    Follow,
    /// All but one that the path ends in: that is what is found.
    NotLast,
    /// None: one anywhere in the path is ELOOP.
    Never,
}

/// What resolves paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolver {
    /// openat2(2), Linux 5.6.
    Kernel,
    /// Our own walk, one component at a time.
    Walk,
}

/// path_resolution(7): the kernel's limit for one path.
const MAX_LINKS: u32 = 40;
/// The inode of procfs's root directory.
const PROC_ROOT_INO: u64 = 1;

const LOOK: OFlag = OFlag::O_PATH.union(OFlag::O_NOFOLLOW);

/// What to do about what is not there.
#[derive(Clone, Copy)]
pub enum Missing {
    /// ENOENT.
    Fails,
    /// Directories are made.
    Directories(Mode),
    /// An empty file is made, and directories on the way to it.
    File {
        /// Of the file.
        mode: Mode,
        /// Of the directories.
        on_the_way: Mode,
    },
}

impl Missing {
    fn make(self, here: BorrowedFd<'_>, name: &CStr, last: bool) -> Result<(), Errno> {
        let made = match self {
            Missing::Fails => return Err(Errno::ENOENT),
            Missing::File { mode, .. } if last => mknodat(here, name, SFlag::S_IFREG, mode, 0),
            Missing::Directories(mode) | Missing::File { on_the_way: mode, .. } => mkdirat(here, name, mode),
        };
        // Whatever somebody else has put there meanwhile is looked at like anything else.
        if made == Err(Errno::EEXIST) { Ok(()) } else { made }
    }
}

/// An `O_PATH` descriptor of what `path` leads to if `root` is `/`.
pub fn walk(root: BorrowedFd<'_>, path: &[u8], links: Links, missing: Missing) -> Result<OwnedFd, Errno> {
    let mut rest = VecDeque::new();
    push_front(&mut rest, path)?;
    let mut passed: Vec<OwnedFd> = Vec::new();
    let (mut followed, mut made) = (0, false);
    while let Some(name) = rest.pop_front() {
        match name.as_bytes() {
            b"." => continue,
            // The way back out of what was not there is no way the kernel would go.
            b".." if made => return Err(Errno::ENOENT),
            b".." => {
                passed.pop();
                continue;
            }
            _ => {}
        }
        let here = passed.last().map_or(root, |fd| fd.as_fd());
        let look = || openat(here, name.as_c_str(), LOOK);
        let found = match look() {
            Err(Errno::ENOENT) => {
                missing.make(here, &name, rest.is_empty())?;
                made = true;
                look()?
            }
            other => other?,
        };
        let stat = fstat(&found)?;
        match kind(&stat) {
            SFlag::S_IFLNK if links == Links::Never => return Err(Errno::ELOOP),
            SFlag::S_IFLNK if links == Links::NotLast && rest.is_empty() => return Ok(found),
            SFlag::S_IFLNK => {
                followed += 1;
                if followed > MAX_LINKS {
                    return Err(Errno::ELOOP);
                }
                let text = read_link(here, &found)?;
                if text.starts_with(b"/") {
                    passed.clear();
                }
                push_front(&mut rest, &text)?;
            }
            SFlag::S_IFDIR => passed.push(found),
            _ if rest.is_empty() => return Ok(found),
            _ => return Err(Errno::ENOTDIR),
        }
    }
    match passed.pop() {
        Some(fd) => Ok(fd),
        None => openat(root, c".", OFlag::O_PATH),
    }
}

/// Puts the components of a path in front of those still to go. A slash at the end asks for a directory, which a `.` does too.
fn push_front(rest: &mut VecDeque<CString>, path: &[u8]) -> Result<(), Errno> {
    let name = |part: &[u8]| CString::new(part).map_err(|_| Errno::EINVAL);
    if path.ends_with(b"/") {
        rest.push_front(name(b".")?);
    }
    for part in path.rsplit(|b| *b == b'/').filter(|part| !part.is_empty()) {
        rest.push_front(name(part)?);
    }
    Ok(())
}

/// The text of a link, unless it is one of procfs whose text is not where it leads (`/proc/self/exe`, `/proc/self/fd/3`).
///
/// Those stand below a process's directory. Their texts are absolute or no paths at all; the ordinary ones that procfs has,
/// such as `self`, `mounts` and `device-tree`, stand in its root or are plain and relative.
fn read_link(directory: BorrowedFd<'_>, link: &OwnedFd) -> Result<Vec<u8>, Errno> {
    let text = readlinkat(link, c"")?;
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"._-/".contains(b);
    let ordinary = !text.starts_with(b"/") && text.iter().all(plain);
    let in_proc = || Ok::<_, Errno>(fstatfs(link)?.filesystem_type() == PROC_SUPER_MAGIC);
    if !ordinary && in_proc()? && fstat(directory)?.st_ino != PROC_ROOT_INO {
        return Err(Errno::ELOOP);
    }
    Ok(text)
}
