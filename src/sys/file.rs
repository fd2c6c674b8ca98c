//! Files by path: one function for every kind of path and descriptor.
//!
//! All calls take a path and a directory's descriptor or [`AT_FDCWD`]. They have the same form and go through
//! [`at`], which converts the path for the kernel.

use std::ffi::{CStr, CString, c_long};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

pub use libc::stat64 as FileStat;
pub use nix::fcntl::AT_FDCWD;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag};

use super::Errno;
use crate::error::{Context as _, Error};

type Result<T> = std::result::Result<T, Errno>;

/// The maximum length of a path, including its NUL.
pub(super) const PATH_MAX: usize = 4096;
const NOFOLLOW: usize = libc::AT_SYMLINK_NOFOLLOW as usize;
const EMPTY_PATH: usize = 0x1000;
/// Leaves the user or the group unchanged.
const NOBODY: u32 = u32::MAX;

// On 32-bit ARM and x86 the calls without 64 in their name use narrower structures.
use crate::text::Keep;
#[cfg(not(any(target_arch = "arm", target_arch = "x86")))]
use libc::{SYS_fstat as FSTAT, SYS_newfstatat as FSTATAT};
#[cfg(any(target_arch = "arm", target_arch = "x86"))]
use libc::{SYS_fstat64 as FSTAT, SYS_fstatat64 as FSTATAT};

/// A type that can be passed as a path or a name.
pub trait Path {
    /// The path without a NUL.
    fn as_path(&self) -> &[u8];
}

