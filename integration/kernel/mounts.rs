//! `root` and `mounts`: the container's view of files.

use crate::cases;
use crate::common::{Case, Container, Runtime, Test};
use nix::mount::{MsFlags, mount, umount};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;

pub const CASES: &[Case] = cases![
    base_mounts_have_their_options,
    root_readonly_decides_whether_the_root_is_writable,
    absolute_root_path_is_used,
    root_propagation_is_applied,
    tmpfs_options_reach_the_file_system,
    every_flag_option_is_applied,
    later_mounts_cover_earlier_ones,
    bind_mounts_a_directory_and_a_file,
    relative_bind_source_starts_at_the_bundle,
    missing_bind_source_fails_and_is_named,
    bind_ro_and_rbind_ro_protect_the_source,
    bind_with_options_has_only_these,
    destination_given_as_a_path_of_the_host_is_inside_the_root,
    remount_overrides_earlier_options,
    long_tmpfs_options_are_not_truncated,
    options_meant_for_engines_are_ignored,
    bind_takes_submounts_only_when_recursive,
    recursive_options_reach_submounts,
    propagation_options_are_applied,
    missing_destination_is_created,
    relative_destination_starts_at_the_root,
    destination_through_a_symlink_stays_inside,
    destination_with_dots_stays_inside,
    tmpcopyup_copies_the_files_of_the_image,
    cgroup_mount_shows_the_containers_cgroup_read_only,
    cgroup_mount_without_a_cgroup_shows_that_of_the_caller,
    mount_of_an_unknown_type_fails_and_names_it,
    host_mounts_are_not_visible_inside,
];

fn has(mount: &Value, option: &str) -> bool {
    let in_list = |list: &Value| list.as_array().is_some_and(|l| l.iter().any(|o| o == option));
    in_list(&mount["options"]) || in_list(&mount["super"])
}

#[track_caller]
fn expect(mount: &Value, options: &[&str]) {
    options.iter().for_each(|o| assert!(has(mount, o), "{o} is missing in {mount}"));
}

fn base_mounts_have_their_options(t: &Test) {
    let mut c = t.container();
    let seen = c.probe("mounts").run().ok().probe();
    assert_eq!(seen.mount("/proc")["type"], "proc");
    let dev = seen.mount("/dev");
    assert_eq!(dev["type"], "tmpfs");
    expect(dev, &["nosuid", "rw", "mode=755", "size=65536k"]);
    let pts = seen.mount("/dev/pts");
    assert_eq!(pts["type"], "devpts");
    expect(pts, &["nosuid", "noexec", "gid=5", "mode=620", "ptmxmode=666"]);
    expect(seen.mount("/dev/shm"), &["nosuid", "nodev", "noexec", "size=65536k"]);
    assert_eq!(seen.mount("/dev/mqueue")["type"], "mqueue");
    let sys = seen.mount("/sys");
    assert_eq!(sys["type"], "sysfs");
    expect(sys, &["ro", "nosuid", "nodev", "noexec"]);
}

fn root_readonly_decides_whether_the_root_is_writable(t: &Test) {
    let mut c = t.container();
    c.probe("write /new x");
    assert_eq!(c.run().ok().probe().result("write"), "EROFS");
    c.config["root"]["readonly"] = json!(false);
    assert_eq!(c.run().ok().probe().result("write"), "ok");
    assert_eq!(fs::read_to_string(c.rootfs.join("new")).unwrap(), "x");
}

fn absolute_root_path_is_used(t: &Test) {
    let mut c = t.container();
    c.config["root"]["path"] = json!(c.rootfs.to_str());
    assert_eq!(c.probe("stat /bin/busybox").run().ok().probe().result("stat /bin/busybox")["type"], "file");
}

fn root_propagation_is_applied(t: &Test) {
    let mut c = t.container();
    c.probe("mounts");
    c.config["linux"]["rootfsPropagation"] = json!("private");
    assert_eq!(c.run().ok().probe().mount("/")["propagation"], json!([]));
    c.config["linux"]["rootfsPropagation"] = json!("shared");
    let seen = c.run().ok().probe();
    let root = seen.mount("/")["propagation"].to_string();
    assert!(root.contains("shared:"), "{root}");
}

