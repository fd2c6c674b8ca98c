//! The container's root file system while init prepares it, before the pivot.
//!
//! All work starts from the root's descriptor ([`root`]), with the host's procfs at hand ([`procfs`]). Mounts that are not yet
//! in place are in [`detached`]. Paths below the root are found by [`resolve`]. The operations are [`mount`], [`device`] and
//! [`mask`]; [`pivot`] comes last.

pub mod detached;
pub mod helper;
pub mod host_files;
pub mod idmapped;
pub mod procfs;
pub mod resolve;
pub mod root;

mod copy;
mod device;
mod foreign_proc;
mod mask;
mod mount;
mod passwd;
mod pivot;

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{SFlag, makedev};

use detached::{Api, MountApi};
use host_files::HostFiles;
use procfs::ProcFs;
use resolve::{Links, Resolver};
use root::{Handle, RootDir, kind};

use crate::bundle::spec::Propagation;
use crate::error::{Context, Error, Lossy, Result};
use crate::plan::inside_path::InsidePath;
use crate::plan::options::{Change, ms};
use crate::sys::file::{fstat, open, stat};
use crate::sys::mount_api::mount;

pub use passwd::home;
pub use pivot::enter_root;

/// The root of a container that is being created.
#[derive(Debug)]
pub struct Rootfs {
    root: RootDir,
    api: MountApi,
    /// Our own mounts that become read-only at the end.
    late: Vec<OwnedFd>,
    /// An empty read-only tmpfs, once it is needed.
    nothing: Option<OwnedFd>,
    propagation: Option<Propagation>,
    /// The mounts of this process are the host's.
    shares_mounts: bool,
    /// The user namespace with the map of the next idmapped mount.
    carrier: Option<OwnedFd>,
    /// The container's pid namespace, if this process is not in it.
    pid_namespace: Option<OwnedFd>,
}

/// The kernel interfaces to use; the best ones, unless a test chooses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ways {
    /// How mounts are made.
    pub api: Option<Api>,
    /// How paths are resolved.
    pub resolver: Option<Resolver>,
}

impl Rootfs {
    /// Makes the directory at `path`, a path of the host, the future root.
    ///
    /// It becomes a mount of its own. The propagation of everything is set so that new mounts reach the host only if the
    /// configuration asks for it.
    pub fn prepare(path: &CStr, propagation: Option<Propagation>, ways: Ways) -> Result<Rootfs> {
        let resolver = ways.resolver.unwrap_or(Resolver::Kernel);
        let mut api = MountApi::new(ProcFs::with(resolver)?, ways.api);
        set_propagation(propagation)?;
        let directory = open(path, OFlag::O_PATH | OFlag::O_DIRECTORY)
            .about(format_args!("root.path {}", Lossy(path)))?;
        // Like runc: only a slave sees what the host mounts below its root later.
        pivot::set_parent(path, if is_slave(propagation) { ms::SLAVE } else { ms::PRIVATE })?;
        let tree = api.clone_file(directory.as_fd(), true).at("bind the root onto itself")?;
        if !apart(propagation) {
            // Mounts below root.path may be peers of the host's.
            api.change(tree.as_fd(), &SLAVE)?;
        }
        api.attach(tree.as_fd(), directory.as_fd()).at("bind the root onto itself")?;
        let root = RootDir::with(tree.into(), resolver);
        Ok(Rootfs::on(root, api, propagation))
    }

    /// A root without any mount on it yet.
    fn on(root: RootDir, api: MountApi, propagation: Option<Propagation>) -> Rootfs {
        Rootfs {
            root,
            api,
            late: Vec::new(),
            nothing: None,
            propagation,
            shares_mounts: false,
            carrier: None,
            pid_namespace: None,
        }
    }

    /// Takes the directory at `path` as the root, in the mount namespace of the host.
    pub fn without_mounts(path: &str) -> Result<Rootfs> {
        let root = open_directory(path).about(format_args!("root.path {path}"))?;
        if is_own_root(&root)? {
            return Err(Error::of(format_args!("root.path {path}: is the host's root"))
                .hint("only a container with a mount namespace can have it"));
        }
        let api = MountApi::new(ProcFs::open()?, None);
        Ok(Rootfs { shares_mounts: true, ..Rootfs::on(RootDir::new(root), api, None) })
    }

    /// The same for a process in a user namespace, which asks for the host's files.
    ///
    /// Its mounts are slaves of the host's: the kernel made them so with the mount namespace.
    pub fn prepare_inside(path: &CStr, propagation: Option<Propagation>, files: HostFiles) -> Result<Rootfs> {
        // The one that init has opened is on a mount of the mount namespace that it was cloned in.
        let procfs = ProcFs::of(files.open(c"/proc").at("open /proc")?, Resolver::Kernel)?;
        let mut api = MountApi::inside(procfs, files);
        set_propagation(None)?;
        let directory = || -> std::result::Result<OwnedFd, Errno> {
            let directory = api.open_host(path, OFlag::O_PATH)?;
            if kind(&fstat(&directory)?) == SFlag::S_IFDIR { Ok(directory) } else { Err(Errno::ENOTDIR) }
        };
        let directory = directory().about(format_args!("root.path {}", Lossy(path)))?;
        let tree = api.clone_file(directory.as_fd(), true).at("bind the root onto itself")?;
        if !is_slave(propagation) {
            api.change(tree.as_fd(), &PRIVATE)?;
        }
        api.attach(tree.as_fd(), directory.as_fd()).at("bind the root onto itself")?;
        let root = RootDir::new(tree.into());
        Ok(Rootfs::on(root, api, propagation))
    }

