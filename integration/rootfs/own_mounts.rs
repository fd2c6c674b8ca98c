//! A mount namespace and a scratch directory of a test's own, gone when the test ends.
//!
//! A thread may leave the mount namespace of its process: unshare(2) gives it a working directory and a root of its own
//! too. So a test assembles a root file system, and pivots into it, in a thread, and no other test notices.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Runs `test` with a directory that holds an empty `rootfs/` and an empty `outside/`, on a tmpfs that only it sees.
pub fn with_scratch(test: impl FnOnce(&Path) + Send + 'static) {
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace (these tests need root)");
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none).unwrap();
        let scratch = nix::unistd::mkdtemp(&std::env::temp_dir().join("embrun-test-XXXXXX")).unwrap();
        mount(Some("scratch"), &scratch, Some("tmpfs"), MsFlags::empty(), none).unwrap();
        let outer = Removed(scratch.clone());
        for directory in ["rootfs", "outside"] {
            std::fs::create_dir(scratch.join(directory)).unwrap();
        }
        test(&scratch);
        outer
    });
    match thread.join() {
        Ok(scratch) => drop(scratch),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// The mount point, to be removed where it can be seen: outside the thread, which may have pivoted away.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// A path as the kernel takes it.
pub fn c(path: &Path) -> CString {
    CString::new(path.as_os_str().as_encoded_bytes()).unwrap()
}