fn tmpfs_options_reach_the_file_system(t: &Test) {
    let mut c = t.container();
    c.mount("/mnt", "tmpfs", "mytmp", &["size=1024k", "mode=1750", "uid=7", "gid=8", "noexec"]);
    let seen = c.probe("mounts stat /mnt").run().ok().probe();
    let mount = seen.mount("/mnt");
    assert_eq!((&mount["type"], &mount["source"]), (&json!("tmpfs"), &json!("mytmp")));
    expect(mount, &["size=1024k", "noexec"]);
    let stat = seen.result("stat /mnt");
    assert_eq!((&stat["mode"], &stat["uid"], &stat["gid"]), (&json!(0o1750), &json!(7), &json!(8)));
}

fn every_flag_option_is_applied(t: &Test) {
    let mut c = t.container();
    c.mount(
        "/a",
        "tmpfs",
        "t",
        &["ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "sync", "dirsync"],
    );
    c.mount("/b", "tmpfs", "t", &["rw", "suid", "dev", "exec", "relatime", "diratime", "async"]);
    c.mount("/c", "tmpfs", "t", &["strictatime", "nosuid", "suid", "ro", "rw", "noexec", "exec"]);
    let seen = c.probe("mounts").run().ok().probe();
    expect(seen.mount("/a"), &["ro", "nosuid", "nodev", "noexec", "noatime", "sync", "dirsync"]);
    for at in ["/b", "/c"] {
        let mount = seen.mount(at);
        expect(mount, &["rw"]);
        for absent in ["ro", "nosuid", "nodev", "noexec", "noatime", "sync"] {
            assert!(!has(mount, absent), "{absent} in {mount}");
        }
    }
    assert!(!has(seen.mount("/c"), "relatime"));
}

fn later_mounts_cover_earlier_ones(t: &Test) {
    let mut c = t.container();
    c.mount("/mnt", "tmpfs", "first", &[]).mount("/mnt/in", "tmpfs", "second", &[]).mount(
        "/mnt",
        "tmpfs",
        "third",
        &[],
    );
    let seen = c.probe("mounts list /mnt").run().ok().probe();
    let sources: Vec<&Value> = seen.mounts("/mnt").iter().map(|m| &m["source"]).collect();
    assert_eq!(sources, ["first", "third"]);
    assert_eq!(seen.result("list /mnt"), &json!([]));
}

fn bind_mounts_a_directory_and_a_file(t: &Test) {
    let mut c = t.container();
    let (dir, file) = (c.bundle.join("dir"), c.bundle.join("file"));
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("in"), "inside").unwrap();
    fs::write(&file, "alone").unwrap();
    c.mount("/d", "none", dir.to_str().unwrap(), &["bind"]);
    c.mount("/f", "bind", file.to_str().unwrap(), &["rbind", "ro"]);
    let seen = c.probe("read /d/in write /d/new x read /f write /f y").run().ok().probe();
    assert_eq!(seen.text("read /d/in"), "inside");
    assert_eq!(seen.result("write /d/new"), "ok");
    assert_eq!(seen.text("read /f"), "alone");
    assert_eq!(seen.result("write /f"), "EROFS");
    assert_eq!(fs::read_to_string(dir.join("new")).unwrap(), "x");
}

fn relative_bind_source_starts_at_the_bundle(t: &Test) {
    let mut c = t.container();
    fs::create_dir(c.bundle.join("beside")).unwrap();
    fs::write(c.bundle.join("beside/file"), "here").unwrap();
    c.mount("/mnt", "none", "beside", &["bind"]);
    assert_eq!(c.probe("read /mnt/file").run().ok().probe().text("read"), "here");
}

fn missing_bind_source_fails_and_is_named(t: &Test) {
    let mut c = t.container();
    c.mount("/mnt", "none", "/no/such/source", &["bind"]);
    c.create().exits(1).fails(&["/no/such/source"]).fails(&["no such file or directory"]);
}

fn bind_ro_and_rbind_ro_protect_the_source(t: &Test) {
    let mut c = t.container();
    let dir = c.bundle.join("dir");
    fs::create_dir(&dir).unwrap();
    c.mount("/a", "none", dir.to_str().unwrap(), &["bind", "ro", "nosuid", "nodev"]);
    c.mount("/b", "none", dir.to_str().unwrap(), &["rbind", "ro"]);
    let seen = c.probe("mounts write /a/x 1 write /b/x 1").run().ok().probe();
    expect(seen.mount("/a"), &["ro", "nosuid", "nodev"]);
    assert_eq!((seen.result("write /a/x"), seen.result("write /b/x")), (&json!("EROFS"), &json!("EROFS")));
}

