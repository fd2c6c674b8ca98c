//! Bundles with a hostile root file system.
//!
//! The files beside the root must stay unchanged, whether the container runs or is refused.

use crate::cases;
use crate::common::{Case, Container, Output, Test, eventually};
use crate::exchange::exchange;
use nix::sys::stat::{Mode, SFlag, mknod};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

pub const CASES: &[Case] = cases![
    mount_over_an_alias_of_the_root_is_refused,
    settings_in_a_host_namespace_are_refused,
    proc_and_sys_symlinks_are_refused,
    mount_through_an_alias_of_proc_is_refused,
    volume_over_proc_is_refused,
    destination_symlinks_stay_inside_the_root,
    symlinks_at_every_written_path_do_not_escape,
    read_only_paths_work_without_proc_and_with_a_fake_proc,
    passwd_fifo_in_the_image_does_not_hang,
    cgroup_mount_cannot_be_written,
    swapping_directories_in_a_volume_does_not_escape,
    image_with_all_mount_points_is_not_modified,
    read_only_image_runs,
    exec_is_confined_with_a_fake_proc,
];

/// A container with a directory beside its root file system, and its content.
pub struct Trap<'t> {
    pub c: Container<'t>,
    pub outside: PathBuf,
    before: Vec<String>,
}

impl<'t> Trap<'t> {
    pub fn new(t: &'t Test) -> Trap<'t> {
        let c = t.container();
        let outside = c.bundle.join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("ptmx"), "marker").unwrap();
        fs::write(outside.join("victim"), "secret\n").unwrap();
        fs::set_permissions(outside.join("victim"), fs::Permissions::from_mode(0o600)).unwrap();
        let before = inventory(&outside);
        Trap { c, outside, before }
    }

    /// Uses the image's `/dev`, with nothing mounted there.
    pub fn with_the_images_dev(mut self) -> Trap<'t> {
        let mounts = self.c.config["mounts"].as_array_mut().unwrap();
        mounts.retain(|m| !m["destination"].as_str().unwrap().starts_with("/dev"));
        self.c.config["root"]["readonly"] = json!(false);
        fs::remove_dir_all(self.c.rootfs.join("dev")).unwrap();
        self
    }

    pub fn without_proc(mut self) -> Trap<'t> {
        self.c.config["mounts"].as_array_mut().unwrap().retain(|m| m["destination"] != "/proc");
        self
    }

    /// Runs it and checks the directory outside.
    pub fn run(&self) -> Output {
        let out = self.c.run();
        self.check();
        out
    }

    pub fn check(&self) {
        assert_eq!(inventory(&self.outside), self.before, "something outside was changed");
    }

    /// Requires that it is refused in one line with this text.
    pub fn refused(&self, says: &str) {
        let out = self.run();
        assert_eq!(out.status, 1);
        assert!(out.stderr.contains(says), "{:?} does not say {says:?}", out.stderr);
        assert_eq!(out.stderr.lines().filter(|l| !l.contains("warning")).count(), 1, "{}", out.stderr);
    }
}

/// Everything below a directory: names, types, modes, owners, sizes, small files.
fn inventory(directory: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let (path, m) = (entry.path(), entry.metadata().unwrap());
        let text = if m.is_file() && m.len() < 99 {
            fs::read_to_string(&path).unwrap_or_default()
        } else {
            String::new()
        };
        let times = (m.mtime(), m.mtime_nsec());
        all.push(format!("{path:?} {:o} {}:{} {} {times:?} {text:?}", m.mode(), m.uid(), m.gid(), m.len()));
        if m.is_dir() {
            all.extend(inventory(&path));
        }
    }
    all.sort();
    all
}