impl Path for str {
    fn as_path(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl Path for CStr {
    fn as_path(&self) -> &[u8] {
        self.to_bytes()
    }
}

impl Path for [u8] {
    fn as_path(&self) -> &[u8] {
        self
    }
}

/// Calls `call(dir, path, …)`.
///
/// # Safety
/// A pointer in `rest` must be valid for what the call does with it.
#[inline(never)]
unsafe fn at(call: c_long, dir: BorrowedFd<'_>, path: &[u8], rest: [usize; 3]) -> Result<i32> {
    if path.len() >= PATH_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    if path.contains(&0) {
        return Err(Errno::EINVAL);
    }
    let mut text = MaybeUninit::<[u8; PATH_MAX]>::uninit();
    let text = text.as_mut_ptr().cast::<u8>();
    // SAFETY: the path and its NUL fit, as was just checked; the caller guarantees the rest.
    unsafe {
        text.copy_from_nonoverlapping(path.as_ptr(), path.len());
        text.add(path.len()).write(0);
        let [a, b, c] = rest;
        Errno::result(libc::syscall(call, dir.as_raw_fd() as c_long, text, a, b, c))
            .map(|answer| answer as i32)
    }
}

/// Opens a file, and creates it with `mode` if `flags` say so; close-on-exec.
pub fn create(dir: impl AsFd, path: &(impl Path + ?Sized), flags: OFlag, mode: Mode) -> Result<OwnedFd> {
    let flags = flags.bits() | libc::O_CLOEXEC | libc::O_LARGEFILE;
    // SAFETY: no other pointers; returns a new descriptor for us.
    unsafe {
        let fd =
            at(libc::SYS_openat, dir.as_fd(), path.as_path(), [flags as usize, mode.bits() as usize, 0])?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Opens an existing file.
pub fn openat(dir: impl AsFd, path: &(impl Path + ?Sized), flags: OFlag) -> Result<OwnedFd> {
    create(dir, path, flags, Mode::empty())
}

/// Opens an existing file by a path of the host.
pub fn open(path: &(impl Path + ?Sized), flags: OFlag) -> Result<OwnedFd> {
    openat(AT_FDCWD, path, flags)
}

/// Sets the SELinux label of an open file.
pub fn set_selinux_label(file: impl AsFd, label: &CStr) -> Result<()> {
    let (fd, name) = (file.as_fd().as_raw_fd(), c"security.selinux");
    let label = label.to_bytes_with_nul();
    // SAFETY: the name ends with a NUL, and the kernel reads as many bytes of the label as it has.
    let done = unsafe { libc::fsetxattr(fd, name.as_ptr(), label.as_ptr().cast(), label.len(), 0) };
    Errno::result(done).map(drop)
}

/// The status of an open file, without its times.
pub fn fstat(file: impl AsFd) -> Result<FileStat> {
    status(file.as_fd())
}

#[inline(never)]
fn status(file: BorrowedFd<'_>) -> Result<FileStat> {
    let mut stat = MaybeUninit::<FileStat>::zeroed();
    // SAFETY: the kernel writes its own structure, which equals the library's up to the times; all zeroes are
    // valid.
    unsafe {
        Errno::result(libc::syscall(FSTAT, file.as_raw_fd() as c_long, stat.as_mut_ptr()))?;
        Ok(stat.assume_init())
    }
}

fn look(dir: BorrowedFd<'_>, path: &[u8], flags: usize) -> Result<FileStat> {
    let mut stat = MaybeUninit::<FileStat>::zeroed();
    // SAFETY: as in `status`.
    unsafe {
        at(FSTATAT, dir, path, [stat.as_mut_ptr() as usize, flags, 0])?;
        Ok(stat.assume_init())
    }
}

/// The status of a name; does not follow a symbolic link.
pub fn lstatat(dir: impl AsFd, name: &(impl Path + ?Sized)) -> Result<FileStat> {
    look(dir.as_fd(), name.as_path(), NOFOLLOW)
}

/// The status of the file that a path of the host leads to.
pub fn stat(path: &(impl Path + ?Sized)) -> Result<FileStat> {
    look(AT_FDCWD, path.as_path(), 0)
}

/// The file type from a file's mode.
pub fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

/// Whether a path of the host leads to a directory.
pub fn is_dir(path: &str) -> bool {
    stat(path).is_ok_and(|stat| kind(&stat) == SFlag::S_IFDIR)
}

/// Whether this process may execute a file of the host.
/// Checks with the effective ids if `effective` (faccessat2(2), Linux 5.8), else with the real ones.
pub fn may_run(path: &(impl Path + ?Sized), effective: bool) -> Result<()> {
    const FACCESSAT2: c_long = 439;
    let (call, flags) = if effective { (FACCESSAT2, libc::AT_EACCESS) } else { (libc::SYS_faccessat, 0) };
    // SAFETY: plain integers.
    unsafe { at(call, AT_FDCWD, path.as_path(), [libc::X_OK as usize, flags as usize, 0]) }.map(drop)
}

/// Creates a directory.
pub fn mkdirat(dir: impl AsFd, path: &(impl Path + ?Sized), mode: Mode) -> Result<()> {
    // SAFETY: plain integers.
    unsafe { at(libc::SYS_mkdirat, dir.as_fd(), path.as_path(), [mode.bits() as usize, 0, 0]) }.map(drop)
}

/// Creates a directory of the host and its parents.
pub fn make_directories(path: &str, mode: Mode) -> Result<()> {
    let above = path.match_indices('/').map(|(slash, _)| &path[..slash]).filter(|above| !above.is_empty());
    for path in above.chain([path]) {
        match mkdirat(AT_FDCWD, path, mode) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Creates a device node or FIFO, or with `S_IFREG` an empty file.
pub fn mknodat(dir: impl AsFd, name: &CStr, kind: SFlag, mode: Mode, device: libc::dev_t) -> Result<()> {
    let mode = (kind.bits() | mode.bits()) as usize;
    // SAFETY: plain integers. The kernel's device numbers have 32 bits.
    unsafe { at(libc::SYS_mknodat, dir.as_fd(), name.as_path(), [mode, device as usize, 0]) }.map(drop)
}

/// Removes a name that is not a directory.
pub fn unlinkat(dir: impl AsFd, name: &(impl Path + ?Sized)) -> Result<()> {
    // SAFETY: plain integers.
    unsafe { at(libc::SYS_unlinkat, dir.as_fd(), name.as_path(), [0, 0, 0]) }.map(drop)
}

/// Removes an empty directory.
pub fn rmdirat(dir: impl AsFd, path: &(impl Path + ?Sized)) -> Result<()> {
    let flags = libc::AT_REMOVEDIR as usize;
    // SAFETY: plain integers.
    unsafe { at(libc::SYS_unlinkat, dir.as_fd(), path.as_path(), [flags, 0, 0]) }.map(drop)
}

/// Renames a file within a directory; replaces an existing `to`.
pub fn renameat(dir: impl AsFd, from: &str, to: &str) -> Result<()> {
    let number = dir.as_fd().as_raw_fd() as usize;
    let to = CString::new(to).map_err(|_| Errno::EINVAL)?;
    // SAFETY: a C string that outlives the call; the rest is a descriptor and no flags.
    unsafe { at(libc::SYS_renameat2, dir.as_fd(), from.as_path(), [number, to.as_ptr() as usize, 0]) }
        .map(drop)
}

/// Moves a file to a name in another directory.
pub fn rename_between(from: impl AsFd, name: &CStr, dir: impl AsFd, to: &str) -> Result<()> {
    let number = dir.as_fd().as_raw_fd() as usize;
    let to = CString::new(to).map_err(|_| Errno::EINVAL)?;
    // SAFETY: a C string that outlives the call; the rest is a descriptor and no flags.
    unsafe { at(libc::SYS_renameat2, from.as_fd(), name.as_path(), [number, to.as_ptr() as usize, 0]) }
        .map(drop)
}

/// Links an unnamed open file (O_TMPFILE) at `path`; EEXIST if that exists.
pub fn give_name(file: &OwnedFd, path: &str) -> Result<()> {
    let path = CString::new(path).map_err(|_| Errno::EINVAL)?;
    let rest = [AT_FDCWD.as_raw_fd() as usize, path.as_ptr() as usize, libc::AT_SYMLINK_FOLLOW as usize];
    let file = format!("/proc/self/fd/{}", file.as_raw_fd());
    // SAFETY: a C string that outlives the call.
    unsafe { at(libc::SYS_linkat, AT_FDCWD, file.as_bytes(), rest) }.map(drop)
}

/// Creates a symbolic link with this text.
pub fn symlinkat(text: &CStr, dir: impl AsFd, name: &CStr) -> Result<()> {
    let rest = [dir.as_fd().as_raw_fd() as usize, name.as_ptr() as usize, 0];
    // SAFETY: both are C strings that outlive the call; the rest is a descriptor.
    let answer = unsafe { libc::syscall(libc::SYS_symlinkat, text.as_ptr(), rest[0], rest[1]) };
    Errno::result(answer).map(drop)
}

/// Reads a symbolic link; an empty name means the link that `dir` is open on.
pub fn readlinkat(dir: impl AsFd, name: &(impl Path + ?Sized)) -> Result<Vec<u8>> {
    link_text(dir.as_fd(), name.as_path())
}

#[inline(never)]
fn link_text(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Vec<u8>> {
    let mut text = [0u8; PATH_MAX];
    let rest = [text.as_mut_ptr() as usize, text.len(), 0];
    // SAFETY: the kernel writes at most as many bytes as there is room for.
    let length = unsafe { at(libc::SYS_readlinkat, dir, name, rest) }?;
    Ok(text[..length as usize].to_vec())
}

/// Changes owner and group of a name; does not follow a symbolic link.
pub fn chownat(dir: impl AsFd, name: &(impl Path + ?Sized), uid: u32, gid: Option<u32>) -> Result<()> {
    let rest = [uid as usize, gid.unwrap_or(NOBODY) as usize, NOFOLLOW];
    // SAFETY: plain integers.
    unsafe { at(libc::SYS_fchownat, dir.as_fd(), name.as_path(), rest) }.map(drop)
}

/// Changes the owner of an open file.
pub fn chown(file: impl AsFd, uid: u32) -> Result<()> {
    // SAFETY: plain integers.
    unsafe { at(libc::SYS_fchownat, file.as_fd(), b"", [uid as usize, NOBODY as usize, EMPTY_PATH]) }
        .map(drop)
}

/// Changes the mode of the file that a name leads to.
pub fn chmodat(dir: impl AsFd, name: &CStr, mode: Mode) -> Result<()> {
    // SAFETY: plain integers.
    unsafe { at(libc::SYS_fchmodat, dir.as_fd(), name.as_path(), [mode.bits() as usize, 0, 0]) }.map(drop)
}

/// Reads the rest of a file, at most `limit` bytes.
pub fn read_all(file: impl AsFd, limit: usize) -> Result<Vec<u8>> {
    let size = fstat(&file).map_or(0, |stat| stat.st_size as usize);
    read_sized(file.as_fd(), size, limit)
}

/// Reads the rest of a file whose `st_size` is known, at most `limit` bytes.
/// Pipes and procfs report a size of 0, and sysfs one that is too large: their end has to be found.
pub fn read_sized(file: BorrowedFd<'_>, size: usize, limit: usize) -> Result<Vec<u8>> {
    let room = if size == 0 { 4096 } else { size.min(limit).saturating_add(1) };
    let mut bytes = vec![0; room];
    let mut length = 0;
    loop {
        if length == bytes.len() {
            bytes.resize(length.saturating_mul(2), 0);
        }
        let room = bytes.len().min(limit);
        match nix::unistd::read(file, &mut bytes[length..room]) {
            Ok(0) => break,
            Ok(n) => length += n,
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e),
        }
        if length == size {
            break;
        }
    }
    bytes.truncate(length);
    bytes.shrink_to_fit();
    Ok(bytes)
}

/// Reads a file of procfs or cgroupfs that has one short line.
/// The kernel returns such a file whole by one call.
pub fn read_line(file: impl AsFd) -> Result<String> {
    let mut line = [0; 64];
    let length = nix::unistd::read(file, &mut line)?;
    Ok(String::from_utf8_lossy(&line[..length]).trim_ascii_end().to_owned())
}

/// Reads a file of procfs with one short line by its path.
pub fn line_of(path: &str) -> crate::error::Result<String> {
    open(path, OFlag::O_RDONLY).and_then(read_line).about(format_args!("read {path}"))
}

/// Reads a text file of the host.
pub fn read_text(path: &str) -> crate::error::Result<String> {
    let text = read_all(open(path, OFlag::O_RDONLY)?, usize::MAX)?;
    String::from_utf8(text).map_err(|_| Error::new("stream did not contain valid UTF-8"))
}

/// Lists the names in a directory, and which are marked as directories.
/// Not every file system marks them.
pub fn entries(dir: impl AsFd) -> Result<Vec<(&'static CStr, bool)>> {
    names_in(dir.as_fd())
}

#[inline(never)]
fn names_in(dir: BorrowedFd<'_>) -> Result<Vec<(&'static CStr, bool)>> {
    // Open the directory anew, because a duplicated descriptor would share its position.
    let dir = openat(dir, c".", OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
    let mut names = Vec::new();
    each_entry(dir.as_fd(), &mut |name, directory| {
        names.push((name.to_owned().keep(), directory));
    })?;
    Ok(names)
}

/// Like [`entries`], but calls `told` for each name, from the current position.
/// It allocates nothing.
pub fn each_entry(dir: BorrowedFd<'_>, told: &mut dyn FnMut(&CStr, bool)) -> Result<()> {
    /// Offsets in `struct linux_dirent64`: record length, type, and name.
    const LENGTH: usize = 16;
    const KIND: usize = 18;
    const NAME: usize = 19;
    loop {
        let mut records = [0u8; 4096];
        // SAFETY: the kernel writes at most as many bytes as there is room for.
        let length = unsafe {
            let (room, size) = (records.as_mut_ptr(), records.len());
            libc::syscall(libc::SYS_getdents64, dir.as_raw_fd() as c_long, room, size)
        };
        let length = match Errno::result(length) {
            // A removed directory has no entries, as in readdir(3).
            Err(Errno::ENOENT) => 0,
            length => length?,
        };
        let mut rest = &records[..length as usize];
        if rest.is_empty() {
            return Ok(());
        }
        while let [_, ..] = rest {
            let size = usize::from(u16::from_ne_bytes([rest[LENGTH], rest[LENGTH + 1]]));
            let (record, next) = rest.split_at(size);
            rest = next;
            let name = CStr::from_bytes_until_nul(&record[NAME..]).unwrap_or_default();
            if name != c"." && name != c".." {
                told(name, record[KIND] == libc::DT_DIR);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::path::canonical;

    #[test]
    fn files_are_read_up_to_the_limit() {
        for size in [0, 1, 4096, 4097, 50_000] {
            let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
            let text: Vec<u8> = (0..size).map(|i| i as u8).collect();
            crate::sys::entry::write_all(theirs.as_fd(), &text).unwrap();
            drop(theirs);
            assert_eq!(read_all(&ours, size / 2).unwrap(), text[..size / 2]);
            assert_eq!(read_all(&ours, usize::MAX).unwrap(), text[size / 2..]);
        }
        assert!(read_text("/proc/self/status").unwrap().contains("Pid:"));
        let binary = read_text("/proc/self/exe").unwrap_err().to_string();
        assert_eq!(binary, "stream did not contain valid UTF-8");
        assert_eq!(read_text("/nowhere").unwrap_err().errno(), Some(Errno::ENOENT));
    }

    #[test]
    fn file_status_equals_that_of_the_standard_library() {
        use std::os::unix::fs::MetadataExt as _;
        let dir = std::env::temp_dir().join(format!("embrun-file-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let here = open(dir.to_str().unwrap(), OFlag::O_RDONLY).unwrap();
        mkdirat(&here, "sub", Mode::S_IRWXU).unwrap();
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        let file = create(&here, c"a", flags, Mode::S_IRUSR).unwrap();
        crate::sys::entry::write_all(file.as_fd(), b"12345").unwrap();
        chmodat(&here, c"a", Mode::S_IRWXU).unwrap();
        renameat(&here, "a", "b").unwrap();
        symlinkat(c"b", &here, c"link").unwrap();
        mknodat(&here, c"pipe", SFlag::S_IFIFO, Mode::S_IRWXU, 0).unwrap();
        chownat(&here, c"pipe", 0, Some(7)).unwrap();
        chown(&file, 3).unwrap();

        for (name, size) in [("sub", None), ("b", Some(5)), ("link", Some(1)), ("pipe", Some(0))] {
            let (ours, theirs) = (lstatat(&here, name).unwrap(), dir.join(name).symlink_metadata().unwrap());
            assert_eq!((ours.st_dev, ours.st_ino), (theirs.dev(), theirs.ino()), "{name}");
            assert_eq!((ours.st_mode, ours.st_nlink), (theirs.mode(), theirs.nlink() as _), "{name}");
            assert_eq!((ours.st_uid, ours.st_gid), (theirs.uid(), theirs.gid()), "{name}");
            assert_eq!((ours.st_size as u64, ours.st_rdev), (theirs.size(), theirs.rdev()), "{name}");
            assert!(size.is_none_or(|size| size == ours.st_size), "{name}");
        }
        assert_eq!(fstat(&file).unwrap().st_ino, lstatat(&here, "b").unwrap().st_ino);
        assert_eq!(stat("/dev/null").unwrap().st_rdev, libc::makedev(1, 3));
        assert_eq!(readlinkat(&here, c"link").unwrap(), b"b");
        let link = dir.join("link");
        assert_eq!(canonical(link.to_str().unwrap()).unwrap(), dir.join("b").to_str().unwrap().as_bytes());
        assert!(may_run(dir.join("b").to_str().unwrap(), false).is_ok());
        assert!(is_dir(dir.to_str().unwrap()) && !is_dir(link.to_str().unwrap()));

        let mut names = entries(&here).unwrap();
        names.sort_unstable();
        assert_eq!(names, [(c"b", false), (c"link", false), (c"pipe", false), (c"sub", true)]);
        for (name, directory) in names {
            if directory { rmdirat(&here, name) } else { unlinkat(&here, name) }.unwrap();
        }
        assert_eq!(entries(&here).unwrap(), []);
        std::fs::remove_dir(&dir).unwrap();
        assert_eq!(entries(&here).unwrap(), []);
    }

    #[test]
    fn paths_with_nul_and_too_long_paths_are_refused() {
        assert_eq!(open("a\0b", OFlag::O_RDONLY).unwrap_err(), Errno::EINVAL);
        assert_eq!(open(&"a/".repeat(2048)[..], OFlag::O_RDONLY).unwrap_err(), Errno::ENAMETOOLONG);
        assert_eq!(open(&*format!("{}x", "./".repeat(2047)), OFlag::O_RDONLY).unwrap_err(), Errno::ENOENT);
    }
}
