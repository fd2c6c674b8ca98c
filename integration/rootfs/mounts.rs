//! Mounts, devices, masked paths and the pivot on a real kernel.
//!
//! The sections are config.md "Mounts" and config-linux.md "Default Filesystems", "Devices", "Masked
//! Paths", "Readonly Paths" and "Rootfs Mount Propagation".

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;

use embrun::plan::mounts::{self, MountFacts};
use embrun::rootfs::detached::Api;
use embrun::rootfs::{Rootfs, Ways};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::assembly::{NEW, OLD, assemble, built, facts, is_new, mounted, on_each_kernel, spec};
use super::own_mounts::{c, with_scratch};

pub const NONE: Option<&str> = None;

/// The mounts of `runc spec`, without the cgroup.
const DEFAULT: &str = r#","mounts":[
    {"destination":"/proc","type":"proc","source":"proc"},
    {"destination":"/dev","type":"tmpfs","source":"tmpfs","options":["nosuid","strictatime","mode=755","size=65536k"]},
    {"destination":"/dev/pts","type":"devpts","source":"devpts",
        "options":["nosuid","noexec","newinstance","ptmxmode=0666","mode=0620","gid=5"]},
    {"destination":"/dev/shm","type":"tmpfs","source":"shm","options":["nosuid","noexec","nodev","mode=1777","size=65536k"]},
    {"destination":"/dev/mqueue","type":"mqueue","source":"mqueue","options":["nosuid","noexec","nodev"]},
    {"destination":"/sys","type":"sysfs","source":"sysfs","options":["nosuid","noexec","nodev","ro"]}]"#;

#[test]
fn default_file_systems_are_mounted() {
    on_each_kernel(|bundle, ways| {
        let linux = r#","maskedPaths":["/proc/version","/proc/driver","/sys/kernel","/nowhere"],
            "readonlyPaths":["/proc/sys","/proc/cpuinfo","/nowhere"]"#;
        assemble(bundle, &spec(DEFAULT, linux), ways).unwrap();
        for (point, flags, kind) in [
            ("/", "rw,relatime", "tmpfs"),
            ("/proc", "rw,relatime", "proc"),
            ("/dev", "rw,nosuid", "tmpfs"),
            ("/dev/pts", "rw,nosuid,noexec,relatime", "devpts"),
            ("/dev/shm", "rw,nosuid,nodev,noexec,relatime", "tmpfs"),
            ("/dev/mqueue", "rw,nosuid,nodev,noexec,relatime", "mqueue"),
            ("/sys", "ro,nosuid,nodev,noexec,relatime", "sysfs"),
            ("/proc/sys", "ro,relatime", "proc"),
            ("/proc/cpuinfo", "ro,relatime", "proc"),
        ] {
            assert_eq!(mounted(point), Some((flags.to_owned(), kind.to_owned())), "{point}");
        }
        for (name, number) in
            [("null", 0x103), ("zero", 0x105), ("full", 0x107), ("random", 0x108), ("tty", 0x500)]
        {
            let node = fs::symlink_metadata(format!("/dev/{name}")).unwrap();
            assert!(
                node.file_type().is_char_device() && node.rdev() == number && node.mode() & 0o7777 == 0o666
            );
        }
        for (link, text) in [("fd", "/proc/self/fd"), ("stderr", "/proc/self/fd/2"), ("ptmx", "pts/ptmx")] {
            assert_eq!(fs::read_link(Path::new("/dev").join(link)).unwrap(), Path::new(text));
        }
        assert_eq!(fs::read("/proc/version").unwrap(), b"");
        assert!(fs::read_dir("/sys/kernel").is_ok_and(|mut d| d.next().is_none()));
        assert!(!Path::new("/outside").exists() && fs::read_dir("/").unwrap().count() == 3);
        assert_eq!(fs::metadata("/proc").unwrap().permissions().mode() & 0o777, 0o555);
    });
}

