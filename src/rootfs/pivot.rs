//! Switches to the new root and detaches the old one.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, umount2};
use nix::unistd::{chdir, chroot, fchdir, pivot_root};

use super::procfs::ProcFs;
use super::resolve::{self, Links, Missing};
use super::{Rootfs, apart, is_no_mount, propagation_flags};
use crate::error::{Context, Error, Lossy, Result};
use crate::plan::options::ms;
use crate::sys::file::{open, openat, read_all};
use crate::sys::mount_api::mount;
use crate::sys::mountinfo::{MountInfo, mounts};
use crate::sys::path::{canonical, path_of};
use crate::text::Keep;

const LOOK: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY);
/// The most mounts on top of each other that are detached at one place.
const MAX_ON_TOP: u32 = 100;

/// Sets the propagation of the mount that contains `path`.
///
/// pivot_root(2) refuses a root whose parent mount is shared. The directories above are tried one by one, because the kernel
/// accepts only the root of a mount.
pub(super) fn set_parent(path: &CStr, propagation: u32) -> Result<()> {
    let mut path = canonical(path)?;
    loop {
        let name = CString::new(&path[..]).map_err(|_| Errno::EINVAL)?;
        match mount(None, &name, None, propagation, None) {
            Ok(()) => return Ok(()),
            // Not the root of a mount.
            Err(Errno::EINVAL) if path.len() > 1 => {}
            Err(e) => {
                return Err(is_no_mount(e).context(format_args!("set the propagation of {}", Lossy(&name))));
            }
        }
        let parent = path.iter().rposition(|b| *b == b'/').unwrap_or_default();
        path.truncate(parent.max(1));
    }
}

impl Rootfs {
    /// Makes the container's root the root of this process and detaches the host's.
    ///
    /// Then the root gets the propagation that the configuration asks for.
    pub fn pivot(&mut self) -> Result<()> {
        let old = open(c"/", LOOK).at("open /")?;
        fchdir(&self.root)?;
        match pivot_root(c".", c".") {
            // The host's root would stay below, and root of the user namespace could uncover it.
            Err(e @ Errno::EINVAL) if self.api.is_inside() => {
                return Err(Error::os("pivot_root", e)
                    .hint("a user namespace needs a host whose root is no initramfs"));
            }
            // An initramfs cannot be pivoted away: it is the root of the mount namespace itself.
            Err(Errno::EINVAL) => self.cover(&old).at("pivot_root on an initramfs")?,
            other => {
                other.at("pivot_root")?;
                // The old root now lies on top of the new one; only its descriptor tells them apart.
                fchdir(&old)?;
                if !apart(self.propagation) {
                    make_slave(c".").at("make the old root a slave")?;
                }
                umount2(c".", MntFlags::MNT_DETACH).at("detach the old root")?;
            }
        }
        self.arrive()
    }

    /// Moves the container's root over `/` and enters it (`--no-pivot`).
    pub fn move_over(&mut self) -> Result<()> {
        let old = open(c"/", LOOK).at("open /")?;
        self.cover(&old)?;
        self.arrive()
    }

    fn arrive(&self) -> Result<()> {
        chdir(c"/").at("chdir to the root")?;
        if let Some(propagation) = self.propagation {
            mount(None, c"/", None, propagation_flags(propagation), None).at("set rootfsPropagation")?;
        }
        Ok(())
    }

    /// Moves the container's root over the old one, which stays below it.
    ///
    /// All mounts on the old root are detached: a procfs or sysfs that is fully visible would let a container mount more of
    /// them.
    fn cover(&mut self, old: &OwnedFd) -> Result<()> {
        fchdir(old)?;
        // A peer on the host would be covered too, and lose its mounts.
        mount(None, c".", None, ms::PRIVATE, None).map_err(is_no_mount).at("make / private")?;
        let table = table(self.proc())?;
        let (inside, on_old) = (path_of(&self.root)?, mounted_on_root(&table));
        self.api.attach(self.root.as_fd(), old.as_fd()).at("move the root over /")?;
        // The container's tree, whose volumes may be peers of the host's, is no longer part of the old root.
        for point in on_old {
            // Mounts may be stacked. The bound guards against a peer that mounts again and again.
            (0..MAX_ON_TOP).all(|_| detach(old, point));
        }
        let views = table.iter().rev().filter(|m| is_view(m) && !is_within(m, &inside));
        self.hide_views(old, views)?;
        enter_root(&self.root)
    }

