//! `/dev` of the container: nodes, links, the console.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, makedev, mknodat, umask};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, symlinkat, unlinkat};

use super::Rootfs;
use super::path::InsidePath;
use super::root::{Handle, Links, kind, open_name};
use crate::bundle::spec::DeviceKind;
use crate::error::{Context, Error, Result};
use crate::plan::devices::{DevStep, DeviceNode};

/// runtime-linux.md, "Dev symbolic links".
const LINKS: [(&CStr, &CStr); 4] = [
    (c"fd", c"/proc/self/fd"),
    (c"stdin", c"/proc/self/fd/0"),
    (c"stdout", c"/proc/self/fd/1"),
    (c"stderr", c"/proc/self/fd/2"),
];

impl Rootfs {
    /// Makes what `/dev` must have: the nodes, the links, and `ptmx`.
    pub fn devices(&mut self, step: &DevStep) -> Result<()> {
        // Modes are meant exactly.
        let mask = umask(Mode::empty());
        let done = step
            .nodes
            .iter()
            .try_for_each(|node| self.device(node).context(|| format!("device {}", node.path)));
        umask(mask);
        done?;
        self.links()
    }

    /// Makes one device node: in its directory, by a name that nothing else stands under.
    pub fn device(&mut self, node: &DeviceNode) -> Result<()> {
        let (directory, name) = self.root.parent(&node.path)?.ok_or(Errno::EISDIR)?;
        let (kind, number) = match node.kind {
            DeviceKind::Char => (SFlag::S_IFCHR, makedev(node.major.into(), node.minor.into())),
            DeviceKind::Block => (SFlag::S_IFBLK, makedev(node.major.into(), node.minor.into())),
            DeviceKind::Fifo => (SFlag::S_IFIFO, 0),
        };
        match mknodat(&directory, name, kind, Mode::from_bits_truncate(node.mode), number) {
            Ok(()) => own(&directory, name, node),
            Err(Errno::EEXIST) => {
                same(&fstatat(&directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)?, kind, number)
            }
            // In a user namespace no device node can be made; the host's is shown.
            Err(Errno::EPERM) if kind != SFlag::S_IFIFO => {
                self.bind_device(node, &directory, name, kind, number)
            }
            Err(e) => Err(e.into()),
        }
    }

    fn bind_device(
        &mut self,
        node: &DeviceNode,
        directory: &Handle,
        name: &CStr,
        kind: SFlag,
        number: libc::dev_t,
    ) -> Result<()> {
        let path = CString::new(node.path.to_string()).map_err(|_| Errno::EINVAL)?;
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let host = open(path.as_c_str(), flags, Mode::empty())
            .map_err(|e| Error::os("mknod is not permitted, and the host's node cannot be bound", e))?;
        same(&fstat(&host)?, kind, number).context(|| "mknod is not permitted, and the host's node")?;
        mknodat(directory, name, SFlag::S_IFREG, Mode::empty(), 0)?;
        self.bind_file(&host, &open_name(directory, name)?)
    }

    /// The links of `/dev`. One that is there already is left alone, except for `ptmx`: the image's would be another
    /// container's, or the host's.
    fn links(&self) -> Result<()> {
        let dev = InsidePath::new("/dev").ok_or(Errno::EINVAL)?;
        let dev =
            self.root.mkdir_all(&dev, Links::Follow, Mode::from_bits_truncate(0o755)).context(|| "/dev")?;
        for (name, text) in LINKS {
            link(&dev, name, text)?;
        }
        // Only some kernels have it.
        if fstatat(self.proc(), c"kcore", AtFlags::AT_SYMLINK_NOFOLLOW).is_ok() {
            link(&dev, c"core", c"/proc/kcore")?;
        }
        ptmx(&dev).context(|| "/dev/ptmx")
    }

    /// Binds the slave side of a terminal over `/dev/console`, which is made if it is missing. `slave` was opened from its
    /// master (TIOCGPTPEER), not by a name.
    pub fn console(&mut self, slave: BorrowedFd<'_>) -> Result<()> {
        let path = InsidePath::new("/dev/console").ok_or(Errno::EINVAL)?;
        let mut act = || -> Result<()> {
            let (directory, name) = self.root.parent(&path)?.ok_or(Errno::EISDIR)?;
            match mknodat(&directory, name, SFlag::S_IFREG, Mode::from_bits_truncate(0o666), 0) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(e) => return Err(e.into()),
            }
            let target = open_name(&directory, name)?;
            match target.kind()? {
                SFlag::S_IFREG | SFlag::S_IFCHR => {}
                other => return Err(Error::new(format!("is {} in the root file system", describe(other)))),
            }
            let tree = self.workshop.clone_file(slave, false)?;
            Ok(self.workshop.attach(tree.as_fd(), target.as_fd())?)
        };
        act().context(|| "/dev/console")
    }
}

fn own(directory: &Handle, name: &CStr, node: &DeviceNode) -> Result<()> {
    // A directory with the set-group-id bit gives its group to what is made in it.
    let inherits = directory.stat()?.st_mode & 0o2000 != 0;
    if node.uid == 0 && node.gid == 0 && !inherits {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
    Ok(fchownat(directory, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?)
}

fn same(stat: &FileStat, wanted: SFlag, number: libc::dev_t) -> Result<()> {
    let found = kind(stat);
    if found != wanted {
        return Err(Error::new(format!("{} is in its place", describe(found))));
    }
    if found != SFlag::S_IFIFO && stat.st_rdev != number {
        return Err(Error::new("another device is in its place"));
    }
    Ok(())
}

fn describe(kind: SFlag) -> &'static str {
    match kind {
        SFlag::S_IFREG => "a regular file",
        SFlag::S_IFDIR => "a directory",
        SFlag::S_IFLNK => "a symbolic link",
        SFlag::S_IFCHR => "a character device",
        SFlag::S_IFBLK => "a block device",
        SFlag::S_IFIFO => "a FIFO",
        _ => "a socket",
    }
}

fn link(dev: &Handle, name: &CStr, text: &CStr) -> Result<()> {
    match symlinkat(text, dev, name) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(e) => Err(e).context(|| format!("/dev/{}", name.to_string_lossy())),
    }
}

fn ptmx(dev: &Handle) -> Result<()> {
    const NAME: &CStr = c"ptmx";
    const TEXT: &CStr = c"pts/ptmx";
    if readlinkat(dev, NAME).is_ok_and(|text| text == "pts/ptmx") {
        return Ok(());
    }
    match unlinkat(dev, NAME, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(e) => return Err(e.into()),
    }
    Ok(symlinkat(TEXT, dev, NAME)?)
}
