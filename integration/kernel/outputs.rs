//! Files that a command writes for its caller: they replace only a regular file.

use crate::cases;
use crate::common::{Case, Container, Test};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

pub const CASES: &[Case] = cases![
    pid_file_replaces_only_a_regular_file,
    pid_file_replaces_an_older_one,
    recorded_profile_replaces_only_a_regular_file,
];

/// One file of each type but regular.
///
/// The symlinks lead to a file, to a device and to nothing.
fn others(t: &Test) -> Vec<PathBuf> {
    let dir = t.path("others");
    fs::create_dir(&dir).unwrap();
    let (mode, at) = (Mode::from_bits_truncate(0o666), |name: &str| dir.join(name));
    mknod(&at("device"), SFlag::S_IFCHR, mode, makedev(1, 3)).unwrap();
    nix::unistd::mkfifo(&at("fifo"), mode).unwrap();
    fs::create_dir(at("directory")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(at("socket")).unwrap());
    fs::write(dir.with_extension("target"), "unharmed").unwrap();
    for (name, target) in [
        ("link", dir.with_extension("target")),
        ("link-to-device", "/dev/null".into()),
        ("link-to-nothing", "/run/it/nowhere".into()),
    ] {
        symlink(target, at(name)).unwrap();
    }
    let names = ["device", "fifo", "directory", "socket", "link", "link-to-device", "link-to-nothing"];
    names.map(at).into()
}

/// The mode and inode of a file, and the number of entries in its directory.
fn seen(path: &Path) -> (u32, u64, usize) {
    let there = fs::symlink_metadata(path).unwrap();
    (there.mode(), there.ino(), fs::read_dir(path.parent().unwrap()).unwrap().count())
}

/// Each of the paths is refused before any side effect.
fn refuses(t: &Test, status: i32, call: impl Fn(&str) -> crate::common::Output) {
    for path in others(t) {
        let before = seen(&path);
        let name = path.to_str().unwrap();
        call(name).exits(status).fails(&[&format!("{name}: exists and is not a regular file")]);
        assert_eq!(seen(&path), before, "{name}");
        let target = path.parent().unwrap().with_extension("target");
        assert_eq!(fs::read_to_string(target).unwrap(), "unharmed");
        assert!(!Path::new("/run/it/nowhere").exists());
    }
}

fn paused(t: &Test) -> Container<'_> {
    let mut c = t.container();
    c.probe("pause");
    c
}

fn pid_file_replaces_only_a_regular_file(t: &Test) {
    let c = paused(t);
    refuses(t, 1, |path| c.create_with(&["--pid-file", path]));
    refuses(t, 1, |path| c.spawn_run(&["--detach", "--pid-file", path]).wait());
    assert_eq!(t.call(&["list", "-q"]).ok().stdout, "");
    c.up();
    refuses(t, 255, |path| c.exec_with(&["--detach", "--pid-file", path], &["sleep", "1000"]));
    c.remove();
}

fn pid_file_replaces_an_older_one(t: &Test) {
    let c = paused(t);
    let dir = t.path("dir");
    fs::create_dir(&dir).unwrap();
    let file = dir.join("pid");
    for old in ["", "123456789 and a long rest"] {
        fs::write(&file, old).unwrap();
        c.create_with(&["--pid-file", file.to_str().unwrap()]).ok();
        assert_eq!(fs::read_to_string(&file).unwrap(), c.pid().to_string());
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        c.remove();
    }
}

fn recorded_profile_replaces_only_a_regular_file(t: &Test) {
    let c = paused(t);
    c.write();
    let bundle = c.bundle.to_str().unwrap();
    refuses(t, 1, |path| t.call(&["seccomp", "record", bundle, "--output", path]));
}
