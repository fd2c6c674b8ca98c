//! Resolves a path below a root without openat2(2).
//!
//! It serves kernels before 5.6, seccomp filters that deny openat2, and paths that are still to be made.
//!
//! One component is opened at a time, without following links. The directories passed through stay open on a stack, and `..`
//! returns to the previous one: the kernel is never asked for a parent, which a rename may have moved out of the root. The
//! text of a link is walked the same way, from the root if it is absolute. So missing files are made where a link leads (the
//! `/etc/resolv.conf` of many images is a dangling link), and always inside the root.

use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

use super::root::kind;
use crate::sys::file::{fstat, mkdirat, mknodat, openat, readlinkat};

/// The symbolic links that a resolution follows; never the magic links of procfs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// All, as if the root were `/`.
    Follow,
    /// All except a link at the end of the path: the link itself is found.
    NotLast,
    /// None: a link anywhere in the path is ELOOP.
    Never,
}

/// The method that resolves paths.
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

/// How to handle missing components.
#[derive(Clone, Copy)]
pub enum Missing {
    /// They are ENOENT.
    Fails,
    /// They are made as directories.
    Directories(Mode),
    /// The last one is made as an empty file, the others as directories.
    File {
        /// The mode of the file.
        mode: Mode,
        /// The mode of the directories.
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
        // If another process has made the name meanwhile, it is opened like any other.
        if made == Err(Errno::EEXIST) { Ok(()) } else { made }
    }
}

/// An `O_PATH` descriptor of the file that `path` leads to if `root` is `/`.
pub fn walk(root: BorrowedFd<'_>, path: &[u8], links: Links, missing: Missing) -> Result<OwnedFd, Errno> {
    let mut rest = VecDeque::new();
    push_front(&mut rest, path)?;
    let mut passed: Vec<OwnedFd> = Vec::new();
    let (mut followed, mut made) = (0, false);
    while let Some(name) = rest.pop_front() {
        match name.as_bytes() {
            b"." => continue,
            // `..` after a component that was just made: openat2 would have failed with ENOENT there.
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

/// Puts the components of a path in front of the remaining ones.
///
/// A trailing slash requires a directory, and so does a `.`.
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

/// The text of a link, unless it is a magic link of procfs.
///
/// Magic links (`/proc/self/exe`, `/proc/self/fd/3`) are below a process's directory, and their texts are absolute or not
/// paths at all. The ordinary links of procfs, such as `self`, `mounts` and `device-tree`, are in its root or are plain and
/// relative.
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
