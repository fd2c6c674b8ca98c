//! `mounts[].uidMappings`, `gidMappings`, and the options `idmap` and `ridmap`.

pub mod support;

use crate::cases;
use crate::common::{Case, Container, Test};
use embrun::sys::mount_api::has_mount_setattr;
use nix::mount::{MsFlags, mount, umount};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use support::{BASE, can_map, in_user_namespace, map, mapped, owner, run, volume};

pub const CASES: &[Case] = cases![
    volume_has_the_ids_of_its_maps,
    volume_has_the_ids_of_the_container,
    volume_of_a_mapped_container_has_maps_of_its_own,
    joined_user_namespace_gives_its_maps,
    pod_with_a_joined_network_has_mapped_volumes,
    only_ridmap_reaches_the_mounts_below,
    new_tmpfs_is_mapped,
    new_tmpfs_of_a_mapped_container_belongs_to_its_root,
    root_is_mapped,
    file_is_mapped,
    private_source_is_found,
    source_on_an_earlier_mount_of_the_container_is_found,
    hostile_root_finds_nothing_in_a_helper,
    options_of_the_mount_are_applied,
    flags_of_the_hosts_mounts_stay,
    mounts_do_not_spread_to_the_host,
    many_mounts_share_few_maps,
    file_system_that_cannot_is_named,
    procfs_of_a_joined_pid_namespace_cannot_be_mapped,
    maps_that_the_kernel_does_not_take_are_refused,
    mounts_that_cannot_have_a_map_are_refused,
];

const NONE: Option<&str> = None;

/// Shows the owners of an old and a new file.
const LIST: &str = "stat -c %u:%g /volume/old && touch /volume/new && stat -c %u:%g /volume/new";

fn volume_has_the_ids_of_its_maps(t: &Test) {
    let mut c = t.container();
    let dir = volume(&c);
    for options in [&["bind", "idmap"][..], &["rbind"], &["rbind", "ridmap", "rw"]] {
        c.config["process"]["user"] = json!({"uid": 1005, "gid": 2006});
        mapped(&mut c, "/volume", &dir, options, map(0, 1000, 10), map(0, 2000, 10));
        c.args(&["sh", "-c", LIST]);
        let Some(out) = run(&c, &dir) else { return };
        assert_eq!(out.stdout, "1003:2004\n1005:2006\n");
        assert_eq!(owner(&dir.join("new")), (5, 6));
        c.config["mounts"].as_array_mut().unwrap().pop();
        fs::remove_file(dir.join("new")).unwrap();
    }
    // An id without a map is nobody's, and cannot make files.
    c.config["process"]["user"] = json!({"uid": 0, "gid": 0});
    mapped(&mut c, "/volume", &dir, &["bind", "idmap"], map(0, 1000, 2), map(0, 2000, 2));
    c.args(&["sh", "-c", "stat -c %u:%g /volume/old; touch /volume/new || echo refused"]);
    let out = c.run().ok();
    assert_eq!(out.stdout, "65534:65534\nrefused\n");
    assert!(!dir.join("new").exists());
}

fn volume_has_the_ids_of_the_container(t: &Test) {
    let mut c = in_user_namespace(t);
    let dir = volume(&c);
    for maps in [false, true] {
        let options = if maps { &["bind"][..] } else { &["bind", "idmap"] };
        c.mount("/volume", "none", dir.to_str().unwrap(), options);
        if maps {
            let last = c.config["mounts"].as_array_mut().unwrap().last_mut().unwrap();
            last["uidMappings"] = map(0, BASE, 65536);
            last["gidMappings"] = map(0, BASE, 65536);
        }
        c.args(&["sh", "-c", LIST]);
        let Some(out) = run(&c, &dir) else { return };
        assert_eq!(out.stdout, "3:4\n0:0\n");
        assert_eq!(owner(&dir.join("new")), (0, 0));
        c.config["mounts"].as_array_mut().unwrap().pop();
        fs::remove_file(dir.join("new")).unwrap();
    }
}

