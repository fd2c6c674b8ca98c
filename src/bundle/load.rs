//! Reads a bundle directory: its configuration and its root file system.

use nix::fcntl::OFlag;
use nix::sys::stat::SFlag;

use super::config;
use super::spec::Spec;
use crate::error::{Context as _, Errno, Error, Quoted, Result};
use crate::json::read::report_unknown;
use crate::log;
use crate::sys::file::{fstat, kind, open, read_all, stat};
use crate::sys::path::{canonical, join};
use crate::text::{Keep, Text};

/// The largest configuration file, in bytes.
///
/// The longest known ones, with a seccomp profile, have about 100 KiB.
pub const LONGEST: usize = 16 << 20;
/// The most unknown keys that are logged.
const MOST_UNKNOWN: usize = 10;

/// A bundle that has been read.
///
/// Later changes to its `config.json` have no effect (runtime.md, "Create").
#[derive(Debug)]
pub struct Loaded {
    /// The bundle's absolute path, without symbolic links.
    pub dir: Text,
    /// The parsed configuration.
    pub spec: Box<Spec>,
    /// The configuration file as it was read.
    pub text: &'static [u8],
    /// The absolute path of `root.path`, without symbolic links.
    ///
    /// It was a directory when it was checked. It is for messages and records only: every operation goes through a file
    /// descriptor.
    pub rootfs: Text,
}

/// Reads the bundle in `dir` from its `config.json`, and checks its root.
pub fn load(dir: &str) -> Result<Loaded> {
    load_with(dir, "config.json")
}

/// Reads the bundle with another configuration file, like crun's `--config`.
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
    if log::is_debug() {
        log_unknown_keys(&file, text);
    }
    let rootfs = rootfs(dir, spec.root.path).about(format_args!("{file}: root.path"))?;
    Ok(Loaded { dir, spec, text, rootfs })
}

/// Logs the first keys that the specification does not have.
fn log_unknown_keys(file: &str, text: &'static [u8]) {
    for known in 0..MOST_UNKNOWN {
        report_unknown(known);
        let Err(unknown) = config::parse(text) else { break };
        log::debug(|| format!("{file}: {unknown}, ignored"));
    }
    report_unknown(usize::MAX);
}

/// Reads a whole JSON document from a regular file (`config.json`).
///
/// The size is bounded, and a FIFO is refused, so reading never blocks.
pub fn read_file(path: &str) -> Result<Vec<u8>> {
    read(path, OFlag::O_NONBLOCK)
}

/// Reads a whole JSON document that the command line names.
///
/// `exec --process` and `update --resources` also accept a pipe, such as a shell's `<(...)`.
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