    /// Covers each procfs and sysfs that could not be detached.
    ///
    /// In a user namespace, mounts from outside are locked. If one stays visible, because its directory was renamed meanwhile,
    /// that is an error.
    fn hide_views<'a>(
        &self,
        old: &OwnedFd,
        views: impl Iterator<Item = &'a MountInfo<'static>>,
    ) -> Result<()> {
        let mut left: Vec<&MountInfo<'_>> = views.collect();
        let mut still = || -> Result<Vec<&MountInfo<'_>>> {
            let now = table(self.proc())?;
            let covers =
                |view: &MountInfo<'_>| now.iter().any(|m| m.parent == view.id && m.point == view.point);
            left.retain(|view| now.iter().any(|m| m.id == view.id) && !covers(view));
            Ok(left.clone())
        };
        let locked = still()?;
        for view in &locked {
            let (kind, point) = (String::from_utf8_lossy(view.kind), String::from_utf8_lossy(&view.point));
            hide(old, &view.point).about(format_args!("{kind} at {point}"))?;
        }
        match locked.is_empty() || still()?.is_empty() {
            true => Ok(()),
            false => Err(Error::new("a procfs or sysfs can be neither detached nor covered")),
        }
    }
}

/// Makes an open directory the root and the working directory of this process.
pub fn enter_root(root: &impl AsFd) -> Result<()> {
    fchdir(root)?;
    chroot(c".").at("chroot")
}

/// Makes the mount at `path`, and all below it, slaves, so that their peers stay.
fn make_slave(path: &CStr) -> std::result::Result<(), Errno> {
    mount(None, path, None, ms::SLAVE | ms::REC, None)
}

/// Detaches the mount at a path of the old root; false if there is none.
///
/// The path is resolved from the old root's descriptor and through no link: another container may be able to write there.
fn detach(old: &OwnedFd, point: &[u8]) -> bool {
    let at = point.iter().rposition(|b| *b == b'/').unwrap_or_default();
    let Ok(name) = CString::new(&point[at + 1..]) else { return false };
    let above = resolve::walk(old.as_fd(), &point[..at], Links::Never, Missing::Fails);
    above.is_ok_and(|above| {
        fchdir(&above).is_ok()
            && make_slave(&name).is_ok()
            && umount2(&*name, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW).is_ok()
    })
}

/// Covers the mount at a path of the old root.
fn hide(old: &OwnedFd, point: &[u8]) -> Result<()> {
    fchdir(&resolve::walk(old.as_fd(), point, Links::Never, Missing::Fails)?)?;
    let flags = ms::RDONLY | ms::NOSUID | ms::NODEV | ms::NOEXEC;
    Ok(mount(Some(c"tmpfs"), c".", Some(c"tmpfs"), flags, None)?)
}

/// Whether it is a procfs or sysfs that is fully visible.
fn is_view(mount: &MountInfo<'_>) -> bool {
    matches!(mount.kind, b"proc" | b"sysfs") && mount.root == b"/"
}

fn is_within(mount: &MountInfo<'_>, directory: &[u8]) -> bool {
    let rest = mount.point.strip_prefix(directory);
    rest.is_some_and(|rest| rest.first().is_none_or(|b| *b == b'/'))
}

fn table(proc: &ProcFs) -> Result<Vec<MountInfo<'static>>> {
    let read = |file: &CStr| openat(proc, file, OFlag::O_RDONLY);
    // A thread may have its own mount namespace; procfs shows threads since Linux 3.17.
    let file = read(c"thread-self/mountinfo").or_else(|_| read(c"self/mountinfo"))?;
    Ok(mounts(read_all(&file, usize::MAX)?.keep()))
}

/// The mount points directly on the root mount of the process, last one first.
///
/// A later mount may cover an earlier one.
fn mounted_on_root<'a>(table: &'a [MountInfo<'_>]) -> impl Iterator<Item = &'a [u8]> {
    let top = table.iter().find(|m| m.point == b"/").map(|m| m.id);
    let below = table.iter().rev().filter(move |m| Some(m.parent) == top && m.point.len() > 1);
    below.map(|m| &m.point[..])
}