/// A directory with a tmpfs below it, in the mount namespace of this test.
fn with_submount(c: &Container<'_>) -> std::path::PathBuf {
    let dir = c.bundle.join("tree");
    fs::create_dir_all(dir.join("sub")).unwrap();
    let none: Option<&str> = None;
    let flags = MsFlags::empty();
    mount(Some("tmpfs"), &dir.join("sub"), Some("tmpfs"), flags, none).unwrap();
    fs::write(dir.join("sub/file"), "below").unwrap();
    dir
}

fn drop_submount(dir: &std::path::Path) {
    umount(&dir.join("sub")).unwrap();
}

fn bind_takes_submounts_only_when_recursive(t: &Test) {
    let mut c = t.container();
    let dir = with_submount(&c);
    c.mount("/flat", "none", dir.to_str().unwrap(), &["bind"]);
    c.mount("/deep", "none", dir.to_str().unwrap(), &["rbind"]);
    let seen = c.probe("read /flat/sub/file read /deep/sub/file").run().ok().probe();
    drop_submount(&dir);
    assert_eq!(seen.text("read /flat/sub/file"), "ENOENT");
    assert_eq!(seen.text("read /deep/sub/file"), "below");
}

fn recursive_options_reach_submounts(t: &Test) {
    let mut c = t.container();
    let dir = with_submount(&c);
    c.mount("/plain", "none", dir.to_str().unwrap(), &["rbind", "ro"]);
    c.mount("/deep", "none", dir.to_str().unwrap(), &["rbind", "rro", "rnosuid", "rnoexec"]);
    let seen = c.probe("mounts write /plain/sub/x 1 write /deep/sub/x 1").run();
    drop_submount(&dir);
    if !embrun::sys::mount_api::has_mount_setattr() {
        seen.exits(1).fails(&["rro", "Linux 5.12"]);
        return;
    }
    let seen = seen.ok().probe();
    assert_eq!(seen.result("write /plain/sub/x"), "ok");
    assert_eq!(seen.result("write /deep/sub/x"), "EROFS");
    expect(seen.mount("/deep/sub"), &["ro", "nosuid", "noexec"]);
}

fn propagation_options_are_applied(t: &Test) {
    let mut c = t.container();
    let dir = c.share();
    let none: Option<&str> = None;
    use nix::mount::{MsFlags, mount, umount};
    mount(Some(&dir), &dir, none, MsFlags::MS_BIND, none).unwrap();
    mount(none, &dir, none, MsFlags::MS_SHARED, none).unwrap();
    let path = dir.to_str().unwrap().to_string();
    c.mount("/shared1", "none", &path, &["rbind", "rshared"]);
    c.mount("/slave1", "none", &path, &["rbind", "rslave"]);
    c.mount("/private1", "none", &path, &["rbind", "rprivate"]);
    c.mount("/unbindable1", "none", &path, &["rbind", "unbindable"]);
    c.config["linux"]["rootfsPropagation"] = json!("shared");
    let seen = c.probe("mounts").run();
    umount(&dir).unwrap();
    let seen = seen.ok().probe();
    let shown = |at: &str| seen.mount(at)["propagation"].to_string();
    assert!(shown("/shared1").contains("shared:"), "{}", shown("/shared1"));
    assert!(shown("/slave1").contains("master:"), "{}", shown("/slave1"));
    assert_eq!(shown("/private1"), "[]");
    assert!(shown("/unbindable1").contains("unbindable"), "{}", shown("/unbindable1"));
}

fn missing_destination_is_created(t: &Test) {
    let mut c = t.container();
    let file = c.bundle.join("file");
    fs::write(&file, "x").unwrap();
    c.mount("/new/deep/dir", "tmpfs", "t", &[]);
    c.mount("/new2/deep/file", "none", file.to_str().unwrap(), &["bind"]);
    let seen = c.probe("mounts stat /new/deep/dir stat /new2/deep/file").run().ok().probe();
    assert_eq!(seen.result("stat /new/deep/dir")["type"], "directory");
    assert_eq!(seen.result("stat /new2/deep/file")["type"], "file");
}

fn relative_destination_starts_at_the_root(t: &Test) {
    let mut c = t.container();
    c.config["process"]["cwd"] = json!("/tmp");
    c.mount("mnt/rel", "tmpfs", "t", &[]);
    let out = c.probe("mounts").run();
    assert_eq!(out.ok().probe().mount("/mnt/rel")["type"], "tmpfs");
}