fn mount_over_an_alias_of_the_root_is_refused(t: &Test) {
    // Such a mount has no effect: init does not pivot to a mount on top of the root.
    for (field, says) in [("maskedPaths", "mask /up"), ("readonlyPaths", "make /up read-only")] {
        let mut trap = Trap::new(t);
        symlink("/", trap.c.rootfs.join("up")).unwrap();
        trap.c.config["linux"][field] = json!(["/up"]);
        trap.refused(&format!("{says}: it is the root of the container"));
        trap.c.config["linux"][field] = json!(["/"]);
        trap.refused(&format!("linux.{field}: the root "));
    }
    let mut trap = Trap::new(t);
    symlink("..", trap.c.rootfs.join("data")).unwrap();
    let volume = trap.outside.to_str().unwrap().to_owned();
    trap.c.mount("/data", "none", &volume, &["bind", "rw"]);
    trap.refused("it is the root of the container");
    // The same directory, bound elsewhere, is a different mount.
    let mut trap = Trap::new(t);
    fs::create_dir(trap.c.rootfs.join("again")).unwrap();
    let root = trap.c.rootfs.to_str().unwrap().to_owned();
    trap.c.mount("/again", "none", &root, &["bind"]);
    trap.c.config["linux"]["readonlyPaths"] = json!(["/again"]);
    trap.c.config["root"]["readonly"] = json!(false);
    let seen = trap.c.probe("write /again/x 1 write /x 1").run().ok().probe();
    assert_eq!((seen.result("write /again/x"), seen.result("write /x")), (&json!("EROFS"), &json!("ok")));
}

fn settings_in_a_host_namespace_are_refused(t: &Test) {
    // Use a host namespace of this test, so that a failure does not change the machine.
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUTS | nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    let before = nix::unistd::gethostname().unwrap();
    let mut trap = Trap::new(t);
    trap.c.namespace_path("uts", "/proc/self/ns/uts");
    trap.c.config["hostname"] = json!("evil");
    trap.refused("set hostname evil: not allowed in the host's uts namespace");
    assert_eq!(nix::unistd::gethostname().unwrap(), before);
    let mut trap = Trap::new(t);
    trap.c.namespace_path("network", "/proc/self/ns/net");
    trap.c.config["linux"]["sysctl"] = json!({"net.ipv4.ip_default_ttl": "99"});
    trap.refused("not allowed in the host's network namespace");
    assert_ne!(fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl").unwrap().trim(), "99");
    // It may be joined if the config sets nothing in it.
    trap.c.config["linux"].as_object_mut().unwrap().remove("sysctl");
    trap.run().ok();
}

fn proc_and_sys_symlinks_are_refused(t: &Test) {
    for name in ["proc", "sys"] {
        for text in ["/bad", "../outside", "bad"] {
            let trap = Trap::new(t);
            let target = trap.c.rootfs.join(name);
            fs::create_dir(trap.c.rootfs.join("bad")).unwrap();
            fs::remove_dir(&target).unwrap();
            symlink(text, &target).unwrap();
            trap.refused(&format!("/{name} of the root file system is or goes through a symbolic link"));
        }
    }
}

fn mount_through_an_alias_of_proc_is_refused(t: &Test) {
    let names: [(&str, &str, &str); 4] = [
        ("lnk", "/proc/self", "/lnk/attr"),
        ("lnk", "/proc", "/lnk"),
        ("lnk", "proc/sys", "/lnk/kernel"),
        ("a", ".", "/a/a/proc"),
    ];
    for (link, text, destination) in names {
        for bind in [false, true] {
            let mut trap = Trap::new(t);
            symlink(text, trap.c.rootfs.join(link)).unwrap();
            match bind {
                false => trap.c.mount(destination, "tmpfs", "t", &[]),
                true => trap.c.mount(destination, "none", trap.outside.to_str().unwrap(), &["bind"]),
            };
            trap.refused(&format!("{destination} leads into /proc"));
        }
    }
}

fn volume_over_proc_is_refused(t: &Test) {
    for destination in ["/proc", "/proc/self/attr", "/x/../proc/sys/kernel"] {
        let mut trap = Trap::new(t);
        trap.c.mount(destination, "none", trap.outside.to_str().unwrap(), &["bind"]);
        let says =
            if destination == "/proc" { "only a procfs is mounted at /proc" } else { "is inside /proc" };
        trap.refused(says);
    }
}

fn destination_symlinks_stay_inside_the_root(t: &Test) {
    let mut trap = Trap::new(t);
    let rootfs = trap.c.rootfs.clone();
    symlink(&trap.outside, rootfs.join("abs")).unwrap();
    symlink("../outside", rootfs.join("rel")).unwrap();
    symlink("../outside/new", rootfs.join("file")).unwrap();
    symlink("/abs/../../..", rootfs.join("up")).unwrap();
    for destination in ["/abs", "/rel/sub", "/up/top", "/../../../dots"] {
        trap.c.mount(destination, "tmpfs", destination, &[]);
    }
    trap.c.mount("/file", "none", "config.json", &["bind"]);
    let seen = trap.c.probe("mounts").run().ok().probe();
    trap.check();
    assert_eq!(seen.mount(trap.outside.to_str().unwrap())["source"], "/abs");
    for (point, source) in [("/outside/sub", "/rel/sub"), ("/dots", "/../../../dots")] {
        assert_eq!(seen.mount(point)["source"], source, "{point}");
    }
    assert!(!seen.mount("/outside/new").is_null());
}

/// Every path that some runtime writes in a root, as a symlink to a file outside.
fn symlinks_at_every_written_path_do_not_escape(t: &Test) {
    let trap = Trap::new(t);
    for name in [
        ".embrun",
        ".krun_config.json",
        ".dockerenv",
        "etc/hostname",
        "etc/hosts",
        "etc/resolv.conf",
        "etc/mtab",
        "run/notify",
        "run/.containerenv",
        "dev/ptmx",
        "dev/console",
        "dev/fd",
        ".pivot_root",
        "tmp/embrun",
    ] {
        let path = trap.c.rootfs.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&path);
        symlink(trap.outside.join("victim"), &path).unwrap();
    }
    trap.run().ok();
    trap.c.up();
    trap.c.remove();
    trap.check();
}

