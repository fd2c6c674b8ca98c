//! Files and mounts of the host that another process opens.
//!
//! A process in a user namespace may not be able to reach them, and it must not resolve the host's paths.

use std::ffi::CStr;
use std::fmt;
use std::os::fd::OwnedFd;

use nix::errno::Errno;

use crate::plan::user_namespace::HostObject;

type Opened = Result<OwnedFd, Errno>;
/// Whether an object is the wanted one.
type Wanted<'a> = &'a dyn Fn(&HostObject) -> bool;

/// Asks for the `O_PATH` descriptor of an object of the host.
pub struct HostFiles(Box<dyn Fn(Wanted<'_>) -> Opened>);

impl HostFiles {
    /// A way to ask.
    pub fn new(open: impl Fn(Wanted<'_>) -> Opened + 'static) -> HostFiles {
        HostFiles(Box::new(open))
    }

    /// Opens a path. It follows links.
    pub fn open(&self, path: &CStr) -> Opened {
        (self.0)(&|object| matches!(object, HostObject::File(file) if *file == path))
    }

    /// Asks for the idmapped mount of an entry of `mounts[]`, detached.
    pub fn mount(&self, index: usize) -> Opened {
        (self.0)(&|object| matches!(object, HostObject::Mount(step) if step.index == index))
    }
}

impl fmt::Debug for HostFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostFiles")
    }
}