fn volume_of_a_mapped_container_has_maps_of_its_own(t: &Test) {
    let mut c = in_user_namespace(t);
    let dir = volume(&c);
    mapped(&mut c, "/volume", &dir, &["bind", "idmap"], map(0, BASE + 500, 10), map(0, BASE, 10));
    c.config["process"]["user"] = json!({"uid": 500, "gid": 0});
    c.args(&["sh", "-c", LIST]);
    let Some(out) = run(&c, &dir) else { return };
    assert_eq!(out.stdout, "503:4\n500:0\n");
    assert_eq!(owner(&dir.join("new")), (0, 0));
}

fn joined_user_namespace_gives_its_maps(t: &Test) {
    let mut first = in_user_namespace(t);
    first.probe("pause").up();
    for own in [false, true] {
        let mut c = in_user_namespace(t);
        let dir = volume(&c);
        c.namespace_path("user", &format!("/proc/{}/ns/user", first.pid()));
        if own {
            mapped(&mut c, "/volume", &dir, &["bind"], map(0, BASE + 7, 10), map(0, BASE + 8, 10));
        } else {
            c.config["linux"].as_object_mut().unwrap().remove("uidMappings");
            c.config["linux"].as_object_mut().unwrap().remove("gidMappings");
            c.mount("/volume", "none", dir.to_str().unwrap(), &["bind", "idmap"]);
        }
        c.args(&["stat", "-c", "%u:%g", "/volume/old"]);
        if let Some(out) = run(&c, &dir) {
            assert_eq!(out.stdout, if own { "10:12\n" } else { "3:4\n" });
        }
    }
    first.remove();
}

fn pod_with_a_joined_network_has_mapped_volumes(t: &Test) {
    let mut first = in_user_namespace(t);
    first.probe("pause").up();
    let mut c = in_user_namespace(t);
    let dir = volume(&c);
    for (kind, name) in [("user", "user"), ("network", "net"), ("pid", "pid")] {
        c.namespace_path(kind, &format!("/proc/{}/ns/{name}", first.pid()));
    }
    c.mount("/volume", "none", dir.to_str().unwrap(), &["bind", "idmap"]);
    mapped(&mut c, "/other", &dir, &["bind"], map(0, BASE + 7, 10), map(0, BASE + 8, 10));
    c.args(&["stat", "-c", "%u:%g", "/volume/old", "/other/old"]);
    if let Some(out) = run(&c, &dir) {
        assert_eq!(out.stdout, "3:4\n10:12\n");
    }
    first.remove();
}

fn only_ridmap_reaches_the_mounts_below(t: &Test) {
    for user in [false, true] {
        let mut c = if user { in_user_namespace(t) } else { t.container() };
        let dir = volume(&c);
        fs::create_dir(dir.join("sub")).unwrap();
        mount(Some("sub"), &dir.join("sub"), Some("tmpfs"), MsFlags::empty(), NONE).unwrap();
        for (at, option) in [("/volume", "idmap"), ("/other", "ridmap")] {
            mapped(&mut c, at, &dir, &["rbind", option], map(0, BASE + 9, 10), map(0, BASE + 9, 10));
        }
        c.args(&["stat", "-c", "%u", "/volume/old", "/volume/sub", "/other/old", "/other/sub"]);
        let out = run(&c, &dir.join("sub"));
        umount(&dir.join("sub")).unwrap();
        let Some(out) = out else { return };
        let seen = if user { "12\n65534\n12\n9\n" } else { "100012\n0\n100012\n100009\n" };
        assert_eq!(out.stdout, seen);
    }
}