fn read_only_paths_work_without_proc_and_with_a_fake_proc(t: &Test) {
    let mut trap = Trap::new(t).without_proc();
    let fds = trap.c.rootfs.join("proc/self/fd");
    fs::create_dir_all(&fds).unwrap();
    (0..40).for_each(|fd| symlink("/tmp", fds.join(fd.to_string())).unwrap());
    fs::create_dir(trap.c.rootfs.join("frozen")).unwrap();
    fs::write(trap.c.rootfs.join("password"), "p").unwrap();
    trap.c.mount("/tmp", "tmpfs", "t", &[]);
    trap.c.config["linux"]["maskedPaths"] = json!(["/password"]);
    trap.c.config["linux"]["readonlyPaths"] = json!(["/frozen"]);
    let words = "write /x x write /frozen/x x read /password write /tmp/x x";
    let seen = trap.c.probe(words).run().ok().probe();
    trap.check();
    assert_eq!((seen.text("write /x"), seen.text("write /frozen/x")), ("EROFS", "EROFS"));
    assert_eq!((seen.text("read /password"), seen.text("write /tmp/x")), ("", "ok"));
}

fn passwd_fifo_in_the_image_does_not_hang(t: &Test) {
    type Plant = fn(&Path);
    let plants: [Plant; 4] = [
        |at| nix::unistd::mkfifo(at, Mode::S_IRWXU).unwrap(),
        |at| mknod(at, SFlag::S_IFCHR, Mode::S_IRWXU, nix::sys::stat::makedev(1, 5)).unwrap(),
        |at| symlink("/dev/zero", at).unwrap(),
        |at| {
            fs::write(at, "").unwrap();
            fs::OpenOptions::new().write(true).open(at).unwrap().set_len(200 << 20).unwrap();
        },
    ];
    for plant in plants {
        let mut trap = Trap::new(t);
        let passwd = trap.c.rootfs.join("etc/passwd");
        let _ = fs::remove_file(&passwd);
        plant(&passwd);
        let begun = std::time::Instant::now();
        assert_eq!(trap.c.probe("env").run().ok().probe()["env"]["HOME"], "/");
        assert!(begun.elapsed().as_secs() < 10);
        trap.c.args(&["sleep", "100"]);
        trap.c.up();
        assert_eq!(trap.c.exec(&["probe", "env"]).ok().probe()["env"]["HOME"], "/");
        trap.c.remove();
    }
}

fn cgroup_mount_cannot_be_written(t: &Test) {
    t.needs_controller("freezer");
    let mut trap = Trap::new(t);
    trap.c.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]);
    let words = "list /sys/fs/cgroup mkdir /sys/fs/cgroup/new write /sys/fs/cgroup/x x mounts";
    let seen = trap.c.probe(words).run().ok().probe();
    assert_eq!((seen.text("mkdir"), seen.text("write")), ("EROFS", "EROFS"));
    let below: Vec<String> = seen["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|m| m["type"].as_str().is_some_and(|k| k.starts_with("cgroup")))
        .map(|m| m.to_string())
        .collect();
    assert!(
        !below.is_empty() && below.iter().all(|m| m.contains("\"ro\"") || m.contains("ro,")),
        "{below:#?}"
    );
}

