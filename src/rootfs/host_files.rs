//! Files of the host that another process opens.
//!
//! A process in a user namespace may not be able to reach them, and it must not resolve the host's paths.

use std::ffi::CStr;
use std::fmt;
use std::os::fd::OwnedFd;

use nix::errno::Errno;

type Opened = Result<OwnedFd, Errno>;

/// Asks for the `O_PATH` descriptor of a path of the host.
pub struct HostFiles(Box<dyn Fn(&CStr) -> Opened>);

impl HostFiles {
    /// A way to ask.
    pub fn new(open: impl Fn(&CStr) -> Opened + 'static) -> HostFiles {
        HostFiles(Box::new(open))
    }

    /// Opens a path. It follows links.
    pub fn open(&self, path: &CStr) -> Opened {
        (self.0)(path)
    }
}

impl fmt::Debug for HostFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostFiles")
    }
}