fn destination_through_a_symlink_stays_inside(t: &Test) {
    let mut c = t.container();
    let outside = c.bundle.join("outside");
    fs::create_dir(&outside).unwrap();
    symlink("../../../../../../../../outside", c.rootfs.join("up")).unwrap();
    symlink(&outside, c.rootfs.join("absolute")).unwrap();
    c.mount("/up/x", "tmpfs", "one", &[]);
    c.mount("/absolute", "tmpfs", "two", &[]);
    let seen = c.probe("mounts").run().ok().probe();
    assert_eq!(seen.mount("/outside/x")["source"], "one");
    assert_eq!(seen.mount(outside.to_str().unwrap())["source"], "two");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "nothing must be created outside");
}

fn destination_with_dots_stays_inside(t: &Test) {
    let mut c = t.container();
    c.mount("/tmp/../../../mnt2/./x", "tmpfs", "t", &[]);
    assert_eq!(c.probe("mounts").run().ok().probe().mount("/mnt2/x")["type"], "tmpfs");
    assert!(!c.bundle.join("mnt2").exists());
}

fn tmpcopyup_copies_the_files_of_the_image(t: &Test) {
    let mut c = t.container();
    fs::create_dir_all(c.rootfs.join("data/sub")).unwrap();
    fs::write(c.rootfs.join("data/sub/file"), "from the image").unwrap();
    symlink("sub/file", c.rootfs.join("data/link")).unwrap();
    c.mount("/data", "tmpfs", "t", &["tmpcopyup", "mode=755"]);
    let seen = c.probe("mounts read /data/link write /data/sub/file changed").run().ok().probe();
    assert_eq!(seen.mount("/data")["type"], "tmpfs");
    assert_eq!(seen.text("read /data/link"), "from the image");
    assert_eq!(seen.result("write /data/sub/file"), "ok");
    assert_eq!(fs::read_to_string(c.rootfs.join("data/sub/file")).unwrap(), "from the image");
}

fn cgroup_mount_shows_the_containers_cgroup_read_only(t: &Test) {
    t.needs_controller("pids");
    let mut c = t.container();
    c.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]);
    c.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "cgroup"}));
    c.config["linux"]["resources"]["pids"] = json!({"limit": 23});
    let dir = if t.hierarchy("pids").unwrap().v2 { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/pids" };
    let words = format!("cgroup read {dir}/pids.max write {dir}/pids.max 1 mkdir {dir}/new");
    let seen = c.probe(&words).run().ok().probe();
    assert_eq!(seen.text("read").trim(), "23");
    assert_eq!((seen.result("write"), seen.result("mkdir")), (&json!("EROFS"), &json!("EROFS")));
    let own = seen["cgroup"].as_array().unwrap();
    let pids = own.iter().filter_map(Value::as_str).find(|l| l.contains(":pids:") || l.starts_with("0::"));
    assert!(pids.is_some_and(|l| l.ends_with(":/")), "{own:?}");
}

fn cgroup_mount_without_a_cgroup_shows_that_of_the_caller(t: &Test) {
    t.needs_controller("pids");
    let mut c = t.container();
    c.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]);
    let dir = if t.hierarchy("pids").unwrap().v2 { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/pids" };
    c.probe(&format!("cgroup read {dir}/cgroup.procs")).write();
    let bundle = c.bundle.to_str().unwrap();
    let ran = t.call(&["--cgroup-manager=disabled", "run", "--bundle", bundle, &c.id]).ok();
    assert!(ran.stderr.contains("linux.resources.devices: not in force"), "{}", ran.stderr);
    let seen = ran.probe();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    assert_eq!(seen["cgroup"].as_array().unwrap().len(), own.lines().count());
    for line in own.lines() {
        assert!(seen["cgroup"].as_array().unwrap().contains(&json!(line)), "{line} {}", seen["cgroup"]);
    }
    // The container's process is in the visible cgroup.
    assert!(seen.text("read").lines().any(|pid| pid == "1"), "{}", seen.text("read"));
}

fn mount_of_an_unknown_type_fails_and_names_it(t: &Test) {
    let mut c = t.container();
    c.mount("/mnt", "nosuchfs", "x", &[]);
    c.create().exits(1).fails(&["no such device"]).fails(&["nosuchfs", "/mnt", "`mnt`"]);
}

