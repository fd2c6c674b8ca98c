//! Arriving in the new root, whatever the old one is (config-linux.md "Rootfs Mount Propagation").

use std::fs;
use std::path::Path;

use embrun::bundle::spec::Spec;
use embrun::error::Errno;
use embrun::rootfs::Ways;
use nix::fcntl::{OFlag, open, openat};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, chdir, chroot, unlinkat};

use super::assembly::{assemble, built, each_way, mounted, on_each_kernel, spec};
use super::mounts::{NONE, entry, one, propagation};
use super::own_mounts::with_scratch;

/// Every `rootfsPropagation`, none included.
const PROPAGATIONS: [Option<&str>; 9] = [
    None,
    Some("shared"),
    Some("rshared"),
    Some("slave"),
    Some("rslave"),
    Some("private"),
    Some("rprivate"),
    Some("unbindable"),
    Some("runbindable"),
];

fn asked(propagation: Option<&str>) -> String {
    propagation.map(|p| format!(r#","rootfsPropagation":"{p}""#)).unwrap_or_default()
}

/// The calling thread's mounts.
fn table() -> String {
    fs::read_to_string("/proc/thread-self/mountinfo").unwrap()
}

/// Runs `test` in a copy of this mount namespace, as a container's init is, and passes on what it returns.
fn in_a_copy<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
    let copy = move || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        test()
    };
    std::thread::spawn(copy).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn tmpfs_at(path: &Path) {
    mount(Some("made"), path, Some("tmpfs"), MsFlags::empty(), NONE).unwrap();
}

fn make(at: &Path, names: &[&str]) {
    names.iter().for_each(|name| fs::create_dir(at.join(name)).unwrap());
}

fn set(path: &Path, propagation: MsFlags) {
    mount(NONE, path, NONE, propagation, NONE).unwrap();
}

#[test]
fn propagation_of_the_root() {
    for (propagation_asked, tags) in [
        (None, ""),
        (Some("rslave"), ""),
        (Some("slave"), ""),
        (Some("rprivate"), ""),
        (Some("private"), ""),
        (Some("shared"), "shared"),
        (Some("rshared"), "shared"),
        (Some("unbindable"), "unbindable"),
    ] {
        for &ways in each_way() {
            with_scratch(move |bundle| {
                // As on a host with systemd: everything is shared.
                mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_SHARED, NONE).unwrap();
                let host = fs::read_to_string("/proc/thread-self/mountinfo").unwrap().lines().count();
                let outer = bundle.to_owned();
                let linux =
                    propagation_asked.map(|p| format!(r#","rootfsPropagation":"{p}""#)).unwrap_or_default();
                // The container in a mount namespace of its own, as a copy of this one.
                std::thread::spawn(move || {
                    unshare(CloneFlags::CLONE_NEWNS).unwrap();
                    let more = one("/proc", "proc", "proc", "");
                    assemble(&outer, &spec(&more, &linux), ways).unwrap();
                    let is = propagation(Path::new("/"));
                    // The root may be a slave of the mount it is a copy of, besides.
                    let is = is.replace("shared master", "shared");
                    let fine = is == tags
                        || tags.is_empty() && is.is_empty()
                        || tags == "unbindable" && is.contains(tags);
                    assert!(fine || tags == "master" && is.is_empty(), "{linux}: {is:?}, not {tags:?}");
                    fs::create_dir("/made").unwrap();
                    mount(Some("made"), "/made", Some("tmpfs"), MsFlags::empty(), NONE).unwrap();
                })
                .join()
                .unwrap();
                let after = fs::read_to_string("/proc/thread-self/mountinfo").unwrap().lines().count();
                assert_eq!(
                    after, host,
                    "a mount of the container reached the host, or one of the host's went"
                );
                assert!(bundle.join("rootfs/made").exists());
            });
        }
    }
}

#[test]
fn without_pivot_the_root_is_moved_and_no_other_procfs_is_left() {
    on_each_kernel(|bundle, ways| {
        fs::create_dir(bundle.join("second proc")).unwrap();
        mount(Some("proc"), &bundle.join("second proc"), Some("proc"), MsFlags::empty(), NONE).unwrap();
        let more = format!(
            r#","mounts":[{},{}]"#,
            entry("/proc", "proc", "proc", ""),
            entry("/sys", "sysfs", "sysfs", "ro")
        );
        let mut rootfs = built(bundle, &spec(&more, ""), ways).unwrap();
        let old = open(bundle, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).unwrap();
        let there =
            |path: &str| openat(&old, path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).map(drop);
        assert_eq!(there("second proc/version"), Ok(()));
        rootfs.move_over().unwrap();
        assert_eq!(fs::read_dir("/").unwrap().count(), 3);
        assert_eq!(there("second proc").and(there("second proc/version")), Err(Errno::ENOENT));
        assert_eq!(mounted("/proc").unwrap().1, "proc");
    });
}

/// The initial root file system, which is one for the whole machine: one test at a time, and nothing left behind.
struct InitialRoot {
    fd: std::os::fd::OwnedFd,
    _alone: std::sync::MutexGuard<'static, ()>,
}

static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
/// All that is made there, the innermost last.
const MADE: [&str; 4] = ["embrun-test", "embrun-test/proc", "embrun-test/other", "embrun-test/rootfs"];

impl Drop for InitialRoot {
    fn drop(&mut self) {
        let _ = unlinkat(&self.fd, "embrun-test/rootfs/marker", UnlinkatFlags::NoRemoveDir);
        let inside = ["proc", "dev", "deep", "vol"].map(|name| format!("embrun-test/rootfs/{name}"));
        for directory in inside.iter().map(String::as_str).chain(MADE.into_iter().rev()) {
            let _ = unlinkat(&self.fd, directory, UnlinkatFlags::RemoveDir);
        }
        let _ = unlinkat(&self.fd, "proc", UnlinkatFlags::RemoveDir);
    }
}

/// Puts the calling thread where a process on an initramfs is: in the root of its mount namespace, which lies on no other
/// mount. Beneath the root file system of every machine there is such a one, made at boot.
fn enter_initial_root() -> InitialRoot {
    let alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let namespace =
        open("/proc/thread-self/ns/mnt", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).unwrap();
    umount2("/", MntFlags::MNT_DETACH).unwrap();
    setns(&namespace, CloneFlags::CLONE_NEWNS).unwrap();
    let root = open("/", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).unwrap();
    let root = InitialRoot { fd: root, _alone: alone };
    for directory in ["proc"].iter().chain(&MADE) {
        match mkdirat(&root.fd, *directory, Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(e) => panic!("{directory}: {e}"),
        }
    }
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), NONE).unwrap();
    root
}

