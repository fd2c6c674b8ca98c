//! Making the new root the root, and letting go of the old one.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, umount2};
use nix::unistd::{chdir, chroot, fchdir, pivot_root};

use super::procfs::ProcFs;
use super::{Rootfs, apart, propagation_flags};
use crate::error::{Context, Error, Lossy, Result};
use crate::plan::options::ms;
use crate::sys::file::{canonical, open, openat, path_of, read_all};
use crate::sys::mount_api::mount;

const LOOK: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY);

/// Makes the mount that `path` is on private: pivot_root(2) refuses a root whose parent mount is shared. Which of the
/// directories above is that mount's root, the kernel tells.
pub(super) fn make_parent_private(path: &CStr) -> Result<()> {
    let mut path = canonical(path)?;
    loop {
        let name = CString::new(&path[..]).map_err(|_| Errno::EINVAL)?;
        match mount(None, &name, None, ms::PRIVATE, None) {
            Ok(()) => return Ok(()),
            // Not the root of a mount.
            Err(Errno::EINVAL) if path.len() > 1 => {}
            Err(Errno::EINVAL) => return Err(Error::new("the root file system is on no mount")),
            Err(e) => return Err(e).about(format_args!("make {} private", Lossy(&name))),
        }
        let parent = path.iter().rposition(|b| *b == b'/').unwrap_or_default();
        path.truncate(parent.max(1));
    }
}

impl Rootfs {
    /// Makes the container's root the root of this process and lets the host's go, with all that is mounted there. Then the
    /// root gets the propagation that was asked for.
    pub fn pivot(&mut self) -> Result<()> {
        let old = open(c"/", LOOK).at("open /")?;
        fchdir(&self.root)?;
        match pivot_root(c".", c".") {
            // Of an initramfs nothing can be pivoted away: it is the root of the mount namespace itself.
            Err(Errno::EINVAL) => self.pivot_on_initramfs(&old).at("pivot_root on an initramfs")?,
            other => {
                other.at("pivot_root")?;
                // The old root lies on top of the new one now, and only its descriptor tells them apart.
                fchdir(&old)?;
                detach_here(!apart(self.propagation))?;
            }
        }
        self.arrive()
    }

    /// Moves the container's root over `/` and changes into it (`--no-pivot`). The old root stays below it, so what a
    /// container could find there and mount elsewhere, full views of procfs and sysfs, is taken away first.
    pub fn move_over(&mut self) -> Result<()> {
        remove_views(self)?;
        fchdir(&self.root)?;
        mount(Some(c"."), c"/", None, ms::MOVE, None).at("move the root over /")?;
        chroot(c".").at("chroot")?;
        self.arrive()
    }

    fn arrive(&self) -> Result<()> {
        chdir(c"/").at("chdir to the root")?;
        if let Some(propagation) = self.propagation {
            mount(None, c"/", None, propagation_flags(propagation), None).at("set rootfsPropagation")?;
        }
        Ok(())
    }

