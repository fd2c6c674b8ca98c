//! The container's root file system while it is made: in init, in the new mount namespace, before the pivot.
//!
//! Everything is done from the root's file descriptor ([`root`]), with the host's procfs at hand ([`procfs`]). What is not
//! yet in its place is in the [`detached`] workshop. Paths below the root are found by [`resolve`]. The acts: [`mount`],
//! [`device`], [`mask`], and [`pivot`] in the end.

pub mod detached;
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

use detached::{Api, Workshop};
use procfs::ProcFs;
use resolve::{Links, Resolver};
use root::{Handle, RootDir};

use crate::bundle::spec::Propagation;
use crate::error::{Context, Error, Lossy, Result};
use crate::plan::inside_path::InsidePath;
use crate::plan::options::{Change, ms};
use crate::sys::file::{fstat, open};
use crate::sys::mount_api::mount;

pub use passwd::home;

/// The root of a container in the making.
#[derive(Debug)]
pub struct Rootfs {
    root: RootDir,
    workshop: Workshop,
    /// Mounts of ours that become read-only at last.
    late: Vec<OwnedFd>,
    /// A read-only tmpfs with nothing in it, once there is one.
    nothing: Option<OwnedFd>,
    propagation: Option<Propagation>,
    /// The pid namespace of the container, where this process is not in it.
    pid_namespace: Option<OwnedFd>,
}

/// Which ways of the kernel's to use; the best it has, unless a test wants to see the others.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ways {
    /// How mounts are handled.
    pub api: Option<Api>,
    /// How paths are resolved.
    pub resolver: Option<Resolver>,
}

impl Rootfs {
    /// Makes the directory at `path`, a path of the host, the root to be: a mount of its own, with the propagation of
    /// everything set such that nothing that is mounted from now on reaches the host unless it is asked to.
    pub fn prepare(path: &CStr, propagation: Option<Propagation>, ways: Ways) -> Result<Rootfs> {
        let resolver = ways.resolver.unwrap_or(Resolver::Kernel);
        let mut workshop = Workshop::new(ProcFs::with(resolver)?, ways.api);
        set_propagation(propagation)?;
        let directory = open(path, OFlag::O_PATH | OFlag::O_DIRECTORY)
            .about(format_args!("root.path {}", Lossy(path)))?;
        // As by runc: only a slave sees what the host mounts below its root later.
        pivot::set_parent(path, if is_slave(propagation) { ms::SLAVE } else { ms::PRIVATE })?;
        let tree = workshop.clone_file(directory.as_fd(), true).at("bind the root onto itself")?;
        if !apart(propagation) {
            // Mounts below root.path may be peers of the host's.
            workshop.change(tree.as_fd(), &SLAVE)?;
        }
        workshop.attach(tree.as_fd(), directory.as_fd()).at("bind the root onto itself")?;
        let root = RootDir::with(tree.into(), resolver);
        Ok(Rootfs { root, workshop, late: Vec::new(), nothing: None, propagation, pid_namespace: None })
    }

    /// Whose processes a procfs shows that is mounted from now on.
    pub fn set_pid_namespace(&mut self, namespace: OwnedFd) {
        self.pid_namespace = Some(namespace);
    }

    /// The root's descriptor.
    pub fn root(&self) -> &RootDir {
        &self.root
    }

    /// The host's procfs.
    pub fn proc(&self) -> &ProcFs {
        self.workshop.proc()
    }

    /// Refuses to put something over the root itself, where a link may have led: it would be of no effect.
    fn not_the_root(&self, target: &Handle) -> Result<()> {
        if self.root.is(target)? { Err(Error::new("it is the root of the container")) } else { Ok(()) }
    }

    /// Makes those mounts of ours read-only that had to wait, after everything that goes into them is there.
    pub fn finish(&mut self) -> Result<()> {
        for mount in std::mem::take(&mut self.late) {
            self.workshop.change(mount.as_fd(), &crate::plan::mounts::READONLY)?;
        }
        Ok(())
    }

    /// Makes the root read-only (`root.readonly`); the mounts below it keep their flags.
    pub fn make_readonly(&self) -> Result<()> {
        self.workshop.change(self.root.as_fd(), &crate::plan::mounts::READONLY).at("the root")
    }
}

/// Whether nothing that happens in the mount namespace reaches the host, whatever is mounted there.
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

/// Whether the root receives what the host mounts.
fn is_slave(propagation: Option<Propagation>) -> bool {
    matches!(propagation, Some(Propagation::Slave { .. }))
}

/// `MS_…` of a propagation type.
fn propagation_flags(propagation: Propagation) -> u32 {
    let (kind, recursive) = match propagation {
        Propagation::Shared { recursive } => (ms::SHARED, recursive),
        Propagation::Slave { recursive } => (ms::SLAVE, recursive),
        Propagation::Private { recursive } => (ms::PRIVATE, recursive),
        Propagation::Unbindable { recursive } => (ms::UNBINDABLE, recursive),
    };
    if recursive { kind | ms::REC } else { kind }
}

/// Makes slaves of all mounts of a tree.
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
    mount(None, c"/", None, flags, None).at("set the propagation of /")
}

/// The host's `/dev/null`, proven to be the device. Another file bound over a file would not hide it.
fn host_null() -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
    let fd = open(c"/dev/null", flags).at("open /dev/null of the host")?;
    let stat = fstat(&fd)?;
    let real = root::kind(&stat) == SFlag::S_IFCHR && stat.st_rdev == makedev(1, 3);
    if real { Ok(fd) } else { Err(Error::new("/dev/null of the host is not the null device")) }
}

/// What is said of a path that must be what it is called, and is not.
fn through_a_link(path: &InsidePath) -> Error {
    Error::of(format_args!("{path} of the root file system is or goes through a symbolic link"))
}

/// What a path of the container's leads to, if anything.
fn find(root: &RootDir, path: &InsidePath) -> Result<Option<Handle>> {
    match root.resolve(path, Links::Follow) {
        Ok(handle) => Ok(Some(handle)),
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(e) => Err(e).about(format_args!("{path}")),
    }
}
