//! `maskedPaths` and `readonlyPaths`, applied after all mounts.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::stat::SFlag;

use super::mount::bind_over;
use super::root::Handle;
use super::{Rootfs, find, host_null};
use crate::error::{Context, Error, Result};
use crate::plan::inside_path::InsidePath;
use crate::plan::options::{Change, attr, ms};

impl Rootfs {
    /// Hides paths: files behind the null device, directories behind an empty one.
    ///
    /// Each path is looked up first, because a lookup is much cheaper than a mount that turns out to be unnecessary.
    pub fn mask(&mut self, paths: &[InsidePath], data: &str) -> Result<()> {
        let mut null = None;
        for path in paths {
            let Some(target) = find(&self.root, path)? else { continue };
            self.hide(&target, &mut null, data).about(format_args!("mask {path}"))?;
        }
        Ok(())
    }

    fn hide(&mut self, target: &Handle, null: &mut Option<OwnedFd>, data: &str) -> Result<()> {
        self.not_the_root(target)?;
        if target.kind()? == SFlag::S_IFDIR {
            return self.cover_with_nothing(target, data);
        }
        let null = match null {
            Some(null) => null,
            none => none.insert(host_null(&self.api)?),
        };
        bind_over(&*null, target)
    }

    /// One tmpfs serves all directories: it is read-only and can hold nothing.
    fn cover_with_nothing(&mut self, target: &Handle, data: &str) -> Result<()> {
        if let Some(nothing) = &self.nothing {
            return bind_over(nothing, target);
        }
        let flags = ms::RDONLY | ms::NOSUID | ms::NODEV | ms::NOEXEC;
        let data = CString::new(data).map_err(|_| Error::from(Errno::EINVAL))?;
        let tree = self.api.new_fs(c"tmpfs", c"tmpfs", flags, Some(&data))?;
        self.api.attach(tree.as_fd(), target.as_fd())?;
        self.nothing = Some(tree.into());
        Ok(())
    }

    /// Makes paths, and all mounts below them, read-only.
    pub fn readonly(&mut self, paths: &[InsidePath]) -> Result<()> {
        for path in paths {
            let Some(target) = find(&self.root, path)? else { continue };
            self.freeze(&target).about(format_args!("make {path} read-only"))?;
        }
        Ok(())
    }

    fn freeze(&mut self, target: &Handle) -> Result<()> {
        self.not_the_root(target)?;
        let tree = self.api.clone_file(target.as_fd(), true)?;
        let change = |recursive| Change { recursive, set: attr::RDONLY, ..Change::default() };
        match self.api.change(tree.as_fd(), &change(true)) {
            // Before Linux 5.12 only the one mount can be changed, which is what other runtimes do on every kernel.
            Err(e) if e.errno() == Some(Errno::ENOSYS) => self.api.change(tree.as_fd(), &change(false))?,
            other => other?,
        }
        self.api.attach(tree.as_fd(), target.as_fd()).map_err(Error::from)
    }
}
