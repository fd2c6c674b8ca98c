//! A mount namespace and a scratch directory of a test's own, gone when the test ends.
//!
//! A thread may leave the mount namespace of its process: unshare(2) gives it a working directory and a root of its own
//! too. So a test assembles a root file system, and pivots into it, in a thread, and no other test notices.

use std::ffi::CString;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Runs `test` with a directory that holds an empty `rootfs/` and an empty `outside/`, on a tmpfs that only it sees.
pub fn with_scratch(test: impl FnOnce(&Path) + Send + 'static) {
    let scratch = nix::unistd::mkdtemp(&std::env::temp_dir().join("embrun-test-XXXXXX")).unwrap();
    let mount_point = scratch.clone();
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace (these tests need root)");
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none).unwrap();
        mount(Some("scratch"), &scratch, Some("tmpfs"), MsFlags::empty(), none).unwrap();
        for directory in ["rootfs", "outside"] {
            std::fs::create_dir(scratch.join(directory)).unwrap();
        }
        test(&scratch);
    });
    let ended = thread.join();
    // Not by the thread, which may have pivoted away.
    std::fs::remove_dir(mount_point).unwrap();
    ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

/// Tells a racing thread to stop, also when the test fails.
#[derive(Default)]
pub struct Stop(AtomicBool);

impl Stop {
    /// Whether it is time.
    pub fn told(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Tells when dropped.
    pub fn at_the_end(&self) -> impl Drop + '_ {
        struct Tell<'a>(&'a Stop);
        impl Drop for Tell<'_> {
            fn drop(&mut self) {
                self.0.0.store(true, Ordering::Relaxed);
            }
        }
        Tell(self)
    }
}

/// How often to repeat what chance decides: less on an emulated host (`IT_SLOW=5`), for the others do it in full.
pub fn rounds(full: u32) -> u32 {
    full / std::env::var("IT_SLOW").ok().and_then(|n| n.parse().ok()).unwrap_or(1).max(1)
}

/// A path as the kernel takes it.
pub fn c(path: &Path) -> CString {
    CString::new(path.as_os_str().as_encoded_bytes()).unwrap()
}
