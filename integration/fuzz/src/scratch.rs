//! A directory of this process's own, on a tmpfs if there is one.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// A directory that is removed at the end.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes the directory.
    pub fn new(name: &str) -> Scratch {
        let top = Path::new("/dev/shm");
        let top = if top.is_dir() { top.to_owned() } else { std::env::temp_dir() };
        let dir = match std::env::var_os("FUZZ_SCRATCH") {
            Some(dir) => top.join(dir),
            None => top.join(format!("embrun-fuzz-{name}-{}", std::process::id())),
        };
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        Scratch(dir)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Opens a directory in it.
    pub fn open(&self, name: &str) -> OwnedFd {
        File::open(self.0.join(name)).unwrap_or_else(|e| panic!("{name}: {e}")).into()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