/// The `mounts` of a configuration with one entry.
pub fn one(destination: &str, kind: &str, source: &str, options: &str) -> String {
    format!(r#","mounts":[{}]"#, entry(destination, kind, source, options))
}

pub fn entry(destination: &str, kind: &str, source: &str, options: &str) -> String {
    let options: Vec<String> = options.split_whitespace().map(|o| format!("{o:?}")).collect();
    let options = options.join(",");
    format!(r#"{{"destination":{destination:?},"type":{kind:?},"source":{source:?},"options":[{options}]}}"#)
}

/// The flags of the topmost mount at a path.
pub fn flags_at(path: &Path) -> String {
    mounted(path.to_str().unwrap()).unwrap_or_else(|| panic!("nothing is mounted at {path:?}")).0
}

pub fn refused(result: embrun::error::Result<Rootfs>) -> String {
    result.map(drop).unwrap_err().to_string()
}

#[test]
fn bind_mounts_have_the_requested_flags() {
    on_each_kernel(|bundle, ways| {
        // The source is on a mount with its own flags. Like runc: if any flag is named, the others are
        // cleared, but the atime mode is kept unless it is named.
        let (source, target) = (bundle.join("source"), bundle.join("rootfs/x"));
        fs::create_dir(&source).unwrap();
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOATIME;
        mount(Some("source"), &source, Some("tmpfs"), flags, NONE).unwrap();
        for (options, result) in [
            ("bind", "rw,nosuid,noatime"),
            ("rbind rw", "rw,noatime"),
            ("bind ro", "ro,noatime"),
            ("bind ro rw", "rw,noatime"),
            ("bind suid", "rw,noatime"),
            ("bind nodev noexec suid", "rw,nodev,noexec,noatime"),
            // These options clear a flag that no other option sets, so the atime mode of the source stays. Other
            // flags are cleared all the same.
            ("bind atime", "rw,noatime"),
            ("bind nostrictatime", "rw,noatime"),
            ("bind norelatime diratime", "rw,noatime"),
            ("bind noatime atime ro", "ro,noatime"),
            ("bind nodiratime", "rw,nodiratime,relatime"),
            ("bind noatime relatime", "rw,noatime"),
            ("bind strictatime", "rw"),
            ("bind nodiratime relatime", "rw,nodiratime,relatime"),
            ("bind sync mand dirsync ro", "ro,noatime"),
            ("bind sync", "rw,noatime"),
            ("bind defaults", "rw,nosuid,noatime"),
            ("bind nosymfollow", "rw,noatime,nosymfollow"),
        ] {
            built(bundle, &spec(&one("/x", "none", "source", options), ""), ways).unwrap();
            assert_eq!(flags_at(&target), result, "{options}");
        }
        let all = flags | MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
        for (of_source, options, result) in [
            (MsFlags::MS_NODIRATIME, "bind ro", "ro,noatime,nodiratime"),
            (MsFlags::MS_NODIRATIME, "bind diratime", "rw,noatime,nodiratime"),
            (MsFlags::MS_NODIRATIME, "bind noatime", "rw,noatime"),
            (MsFlags::MS_NODIRATIME, "bind relatime", "rw,relatime"),
            (MsFlags::MS_NODIRATIME, "bind nodiratime noatime", "rw,noatime,nodiratime"),
            (MsFlags::MS_STRICTATIME, "bind atime nostrictatime", "rw"),
            (MsFlags::MS_STRICTATIME, "bind suid", "rw"),
            (MsFlags::MS_STRICTATIME, "bind nodiratime", "rw,nodiratime,relatime"),
            (MsFlags::MS_STRICTATIME, "bind strictatime nostrictatime noatime", "rw,noatime"),
        ] {
            mount(NONE, &source, NONE, all | of_source, NONE).unwrap();
            built(bundle, &spec(&one("/x", "none", "source", options), ""), ways).unwrap();
            assert_eq!(flags_at(&target), result, "{options} of {of_source:?}");
        }
    });
}

#[test]
fn bind_mount_includes_submounts_only_when_recursive() {
    on_each_kernel(|bundle, ways| {
        fs::create_dir_all(bundle.join("source/sub")).unwrap();
        mount(Some("sub"), &bundle.join("source/sub"), Some("tmpfs"), MsFlags::empty(), NONE).unwrap();
        fs::write(bundle.join("source/sub/deep"), "").unwrap();
        let more = format!(
            r#","mounts":[{},{}]"#,
            entry("/deep", "none", "source", "rbind ro"),
            entry("/flat", "none", "source", "bind")
        );
        built(bundle, &spec(&more, ""), ways).unwrap();
        let rootfs = bundle.join("rootfs");
        assert!(rootfs.join("deep/sub/deep").exists() && !rootfs.join("flat/sub/deep").exists());
        // `ro` applies to this mount only.
        assert!(fs::write(rootfs.join("deep/x"), "").is_err());
        fs::write(rootfs.join("deep/sub/x"), "").unwrap();
    });
}

#[test]
fn recursive_options_apply_to_every_submount() {
    if !is_new() {
        eprintln!("SKIPPED: recursive mount options need Linux 5.12");
        return;
    }
    with_scratch(|bundle| {
        fs::create_dir_all(bundle.join("source/sub")).unwrap();
        mount(Some("sub"), &bundle.join("source/sub"), Some("tmpfs"), MsFlags::MS_NOEXEC, NONE).unwrap();
        let (top, sub) = (bundle.join("rootfs/x"), bundle.join("rootfs/x/sub"));
        for (options, of_top, of_sub) in [
            ("rbind rro", "ro,relatime", "ro,noexec,relatime"),
            ("rbind rro rw", "ro,relatime", "ro,noexec,relatime"),
            ("rbind rnosuid rexec nodev", "rw,nosuid,nodev,relatime", "rw,nosuid,relatime"),
            ("rbind rnoatime", "rw,noatime", "rw,noexec,noatime"),
            ("rbind rnoatime ratime rnodiratime", "rw,nodiratime,relatime", "rw,noexec,nodiratime,relatime"),
            ("rbind rstrictatime rnodev", "rw,nodev", "rw,nodev,noexec"),
            ("rbind ro rrw rnosymfollow", "rw,relatime,nosymfollow", "rw,noexec,relatime,nosymfollow"),
        ] {
            built(bundle, &spec(&one("/x", "none", "source", options), ""), NEW).unwrap();
            assert_eq!(flags_at(&top), of_top, "{options}");
            assert_eq!(flags_at(&sub), of_sub, "{options}");
        }
        // It also works on a new file system, although that has no submounts.
        built(bundle, &spec(&one("/y", "tmpfs", "y", "rro"), ""), NEW).unwrap();
        assert_eq!(flags_at(&bundle.join("rootfs/y")), "ro,relatime");
    });
}

#[test]
fn recursive_options_without_linux_5_12_are_refused() {
    with_scratch(|bundle| {
        fs::create_dir(bundle.join("source")).unwrap();
        let e = refused(built(bundle, &spec(&one("/x", "none", "source", "rbind rro"), ""), OLD));
        assert_eq!(
            e,
            format!(
                "bind {}/source at /x (rbind,rro): set rro: function not implemented (ENOSYS) \
                 (recursive mount options need Linux 5.12)",
                bundle.display()
            )
        );
        assert!(mounted(bundle.join("rootfs/x").to_str().unwrap()).is_none());
    });
}

#[test]
fn new_file_systems_have_the_requested_flags() {
    on_each_kernel(|bundle, ways| {
        let target = bundle.join("rootfs/x");
        for (options, result) in [
            ("", "rw,relatime"),
            ("nosuid nodev noexec", "rw,nosuid,nodev,noexec,relatime"),
            ("strictatime", "rw"),
            ("noatime nodiratime", "rw,noatime,nodiratime"),
            ("noatime atime", "rw,relatime"),
            ("defaults", "rw,relatime"),
            ("nosymfollow", "rw,relatime,nosymfollow"),
            ("ro", "ro,relatime"),
            ("ro nosuid rprivate", "ro,nosuid,relatime"),
        ] {
            let mut rootfs = built(bundle, &spec(&one("/x", "tmpfs", "x", options), ""), ways).unwrap();
            rootfs.finish().unwrap();
            assert_eq!(flags_at(&target), result, "{options}");
        }
        let e = refused(built(bundle, &spec(&one("/x", "tmpfs", "x", "sise=1"), ""), ways));
        assert!(e.starts_with("mount tmpfs at /x (") && e.contains("(EINVAL)"), "{e}");
        let e = refused(built(bundle, &spec(&one("/x", "nosuchfs", "x", ""), ""), ways));
        assert!(e.ends_with("(ENODEV) (the kernel does not know the file system nosuchfs)"), "{e}");
    });
}

#[test]
fn tmpfs_has_the_mode_of_the_covered_directory() {
    on_each_kernel(|bundle, ways| {
        let rootfs = bundle.join("rootfs");
        for (path, options, mode) in [
            ("covered", "", 0o750),
            ("sticky", "size=1m", 0o1777),
            ("told", "mode=700", 0o700),
            ("made", "", 0o1777),
        ] {
            if path != "made" {
                fs::create_dir(rootfs.join(path)).unwrap();
                let was = if path == "sticky" { 0o1777 } else { 0o750 };
                fs::set_permissions(rootfs.join(path), fs::Permissions::from_mode(was)).unwrap();
            }
            built(bundle, &spec(&one(path, "tmpfs", "x", options), ""), ways).unwrap();
            assert_eq!(fs::metadata(rootfs.join(path)).unwrap().mode() & 0o7777, mode, "{path}");
        }
    });
}

#[test]
fn read_only_tmpfs_accepts_later_mounts_of_the_list() {
    on_each_kernel(|bundle, ways| {
        fs::write(bundle.join("resolv.conf"), "x").unwrap();
        let more = format!(
            r#","mounts":[{},{}]"#,
            entry("/run", "tmpfs", "run", "ro nosuid"),
            entry("/run/net/resolv.conf", "none", "resolv.conf", "bind ro")
        );
        built(bundle, &spec(&more, ""), ways).unwrap();
        let run = bundle.join("rootfs/run");
        assert_eq!(fs::read(run.join("net/resolv.conf")).unwrap(), b"x");
        assert_eq!(flags_at(&run), "ro,nosuid,relatime");
        let dev = one("/dev", "tmpfs", "dev", "ro mode=755");
        built(bundle, &spec(&dev, ""), ways).unwrap();
        assert!(
            bundle.join("rootfs/dev/null").exists() && fs::write(bundle.join("rootfs/dev/x"), "").is_err()
        );
    });
}

#[test]
fn tmpcopyup_copies_everything_and_follows_no_symlink() {
    on_each_kernel(|bundle, ways| {
        let from = bundle.join("rootfs/data");
        fs::create_dir_all(from.join("dir/deep")).unwrap();
        fs::write(from.join("dir/deep/file"), vec![7; 50_000]).unwrap();
        fs::write(from.join("suid"), "x").unwrap();
        chown(from.join("suid"), Some(12), Some(34)).unwrap();
        fs::set_permissions(from.join("suid"), fs::Permissions::from_mode(0o4751)).unwrap();
        fs::set_permissions(from.join("dir"), fs::Permissions::from_mode(0o2700)).unwrap();
        symlink("/etc/shadow", from.join("link")).unwrap();
        nix::unistd::mkfifo(&from.join("fifo"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        built(bundle, &spec(&one("/data", "tmpfs", "x", "tmpcopyup ro"), ""), ways).unwrap();
        assert_eq!(flags_at(&from), "ro,relatime");
        assert_eq!(fs::read(from.join("dir/deep/file")).unwrap(), vec![7; 50_000]);
        let suid = fs::metadata(from.join("suid")).unwrap();
        assert_eq!((suid.mode() & 0o7777, suid.uid(), suid.gid()), (0o4751, 12, 34));
        assert_eq!(fs::metadata(from.join("dir")).unwrap().mode() & 0o7777, 0o2700);
        assert_eq!(fs::read_link(from.join("link")).unwrap(), Path::new("/etc/shadow"));
        assert!(fs::symlink_metadata(from.join("fifo")).unwrap().file_type().is_fifo());
        umount2(&from, MntFlags::MNT_DETACH).unwrap();
        assert_eq!(fs::metadata(from.join("suid")).unwrap().mode() & 0o7777, 0o4751);
        // A copy that does not fit is an error, not a partial copy.
        let e = refused(built(bundle, &spec(&one("/data", "tmpfs", "x", "tmpcopyup size=8k"), ""), ways));
        assert!(
            e.contains("copy the directory below: dir: deep: file: no space left on device (ENOSPC)"),
            "{e}"
        );
        assert!(mounted(from.to_str().unwrap()).is_none());
    });
}

#[test]
fn remounts_change_the_existing_mount() {
    on_each_kernel(|bundle, ways| {
        let more = format!(
            r#","mounts":[{},{},{},{}]"#,
            entry("/x", "tmpfs", "x", "nosuid size=64k"),
            entry("/x", "", "", "remount nosuid nodev size=128k"),
            entry("/y", "tmpfs", "y", "nosuid"),
            entry("/y", "none", "", "remount bind ro"),
        );
        built(bundle, &spec(&more, ""), ways).unwrap();
        let x = bundle.join("rootfs/x");
        assert_eq!(flags_at(&x), "rw,nosuid,nodev,relatime");
        let size = nix::sys::statvfs::statvfs(&x).unwrap();
        assert_eq!(size.blocks() as u64 * size.block_size() as u64, 128 << 10);
        assert_eq!(flags_at(&bundle.join("rootfs/y")), "ro,nosuid,relatime");
        let e = refused(built(bundle, &spec(&one("/none", "", "", "remount ro"), ""), ways));
        assert_eq!(e, "remount /none (ro): /none: no such file or directory (ENOENT)");
    });
}

/// The optional fields of the mount at a path: `shared:…`, `master:…`.
pub fn propagation(path: &Path) -> String {
    let text = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let line = text.lines().rfind(|l| l.split(' ').nth(4) == path.to_str()).unwrap();
    let tags = line.split(" - ").next().unwrap().split(' ').skip(6);
    tags.map(|tag| tag.split(':').next().unwrap()).collect::<Vec<_>>().join(" ")
}

#[test]
fn mount_propagation_is_applied() {
    on_each_kernel(|bundle, ways| {
        let source = bundle.join("source");
        fs::create_dir(&source).unwrap();
        mount(Some("source"), &source, Some("tmpfs"), MsFlags::empty(), NONE).unwrap();
        for (options, of_bind, of_new) in [
            ("shared", "shared", "shared"),
            ("rshared", "shared", "shared"),
            ("private", "", ""),
            ("rslave", "", ""),
            ("unbindable", "unbindable", "unbindable"),
            ("shared slave", "", ""),
            ("slave shared", "shared", "shared"),
        ] {
            let more = format!(
                r#","mounts":[{},{}]"#,
                entry("/x", "none", "source", &format!("rbind {options}")),
                entry("/y", "tmpfs", "y", options)
            );
            built(bundle, &spec(&more, ""), ways).unwrap();
            assert_eq!(propagation(&bundle.join("rootfs/x")), of_bind, "{options}");
            assert_eq!(propagation(&bundle.join("rootfs/y")), of_new, "{options}");
        }
        // A slave of a shared host mount receives later mounts of the host.
        mount(NONE, &source, NONE, MsFlags::MS_SHARED, NONE).unwrap();
        built(bundle, &spec(&one("/z", "none", "source", "rbind rslave"), ""), ways).unwrap();
        let z = propagation(&bundle.join("rootfs/z"));
        assert!(z.is_empty() || z == "master", "{z}");
    });
}

#[test]
fn read_only_root_without_a_mount_point_names_it() {
    on_each_kernel(|bundle, ways| {
        let root = bundle.join("rootfs");
        fs::create_dir(root.join("there")).unwrap();
        mount(NONE, bundle, NONE, MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, NONE).unwrap();
        let steps = |destination: &str| {
            mounts::compile(&spec(&one(destination, "tmpfs", "x", ""), ""), &facts(bundle)).unwrap()
        };
        let mut rootfs = Rootfs::prepare(&c(&root), None, ways).unwrap();
        rootfs.mount(&steps("/there")[0]).unwrap();
        let e = rootfs.mount(&steps("/missing/x")[0]).unwrap_err().to_string();
        assert_eq!(
            e,
            "/missing/x of the root file system: read-only file system (EROFS) \
             (it is read-only: make /missing/x when you build it)"
        );
    });
}

#[test]
fn host_file_system_is_bound_if_mounting_is_forbidden() {
    on_each_kernel(|bundle, ways| {
        // The kernel refuses to mount the same file system onto itself (EBUSY) and a forbidden one (EPERM).
        let shared = MountFacts { own_network: false, own_pids: false, ..facts(bundle) };
        let mut rootfs = Rootfs::prepare(&c(&bundle.join("rootfs")), None, ways).unwrap();
        for (point, kind, there) in [("/sys", "sysfs", "fs"), ("/proc", "proc", "self/status")] {
            let step = mounts::compile(&spec(&one(point, kind, kind, "ro nosuid"), ""), &shared).unwrap();
            rootfs.mount(&step[0]).unwrap();
            rootfs.mount(&step[0]).unwrap();
            let target = bundle.join("rootfs").join(&point[1..]);
            assert!(flags_at(&target).starts_with("ro,nosuid"), "{}", flags_at(&target));
            assert!(target.join(there).exists(), "{point}");
        }
    });
}

#[test]
fn new_kernel_uses_the_new_mount_api() {
    if !is_new() {
        eprintln!("SKIPPED: before Linux 5.12 only the old mount API is used");
        return;
    }
    with_scratch(|bundle| {
        let ways = Ways { api: None, ..NEW };
        let rootfs = Rootfs::prepare(&c(&bundle.join("rootfs")), None, ways).unwrap();
        assert!(format!("{rootfs:?}").contains(&format!("{:?}", Api::Detached)));
    });
}
