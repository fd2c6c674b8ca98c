//! Mounts onto file descriptors, and the calls for detached mounts.
//!
//! The latter take mounts as file descriptors: open_tree, move_mount, fsopen and fsmount (Linux 5.2), mount_setattr (5.12).

use std::ffi::{CStr, c_char, c_int, c_long, c_uint, c_ulong};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use nix::errno::Errno;

use super::done;
use crate::text::c_text;

type Result<T> = std::result::Result<T, Errno>;

const OPEN_TREE_CLONE: c_uint = 1;
const OPEN_TREE_CLOEXEC: c_uint = libc::O_CLOEXEC as c_uint;
const AT_EMPTY_PATH: c_uint = 0x1000;
const AT_RECURSIVE: c_uint = 0x8000;
const MOVE_MOUNT_F_EMPTY_PATH: c_uint = 0x04;
const MOVE_MOUNT_T_EMPTY_PATH: c_uint = 0x40;

/// The mount shows ids through the map of a user namespace.
pub const MOUNT_ATTR_IDMAP: u64 = 0x10_0000;

/// The kernel's `struct mount_attr` (mount_setattr(2)).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct MountAttr {
    /// `MOUNT_ATTR_…` to set.
    pub set: u64,
    /// `MOUNT_ATTR_…` to clear, before `set` is applied.
    pub clear: u64,
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, `MS_UNBINDABLE`, or 0 for no change.
    pub propagation: u64,
    /// The user namespace for `MOUNT_ATTR_IDMAP`.
    pub userns_fd: u64,
}

/// The path of an open file in procfs, `/proc/self/fd/N`, without allocating.
///
/// It always leads to the open file itself, even if its original path now leads elsewhere. It is meant for calls
/// that take no file descriptor, in a process that still sees the host's procfs at `/proc`.
pub struct FdPath([u8; 32]);

impl FdPath {
    /// The path of `fd`, valid while `fd` is open.
    pub fn new(fd: BorrowedFd<'_>) -> FdPath {
        let mut text = [0; 32];
        let mut n = fd.as_raw_fd().unsigned_abs();
        let mut digits = [0; 10];
        let mut first = digits.len();
        while first == digits.len() || n > 0 {
            first -= 1;
            digits[first] = b'0' + (n % 10) as u8;
            n /= 10;
        }
        let digits = &digits[first..];
        let prefix = b"/proc/self/fd/";
        text[..prefix.len()].copy_from_slice(prefix);
        text[prefix.len()..prefix.len() + digits.len()].copy_from_slice(digits);
        FdPath(text)
    }

    /// The path as a C string.
    pub fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or_default()
    }
}

/// mount(2); `flags` are `MS_…`, which are the same on every architecture.
pub fn mount(
    source: Option<&CStr>,
    target: &CStr,
    kind: Option<&CStr>,
    flags: u32,
    data: Option<&CStr>,
) -> Result<()> {
    let text = |s: Option<&CStr>| s.map_or(ptr::null(), CStr::as_ptr);
    // SAFETY: every pointer is null or a C string that outlives the call; the kernel only reads them.
    let answer = unsafe {
        libc::mount(text(source), target.as_ptr(), text(kind), flags as c_ulong, text(data).cast())
    };
    done(answer as c_int)
}

/// mount(2) onto the open file `target`.
pub fn mount_on(
    source: Option<&CStr>,
    target: BorrowedFd<'_>,
    kind: Option<&CStr>,
    flags: u32,
    data: Option<&CStr>,
) -> Result<()> {
    mount(source, FdPath::new(target).as_c_str(), kind, flags, data)
}

fn owned(answer: c_long) -> Result<OwnedFd> {
    let fd = Errno::result(answer)? as c_int;
    // SAFETY: the kernel has just created this descriptor for us, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// open_tree(2): a detached copy of the mount at `path`, seen from `dir`.
/// An empty path means `dir` itself; `recursive` includes all mounts below. The copy disappears when the descriptor
/// is closed, unless it was attached somewhere.
pub fn clone_tree(dir: BorrowedFd<'_>, path: &CStr, recursive: bool) -> Result<OwnedFd> {
    let empty = if path.is_empty() { AT_EMPTY_PATH } else { 0 };
    let deep = if recursive { AT_RECURSIVE } else { 0 };
    let flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | empty | deep;
    // SAFETY: `path` is a C string that outlives the call; the kernel only reads it.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, dir.as_raw_fd(), path.as_ptr(), flags) })
}

/// move_mount(2): attaches the detached mount `tree` on top of `target`.
pub fn move_mount(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<()> {
    let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    let (from, to) = (tree.as_raw_fd(), target.as_raw_fd());
    // SAFETY: both paths are static C strings; the kernel only reads them.
    let answer = unsafe { libc::syscall(libc::SYS_move_mount, from, c"".as_ptr(), to, c"".as_ptr(), flags) };
    done(answer as c_int)
}

/// fsopen(2), fsconfig(2): a file system that is not mounted yet.
/// `data` are the options as for mount(2). A procfs is that of the calling process's pid namespace.
pub fn new_superblock(kind: &CStr, source: &CStr, data: Option<&CStr>) -> Result<OwnedFd> {
    const FSOPEN_CLOEXEC: c_uint = 1;
    const SET_FLAG: c_uint = 0;
    const SET_STRING: c_uint = 1;
    const CREATE: c_uint = 6;
    // SAFETY: `kind` is a C string that outlives the call; the kernel only reads it.
    let fs = owned(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) })?;
    let set = |command: c_uint, key: *const c_char, value: *const c_char| {
        // SAFETY: every pointer is null or a C string that outlives the call; the kernel only reads them.
        done(unsafe { libc::syscall(libc::SYS_fsconfig, fs.as_raw_fd(), command, key, value, 0) } as c_int)
    };
    set(SET_STRING, c"source".as_ptr(), source.as_ptr())?;
    for option in data.unwrap_or_default().to_bytes().split(|b| *b == b',').filter(|o| !o.is_empty()) {
        let mut text = [option, b"\0"].concat();
        match text.iter().position(|b| *b == b'=') {
            Some(at) => {
                text[at] = 0;
                set(SET_STRING, text.as_ptr().cast(), text[at + 1..].as_ptr().cast())?;
            }
            None => set(SET_FLAG, text.as_ptr().cast(), ptr::null())?,
        }
    }
    set(CREATE, ptr::null(), ptr::null())?;
    Ok(fs)
}

