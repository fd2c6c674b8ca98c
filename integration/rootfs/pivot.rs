//! Entering the new root (config-linux.md "Rootfs Mount Propagation").

use std::fs;
use std::path::Path;

use embrun::bundle::spec::Spec;
use embrun::error::Errno;
use embrun::plan::user_namespace::HostObject;
use embrun::rootfs::host_files::HostFiles;
use embrun::rootfs::{Rootfs, Ways};
use nix::fcntl::{Flock, FlockArg, OFlag, open, openat};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, chdir, chroot, unlinkat};

use super::assembly::{assemble, built, each_way, mounted, on_each_kernel, spec};
use super::mounts::{NONE, entry, propagation};
use super::own_mounts::with_scratch;

/// Every value of `rootfsPropagation`, and its absence.
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

/// The mounts of the calling thread.
fn table() -> String {
    fs::read_to_string("/proc/thread-self/mountinfo").unwrap()
}

/// Runs `test` in a copy of this mount namespace, where init of a container runs.
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

/// `rootfsPropagation`, and the propagation of the root and of a shared volume.
///
/// As with runc, a volume that is only "shared" is a peer of the host's mount; one with a master only
/// receives mounts.
const WITH_A_VOLUME: [(Option<&str>, &str, &str); 9] = [
    (None, "", "shared master"),
    (Some("rslave"), "master", "master"),
    (Some("slave"), "master", "shared"),
    (Some("rprivate"), "", ""),
    (Some("private"), "", "shared"),
    (Some("shared"), "shared", "shared"),
    (Some("rshared"), "shared", "shared"),
    (Some("unbindable"), "unbindable", "shared"),
    (Some("runbindable"), "unbindable", "unbindable"),
];

#[test]
fn propagation_of_root_and_shared_volume_is_like_runcs() {
    for (propagation_asked, of_root, of_volume) in WITH_A_VOLUME {
        for &ways in each_way() {
            with_scratch(move |bundle| {
                let volume = bundle.join("outside");
                tmpfs_at(&volume);
                make(&volume, &["in", "out"]);
                let rootfs = bundle.join("rootfs");
                make(&rootfs, &["event", "made", "sub", "sub/made"]);
                mount(Some(&rootfs.join("sub")), &rootfs.join("sub"), NONE, MsFlags::MS_BIND, NONE).unwrap();
                // A host with systemd shares all mounts.
                set(Path::new("/"), MsFlags::MS_REC | MsFlags::MS_SHARED);
                let before = table();
                let (outer, (made, wait)) = (bundle.to_owned(), std::sync::mpsc::channel());
                let (go, told) = std::sync::mpsc::channel();
                let container = std::thread::spawn(move || {
                    unshare(CloneFlags::CLONE_NEWNS).unwrap();
                    let more = format!(
                        r#","mounts":[{},{},{}]"#,
                        entry("/proc", "proc", "proc", ""),
                        entry("/sub/made", "tmpfs", "t", ""),
                        entry("/vol", "none", "outside", "rbind rshared")
                    );
                    assemble(&outer, &spec(&more, &asked(propagation_asked)), ways).unwrap();
                    assert_eq!(propagation(Path::new("/")), of_root, "{propagation_asked:?}");
                    assert_eq!(propagation(Path::new("/vol")), of_volume, "{propagation_asked:?}");
                    tmpfs_at(Path::new("/made"));
                    tmpfs_at(Path::new("/vol/out"));
                    made.send(()).unwrap();
                    told.recv().unwrap();
                    ["/event", "/vol/in"].map(|point| mounted(point).is_some())
                });
                wait.recv().unwrap();
                let reached = mounted(volume.join("out").to_str().unwrap()).is_some();
                assert_eq!(reached, of_volume == "shared", "{propagation_asked:?}: a mount in the volume");
                if reached {
                    umount2(&volume.join("out"), MntFlags::MNT_DETACH).unwrap();
                }
                assert_eq!(table(), before, "{propagation_asked:?}");
                tmpfs_at(&rootfs.join("event"));
                tmpfs_at(&volume.join("in"));
                go.send(()).unwrap();
                let [root_sees, volume_sees] = container.join().unwrap();
                assert_eq!(root_sees, of_root == "master", "{propagation_asked:?}: a mount of the host's");
                let receives = of_volume.contains("shared") || of_volume == "master";
                assert_eq!(
                    volume_sees, receives,
                    "{propagation_asked:?}: a mount of the host's in the volume"
                );
            });
        }
    }
}

