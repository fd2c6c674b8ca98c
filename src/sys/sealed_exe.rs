//! Makes this program's own file unwritable from a container, without copying it.
//!
//! A process inside a container can reach the runtime's executable by `/proc/PID/exe` (a program `#!/proc/self/exe` even
//! becomes it) and, where it is root, write to it: the next call would run the attacker's code on the host
//! (CVE-2019-5736). So the program runs itself again from a detached read-only clone of the mount of its file (Linux
//! 5.12), or from a sealed copy in memory where the kernel cannot do that.
//!
//! No other read-only mount will do: the administrator remounts it writable for the next update, and a descriptor that a
//! container has kept is writable from then on. A detached mount is in no mount namespace, so nobody can change it.

use std::ffi::c_long;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::file::{AT_FDCWD, readlinkat};
use super::mount_api::mount_flags;
use super::process::{CStrings, environment, fexecve};
use crate::error::{Context, Error, Result};

const SELF: &std::ffi::CStr = c"/proc/self/exe";
const SEALS: i32 = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;

/// Keeps this process and its clones out of a container's reach until they exec: its file cannot be written through
/// `/proc/self/exe` (the program is run again so that it cannot, where need be), and neither its memory nor its descriptors
/// can be looked into by a process without CAP_SYS_PTRACE on the host (CVE-2016-9962).
pub fn ensure() -> Result<()> {
    let exe = super::file::open(SELF, OFlag::O_RDONLY).at("open /proc/self/exe")?;
    if is_sealed(exe.as_fd()) {
        return nix::sys::prctl::set_dumpable(false).at("PR_SET_DUMPABLE");
    }
    let program = match read_only_clone() {
        Ok(tree) => tree,
        Err(_) => sealed_copy(exe).at("copy /proc/self/exe to memory")?,
    };
    let argv = CStrings::new(super::start::arguments());
    Err(Error::os(
        "run /proc/self/exe from its read-only mount",
        fexecve(program.as_fd(), &argv, &environment()),
    ))
}

/// Whether the program runs from its sealed copy, or from its detached read-only clone.
fn is_sealed(exe: BorrowedFd<'_>) -> bool {
    // SAFETY: F_GET_SEALS takes no argument; files that know no seals answer EINVAL.
    let seals = unsafe { libc::fcntl(exe.as_raw_fd(), libc::F_GET_SEALS) };
    seals >= 0 && seals & SEALS == SEALS || is_detached() && is_read_only(exe)
}

fn is_read_only(exe: BorrowedFd<'_>) -> bool {
    mount_flags(exe).is_ok_and(|flags| flags & libc::ST_RDONLY as u32 != 0)
}

/// Whether the program's file is the root of a mount that is attached nowhere: the kernel gives such a file the path "/",
/// which no file of a mount namespace can have.
fn is_detached() -> bool {
    // The clone of a file that was replaced since, as an update does, is as good.
    readlinkat(AT_FDCWD, SELF).is_ok_and(|path| matches!(&path[..], b"/" | b"/ (deleted)"))
}

/// Whether a process was this program, from its seal, and is another by now. False as well if that is not to be seen.
pub fn is_left_by(pid: i32) -> bool {
    const OURS: [&[u8]; 3] = [b"/", b"/ (deleted)", b"/memfd:embrun (deleted)"];
    let exe = readlinkat(AT_FDCWD, &*format!("/proc/{pid}/exe"));
    exe.is_ok_and(|path| !OURS.contains(&&path[..]))
}

/// Linux's `struct mount_attr`.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

fn read_only_clone() -> std::result::Result<OwnedFd, Errno> {
    const OPEN_TREE_CLONE: c_long = 1;
    const RDONLY_NOSUID_NODEV: u64 = 1 | 2 | 4;
    // SAFETY: a C string and flags in, a new fd of ours out.
    let tree = unsafe {
        let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC as c_long;
        let fd = libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD as c_long, SELF.as_ptr(), flags);
        OwnedFd::from_raw_fd(Errno::result(fd)? as RawFd)
    };
    let attr = MountAttr { set: RDONLY_NOSUID_NODEV, clear: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: the kernel reads as many bytes as it is told that the struct has.
    let r = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd() as c_long,
            c"".as_ptr(),
            libc::AT_EMPTY_PATH as c_long,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    Errno::result(r)?;
    Ok(tree)
}

fn sealed_copy(exe: OwnedFd) -> Result<OwnedFd> {
    const MFD_EXEC: u32 = 0x10;
    let create = |flags: u32| {
        // SAFETY: a C string and flags in, a new fd of ours out.
        let fd = unsafe { libc::syscall(libc::SYS_memfd_create, c"embrun".as_ptr(), flags) };
        // SAFETY: as above.
        Errno::result(fd).map(|fd| unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
    };
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // Kernels from 6.3 may demand that one says whether it will be run; older ones refuse the flag.
    let copy = create(flags | MFD_EXEC).or_else(|_| create(flags)).at("memfd_create")?;
    // As much at a time as the kernel likes; nothing once all of it is there.
    // SAFETY: two open files, read from where the first is.
    while Errno::result(unsafe {
        libc::sendfile(copy.as_raw_fd(), exe.as_raw_fd(), std::ptr::null_mut(), 1 << 30)
    })? > 0
    {}
    // SAFETY: takes the seals by value.
    Errno::result(unsafe { libc::fcntl(copy.as_raw_fd(), libc::F_ADD_SEALS, SEALS) }).at("F_ADD_SEALS")?;
    // A file that is open for writing cannot be run: it is opened anew before the writer goes.
    let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
    super::file::open(path.as_str(), OFlag::O_RDONLY).at(&path)
}