/// fsmount(2): mounts what [`new_superblock`] made, detached, with `MOUNT_ATTR_…`.
pub fn mount_superblock(fs: BorrowedFd<'_>, attributes: u32) -> Result<OwnedFd> {
    const FSMOUNT_CLOEXEC: c_uint = 1;
    // SAFETY: there is no pointer.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, fs.as_raw_fd(), FSMOUNT_CLOEXEC, attributes) })
}

/// mount_setattr(2) on the mount `mount`, and on all below it if `recursive`.
pub fn mount_setattr(mount: BorrowedFd<'_>, recursive: bool, attr: &MountAttr) -> Result<()> {
    let deep = if recursive { AT_RECURSIVE } else { 0 };
    let size = size_of::<MountAttr>();
    // SAFETY: `attr` is a whole `struct mount_attr` of the size given; the kernel only reads it.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            AT_EMPTY_PATH | deep,
            ptr::from_ref(attr),
            size,
        )
    };
    done(answer as c_int)
}

/// Whether the kernel has mount_setattr(2) and no seccomp filter hides it.
/// It is the newest of the calls here.
pub fn has_mount_setattr() -> bool {
    // SAFETY: the kernel refuses the size of zero before it reads a pointer; both are static or null.
    let answer = unsafe {
        let null: *const MountAttr = ptr::null();
        libc::syscall(libc::SYS_mount_setattr, -1, c"".as_ptr(), AT_EMPTY_PATH, null, 0usize)
    };
    !matches!(Errno::result(answer), Err(Errno::ENOSYS | Errno::EPERM))
}

/// The first of a file system's options that the kernel rejects by itself.
///
/// `None` if each is valid, or before Linux 5.2.
pub fn rejected_option<'a>(kind: &CStr, options: &'a CStr) -> Option<&'a [u8]> {
    const CLOEXEC: c_uint = 1;
    const SET_FLAG: c_uint = 0;
    const SET_STRING: c_uint = 1;
    // SAFETY: the name is a C string; the kernel only reads it.
    let fs = owned(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), CLOEXEC) }).ok()?;
    options.to_bytes().split(|byte| *byte == b',').find(|option| {
        let (key, value) = option.split_at(option.iter().position(|b| *b == b'=').unwrap_or(option.len()));
        let value = value.strip_prefix(b"=").and_then(c_text);
        let command = if value.is_some() { SET_STRING } else { SET_FLAG };
        let (key, value) =
            (c_text(key).map_or(ptr::null(), CStr::as_ptr), value.map_or(ptr::null(), CStr::as_ptr));
        // SAFETY: both are null or C strings that are never freed; the kernel only reads them.
        let set = unsafe { libc::syscall(libc::SYS_fsconfig, fs.as_raw_fd(), command, key, value, 0) };
        !option.is_empty() && Errno::result(set) == Err(Errno::EINVAL)
    })
}

/// The flags of the mount that a file is on (`ST_…`, statvfs(3)).
pub fn mount_flags(file: BorrowedFd<'_>) -> Result<u32> {
    let mut stat = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: `stat` has room for the whole structure, which is initialised if the call succeeds.
    let stat = unsafe {
        Errno::result(libc::fstatvfs(file.as_raw_fd(), stat.as_mut_ptr()))?;
        stat.assume_init()
    };
    Ok(stat.f_flag as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;

    #[test]
    fn fd_path_names_the_descriptor_and_leads_to_its_file() {
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        for n in [0, 7, 10, 4096, i32::MAX] {
            // SAFETY: the descriptor is only printed.
            let fd = unsafe { BorrowedFd::borrow_raw(n) };
            assert_eq!(FdPath::new(fd).as_c_str().to_str().unwrap(), format!("/proc/self/fd/{n}"));
        }
        let path = FdPath::new(file.as_fd());
        let meant = std::fs::read_link(path.as_c_str().to_str().unwrap()).unwrap();
        assert_eq!(meant, std::env::current_exe().unwrap());
    }
}