fn on_an_initramfs(test: impl Fn(&Path, Ways, &InitialRoot) + Send + Copy + 'static) {
    for &ways in each_way() {
        with_scratch(move |_| {
            let root = enter_initial_root();
            // pivot_root has nothing to pivot away here; without that this would be no test.
            let other = "/embrun-test/other";
            mount(Some(other), other, NONE, MsFlags::MS_BIND, NONE).unwrap();
            assert_eq!(nix::unistd::pivot_root(other, other), Err(Errno::EINVAL));
            umount2(other, MntFlags::MNT_DETACH).unwrap();
            fs::write("/embrun-test/rootfs/marker", "").unwrap();
            test(Path::new("/embrun-test"), ways, &root);
            drop(root);
        });
    }
}

/// Two mounts, and a /dev that is left alone.
fn small() -> Spec {
    let more = format!(
        r#","mounts":[{},{}]"#,
        entry("/proc", "proc", "proc", ""),
        entry("/dev", "none", "/proc/tty", "bind")
    );
    spec(&more, "")
}

#[test]
fn an_initramfs_needs_no_flag() {
    on_an_initramfs(|bundle, ways, old| {
        mount(Some("tmpfs"), "/embrun-test/other", Some("tmpfs"), MsFlags::empty(), NONE).unwrap();
        assemble(bundle, &small(), ways).unwrap();
        assert!(Path::new("/marker").exists() && !Path::new("/embrun-test").exists());
        // Of the old root nothing is in sight, and what was mounted there is gone.
        let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let points: Vec<&str> = table.lines().filter_map(|l| l.split(' ').nth(4)).collect();
        assert_eq!(points, ["/", "/proc", "/dev"]);
        let there = |path: &str| openat(&old.fd, path, OFlag::O_PATH, Mode::empty());
        assert!(there("embrun-test").is_ok() && there("proc").is_ok());
        assert_eq!(there("proc/version").map(drop), Err(Errno::ENOENT));
        // A process that leaves its root behind climbs to the container's, not to the host's.
        fs::create_dir("/deep").unwrap();
        chroot("/deep").unwrap();
        (0..8).for_each(|_| chdir("..").unwrap());
        chroot(".").unwrap();
        assert!(Path::new("/marker").exists() && !Path::new("/embrun-test").exists());
    });
}

