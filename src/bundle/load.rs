//! A bundle directory to what it says.

use nix::fcntl::OFlag;
use nix::sys::stat::SFlag;

use super::config;
use super::spec::Spec;
use crate::error::{Context as _, Errno, Error, Quoted, Result};
use crate::sys::file::{fstat, kind, open, read_all, stat};
use crate::sys::path::{canonical, join};
use crate::text::{Keep, Text};

/// A configuration file longer than this is not one (the longest known, with a seccomp profile, have some 100 KiB).
pub const LONGEST: usize = 16 << 20;

/// A bundle, read: later changes to its `config.json` have no effect (runtime.md, "Create").
#[derive(Debug)]
pub struct Loaded {
    /// The bundle, absolute and without symbolic links.
    pub dir: Text,
    /// What the file says.
    pub spec: Box<Spec>,
    /// The file as it was read.
    pub text: &'static [u8],
    /// `root.path`, absolute and without symbolic links: a directory when it was looked at. For messages and records;
    /// what is done to it is done through a file descriptor.
    pub rootfs: Text,
}

/// Reads the bundle in `dir`: its `config.json`, and that its root file system is a directory.
pub fn load(dir: &str) -> Result<Loaded> {
    load_with(dir, "config.json")
}

/// The same with the configuration in a file of another name, as crun takes it (`--config`).
pub fn load_with(dir: &str, config: &str) -> Result<Loaded> {
    let dir = text(canonical(dir).about(format_args!("bundle {dir}"))?)?;
    let file = join(dir, config);
    let text: &[u8] = read_file(&file).map(Vec::keep).map_err(|e| match e.errno() {
        Some(Errno::ENOENT) if config == "config.json" => {
            e.hint("the bundle directory must hold config.json: name it with --bundle, or write one with \"embrun spec\"")
        }
        _ => e,
    })?;
    let spec = config::parse(text).at(&file)?;
    let rootfs = rootfs(dir, spec.root.path).about(format_args!("{file}: root.path"))?;
    Ok(Loaded { dir, spec, text, rootfs })
}

/// A JSON document that is a file (`config.json`), whole. Bounded, and never waiting: a FIFO is refused, not read.
pub fn read_file(path: &str) -> Result<Vec<u8>> {
    read(path, OFlag::O_NONBLOCK)
}

/// A JSON document that the command line names (`exec --process`, `update --resources`), whole: it may come through a
/// pipe too, such as a shell's `<(...)`.
pub fn read_argument(path: &str) -> Result<Vec<u8>> {
    read(path, OFlag::empty())
}

fn read(path: &str, nonblock: OFlag) -> Result<Vec<u8>> {
    let read = || {
        let file = open(path, OFlag::O_RDONLY | OFlag::O_NOCTTY | nonblock)?;
        match kind(&fstat(&file)?) {
            SFlag::S_IFREG => {}
            SFlag::S_IFIFO if nonblock.is_empty() => {}
            _ => return Err(Error::new("not a regular file")),
        }
        let text = read_all(&file, LONGEST + 1)?;
        if text.len() > LONGEST {
            return Err(Error::of(format_args!("longer than {} MiB", LONGEST >> 20)));
        }
        Ok(text)
    };
    read().at(path)
}

fn rootfs(bundle: &str, path: &str) -> Result<Text> {
    let rootfs = join(bundle, path);
    let look = || match kind(&stat(&*rootfs)?) {
        SFlag::S_IFDIR => canonical(&*rootfs),
        _ => Err(Errno::ENOTDIR),
    };
    let found = look()
        .context(|| Quoted(path))
        .map_err(|e| e.hint("it must be the directory of the container's root file system"))?;
    text(found)
}

fn text(path: Vec<u8>) -> Result<Text> {
    match String::from_utf8(path) {
        Ok(path) => Ok(path.keep()),
        Err(e) => {
            let path = String::from_utf8_lossy(e.as_bytes());
            Err(Error::of(format_args!("{path}: a path that is not UTF-8 is not supported")))
        }
    }
}