fn new_tmpfs_is_mapped(t: &Test) {
    let mut c = t.container();
    c.mount("/tmp", "tmpfs", "tmpfs", &["idmap", "nosuid", "size=1m"]);
    let last = c.config["mounts"].as_array_mut().unwrap().last_mut().unwrap();
    last["uidMappings"] = map(0, 1000, 10);
    last["gidMappings"] = map(0, 2000, 10);
    let mode = fs::metadata(c.rootfs.join("tmp")).unwrap().mode() & 0o7777;
    c.args(&["sh", "-c", "stat -c %u:%g:%a /tmp && grep /tmp /proc/mounts"]);
    let Some(out) = run(&c, Path::new("/dev/shm")) else { return };
    assert!(out.stdout.starts_with(&format!("1000:2000:{mode:o}\n")), "{}", out.stdout);
    assert!(out.stdout.contains("nosuid") && out.stdout.contains("size=1024k"), "{}", out.stdout);
}

fn new_tmpfs_of_a_mapped_container_belongs_to_its_root(t: &Test) {
    let mut c = in_user_namespace(t);
    fs::set_permissions(c.rootfs.join("tmp1"), fs::Permissions::from_mode(0o1751)).unwrap();
    c.mount("/tmp1", "tmpfs", "tmpfs", &["idmap", "noexec", "size=1m"]);
    c.args(&[
        "sh",
        "-c",
        "stat -c %u:%g:%a /tmp1 && touch /tmp1/x && stat -c %u /tmp1/x && grep /tmp1 /proc/mounts",
    ]);
    let Some(out) = run(&c, Path::new("/dev/shm")) else { return };
    assert!(out.stdout.starts_with("0:0:1751\n0\n"), "{}", out.stdout);
    assert!(out.stdout.contains("noexec") && out.stdout.contains("size=1024k"), "{}", out.stdout);
}

fn root_is_mapped(t: &Test) {
    let mut c = in_user_namespace(t);
    let root = c.rootfs.to_str().unwrap().to_owned();
    c.config["root"]["readonly"] = json!(false);
    c.mount("/", "none", &root, &["rbind", "idmap"]);
    c.config["mounts"].as_array_mut().unwrap().rotate_right(1);
    c.config["process"]["cwd"] = json!("/made/cwd");
    c.args(&["sh", "-c", "stat -c %u:%g /etc /made/cwd && touch /x && stat -c %u /x"]);
    let rootfs = c.rootfs.clone();
    let Some(out) = run(&c, &rootfs) else { return };
    assert_eq!(out.stdout, "0:0\n0:0\n0\n");
    assert_eq!(owner(&rootfs.join("x")), (0, 0));
    assert_eq!(owner(&rootfs.join("made/cwd")), (0, 0));
}

fn file_is_mapped(t: &Test) {
    let mut c = in_user_namespace(t);
    let dir = volume(&c);
    c.mount("/file", "none", dir.join("old").to_str().unwrap(), &["bind", "idmap", "ro"]);
    c.args(&["stat", "-c", "%u:%g", "/file"]);
    let Some(out) = run(&c, &dir) else { return };
    assert_eq!(out.stdout, "3:4\n");
}

fn private_source_is_found(t: &Test) {
    let mut c = in_user_namespace(t);
    let dir = volume(&c);
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
    fs::create_dir(dir.join("deep")).unwrap();
    std::os::unix::fs::symlink(dir.join("deep"), c.bundle.join("link")).unwrap();
    c.mount("/volume", "none", "link", &["bind", "idmap"]);
    c.args(&["stat", "-c", "%u:%g", "/volume"]);
    let Some(out) = run(&c, &dir) else { return };
    assert_eq!(out.stdout, "0:0\n");
    c.mount("/other", "none", "/no/such/source", &["bind", "idmap"]);
    c.run().exits(1).fails(&["/no/such/source: no such file or directory"]);
}

