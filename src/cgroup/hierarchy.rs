//! The cgroup in one hierarchy: its directory, its files, its freezer state.

use std::cell::OnceCell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, fstatfs};

use super::place::location::Place;
use crate::error::Errno;
use crate::sys::clock;
use crate::sys::file::{open, openat, read_line, read_sized};
use crate::sys::process::most_open_files;

/// The cgroup in one hierarchy.
pub(super) struct Hierarchy {
    pub(super) place: Place,
    pub(super) dir: OnceCell<OwnedFd>,
}

impl Hierarchy {
    pub(super) fn new(place: Place) -> Hierarchy {
        Hierarchy { place, dir: OnceCell::new() }
    }

    /// The cgroup's directory, verified to be in cgroupfs; it stays open.
    pub(super) fn dir(&self) -> Result<BorrowedFd<'_>, Errno> {
        if self.dir.get().is_none() {
            let _ = self.dir.set(self.opened()?);
        }
        Ok(self.dir.get().expect("was just opened").as_fd())
    }

    fn opened(&self) -> Result<OwnedFd, Errno> {
        check(&self.place, open_directory(&self.place.directory())?)
    }

    /// Uses the directory. If few files may be open, a v1 directory is closed again.
    ///
    /// There may be a dozen hierarchies.
    pub(super) fn with<T>(&self, act: impl FnOnce(BorrowedFd<'_>) -> Result<T, Errno>) -> Result<T, Errno> {
        if self.stays_open() { act(self.dir()?) } else { act(self.opened()?.as_fd()) }
    }

    fn stays_open(&self) -> bool {
        self.dir.get().is_some() || self.place.is_v2() || most_open_files() >= PLENTY
    }

    /// Opens a file in it, by its whole path if the directory is not open.
    fn file(&self, file: &str, flags: OFlag) -> Result<OwnedFd, Errno> {
        if self.stays_open() {
            return openat(self.dir()?, file, flags);
        }
        open_whole(&self.place, file, flags)
    }

    pub(super) fn read(&self, file: &str) -> Result<String, Errno> {
        text(self.file(file, OFlag::O_RDONLY)?)
    }

    pub(super) fn write(&self, file: &str, value: &str) -> Result<(), Errno> {
        nix::unistd::write(self.open(file)?, value.as_bytes()).map(drop)
    }

    /// Opens a file for writing, perhaps more than once.
    pub(super) fn open(&self, file: &str) -> Result<OwnedFd, Errno> {
        self.file(file, OFlag::O_WRONLY)
    }

    pub(super) fn has_file(&self, file: &str) -> bool {
        self.file(file, OFlag::O_PATH).is_ok()
    }
}

/// The limit of open files from which a dozen more are harmless.
const PLENTY: u64 = 64;

pub(super) fn open_directory(path: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    open(path, flags)
}

/// Reads a file of a cgroup as text.
pub(super) fn read(dir: BorrowedFd<'_>, file: &str) -> Result<String, Errno> {
    text(openat(dir, file, OFlag::O_RDONLY)?)
}

fn text(file: OwnedFd) -> Result<String, Errno> {
    // The kernel reports no size.
    Ok(String::from_utf8_lossy(&read_sized(file.as_fd(), 0, usize::MAX)?).into_owned())
}

/// Writes a file of a cgroup in one call: the kernel takes each write as a command.
pub(super) fn write(dir: BorrowedFd<'_>, file: &str, value: &str) -> Result<(), Errno> {
    let fd = openat(dir, file, OFlag::O_WRONLY)?;
    nix::unistd::write(&fd, value.as_bytes()).map(drop)
}

/// Opens a file by its whole path, verified to be in cgroupfs.
fn open_whole(place: &Place, file: &str, flags: OFlag) -> Result<OwnedFd, Errno> {
    check(place, open(&*format!("{}/{file}", place.directory()), flags | OFlag::O_NOFOLLOW)?)
}

fn check(place: &Place, opened: OwnedFd) -> Result<OwnedFd, Errno> {
    let magic = fstatfs(&opened)?.filesystem_type();
    let expected = if place.is_v2() { CGROUP2_SUPER_MAGIC } else { CGROUP_SUPER_MAGIC };
    if magic == expected { Ok(opened) } else { Err(Errno::ENOENT) }
}

/// Whether it is frozen or v1's FREEZING, which may last for ever. Never waits.
///
/// It makes few system calls, because `list` calls it for each container.
pub(super) fn is_frozen(place: &Place) -> bool {
    let read = |file| read_line(open_whole(place, file, OFlag::O_RDONLY)?);
    if place.is_v2() {
        read("cgroup.freeze").is_ok_and(|line| line == "1")
    } else {
        place.has("freezer") && read("freezer.state").is_ok_and(|line| line != "THAWED")
    }
}

/// The same for a cgroup above, too: its members, new ones included, do not run.
pub(super) fn is_halted(hierarchy: &Hierarchy) -> bool {
    is_frozen(&hierarchy.place) || is_held(hierarchy)
}

/// Whether all processes of a v2 cgroup are frozen, also by a cgroup above.
pub(super) fn is_held(hierarchy: &Hierarchy) -> bool {
    hierarchy.place.is_v2()
        && hierarchy.read("cgroup.events").is_ok_and(|text| text.lines().any(|l| l == "frozen 1"))
}

/// Waits until `file` of a v2 cgroup has `line`; false at the deadline.
pub(super) fn wait_for_event(dir: BorrowedFd<'_>, line: &str, deadline: Instant) -> Result<bool, Errno> {
    let file = openat(dir, "cgroup.events", OFlag::O_RDONLY)?;
    loop {
        let mut text = [0; 256];
        let n = nix::sys::uio::pread(&file, &mut text, 0)?;
        if String::from_utf8_lossy(&text[..n]).lines().any(|l| l == line) {
            return Ok(true);
        }
        let left = clock::until(deadline);
        if left.is_zero() {
            return Ok(false);
        }
        // Rounded up, so that the last millisecond is not a busy loop.
        let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(file.as_fd(), PollFlags::POLLPRI)], timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(e),
        }
    }
}
