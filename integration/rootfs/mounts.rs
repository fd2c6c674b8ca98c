//! Mounts, devices, masks and the pivot on a real kernel (config.md "Mounts"; config-linux.md "Default Filesystems",
//! "Devices", "Masked Paths", "Readonly Paths", "Rootfs Mount Propagation").

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::assembly::{assemble, mounted, on_each_kernel, spec};

/// What `runc spec` asks for, without the cgroup.
const DEFAULT: &str = r#","mounts":[
    {"destination":"/proc","type":"proc","source":"proc"},
    {"destination":"/dev","type":"tmpfs","source":"tmpfs","options":["nosuid","strictatime","mode=755","size=65536k"]},
    {"destination":"/dev/pts","type":"devpts","source":"devpts",
        "options":["nosuid","noexec","newinstance","ptmxmode=0666","mode=0620","gid=5"]},
    {"destination":"/dev/shm","type":"tmpfs","source":"shm","options":["nosuid","noexec","nodev","mode=1777","size=65536k"]},
    {"destination":"/dev/mqueue","type":"mqueue","source":"mqueue","options":["nosuid","noexec","nodev"]},
    {"destination":"/sys","type":"sysfs","source":"sysfs","options":["nosuid","noexec","nodev","ro"]}]"#;

#[test]
fn the_default_file_systems_are_there() {
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