#[test]
fn no_pivot_moves_the_root_and_unmounts_other_procfs() {
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

/// The initial root file system, which is the same for the whole machine.
///
/// Only one test at a time may use it, and it must leave nothing behind. The lock is on the file
/// system, because with panic=abort each test is a process.
struct InitialRoot {
    fd: Flock<std::os::fd::OwnedFd>,
}

/// Everything that the test creates there, innermost last.
const MADE: [&str; 4] = ["embrun-test", "embrun-test/proc", "embrun-test/other", "embrun-test/rootfs"];

impl Drop for InitialRoot {
    fn drop(&mut self) {
        let _ = unlinkat(&*self.fd, "embrun-test/rootfs/marker", UnlinkatFlags::NoRemoveDir);
        let inside = ["proc", "dev", "deep", "vol"].map(|name| format!("embrun-test/rootfs/{name}"));
        for directory in inside.iter().map(String::as_str).chain(MADE.into_iter().rev()) {
            let _ = unlinkat(&*self.fd, directory, UnlinkatFlags::RemoveDir);
        }
        let _ = unlinkat(&*self.fd, "proc", UnlinkatFlags::RemoveDir);
    }
}

/// Moves the thread into the root of its mount namespace, as on an initramfs.
///
/// That root lies on no other mount. Every machine has one beneath its root file system, made at boot.
fn enter_initial_root() -> InitialRoot {
    let namespace =
        open("/proc/thread-self/ns/mnt", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).unwrap();
    umount2("/", MntFlags::MNT_DETACH).unwrap();
    setns(&namespace, CloneFlags::CLONE_NEWNS).unwrap();
    let root = open("/", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()).unwrap();
    let root = InitialRoot { fd: Flock::lock(root, FlockArg::LockExclusive).unwrap() };
    for directory in ["proc"].iter().chain(&MADE) {
        match mkdirat(&*root.fd, *directory, Mode::from_bits_truncate(0o755)) {
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
            // pivot_root must fail here, or the test would show nothing.
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

/// A configuration with two mounts and an untouched /dev.
fn small() -> Spec {
    let more = format!(
        r#","mounts":[{},{}]"#,
        entry("/proc", "proc", "proc", ""),
        entry("/dev", "none", "/proc/tty", "bind")
    );
    spec(&more, "")
}

#[test]
fn initramfs_needs_no_flag() {
    on_an_initramfs(|bundle, ways, old| {
        mount(Some("tmpfs"), "/embrun-test/other", Some("tmpfs"), MsFlags::empty(), NONE).unwrap();
        assemble(bundle, &small(), ways).unwrap();
        assert!(Path::new("/marker").exists() && !Path::new("/embrun-test").exists());
        // The old root is not visible, and its mounts are gone.
        let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let points: Vec<&str> = table.lines().filter_map(|l| l.split(' ').nth(4)).collect();
        assert_eq!(points, ["/", "/proc", "/dev"]);
        let there = |path: &str| openat(&*old.fd, path, OFlag::O_PATH, Mode::empty());
        assert!(there("embrun-test").is_ok() && there("proc").is_ok());
        assert_eq!(there("proc/version").map(drop), Err(Errno::ENOENT));
        // A process that escapes its root reaches the container's root, not the host's.
        fs::create_dir("/deep").unwrap();
        chroot("/deep").unwrap();
        (0..8).for_each(|_| chdir("..").unwrap());
        chroot(".").unwrap();
        assert!(Path::new("/marker").exists() && !Path::new("/embrun-test").exists());
    });
}

/// Root of the namespace could uncover the host's root, which would stay below.
#[test]
fn user_namespace_is_refused_on_an_initramfs() {
    on_an_initramfs(|_, _, _| {
        let open_as_the_host = |wanted: &dyn Fn(&HostObject) -> bool| {
            let paths = [c"/proc", c"/embrun-test/rootfs"];
            let path = paths.into_iter().find(|path| wanted(&HostObject::File(path)));
            open(path.ok_or(Errno::EACCES)?, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
        };
        let files = HostFiles::new(open_as_the_host);
        let mut rootfs = Rootfs::prepare_inside(c"/embrun-test/rootfs", None, files).unwrap();
        let e = rootfs.pivot().unwrap_err().to_string();
        assert!(e.contains("a user namespace needs a host whose root is no initramfs"), "{e}");
        assert!(Path::new("/embrun-test").exists());
    });
}

#[test]
fn no_pivot_works_on_an_initramfs() {
    on_an_initramfs(|bundle, ways, _| {
        let mut spec = small();
        spec.root.readonly = true;
        built(bundle, &spec, ways).unwrap().move_over().unwrap();
        assert!(Path::new("/marker").exists() && fs::write("/x", "").is_err());
        let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        assert_eq!(table.lines().filter(|l| l.contains(" / /proc ")).count(), 1, "{table}");
    });
}

/// Mounts below each other, on top of each other and on a file, and a procfs.
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

/// The host's mounts stay as they are, and the container's namespace has none.
///
/// Each container is made in a copy of an initramfs' mount namespace, whose mounts may be peers.
fn the_hosts_mounts_stay(arrive: fn(&mut Rootfs) -> embrun::error::Result<()>) {
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
fn host_mounts_stay_on_an_initramfs() {
    the_hosts_mounts_stay(|rootfs| rootfs.pivot());
}

#[test]
fn host_mounts_stay_without_pivot() {
    the_hosts_mounts_stay(|rootfs| rootfs.move_over());
}

#[test]
fn covered_initial_root_keeps_no_mounts() {
    on_an_initramfs(|bundle, ways, old| {
        tmpfs_at(Path::new("/embrun-test/other"));
        mount_as_a_host(Path::new("/embrun-test/other"));
        set(Path::new("/"), MsFlags::MS_REC | MsFlags::MS_SHARED);
        let other = openat(&*old.fd, "embrun-test/other", OFlag::O_PATH, Mode::empty()).unwrap();
        assemble(bundle, &small(), ways).unwrap();
        let there = |path: &str| openat(&other, path, OFlag::O_PATH, Mode::empty()).map(drop);
        assert_eq!(there("proc/version"), Err(Errno::ENOENT));
        for (path, of) in [(c"proc", &*old.fd), (c"embrun-test/other", &*old.fd)] {
            nix::unistd::fchdir(of).unwrap();
            assert_eq!(umount2(path, MntFlags::UMOUNT_NOFOLLOW), Err(Errno::EINVAL), "{path:?}");
        }
    });
}
