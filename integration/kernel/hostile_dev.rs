//! Bundles with a hostile `/dev`: its devices, its `/dev/null`, its console.
//!
//! The files beside the root must stay unchanged, whether the container runs or is refused.

use crate::cases;
use crate::common::{Case, ConsoleSocket, Test};
use crate::hostile::Trap;
use nix::sys::stat::{Mode, SFlag, mknod};
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

pub const CASES: &[Case] = cases![
    dev_symlink_is_refused,
    dev_null_from_the_image_is_not_trusted,
    device_node_symlinks_are_refused,
    console_symlink_is_refused,
    masked_paths_work_with_any_dev_null_in_the_image,
];

fn dev_symlink_is_refused(t: &Test) {
    let trap = Trap::new(t).with_the_images_dev();
    let absolute = trap.outside.to_str().unwrap().to_owned();
    for text in ["../outside", "/outside", "../../../../../outside", &absolute] {
        let trap = Trap::new(t).with_the_images_dev();
        symlink(text, trap.c.rootfs.join("dev")).unwrap();
        trap.refused("/dev of the root file system is or goes through a symbolic link");
        assert!(!trap.c.rootfs.join("outside").exists());
    }
    // A link to a volume: the devices would be created on the host.
    let mut trap = Trap::new(t).with_the_images_dev();
    symlink("volume", trap.c.rootfs.join("dev")).unwrap();
    trap.c.mount("/volume", "none", &absolute, &["bind", "rw"]);
    trap.refused("/dev of the root file system is or goes through a symbolic link");
    // A link to a volume below /dev.
    fs::create_dir(trap.c.rootfs.join("real")).unwrap();
    fs::remove_file(trap.c.rootfs.join("dev")).unwrap();
    fs::create_dir(trap.c.rootfs.join("dev")).unwrap();
    symlink("/volume", trap.c.rootfs.join("dev/net")).unwrap();
    trap.c.config["linux"]["devices"] =
        json!([{"path": "/dev/net/tun", "type": "c", "major": 10, "minor": 200}]);
    trap.refused("/dev/net of the root file system is or goes through a symbolic link");
}

fn dev_null_from_the_image_is_not_trusted(t: &Test) {
    // A link to a file bound from the host: the standard streams must not be opened on it.
    let mut trap = Trap::new(t).with_the_images_dev();
    fs::create_dir(trap.c.rootfs.join("dev")).unwrap();
    symlink("/hostfile", trap.c.rootfs.join("dev/null")).unwrap();
    let victim = trap.outside.join("victim");
    trap.c.mount("/hostfile", "none", victim.to_str().unwrap(), &["bind", "rw"]);
    trap.c.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    trap.c.args(&["sh", "-c", "echo overwritten; echo overwritten >&2"]);
    trap.refused("device /dev/null: a symbolic link is in its place");
    // A regular file.
    let trap = Trap::new(t).with_the_images_dev();
    fs::create_dir(trap.c.rootfs.join("dev")).unwrap();
    fs::write(trap.c.rootfs.join("dev/null"), "").unwrap();
    trap.refused("device /dev/null: a regular file is in its place");
}

fn device_node_symlinks_are_refused(t: &Test) {
    for (name, to) in [("tty", "new"), ("full", "victim"), ("random", "ptmx")] {
        let trap = Trap::new(t).with_the_images_dev();
        fs::create_dir(trap.c.rootfs.join("dev")).unwrap();
        symlink(trap.outside.join(to), trap.c.rootfs.join("dev").join(name)).unwrap();
        trap.refused(&format!("device /dev/{name}: a symbolic link is in its place"));
    }
    let mut trap = Trap::new(t);
    symlink(&trap.outside, trap.c.rootfs.join("away")).unwrap();
    trap.c.config["root"]["readonly"] = json!(false);
    trap.c.config["linux"]["devices"] = json!([{"path": "/away/node", "type": "c", "major": 1, "minor": 3}]);
    trap.run().ok();
}

fn console_symlink_is_refused(t: &Test) {
    for (to, says) in [("new", Some("a symbolic link")), ("victim", Some("a symbolic link")), ("", None)] {
        let mut trap = Trap::new(t).with_the_images_dev();
        fs::create_dir_all(trap.c.rootfs.join("dev/pts")).unwrap();
        trap.c.mount("/dev/pts", "devpts", "devpts", &["newinstance", "ptmxmode=0666", "mode=0620"]);
        if !to.is_empty() {
            symlink(trap.outside.join(to), trap.c.rootfs.join("dev/console")).unwrap();
        }
        trap.c.config["process"]["terminal"] = json!(true);
        let socket = ConsoleSocket::listen(t.path("console.sock"));
        let path = socket.path.to_str().unwrap().to_string();
        let out = trap.c.create_with(&["--console-socket", &path]);
        trap.check();
        match says {
            Some(says) => {
                assert_eq!(out.status, 1);
                assert!(out.stderr.contains(&format!("/dev/console: is {says}")), "{}", out.stderr);
            }
            None => {
                out.ok();
                drop(socket.receive());
                trap.c.remove();
            }
        }
        fs::remove_file(&path).unwrap();
    }
}

fn masked_paths_work_with_any_dev_null_in_the_image(t: &Test) {
    type Plant = fn(&Path, &Path);
    let plants: [(Plant, bool); 4] = [
        (|at, outside| symlink(outside.join("victim"), at).unwrap(), false),
        (|at, _| fs::write(at, "not null").unwrap(), false),
        (|_, _| {}, true),
        (|at, _| mknod(at, SFlag::S_IFCHR, Mode::S_IRWXU, nix::sys::stat::makedev(1, 3)).unwrap(), true),
    ];
    for (plant, runs) in plants {
        let mut trap = Trap::new(t).with_the_images_dev();
        let dev = trap.c.rootfs.join("dev");
        fs::create_dir(&dev).unwrap();
        plant(&dev.join("null"), &trap.outside);
        // Nothing is created in a bound /dev, so the container has the image's null.
        let source = dev.to_str().unwrap().to_owned();
        trap.c.mount("/dev", "none", &source, &["bind"]);
        fs::write(trap.c.rootfs.join("password"), "p").unwrap();
        trap.c.config["linux"]["maskedPaths"] = json!(["/password", "/proc/keys"]);
        trap.c.probe("read /password read /proc/keys");
        if !runs {
            // It must not become the standard input either.
            trap.refused("/dev/null");
            continue;
        }
        let seen = trap.run().ok().probe();
        assert_eq!((seen.text("read /password"), seen.text("read /proc/keys")), ("", ""));
    }
}
