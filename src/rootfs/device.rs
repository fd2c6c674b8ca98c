//! The container's `/dev`: nodes, links, the console.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag, makedev};

use super::mount::bind_over;
use super::root::{Handle, kind, open_name};
use super::{Rootfs, through_a_link};
use crate::bundle::spec::DeviceKind;
use crate::error::{Context, Error, Lossy, Result};
use crate::plan::devices::{DevStep, DeviceNode};
use crate::plan::inside_path::InsidePath;
use crate::sys::exact_modes::ExactModes;
use crate::sys::file::{FileStat, chownat, fstat, lstatat, mknodat, readlinkat, symlinkat, unlinkat};

/// runtime-linux.md, "Dev symbolic links".
const LINKS: [(&CStr, &CStr); 4] = [
    (c"fd", c"/proc/self/fd"),
    (c"stdin", c"/proc/self/fd/0"),
    (c"stdout", c"/proc/self/fd/1"),
    (c"stderr", c"/proc/self/fd/2"),
];

impl Rootfs {
    /// Makes the contents of `/dev`: the nodes, the links and `ptmx`.
    pub fn devices(&mut self, step: &DevStep) -> Result<()> {
        let _exact = ExactModes::begin();
        self.nodes(step.nodes)?;
        self.links()
    }

    fn nodes(&mut self, nodes: &[DeviceNode]) -> Result<()> {
        let mut last: Option<(InsidePath, Directory)> = None;
        for node in nodes {
            let mut act = || -> Result<()> {
                let (above, name) = node.path.split().ok_or(Errno::EISDIR)?;
                // Nearly all nodes are in /dev.
                let directory = match last.take() {
                    Some((path, directory)) if path == above => directory,
                    _ => Directory::new(self.device_directory(&above)?)?,
                };
                let (_, directory) = last.insert((above, directory));
                self.node(node, directory, name)
            };
            act().about(format_args!("device {}", node.path))?;
        }
        Ok(())
    }

    fn device_directory(&self, path: &InsidePath) -> Result<Handle> {
        self.root.directory(path).map_err(|e| match e {
            Errno::ELOOP => through_a_link(path),
            e => Error::os(format_args!("{path}"), e),
        })
    }

    /// Makes one device node in its directory, under a name that is free.
    fn node(&mut self, node: &DeviceNode, directory: &Directory, name: &CStr) -> Result<()> {
        let (kind, number) = match node.kind {
            DeviceKind::Char => (SFlag::S_IFCHR, makedev(node.major.into(), node.minor.into())),
            DeviceKind::Block => (SFlag::S_IFBLK, makedev(node.major.into(), node.minor.into())),
            DeviceKind::Fifo => (SFlag::S_IFIFO, 0),
        };
        let at = &directory.handle;
        match mknodat(at, name, kind, Mode::from_bits_truncate(node.mode), number) {
            Ok(()) => own(directory, name, node),
            Err(Errno::EEXIST) => match lstatat(at, name)? {
                // The file that a device was bound over when the same root was used before.
                found if self.api.is_inside() && super::kind(&found) == SFlag::S_IFREG => {
                    self.bind_device(node, at, name, kind, number)
                }
                found => same(&found, kind, number),
            },
            // mknod fails in a user namespace, so the host's node is bound instead.
            Err(Errno::EPERM) if kind != SFlag::S_IFIFO && !self.shares_mounts => {
                self.bind_device(node, at, name, kind, number)
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
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
        let host = self
            .api
            .open_host(path.as_c_str(), flags)
            .map_err(|e| Error::os("mknod is not permitted, and the host's node cannot be bound", e))?;
        same(&fstat(&host)?, kind, number).at("mknod is not permitted, and the host's node")?;
        match mknodat(directory, name, SFlag::S_IFREG, Mode::empty(), 0) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(e) => return Err(e.into()),
        }
        bind_over(&host, &open_name(directory, name)?)
    }

    /// Makes the links of `/dev`. A link that exists is kept.
    ///
    /// `ptmx` is replaced: the image's could lead to the pty of another container or of the host.
    fn links(&self) -> Result<()> {
        let dev = InsidePath::new("/dev").ok_or(Errno::EINVAL)?;
        let dev = self.device_directory(&dev)?;
        for (name, text) in LINKS {
            link(&dev, name, text)?;
        }
        // Only some kernels have this file.
        if lstatat(self.proc(), c"kcore").is_ok() {
            link(&dev, c"core", c"/proc/kcore")?;
        }
        ptmx(&dev).at("/dev/ptmx")
    }

    /// Binds the slave side of a terminal over `/dev/console`.
    ///
    /// The file is made if it is missing; where mounts are the host's, there is no console. `slave` was opened through its
    /// master (TIOCGPTPEER), not by a name.
    pub fn console(&mut self, slave: BorrowedFd<'_>) -> Result<()> {
        if self.shares_mounts {
            return Ok(());
        }
        let path = InsidePath::new("/dev/console").ok_or(Errno::EINVAL)?;
        let mut act = || -> Result<()> {
            let (above, name) = path.split().ok_or(Errno::EISDIR)?;
            let directory = self.device_directory(&above)?;
            let _exact = ExactModes::begin();
            match mknodat(&directory, name, SFlag::S_IFREG, Mode::from_bits_truncate(0o644), 0) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(e) => return Err(e.into()),
            }
            let target = open_name(&directory, name)?;
            match target.kind()? {
                SFlag::S_IFREG | SFlag::S_IFCHR => {}
                other => {
                    return Err(Error::of(format_args!("is {} in the root file system", describe(other))));
                }
            }
            let tree = self.api.clone_file(slave, false)?;
            Ok(self.api.attach(tree.as_fd(), target.as_fd())?)
        };
        act().at("/dev/console")
    }
}

/// The directory in which nodes are made.
struct Directory {
    handle: Handle,
    /// Whether it has the set-group-id bit, which passes its group on to new files.
    gives_group: bool,
}

impl Directory {
    fn new(handle: Handle) -> Result<Directory> {
        let gives_group = handle.stat()?.st_mode & 0o2000 != 0;
        Ok(Directory { handle, gives_group })
    }
}

fn own(directory: &Directory, name: &CStr, node: &DeviceNode) -> Result<()> {
    if node.uid == 0 && node.gid == 0 && !directory.gives_group {
        return Ok(());
    }
    Ok(chownat(&directory.handle, name, node.uid, Some(node.gid))?)
}

fn same(stat: &FileStat, wanted: SFlag, number: libc::dev_t) -> Result<()> {
    let found = kind(stat);
    if found != wanted {
        return Err(Error::of(format_args!("{} is in its place", describe(found))));
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
        Err(e) => Err(e).about(format_args!("/dev/{}", Lossy(name))),
    }
}

fn ptmx(dev: &Handle) -> Result<()> {
    const NAME: &CStr = c"ptmx";
    const TEXT: &CStr = c"pts/ptmx";
    if readlinkat(dev, NAME).is_ok_and(|text| text == TEXT.to_bytes()) {
        return Ok(());
    }
    match unlinkat(dev, NAME) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(e) => return Err(e.into()),
    }
    Ok(symlinkat(TEXT, dev, NAME)?)
}
