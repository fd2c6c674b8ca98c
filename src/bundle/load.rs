//! A bundle directory to what it says.

use std::fs::{self, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::config;
use super::spec::Spec;
use crate::error::{Context as _, Errno, Error, Quoted, Result};

/// A configuration file longer than this is not one (the longest known, with a seccomp profile, have some 100 KiB).
const LONGEST: u64 = 16 << 20;

/// A bundle, read: later changes to its `config.json` have no effect (runtime.md, "Create").
#[derive(Debug)]
pub struct Loaded {
    /// The bundle, absolute and without symbolic links.
    pub dir: PathBuf,
    /// What the file says.
    pub spec: Box<Spec>,
    /// The file as it was read.
    pub text: Vec<u8>,
    /// `root.path`, absolute and without symbolic links: a directory when it was looked at. For messages and records;
    /// what is done to it is done through a file descriptor.
    pub rootfs: PathBuf,
}

/// Reads the bundle in `dir`: its `config.json`, and that its root file system is a directory.
pub fn load(dir: &Path) -> Result<Loaded> {
    load_with(dir, Path::new("config.json"))
}

/// The same with the configuration in a file of another name, as crun takes it (`--config`).
pub fn load_with(dir: &Path, config: &Path) -> Result<Loaded> {
    let dir = fs::canonicalize(dir).about(format_args!("bundle {}", dir.display()))?;
    let file = dir.join(config);
    let text = read_file(&file).map_err(|e| match e.errno() {
        Some(Errno::ENOENT) => {
            e.hint("the bundle directory must hold config.json: name it with --bundle, or write one with \"embrun spec\"")
        }
        _ => e,
    })?;
    let spec = config::parse(&text).context(|| file.display())?;
    let rootfs = rootfs(&dir, spec.root.path).about(format_args!("{}: root.path", file.display()))?;
    Ok(Loaded { dir, spec, text, rootfs })
}

/// A JSON document that is a file (`config.json`), whole. Bounded, and never waiting: a FIFO is refused, not read.
pub fn read_file(path: &Path) -> Result<Vec<u8>> {
    read(path, libc::O_NONBLOCK)
}

/// A JSON document that the command line names (`exec --process`, `update --resources`), whole: it may come through a
/// pipe too, such as a shell's `<(...)`.
pub fn read_argument(path: &Path) -> Result<Vec<u8>> {
    read(path, 0)
}

fn read(path: &Path, nonblock: i32) -> Result<Vec<u8>> {
    let read = || {
        let file = OpenOptions::new().read(true).custom_flags(nonblock | libc::O_NOCTTY).open(path)?;
        let kind = file.metadata()?.file_type();
        if !kind.is_file() && (nonblock != 0 || !kind.is_fifo()) {
            return Err(Error::new("not a regular file"));
        }
        let mut text = Vec::new();
        file.take(LONGEST + 1).read_to_end(&mut text)?;
        if text.len() as u64 > LONGEST {
            return Err(Error::new(format!("longer than {} MiB", LONGEST >> 20)));
        }
        Ok(text)
    };
    read().context(|| path.display())
}

fn rootfs(bundle: &Path, path: &str) -> Result<PathBuf> {
    let rootfs = bundle.join(path);
    let look = || {
        if fs::metadata(&rootfs)?.is_dir() {
            Ok(fs::canonicalize(&rootfs)?)
        } else {
            Err(Error::from(Errno::ENOTDIR))
        }
    };
    look()
        .context(|| Quoted(path))
        .map_err(|e| e.hint("it must be the directory of the container's root file system"))
}