fn swapping_directories_in_a_volume_does_not_escape(t: &Test) {
    let mut trap = Trap::new(t);
    let volume = trap.c.share();
    fs::create_dir_all(volume.join("dir/sub")).unwrap();
    fs::create_dir(trap.outside.join("sub")).unwrap();
    fs::write(trap.outside.join("sub/host-secret"), "").unwrap();
    trap.before = inventory(&trap.outside);
    // From the host the link leads outside; from inside, nowhere.
    symlink("../outside", volume.join("link")).unwrap();
    trap.c.mount("/shared/dir/sub", "tmpfs", "t", &[]);
    trap.c.mount("/shared/dir/sub/new", "none", "config.json", &["bind", "ro"]);
    trap.c.mount("/shared/dir/made", "tmpfs", "t", &[]);
    trap.c.config["linux"]["readonlyPaths"] = json!(["/shared/dir"]);
    trap.c.config["linux"]["maskedPaths"] = json!(["/shared/dir/sub"]);
    trap.c.probe("list /shared/dir/sub list /shared/link list /outside");
    let stop = AtomicBool::new(false);
    let (mut ran, mut refused, mut seen) = (0, 0, String::new());
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let volume = fs::File::open(&volume).unwrap();
            while !stop.load(Ordering::Relaxed) {
                let _ = exchange(&volume, "dir", "link");
            }
        });
        for _ in 0..40 {
            let out = trap.c.run();
            seen.push_str(&out.stdout);
            if out.status == 0 { ran += 1 } else { refused += 1 }
        }
        stop.store(true, Ordering::Relaxed);
    });
    println!("{ran} ran, {refused} were refused");
    assert!(!seen.contains("host-secret"), "{seen}");
    trap.check();
}

fn image_with_all_mount_points_is_not_modified(t: &Test) {
    let trap = Trap::new(t);
    let before = inventory(&trap.c.rootfs);
    trap.c.run().ok();
    trap.c.up();
    trap.c.remove();
    assert_eq!(inventory(&trap.c.rootfs), before);
}

fn read_only_image_runs(t: &Test) {
    let mut trap = Trap::new(t);
    trap.c.mount("/dev/made", "tmpfs", "t", &[]);
    let none = None::<&str>;
    let flags = nix::mount::MsFlags::MS_BIND;
    let rootfs = trap.c.rootfs.clone();
    nix::mount::mount(Some(&rootfs), &rootfs, none, flags, none).unwrap();
    let flags = flags | nix::mount::MsFlags::MS_REMOUNT | nix::mount::MsFlags::MS_RDONLY;
    nix::mount::mount(none, &rootfs, none, flags, none).unwrap();
    trap.run().ok();
    trap.c.mount("/not/there", "tmpfs", "t", &[]);
    trap.refused("(EROFS) (it is read-only: make /not/there when you build it)");
    nix::mount::umount(&rootfs).unwrap();
}

/// An exec does not trust the container's /proc.
fn exec_is_confined_with_a_fake_proc(t: &Test) {
    let mut trap = Trap::new(t).without_proc();
    for name in ["self", "thread-self", "1"] {
        let attr = trap.c.rootfs.join("proc").join(name).join("attr");
        fs::create_dir_all(&attr).unwrap();
        for file in ["exec", "current"] {
            fs::write(attr.join(file), "").unwrap();
        }
        fs::write(trap.c.rootfs.join("proc").join(name).join("oom_score_adj"), "kept").unwrap();
        chown(&attr, Some(1000), Some(1000)).unwrap();
    }
    trap.c.config["process"]["oomScoreAdj"] = json!(321);
    trap.c.args(&["sleep", "100"]);
    trap.c.up();
    let host = |pid: i32, file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    assert_eq!(host(trap.c.pid(), "oom_score_adj").trim(), "321");
    let pid_file = t.path("pid");
    let flags = ["--detach", "--pid-file", pid_file.to_str().unwrap(), "--user", "1000:1000"];
    trap.c.exec_with(&flags, &["sleep", "100"]).ok();
    let pid: i32 = fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    eventually("it sleeps", || host(pid, "comm").trim() == "sleep");
    let status = host(pid, "status");
    for line in ["Uid:\t1000\t1000\t1000\t1000", "NoNewPrivs:\t1", "CapEff:\t0000000000000000"] {
        assert!(status.contains(line), "{line} is not in {status}");
    }
    trap.c.remove();
    for name in ["self", "1"] {
        let file = trap.c.rootfs.join("proc").join(name).join("oom_score_adj");
        assert_eq!(fs::read_to_string(file).unwrap(), "kept");
    }
    trap.check();
}
