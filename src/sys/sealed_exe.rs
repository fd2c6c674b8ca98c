//! Protects this program's file from writes by a container, without a copy.
//!
//! A process inside a container can reach the runtime's executable through `/proc/PID/exe` (a program
//! `#!/proc/self/exe` even becomes it). As root it can write to that file, and the next call would run the
//! attacker's code on the host (CVE-2019-5736). Therefore the program re-executes itself from a detached read-only
//! clone of its file's mount (Linux 5.12), or from a sealed copy in memory if the kernel cannot do that.
//!
//! An attached read-only mount is not enough: the administrator remounts it writable for the next update, and from
//! then on a descriptor that a container has kept is writable. A detached mount is in no mount namespace, so nobody
//! can remount it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::file::{AT_FDCWD, readlinkat};
use super::mount_api::{MountAttr, clone_tree, mount_flags, mount_setattr};
use super::process::{CStrings, environment, fexecve};
use crate::error::{Context, Error, Result};

const SELF: &std::ffi::CStr = c"/proc/self/exe";
const SEALS: i32 = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;

/// Protects this process and its clones from a container until they exec.
/// Its file cannot be written through `/proc/self/exe`; if necessary the program re-executes itself for that. A
/// process without CAP_SYS_PTRACE on the host can read neither its memory nor its descriptors (CVE-2016-9962).
pub fn ensure() -> Result<()> {
    /// Set once this process is protected; it stays so.
    static DONE: AtomicBool = AtomicBool::new(false);
    if DONE.load(Ordering::Relaxed) {
        return Ok(());
    }
    let exe = super::file::open(SELF, OFlag::O_RDONLY).at("open /proc/self/exe")?;
    if is_sealed(exe.as_fd()) {
        nix::sys::prctl::set_dumpable(false).at("PR_SET_DUMPABLE")?;
        DONE.store(true, Ordering::Relaxed);
        return Ok(());
    }
    let program = match read_only_clone() {
        Ok(tree) => tree,
        Err(_) => sealed_copy(exe).at("copy /proc/self/exe to memory")?,
    };
    let argv = CStrings::new(super::entry::arguments());
    Err(Error::os(
        "run /proc/self/exe from its read-only mount",
        fexecve(program.as_fd(), &argv, &environment()),
    ))
}

/// Whether the program runs from its sealed copy or its detached clone.
fn is_sealed(exe: BorrowedFd<'_>) -> bool {
    // SAFETY: F_GET_SEALS takes no argument; files without seals answer EINVAL.
    let seals = unsafe { libc::fcntl(exe.as_raw_fd(), libc::F_GET_SEALS) };
    seals >= 0 && seals & SEALS == SEALS || is_detached() && is_read_only(exe)
}

fn is_read_only(exe: BorrowedFd<'_>) -> bool {
    mount_flags(exe).is_ok_and(|flags| flags & libc::ST_RDONLY as u32 != 0)
}

/// Whether the program's file is the root of a detached mount.
/// The kernel reports the path "/" for such a file, which no file in a mount namespace can have.
fn is_detached() -> bool {
    // A clone of a file that an update has replaced since is just as safe.
    readlinkat(AT_FDCWD, SELF).is_ok_and(|path| matches!(&path[..], b"/" | b"/ (deleted)"))
}

/// Whether a process ran this sealed program and has since exec'ed another one.
/// Also false if the link cannot be read.
pub fn is_left_by(pid: i32) -> bool {
    const OURS: [&[u8]; 3] = [b"/", b"/ (deleted)", b"/memfd:embrun (deleted)"];
    let exe = readlinkat(AT_FDCWD, &*format!("/proc/{pid}/exe"));
    exe.is_ok_and(|path| !OURS.contains(&&path[..]))
}

fn read_only_clone() -> std::result::Result<OwnedFd, Errno> {
    const RDONLY_NOSUID_NODEV: u64 = 1 | 2 | 4;
    let clone = clone_tree(AT_FDCWD, SELF, false)?;
    mount_setattr(clone.as_fd(), false, &MountAttr { set: RDONLY_NOSUID_NODEV, ..MountAttr::default() })?;
    Ok(clone)
}

fn sealed_copy(exe: OwnedFd) -> Result<OwnedFd> {
    const MFD_EXEC: u32 = 0x10;
    let create = |flags: u32| {
        // SAFETY: a C string and flags; returns a new descriptor for us.
        let fd = unsafe { libc::syscall(libc::SYS_memfd_create, c"embrun".as_ptr(), flags) };
        // SAFETY: as above.
        Errno::result(fd).map(|fd| unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
    };
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // Since 6.3 the kernel may require a flag that says whether the file will be executed; older kernels refuse it.
    let copy = create(flags | MFD_EXEC).or_else(|_| create(flags)).at("memfd_create")?;
    // Each call copies as much as the kernel likes, and 0 bytes once everything is copied.
    // SAFETY: two open files, of which the first is read from its current position.
    while Errno::result(unsafe {
        libc::sendfile(copy.as_raw_fd(), exe.as_raw_fd(), std::ptr::null_mut(), 1 << 30)
    })? > 0
    {}
    // SAFETY: takes the seals by value.
    Errno::result(unsafe { libc::fcntl(copy.as_raw_fd(), libc::F_ADD_SEALS, SEALS) }).at("F_ADD_SEALS")?;
    // A file that is open for writing cannot be executed: reopen it read-only and close the writer.
    let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
    super::file::open(path.as_str(), OFlag::O_RDONLY).at(&path)
}