    /// Sets the pid namespace that procfs shows when it is mounted from now on.
    pub fn set_pid_namespace(&mut self, namespace: OwnedFd) {
        self.pid_namespace = Some(namespace);
    }

    /// Sets the user namespace with the map of the next mount.
    pub fn set_carrier(&mut self, namespace: OwnedFd) {
        self.carrier = Some(namespace);
    }

    /// The root's descriptor.
    pub fn root(&self) -> &RootDir {
        &self.root
    }

    /// The host's procfs.
    pub fn proc(&self) -> &ProcFs {
        self.api.proc()
    }

    /// Refuses to cover the root itself, which would have no effect.
    ///
    /// A link in the image may have led there.
    fn not_the_root(&self, target: &Handle) -> Result<()> {
        if self.root.is(target)? { Err(Error::new("it is the root of the container")) } else { Ok(()) }
    }

    /// Makes those mounts read-only that had to stay writable until they were filled.
    pub fn finish(&mut self) -> Result<()> {
        for mount in std::mem::take(&mut self.late) {
            self.api.change(mount.as_fd(), &crate::plan::mounts::READONLY)?;
        }
        Ok(())
    }

    /// Makes the root read-only (`root.readonly`). The mounts below keep their flags.
    pub fn make_readonly(&self) -> Result<()> {
        self.api.change(self.root.as_fd(), &crate::plan::mounts::READONLY).at("the root")
    }
}

/// An `O_PATH` descriptor of a directory.
pub fn open_directory(path: &str) -> std::result::Result<OwnedFd, Errno> {
    open(path, OFlag::O_PATH | OFlag::O_DIRECTORY)
}

/// Whether a directory is the root of this process, whatever the mount.
pub fn is_own_root(directory: &OwnedFd) -> Result<bool> {
    let (this, own) = (fstat(directory)?, stat("/")?);
    Ok((this.st_dev, this.st_ino) == (own.st_dev, own.st_ino))
}

/// Whether mount events in this namespace can never reach the host.
fn apart(propagation: Option<Propagation>) -> bool {
    !matches!(
        propagation,
        Some(
            Propagation::Shared { .. }
                | Propagation::Slave { recursive: false }
                | Propagation::Private { recursive: false }
                | Propagation::Unbindable { recursive: false }
        )
    )
}

/// Whether the root receives the host's new mounts.
fn is_slave(propagation: Option<Propagation>) -> bool {
    matches!(propagation, Some(Propagation::Slave { .. }))
}

/// The `MS_…` flag of a propagation type.
fn propagation_flags(propagation: Propagation) -> u32 {
    let (kind, recursive) = match propagation {
        Propagation::Shared { recursive } => (ms::SHARED, recursive),
        Propagation::Slave { recursive } => (ms::SLAVE, recursive),
        Propagation::Private { recursive } => (ms::PRIVATE, recursive),
        Propagation::Unbindable { recursive } => (ms::UNBINDABLE, recursive),
    };
    if recursive { kind | ms::REC } else { kind }
}

/// Makes all mounts of a tree slaves.
const SLAVE: Change = Change { recursive: true, set: 0, clear: 0, unasked: 0, propagation: ms::SLAVE };
/// Makes one mount private.
const PRIVATE: Change = Change { recursive: false, propagation: ms::PRIVATE, ..SLAVE };

/// Sets the propagation of the new namespace's copies of the host's mounts.
///
/// A recursive type is set on all of them; otherwise volumes keep the propagation that they have on the host. An unbindable
/// mount cannot be bound, so the root becomes unbindable only after the pivot.
fn set_propagation(propagation: Option<Propagation>) -> Result<()> {
    let flags = match propagation {
        Some(Propagation::Unbindable { recursive: false }) => return Ok(()),
        None | Some(Propagation::Unbindable { recursive: true }) => ms::SLAVE | ms::REC,
        Some(other) => propagation_flags(other),
    };
    mount(None, c"/", None, flags, None).map_err(is_no_mount).at("set the propagation of /")
}

/// Adds the fix for a caller whose `/` is not a mount, as in a plain chroot.
fn is_no_mount(errno: Errno) -> Error {
    let hint = "/ is not a mount here: before chroot DIR, make it one with mount --bind DIR DIR";
    if errno == Errno::EINVAL { Error::from(errno).hint(hint) } else { errno.into() }
}

/// The host's `/dev/null`, verified to be the device.
///
/// It is bound over masked files.
fn host_null(api: &MountApi) -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
    let fd = api.open_host(c"/dev/null", flags).at("open /dev/null of the host")?;
    let stat = fstat(&fd)?;
    let real = kind(&stat) == SFlag::S_IFCHR && stat.st_rdev == makedev(1, 3);
    if real { Ok(fd) } else { Err(Error::new("/dev/null of the host is not the null device")) }
}

/// The error for a path that is not the file its name promises.
fn through_a_link(path: &InsidePath) -> Error {
    Error::of(format_args!("{path} of the root file system is or goes through a symbolic link"))
}

/// The file that a path of the container leads to, if there is one.
fn find(root: &RootDir, path: &InsidePath) -> Result<Option<Handle>> {
    match root.resolve(path, Links::Follow) {
        Ok(handle) => Ok(Some(handle)),
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(e) => Err(e).about(format_args!("{path}")),
    }
}
