//! The state of init between its steps.

use std::ffi::{CStr, CString};

use nix::errno::Errno;

use super::{diagnosis, program, user_namespace};
use crate::error::{Error, Lossy, Result};
use crate::plan::Program;
use crate::plan::step::InitStep;
use crate::rootfs::Rootfs;
use crate::rootfs::procfs::ProcFs;
use crate::sys::process::{self, CStrings};

/// The values that steps pass on to later steps.
pub(super) struct InitContext {
    /// The host's procfs and the root, until they are closed.
    pub(super) host: Option<OfTheHost>,
    /// Whether the working directory is entered already.
    pub(super) in_cwd: bool,
    pub(super) dumpable: bool,
    pub(super) groups_denied: bool,
    pub(super) program: Option<CString>,
    pub(super) argv: CStrings,
    pub(super) envp: CStrings,
}

/// A way back to the host. While it exists, no program of the container may run.
pub(super) enum OfTheHost {
    /// The host's procfs, opened before any file of the container is reachable.
    ProcFs(ProcFs),
    /// The root of a container that is being created, with the host's procfs.
    Rootfs(Rootfs),
}

impl OfTheHost {
    pub(super) fn procfs(&self) -> &ProcFs {
        match self {
            OfTheHost::ProcFs(procfs) => procfs,
            OfTheHost::Rootfs(rootfs) => rootfs.proc(),
        }
    }

    pub(super) fn rootfs(&self) -> Option<&Rootfs> {
        match self {
            OfTheHost::ProcFs(_) => None,
            OfTheHost::Rootfs(rootfs) => Some(rootfs),
        }
    }
}

impl InitContext {
    pub(super) fn find_program(&mut self, program: &Program) -> Result<()> {
        self.program = Some(program::find(program)?);
        Ok(())
    }

    pub(super) fn exec(&self) -> Error {
        match &self.program {
            Some(path) => exec(path, &self.argv, &self.envp),
            None => Error::new("process: is required to start"),
        }
    }

    /// A likely reason why the program was not found or not executed.
    pub(super) fn diagnosis(&self, program: &Program, errno: Errno) -> Option<String> {
        diagnosis::of_program(self.program.as_deref().or_else(|| program::refused(program))?, errno)
    }

    pub(super) fn ids(&mut self, step: InitStep) -> Result<()> {
        match step {
            InitStep::CheckGroups => self.groups_denied = self.host()?.procfs().denies_groups()?,
            InitStep::BecomeRoot => user_namespace::become_root(self.groups_denied, self.dumpable)?,
            _ => self.dumpable = user_namespace::set_dumpable(step == InitStep::Show)?,
        }
        Ok(())
    }

    pub(super) fn host(&mut self) -> Result<&mut OfTheHost> {
        self.host.as_mut().ok_or_else(let_go_of)
    }

    pub(super) fn open_root(&mut self, path: &str) -> Result<()> {
        self.host = Some(OfTheHost::Rootfs(Rootfs::without_mounts(path)?));
        Ok(())
    }

    pub(super) fn rootfs(&mut self) -> Result<&mut Rootfs> {
        match self.host()? {
            OfTheHost::Rootfs(rootfs) => Ok(rootfs),
            OfTheHost::ProcFs(_) => Err(Error::new("the root is not prepared")),
        }
    }
}

pub(super) fn let_go_of() -> Error {
    Error::new("the host's descriptors are closed already")
}

/// Executes the program; allocates nothing unless it fails.
fn exec(path: &CStr, argv: &CStrings, envp: &CStrings) -> Error {
    let errno = process::execve(path, argv, envp);
    // The program was found, so the missing file may be the interpreter in its first line.
    Error::os(format_args!("exec {}", Lossy(path)), errno)
}