#[test]
fn an_initramfs_can_be_covered_without_pivot_too() {
    on_an_initramfs(|bundle, ways, _| {
        let mut spec = small();
        spec.root.readonly = true;
        built(bundle, &spec, ways).unwrap().move_over().unwrap();
        assert!(Path::new("/marker").exists() && fs::write("/x", "").is_err());
        let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        assert_eq!(table.lines().filter(|l| l.contains(" / /proc ")).count(), 1, "{table}");
    });
}

/// What a host may have mounted: below each other, on top of each other, on a file, another procfs.
fn mount_as_a_host(at: &Path) {
    tmpfs_at(at);
    make(at, &["rootfs", "vol", "dev", "proc", "on top"]);
    for (name, below) in
        [("dev", Some("dev/pts")), ("on top", None), ("on top", None), ("vol", Some("vol/below"))]
    {
        tmpfs_at(&at.join(name));
        if let Some(below) = below {
            make(at, &[below]);
            tmpfs_at(&at.join(below));
        }
    }
    mount(Some("proc"), &at.join("proc"), Some("proc"), MsFlags::empty(), NONE).unwrap();
    fs::write(at.join("file"), "").unwrap();
    mount(Some(&at.join("file")), &at.join("file"), NONE, MsFlags::MS_BIND, NONE).unwrap();
}

/// In each mount namespace that is a copy of an initramfs', shared with it or not: what the container does to its own must
/// not reach it, and must leave nothing of it in the container's.
fn the_hosts_mounts_stay(arrive: fn(&mut embrun::rootfs::Rootfs) -> embrun::error::Result<()>) {
    on_an_initramfs(move |_, ways, _| {
        mount_as_a_host(Path::new("/embrun-test/other"));
        for host in [MsFlags::MS_SHARED, MsFlags::MS_PRIVATE] {
            set(Path::new("/"), MsFlags::MS_REC | host);
            for (propagation, bundle) in
                PROPAGATIONS.iter().flat_map(|p| [(*p, "/embrun-test"), (*p, "/embrun-test/other")])
            {
                let before = table();
                let after = in_a_copy(move || {
                    let more = format!(
                        r#","mounts":[{},{},{}]"#,
                        entry("/proc", "proc", "proc", ""),
                        entry("/dev", "none", "/proc/tty", "bind"),
                        entry("/vol", "none", "/embrun-test/other/vol", "rbind rshared")
                    );
                    let spec = spec(&more, &asked(propagation));
                    arrive(&mut built(Path::new(bundle), &spec, ways).unwrap()).unwrap();
                    table()
                });
                assert_eq!(table(), before, "{propagation:?} {bundle}");
                let points: Vec<&str> = after.lines().filter_map(|l| l.split(' ').nth(4)).collect();
                assert_eq!(points, ["/", "/proc", "/dev", "/vol", "/vol/below"], "{propagation:?} {bundle}");
            }
        }
    });
}

#[test]
fn the_hosts_mounts_stay_on_an_initramfs() {
    the_hosts_mounts_stay(|rootfs| rootfs.pivot());
}

#[test]
fn the_hosts_mounts_stay_without_pivot() {
    the_hosts_mounts_stay(|rootfs| rootfs.move_over());
}

#[test]
fn nothing_stays_mounted_on_an_initial_root_that_is_covered() {
    on_an_initramfs(|bundle, ways, old| {
        tmpfs_at(Path::new("/embrun-test/other"));
        mount_as_a_host(Path::new("/embrun-test/other"));
        set(Path::new("/"), MsFlags::MS_REC | MsFlags::MS_SHARED);
        let other = openat(&old.fd, "embrun-test/other", OFlag::O_PATH, Mode::empty()).unwrap();
        assemble(bundle, &small(), ways).unwrap();
        let there = |path: &str| openat(&other, path, OFlag::O_PATH, Mode::empty()).map(drop);
        assert_eq!(there("proc/version"), Err(Errno::ENOENT));
        for (path, of) in [(c"proc", &old.fd), (c"embrun-test/other", &old.fd)] {
            nix::unistd::fchdir(of).unwrap();
            assert_eq!(umount2(path, MntFlags::UMOUNT_NOFOLLOW), Err(Errno::EINVAL), "{path:?}");
        }
    });
}
