//! A mount namespace and a scratch directory for one test, gone at its end.
//!
//! unshare(2) gives a thread its own mount namespace, working directory and root. So a test assembles a
//! root file system and pivots into it in a thread, without any effect on other tests.

use std::ffi::CString;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Runs `test` with a directory that holds an empty `rootfs/` and `outside/`.
///
/// The directory is a tmpfs that only the test sees.
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
    // The thread cannot do it, because it may have pivoted.
    std::fs::remove_dir(mount_point).unwrap();
    ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

/// Stops a racing thread, even if the test fails.
#[derive(Default)]
pub struct Stop(AtomicBool);

impl Stop {
    /// Whether the thread must stop.
    pub fn told(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// A guard that stops the thread when it is dropped.
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

/// The number of repetitions of a randomised test: fewer on an emulated host.
///
/// `IT_SLOW=5` divides it, because fast hosts run it in full.
pub fn rounds(full: u32) -> u32 {
    full / std::env::var("IT_SLOW").ok().and_then(|n| n.parse().ok()).unwrap_or(1).max(1)
}

/// A path as a C string.
pub fn c(path: &Path) -> CString {
    CString::new(path.as_os_str().as_encoded_bytes()).unwrap()
}