fn host_mounts_are_not_visible_inside(t: &Test) {
    let mut c = t.container();
    let seen = c.probe("mounts").run().ok().probe();
    let stray: Vec<&Value> = seen["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| &m["at"])
        .filter(|at| {
            let at = at.as_str().unwrap();
            at != "/"
                && !["/proc", "/dev", "/sys"].iter().any(|d| at == *d || at.starts_with(&format!("{d}/")))
        })
        .collect();
    assert!(stray.is_empty(), "{stray:?}");
}

fn bind_with_options_has_only_these(t: &Test) {
    let mut c = t.container();
    let dir = c.bundle.join("dir");
    fs::create_dir(&dir).unwrap();
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOEXEC | MsFlags::MS_NODEV;
    mount(Some(&dir), &dir, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    mount(None::<&str>, &dir, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REMOUNT | flags, None::<&str>)
        .unwrap();
    c.mount("/plain", "none", dir.to_str().unwrap(), &["bind"]);
    c.mount("/other", "none", dir.to_str().unwrap(), &["bind", "nosuid"]);
    let seen = c.probe("mounts write /plain/x 1 write /other/x 1").run().ok().probe();
    umount(&dir).unwrap();
    expect(seen.mount("/plain"), &["ro", "noexec", "nodev"]);
    assert_eq!(seen.result("write /plain/x"), "EROFS");
    expect(seen.mount("/other"), &["rw", "nosuid"]);
    assert_eq!(seen.result("write /other/x"), "ok");
}

fn destination_given_as_a_path_of_the_host_is_inside_the_root(t: &Test) {
    let mut c = t.container();
    let inside = c.rootfs.join("mnt/there");
    c.mount("/mnt", "tmpfs", "t", &[]);
    c.mount(inside.to_str().unwrap(), "tmpfs", "t", &["mode=711"]);
    assert_eq!(c.probe("mounts").run().ok().probe().mount("/mnt/there")["type"], "tmpfs");
}

fn remount_overrides_earlier_options(t: &Test) {
    let mut c = t.container();
    c.mount("/mnt", "tmpfs", "t", &["ro"]).mount("/mnt", "", "", &["remount", "rw"]);
    c.mount("/run", "tmpfs", "t", &[]).mount("/run", "", "", &["remount", "bind", "ro"]);
    // It becomes read-only after its devices exist.
    c.mount("/dev", "", "", &["remount", "bind", "ro"]);
    let seen =
        c.probe("mounts write /mnt/x 1 write /run/x 1 write /dev/x 1 stat /dev/null").run().ok().probe();
    for (write, answer) in [("/mnt/x", "ok"), ("/run/x", "EROFS"), ("/dev/x", "EROFS")] {
        assert_eq!(seen.result(&format!("write {write}")), answer, "{write}");
    }
    assert_eq!(seen.result("stat /dev/null")["mode"], json!(0o666));
    expect(seen.mount("/mnt"), &["rw"]);
}

fn long_tmpfs_options_are_not_truncated(t: &Test) {
    let mut c = t.container();
    fs::create_dir(c.rootfs.join("mnt")).unwrap();
    // The options are nearly as long as the kernel permits; the mode of the directory follows.
    c.mount("/mnt", "tmpfs", "t", &[&"uid=0,".repeat(680), "size=1024k"]);
    let out = c.probe("mounts").run();
    if out.status == 0 {
        expect(out.probe().mount("/mnt"), &["size=1024k"]);
    } else {
        out.exits(1).fails(&["argument list too long"]);
    }
}

/// buildah uses it for `RUN --mount=type=cache`, and podman for `--volume a:b:U`.
fn options_meant_for_engines_are_ignored(t: &Test) {
    let mut c = t.container();
    let dir = c.bundle.join("dir");
    fs::create_dir(&dir).unwrap();
    c.mount("/mnt", "bind", dir.to_str().unwrap(), &["z", "rshared", "rbind", "U"]);
    let out = c.probe("write /mnt/x 1").run().ok();
    assert_eq!(out.probe().result("write"), "ok");
    if t.runtime == Runtime::Embrun {
        for word in ["z", "U"] {
            let says = format!("mounts[6].options: {word} is for an engine, it is ignored");
            assert!(out.stderr.contains(&says), "{}", out.stderr);
        }
    }
}