/// The source is a directory of the rootfs, in which the host sees nothing.
fn source_on_an_earlier_mount_of_the_container_is_found(t: &Test) {
    for mut c in [t.container(), in_user_namespace(t)] {
        fs::create_dir_all(c.rootfs.join("volume/deep")).unwrap();
        fs::create_dir_all(c.rootfs.join("other")).unwrap();
        let (dir, below) = (volume(&c), c.bundle.join("below"));
        fs::create_dir_all(dir.join("deep")).unwrap();
        fs::create_dir_all(&below).unwrap();
        fs::write(below.join("file"), "below").unwrap();
        c.mount("/volume", "none", dir.to_str().unwrap(), &["rbind", "rprivate"]);
        c.mount("/volume/deep", "none", below.to_str().unwrap(), &["rbind", "rprivate"]);
        let source = c.rootfs.join("volume");
        mapped(
            &mut c,
            "/other",
            &source,
            &["rbind", "rprivate", "idmap"],
            map(0, BASE, 65536),
            map(0, BASE, 65536),
        );
        c.args(&["sh", "-c", "cat /other/old /other/deep/file"]);
        let Some(out) = run(&c, &dir) else { return };
        assert_eq!(out.stdout, "oldbelow");
    }
}

fn hostile_root_finds_nothing_in_a_helper(t: &Test) {
    let mut second = in_user_namespace(t);
    let dir = volume(&second);
    if !has_mount_setattr() || !can_map(&dir) {
        t.skip("the kernel cannot idmap this file system");
    }
    // Root of the user namespace, with every process of the host in sight.
    let mut c = in_user_namespace(t);
    c.capabilities(&["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_SYS_ADMIN"]);
    c.without_namespace("pid").without_namespace("network");
    let shared = c.share();
    c.probe("stare /shared/stop say pause").up();
    second.namespace_path("user", &format!("/proc/{}/ns/user", c.pid()));
    second.without_namespace("network");
    for i in 0..10 {
        fs::create_dir_all(second.rootfs.join(format!("v/{i}"))).unwrap();
        second.mount(&format!("/v/{i}"), "none", dir.to_str().unwrap(), &["bind", "idmap"]);
    }
    second.mount("/tmp1", "tmpfs", "tmpfs", &["idmap"]);
    second.probe("pause");
    // The looker must win the race for twenty processes.
    for _ in 0..50 {
        second.create().ok();
        second.remove();
    }
    fs::write(shared.join("stop"), "").unwrap();
    let found = c.says("acts")["acts"].to_string();
    assert_eq!(found, r#"[["stare",["it has every capability","looked at many"]]]"#);
    c.remove();
}

fn options_of_the_mount_are_applied(t: &Test) {
    for user in [false, true] {
        let mut c = if user { in_user_namespace(t) } else { t.container() };
        let dir = volume(&c);
        let maps = || map(0, BASE, 10);
        mapped(&mut c, "/volume", &dir, &["bind", "idmap", "ro", "noexec", "nodev"], maps(), maps());
        let Some(out) = run(c.probe("mounts write /volume/x 1"), &dir) else { return };
        let seen = out.probe();
        assert_eq!(seen.result("write /volume/x"), "EROFS");
        let options = seen.mount("/volume").to_string();
        assert!(["ro", "noexec", "nodev"].iter().all(|flag| options.contains(flag)), "{options}");
    }
}

fn flags_of_the_hosts_mounts_stay(t: &Test) {
    let mut c = in_user_namespace(t);
    c.capabilities(&["CAP_SYS_ADMIN"]);
    let dir = volume(&c);
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID;
    for name in ["sub", "old"] {
        let path = dir.join(name);
        if name == "sub" {
            fs::create_dir(&path).unwrap();
        }
        mount(Some(&path), &path, NONE, MsFlags::MS_BIND, NONE).unwrap();
        mount(NONE, &path, NONE, flags, NONE).unwrap();
    }
    let sources = [dir.join("sub"), dir.join("old"), dir.clone()].map(|p| p.to_str().unwrap().to_owned());
    c.mount("/other", "none", &sources[0], &["bind", "idmap"]);
    c.mount("/more", "none", &sources[0], &["bind", "idmap", "noexec"]);
    c.mount("/file", "none", &sources[1], &["bind", "idmap"]);
    c.mount("/volume", "none", &sources[2], &["rbind", "ridmap"]);
    let points = ["/other", "/more", "/file", "/volume/sub", "/volume/old"];
    let words = points.map(|point| format!("mount x {point} remount-rw")).join(" ");
    let out = run(c.probe(&format!("mounts {words}")), &dir);
    // An option that asks for the reverse is an error.
    c.mount("/tmp", "none", &sources[0], &["bind", "idmap", "rw"]);
    let reverse = out.is_some().then(|| c.run());
    umount(&dir.join("sub")).unwrap();
    umount(&dir.join("old")).unwrap();
    let (Some(out), Some(reverse)) = (out, reverse) else { return };
    let seen = out.probe();
    assert!(!seen["acts"].to_string().contains("\"ok\""), "{}", seen["acts"]);
    for point in points {
        let options = seen.mount(point).to_string();
        assert!(options.contains("\"ro\"") && options.contains("nosuid"), "{point}: {options}");
    }
    reverse.exits(1).fails(&["operation not permitted"]);
}

fn mounts_do_not_spread_to_the_host(t: &Test) {
    let mut c = in_user_namespace(t);
    c.capabilities(&["CAP_SYS_ADMIN"]);
    let dir = volume(&c);
    fs::create_dir(dir.join("sub")).unwrap();
    mount(Some(&dir), &dir, NONE, MsFlags::MS_BIND, NONE).unwrap();
    mount(NONE, &dir, NONE, MsFlags::MS_SHARED, NONE).unwrap();
    c.mount("/volume", "none", dir.to_str().unwrap(), &["rbind", "idmap", "rshared"]);
    c.args(&["sh", "-c", "mount -t tmpfs x /volume/sub && touch /volume/sub/x && echo mounted && cat"]);
    let out = run(&c, &dir);
    let there = dir.join("sub/x").exists();
    umount(&dir).unwrap();
    let Some(out) = out else { return };
    assert_eq!(out.stdout, "mounted\n");
    assert!(!there);
}

fn many_mounts_share_few_maps(t: &Test) {
    let mut c = t.container();
    let dir = volume(&c);
    for i in 0..30 {
        let first = 1000 + i % 3;
        mapped(&mut c, &format!("/v/{i}"), &dir, &["bind"], map(0, first, 10), map(0, first, 10));
    }
    c.args(&["stat", "-c", "%u", "/v/0/old", "/v/1/old", "/v/29/old"]);
    let Some(out) = run(&c, &dir) else { return };
    assert_eq!(out.stdout, "1003\n1004\n1005\n");
}

/// Adds a new file system with maps.
fn mapped_fs(c: &mut Container<'_>, target: &str, kind: &str, options: &[&str]) {
    c.mount(target, kind, kind, &[&["idmap"], options].concat());
    let last = c.config["mounts"].as_array_mut().unwrap().last_mut().unwrap();
    last["uidMappings"] = map(0, BASE, 10);
    last["gidMappings"] = map(0, BASE, 10);
}

/// A helper makes this one, and the map was ignored.
fn procfs_of_a_joined_pid_namespace_cannot_be_mapped(t: &Test) {
    if !has_mount_setattr() {
        t.skip("idmapped mounts need Linux 5.12");
    }
    let mut first = t.container();
    first.probe("pause").up();
    let mut c = t.container();
    c.namespace_path("pid", &format!("/proc/{}/ns/pid", first.pid()));
    c.config["mounts"].as_array_mut().unwrap().retain(|m| m["destination"] != "/proc");
    mapped_fs(&mut c, "/proc", "proc", &[]);
    c.create().exits(1).fails(&["of type proc"]);
    first.remove();
}

fn file_system_that_cannot_is_named(t: &Test) {
    for user in [false, true] {
        let new = || if user { in_user_namespace(t) } else { t.container() };
        let maps = || map(0, BASE, 10);
        let mut c = new();
        mapped(&mut c, "/other", Path::new("/proc/self"), &["bind", "idmap"], maps(), maps());
        let index = c.config["mounts"].as_array().unwrap().len() - 1;
        let said = if has_mount_setattr() { "of type proc" } else { "needs Linux 5.12" };
        let out = c.create().exits(1).fails(&[said]);
        assert!(out.stderr.contains(&format!("mounts[{index}]")), "{}", out.stderr);
        if !has_mount_setattr() {
            continue;
        }
        let mut c = new();
        mapped_fs(&mut c, "/other", "mqueue", &[]);
        c.create().exits(1).fails(&["of type mqueue"]);
        let kinds = fs::read_to_string("/proc/filesystems").unwrap();
        let said = if kinds.contains("\toverlay\n") { "of type overlay" } else { "CONFIG_OVERLAY_FS" };
        let mut c = new();
        let layers = volume(&c);
        for name in ["a", "b"] {
            fs::create_dir(layers.join(name)).unwrap();
        }
        let lower = format!("lowerdir={0}/a:{0}/b", layers.display());
        mapped_fs(&mut c, "/other", "overlay", &[&lower]);
        c.create().exits(1).fails(&[said]);
        let mut c = new();
        let dir = volume(&c);
        fs::create_dir(dir.join("sub")).unwrap();
        mount(Some("sub"), &dir.join("sub"), Some("proc"), MsFlags::empty(), NONE).unwrap();
        mapped(&mut c, "/volume", &dir, &["rbind", "ridmap"], maps(), maps());
        let out = c.create();
        umount(&dir.join("sub")).unwrap();
        out.exits(1).fails(&["or proc"]);
    }
}

fn maps_that_the_kernel_does_not_take_are_refused(t: &Test) {
    let two =
        json!([{"containerID": 0, "hostID": 5, "size": 9}, {"containerID": 8, "hostID": 50, "size": 9}]);
    let mut c = t.container();
    let dir = volume(&c);
    let index = c.config["mounts"].as_array().unwrap().len();
    mapped(&mut c, "/volume", &dir, &["bind"], map(0, 1, 1), two);
    let out = c.create().exits(1).fails(&["gidMappings: the range at index 1 overlaps"]);
    assert!(out.stderr.contains(&format!("mounts[{index}]")), "{}", out.stderr);
    let mount = &mut c.config["mounts"].as_array_mut().unwrap()[index];
    mount["gidMappings"] = (0..341).map(|i| json!({"containerID": i, "hostID": i, "size": 1})).collect();
    c.create().exits(1).fails(&["gidMappings: the kernel takes 340"]);
    let mount = &mut c.config["mounts"].as_array_mut().unwrap()[index];
    mount.as_object_mut().unwrap().remove("gidMappings");
    c.create().exits(1).fails(&["gidMappings", "both uid and gid"]);
}

fn mounts_that_cannot_have_a_map_are_refused(t: &Test) {
    let mut c = t.container();
    let dir = volume(&c);
    for option in ["idmap", "ridmap"] {
        c.mount("/volume", "none", dir.to_str().unwrap(), &["rbind", option]);
        c.create().exits(1).fails(&["options: idmap and ridmap need uidMappings and gidMappings"]);
        c.config["mounts"].as_array_mut().unwrap().pop();
    }
    c.mount("/volume", "none", dir.to_str().unwrap(), &["bind"]);
    mapped(&mut c, "/volume", &dir, &["bind", "remount", "idmap"], map(0, 1, 1), map(0, 1, 1));
    c.create().exits(1).fails(&["a remount cannot change the map"]);
}
