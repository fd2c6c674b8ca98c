//! The host's mount table stays unchanged for any namespaces and mounts.

use crate::cases;
use crate::common::{Case, Container, Test};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::json;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

pub const CASES: &[Case] = cases![
    joining_the_hosts_mount_namespace_is_refused,
    mount_namespace_made_for_the_container_is_joined,
    bind_at_slash_becomes_the_root,
    bind_at_slash_covers_earlier_mounts,
    bind_of_a_file_at_slash_fails,
];

fn mount_table() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap()
}

/// Runs the runtime below another program, such as `unshare --mount`.
fn below(t: &Test, words: &[&str], args: &[&str]) -> Command {
    let runtime = t.command(args);
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(runtime.get_program()).args(runtime.get_args());
    command
}

/// pivot_root there would replace the root of every process on the host.
fn joining_the_hosts_mount_namespace_is_refused(t: &Test) {
    let before = mount_table();
    let own = std::process::id();
    let apart = ["unshare", "--mount"];
    for (path, words) in [
        ("/proc/self/ns/mnt".to_owned(), &["env"][..]),
        ("/proc/thread-self/ns/mnt".to_owned(), &["env"]),
        (format!("/proc/{own}/ns/mnt"), &["env"]),
        // From another mount namespace of the runtime: the one of pid 1 is still the host's.
        ("/proc/1/ns/mnt".to_owned(), &apart),
        ("/proc/self/ns/mnt".to_owned(), &apart),
    ] {
        for flag in [None, Some("--no-pivot")] {
            let mut c = t.container();
            c.namespace_path("mount", &path).probe("pid").write();
            let bundle = c.bundle.to_str().unwrap().to_owned();
            for act in ["create", "run"] {
                let args: Vec<&str> =
                    [act, "--bundle", &bundle].into_iter().chain(flag).chain([&*c.id]).collect();
                let says = format!("not allowed in the host's mount namespace, which is {path}");
                t.finish(below(t, words, &args)).exits(1).fails(&[&says]);
                assert_eq!(mount_table(), before, "{path} {flag:?}");
            }
        }
    }
}

/// A mount namespace that was made for the container can be joined.
fn mount_namespace_made_for_the_container_is_joined(t: &Test) {
    let before = mount_table();
    let mut other = Command::new("unshare").args(["--mount", "sleep", "100"]).spawn().unwrap();
    let path = format!("/proc/{}/ns/mnt", other.id());
    let own = fs::read_link("/proc/self/ns/mnt").unwrap();
    crate::common::eventually("it has unshared", || fs::read_link(&path).is_ok_and(|there| there != own));
    let mut c = t.container();
    c.namespace_path("mount", &path);
    let theirs = json!(fs::read_link(&path).unwrap().to_str());
    let seen = c.probe("namespaces").run().ok().probe();
    assert_eq!(seen["namespaces"]["mnt"], theirs);
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(mount_table(), before);
}

/// A second root file system with a mount below it, beside the container's own.
fn other_root(c: &mut Container<'_>, options: &[&str], at: usize) -> PathBuf {
    let other = c.bundle.join("other");
    let copied = Command::new("cp").arg("-a").arg(&c.rootfs).arg(&other).status().unwrap();
    assert!(copied.success());
    fs::write(other.join("mark"), "here").unwrap();
    fs::create_dir(other.join("below")).unwrap();
    let none = None::<&str>;
    mount(Some(&other), &other, none, MsFlags::MS_BIND, none).unwrap();
    mount(Some("t"), &other.join("below"), Some("tmpfs"), MsFlags::empty(), none).unwrap();
    mount(none, &other, none, MsFlags::MS_SHARED | MsFlags::MS_REC, none).unwrap();
    let entry = json!({"destination": "/", "type": "bind", "source": "other", "options": options});
    c.config["mounts"].as_array_mut().unwrap().insert(at, entry);
    c.config["root"]["readonly"] = json!(false);
    other
}

/// Later mounts go into it, and none of them reaches the host's directory.
fn bind_at_slash_becomes_the_root(t: &Test) {
    let propagations =
        [None, Some("shared"), Some("rshared"), Some("slave"), Some("private"), Some("unbindable")];
    for (options, flag) in
        [(&["rbind", "rw"][..], None), (&["rbind", "rshared"], Some("--no-pivot")), (&["bind", "ro"], None)]
    {
        let mut c = t.container();
        let other = other_root(&mut c, options, 0);
        let before = mount_table();
        for propagation in propagations {
            c.config["linux"]["rootfsPropagation"] = json!(propagation);
            c.mount("/tmp", "tmpfs", "t", &["mode=1777"]);
            c.config["process"]["cwd"] = json!("/tmp");
            c.probe("mounts read /mark write /new x write /tmp/x x list /below stat /dev/null").write();
            let bundle = c.bundle.to_str().unwrap().to_owned();
            let args: Vec<&str> =
                ["run", "--bundle", &bundle].into_iter().chain(flag).chain([&*c.id]).collect();
            let seen = t.call(&args).ok().probe();
            assert_eq!(seen.text("read /mark"), "here");
            assert_eq!(seen.result("write /tmp/x"), "ok");
            assert_eq!(seen.result("stat /dev/null")["mode"], json!(0o666));
            assert_eq!(!seen.mounts("/below").is_empty(), options.contains(&"rbind"));
            let writable = if options.contains(&"ro") { "EROFS" } else { "ok" };
            assert_eq!(seen.result("write /new"), writable);
            assert_eq!(mount_table(), before, "{options:?} {propagation:?}");
        }
        assert!(!c.rootfs.join("new").exists());
        assert_eq!(fs::read_dir(other.join("dev")).unwrap().count(), 0, "the image must stay unchanged");
        umount2(&other, MntFlags::MNT_DETACH).unwrap();
    }
}

fn bind_at_slash_covers_earlier_mounts(t: &Test) {
    let mut c = t.container();
    c.config["mounts"]
        .as_array_mut()
        .unwrap()
        .insert(0, json!({"destination": "/tmp", "type": "tmpfs", "source": "first"}));
    let other = other_root(&mut c, &["rbind"], 1);
    c.mount("/", "none", "", &["remount", "bind", "ro", "nosuid"]);
    c.config["linux"]["maskedPaths"] = json!(["/mark", "/nowhere"]);
    let seen = c.probe("mounts read /mark write /new x stat /proc/self").run().ok().probe();
    assert!(seen.mounts("/tmp").is_empty());
    assert_eq!((seen.text("read"), seen.result("write")), ("", &json!("EROFS")));
    assert!(seen.mount("/")["options"].to_string().contains("nosuid"), "{}", seen.mount("/"));
    umount2(&other, MntFlags::MNT_DETACH).unwrap();
}

fn bind_of_a_file_at_slash_fails(t: &Test) {
    let mut c = t.container();
    c.mount("/", "none", "config.json", &["bind"]);
    c.create().exits(1).fails(&["the destination is a directory and the source is not", "not a directory"]);
}