    /// Puts a mount of `/` over `/`, so that there is something to pivot away, then pivots as usual.
    fn pivot_on_initramfs(&mut self, old: &OwnedFd) -> Result<()> {
        let children = mounts_below(self.proc())?;
        let stand_in = self.workshop.clone_file(old.as_fd(), false)?;
        self.workshop.attach(stand_in.as_fd(), old.as_fd())?;
        // The new root must be mounted somewhere in the old one.
        self.workshop.attach(self.root.as_fd(), stand_in.as_fd())?;
        fchdir(&stand_in)?;
        chroot(c".")?;
        fchdir(&self.root)?;
        pivot_root(c".", c".")?;
        fchdir(&stand_in)?;
        detach_here(true)?;
        // The namespace's own root stays, hidden below the container's. What is mounted there goes.
        fchdir(old)?;
        for path in children {
            let _ = umount2(path.as_c_str(), MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
        }
        Ok(())
    }
}

/// Detaches the mount that is on top at the working directory, with all below it.
fn detach_here(shared: bool) -> Result<()> {
    if shared {
        // The host's mounts must not follow.
        mount(None, c".", None, ms::SLAVE | ms::REC, None).at("make the old root a slave")?;
    }
    umount2(c".", MntFlags::MNT_DETACH).at("detach the old root")
}

/// One line of mountinfo (proc_pid_mountinfo(5)).
struct MountLine {
    id: u32,
    parent: u32,
    root: Vec<u8>,
    point: Vec<u8>,
    kind: Vec<u8>,
}

fn mounts(proc: &ProcFs) -> Result<Vec<MountLine>> {
    let read = |file: &CStr| openat(proc, file, OFlag::O_RDONLY);
    // A thread may be in a mount namespace of its own; procfs tells of threads from Linux 3.17.
    let file = read(c"thread-self/mountinfo").or_else(|_| read(c"self/mountinfo"))?;
    let text = read_all(&file, usize::MAX)?;
    Ok(text.split(|b| *b == b'\n').filter_map(parse).collect())
}

fn parse(line: &[u8]) -> Option<MountLine> {
    let mut fields = line.split(|b| *b == b' ');
    let number = |field: &[u8]| std::str::from_utf8(field).ok()?.parse().ok();
    let id = number(fields.next()?)?;
    let parent = number(fields.next()?)?;
    let root = unescape(fields.nth(1)?);
    let point = unescape(fields.next()?);
    let kind = fields.skip_while(|f| *f != b"-").nth(1)?.to_vec();
    Some(MountLine { id, parent, root, point, kind })
}

/// Blanks, newlines and backslashes are written as a backslash and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let digits =
            after.get(..3).filter(|d| *first == b'\\' && d.iter().all(|b| (b'0'..=b'7').contains(b)));
        let (byte, next) = match digits {
            Some(d) => (d.iter().fold(0u8, |n, b| n.wrapping_mul(8).wrapping_add(b - b'0')), &after[3..]),
            None => (*first, after),
        };
        out.push(byte);
        rest = next;
    }
    out
}

/// The mount points directly on the root mount of the namespace, relative to it; later ones may cover earlier ones, so those
/// come first.
fn mounts_below(proc: &ProcFs) -> Result<Vec<CString>> {
    let all = mounts(proc)?;
    let Some(top) = all.iter().find(|m| m.point == b"/").map(|m| m.id) else { return Ok(Vec::new()) };
    let below = all.iter().rev().filter(|m| m.parent == top && m.point.len() > 1);
    Ok(below.filter_map(|m| CString::new(&m.point[1..]).ok()).collect())
}

/// Takes away every whole procfs and sysfs that is mounted outside the container's root, or covers it where it may not be
/// unmounted.
fn remove_views(rootfs: &Rootfs) -> Result<()> {
    let inside = path_of(&rootfs.root)?;
    let all = mounts(rootfs.proc())?;
    let views = all.iter().rev().filter(|m| {
        let within = m.point.strip_prefix(&inside[..]);
        let within = within.is_some_and(|rest| rest.first().is_none_or(|b| *b == b'/'));
        matches!(&m.kind[..], b"proc" | b"sysfs") && m.root == b"/" && !within
    });
    for view in views {
        let point = CString::new(&view.point[..]).map_err(|_| Errno::EINVAL)?;
        if !apart(rootfs.propagation) {
            mount(None, &point, None, ms::SLAVE | ms::REC, None).about(format_args!("{}", Lossy(&point)))?;
        }
        match umount2(point.as_c_str(), MntFlags::MNT_DETACH) {
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::EPERM) => {
                let flags = ms::RDONLY | ms::NOSUID | ms::NODEV | ms::NOEXEC;
                mount(Some(c"tmpfs"), &point, Some(c"tmpfs"), flags, None)
                    .about(format_args!("{}", Lossy(&point)))?;
            }
            Err(e) => return Err(e).about(format_args!("{}", Lossy(&point))),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_mountinfo() {
        let line = br"36 35 98:0 /mnt\0401 /a\134b\012 rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue";
        let m = parse(line).unwrap();
        assert_eq!((m.id, m.parent), (36, 35));
        assert_eq!((&m.root[..], &m.point[..], &m.kind[..]), (&b"/mnt 1"[..], &b"/a\\b\n"[..], &b"ext3"[..]));
        assert!(parse(b"36 35 98:0 / /x rw").is_none());
        assert_eq!(unescape(br"\9\04"), br"\9\04");
    }
}
