//! `linux.namespaces` type `user`, `linux.uidMappings`, `linux.gidMappings`.

use crate::cases;
use crate::common::{Case, ConsoleSocket, Container, Runtime, Test};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown};
use std::path::Path;
use std::process::Stdio;

pub const CASES: &[Case] = cases![
    ids_are_mapped,
    new_namespaces_belong_to_the_user_namespace,
    every_set_of_new_namespaces_works,
    files_of_the_runtime_have_mapped_owners,
    rootfs_and_sources_in_private_directories_are_found,
    flags_of_the_hosts_mounts_stay,
    host_devices_are_bound,
    rootfs_with_a_used_dev_is_used_again,
    limits_and_oom_score_are_set,
    capabilities_are_those_of_the_namespace,
    network_sysctls_and_the_keyring_work,
    terminal_belongs_to_the_mapped_user,
    pipes_can_be_opened_again,
    hooks_run_in_their_namespaces,
    whole_lifecycle_works,
    cgroup_is_delegated_to_the_mapped_user,
    cgroups_are_mounted,
    maps_that_do_not_fit_are_refused,
    no_pivot_is_refused,
    map_of_many_ranges_is_written,
    create_that_fails_leaves_nothing,
];

/// The first id on the host.
pub const BASE: u32 = 100_000;

/// A container with ids from [`BASE`] on; its files belong to them.
pub fn mapped<'t>(t: &'t Test) -> Container<'t> {
    let mut c = t.container();
    let list = c.config["linux"]["namespaces"].as_array_mut().unwrap();
    list.push(json!({"type": "user"}));
    for key in ["uidMappings", "gidMappings"] {
        c.config["linux"][key] = json!([{"containerID": 0, "hostID": BASE, "size": 65536}]);
    }
    give(&c.rootfs);
    c
}

/// Adds [`BASE`] to the owners of a tree.
fn give(path: &Path) {
    let meta = fs::symlink_metadata(path).unwrap();
    lchown(path, Some(meta.uid() + BASE), Some(meta.gid() + BASE)).unwrap();
    if !meta.is_symlink() {
        // chown has cleared the set-id bits.
        fs::set_permissions(path, meta.permissions()).unwrap();
    }
    if meta.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path()));
    }
}

pub fn link(pid: i32, name: &str) -> Value {
    json!(fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap().to_str())
}

fn ids_are_mapped(t: &Test) {
    let mut c = mapped(t);
    c.config["process"]["user"] = json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 6]});
    c.config["process"]["cwd"] = json!("/home/user");
    let seen = c.probe("ids cwd say read /proc/self/uid_map stat /etc/passwd").run().ok();
    let said = &seen.stdout;
    for part in [r#""uid":[1000,1000,1000"#, r#""groups":[5,6]"#, "100000", r#""cwd":"/home/user""#] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(said.contains(r#""uid":0"#), "{said}");
}

fn new_namespaces_belong_to_the_user_namespace(t: &Test) {
    let mut c = mapped(t);
    c.capabilities(&["CAP_SYS_ADMIN", "CAP_NET_ADMIN"]);
    c.args(&[
        "sh",
        "-c",
        "hostname other && hostname && ip link set lo down && mount -t tmpfs x /tmp && echo all",
    ]);
    let out = c.run().ok();
    assert_eq!(out.stdout, "other\nall\n");
    let seen = c.probe("namespaces").run().ok().probe();
    for name in ["user", "pid", "net", "ipc", "uts", "mnt"] {
        assert_ne!(seen["namespaces"][name], link(std::process::id() as i32, name), "{name}");
    }
}

fn every_set_of_new_namespaces_works(t: &Test) {
    for bits in 0..16 {
        let mut c = mapped(t);
        for (bit, kind) in ["pid", "network", "ipc", "uts"].iter().enumerate() {
            if bits & 1 << bit == 0 {
                c.without_namespace(kind);
            }
        }
        // These show namespaces that belong to the host, so the kernel does not mount them.
        c.config["mounts"].as_array_mut().unwrap().retain(|m| {
            let kind = m["type"].as_str().unwrap();
            !(kind == "mqueue" && bits & 4 == 0)
        });
        for (kind, source, bit) in [("proc", "/proc", 1), ("sysfs", "/sys", 2)] {
            if bits & bit == 0 && t.runtime != Runtime::Embrun {
                let mounts = c.config["mounts"].as_array_mut().unwrap();
                let mount = mounts.iter_mut().find(|m| m["type"] == kind).unwrap();
                *mount =
                    json!({"destination": source, "type": "bind", "source": source, "options": ["rbind"]});
            }
        }
        if bits & 8 == 0 {
            c.config.as_object_mut().unwrap().remove("hostname");
        }
        c.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "cgroup"}));
        c.probe("pid read /proc/self/gid_map");
        assert!(c.run().ok().stdout.contains("100000"), "{bits:b}");
    }
}

fn files_of_the_runtime_have_mapped_owners(t: &Test) {
    let mut c = mapped(t);
    c.config["root"]["readonly"] = json!(false);
    c.config["process"]["cwd"] = json!("/new/cwd");
    c.config["linux"]["devices"] = json!([
        {"type": "c", "path": "/dev/full", "major": 1, "minor": 7, "uid": 5, "gid": 6},
        {"type": "p", "path": "/dev/sub/fifo", "fileMode": 0o622},
    ]);
    c.mount("/made/dir", "tmpfs", "tmpfs", &["nosuid"]);
    c.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro"]);
    let file = c.bundle.join("file");
    fs::write(&file, "x").unwrap();
    chown(&file, Some(BASE), Some(BASE)).unwrap();
    c.mount("/made/file", "none", file.to_str().unwrap(), &["bind"]);
    // A bound device is the host's file. In procfs, sysfs and cgroups the kernel decides.
    c.args(&["sh", "-c", "find / \\( -path /proc -o -path '/sys/*/*/*' -o -path /sys/kernel -o -path /sys/firmware \
        -o -path /sys/devices -o -path /sys/module -o -path /sys/block -o -path /sys/bus -o -path /sys/class \
        -o -path /sys/dev -o -path /sys/power -o -path /sys/hypervisor -o -path /sys/fs \\) -prune \
        -o ! -type c ! -path /sys \\( -user 65534 -o -group 65534 \\) -print; stat -c %u:%g /dev/sub/fifo /new"]);
    let out = c.run().ok();
    assert_eq!(out.stdout, "0:0\n0:0\n");
    // Also where the kernel makes the files: those of the mounts, not those in them.
    for made in ["new/cwd", "made/dir", "made/file"] {
        let meta = fs::metadata(c.rootfs.join(made)).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (BASE, BASE), "{made}");
    }
}

fn rootfs_and_sources_in_private_directories_are_found(t: &Test) {
    let mut c = mapped(t);
    let private = c.bundle.join("private");
    fs::create_dir_all(private.join("data/below")).unwrap();
    fs::write(private.join("data/file"), "content").unwrap();
    fs::rename(&c.rootfs, private.join("rootfs")).unwrap();
    std::os::unix::fs::symlink(private.join("data"), c.bundle.join("link")).unwrap();
    c.config["root"]["path"] = json!("private/rootfs");
    c.mount("/data", "none", private.join("data").to_str().unwrap(), &["rbind", "ro"]);
    c.mount("/file", "none", private.join("data/file").to_str().unwrap(), &["bind"]);
    c.mount("/relative", "none", "link/below", &["bind"]);
    chown(&private, Some(1000), Some(1000)).unwrap();
    fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).unwrap();
    let out = c.args(&["sh", "-c", "cat /data/file /file && ls -d /relative"]).run().ok();
    assert_eq!(out.stdout, "contentcontent/relative\n");
    // The reverse: a directory that only the mapped root may enter.
    chown(&private, Some(BASE), Some(BASE)).unwrap();
    c.run().ok();
}

fn flags_of_the_hosts_mounts_stay(t: &Test) {
    use nix::mount::{MsFlags, mount};
    let mut c = mapped(t);
    c.capabilities(&["CAP_SYS_ADMIN"]);
    let dir = c.bundle.join("locked");
    fs::create_dir(&dir).unwrap();
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("locked"), &dir, Some("tmpfs"), flags, None::<&str>).unwrap();
    let source = dir.to_str().unwrap().to_owned();
    c.mount("/implied", "none", &source, &["bind"]);
    c.mount("/more", "none", &source, &["rbind", "nodev"]);
    let seen = c.probe("mounts mount x /implied remount-rw mount x /more remount-rw").run().ok().probe();
    for point in ["/implied", "/more"] {
        let mounts = seen["mounts"].as_array().unwrap();
        let found = mounts.iter().find(|m| m["at"] == point).unwrap_or_else(|| panic!("{mounts:?}"));
        let options = found.to_string();
        for flag in ["ro", "nosuid", "nodev", "noexec"] {
            assert!(options.contains(flag), "{point}: {flag}: {options}");
        }
    }
    assert!(!seen["acts"].to_string().contains("\"ok\""), "{}", seen["acts"]);
    // An option that asks for the reverse is an error.
    c.mount("/explicit", "none", &source, &["bind", "rw"]);
    c.run().exits(1).fails(&["operation not permitted"]);
    nix::mount::umount(&dir).unwrap();
}

fn host_devices_are_bound(t: &Test) {
    let mut c = mapped(t);
    c.config["linux"]["devices"] = json!([{"type": "c", "path": "/dev/some/zero", "major": 1, "minor": 5}]);
    c.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    let words = "write /dev/null x open /dev/zero r stat /dev/full open /dev/tty rw";
    let acts = c.config["linux"]["devices"].take();
    let seen = c.probe(words).run().ok().probe()["acts"].to_string();
    assert!(seen.contains(r#"["write","/dev/null","ok"]"#) && seen.contains(r#""type":"char""#), "{seen}");
    // The host has no node of that name.
    c.config["linux"]["devices"] = acts;
    c.run().exits(1).fails(&["/dev/some/zero", "no such file or directory"]);
}

fn rootfs_with_a_used_dev_is_used_again(t: &Test) {
    let mut c = mapped(t);
    c.config["mounts"]
        .as_array_mut()
        .unwrap()
        .retain(|m| !m["destination"].as_str().unwrap().starts_with("/dev"));
    c.config["root"]["readonly"] = json!(false);
    for _ in 0..2 {
        let seen = c.probe("write /dev/null x").run().ok().probe();
        assert!(seen["acts"].to_string().contains("ok"), "{}", seen["acts"]);
    }
}

fn limits_and_oom_score_are_set(t: &Test) {
    let mut c = mapped(t);
    c.config["process"]["oomScoreAdj"] = json!(321);
    c.config["process"]["rlimits"] = json!([
        {"type": "RLIMIT_SIGPENDING", "soft": 77, "hard": 88}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
    ]);
    let seen = c.probe("rlimits oom pause");
    seen.probe("rlimits oom say pause").up();
    let seen = c.says("oom");
    assert_eq!(seen["oom"], 321);
    assert!(seen["rlimits"].to_string().contains("77"), "{}", seen["rlimits"]);
    let inside = c.exec(&["probe", "rlimits", "oom"]).ok().probe();
    assert_eq!(inside["oom"], 321);
    assert!(inside["rlimits"].to_string().contains("77"), "{}", inside["rlimits"]);
    c.remove();
}

fn capabilities_are_those_of_the_namespace(t: &Test) {
    let mut c = mapped(t);
    // This one the machine of the tests may lack.
    c.capabilities(&["CAP_SYS_RESOURCE", "CAP_SETUID"]);
    let out = c.probe("caps").run().ok();
    assert!(!out.stderr.contains("CAP_SYS_RESOURCE"), "{}", out.stderr);
    assert_eq!(out.probe()["caps"]["CapEff"], "0000000001000080");
}

fn network_sysctls_and_the_keyring_work(t: &Test) {
    let mut c = mapped(t);
    c.config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
    let seen = c.probe("read /proc/sys/net/ipv4/ip_forward say pause");
    seen.up();
    assert!(c.says("acts")["acts"].to_string().contains("\"1"), "{}", c.stdout());
    let out = c.exec(&["true"]).ok();
    assert!(!out.stderr.contains("keyring"), "{}", out.stderr);
    c.remove();
}

fn terminal_belongs_to_the_mapped_user(t: &Test) {
    let mut c = mapped(t);
    c.config["process"]["terminal"] = json!(true);
    c.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    c.probe("stat /dev/pts/0 stat /dev/console open /dev/tty rw open /dev/stdout w tty say pause");
    let socket = ConsoleSocket::listen(t.path("console.sock"));
    let path = socket.path.to_str().unwrap().to_string();
    c.create_with(&["--console-socket", &path]).ok();
    fs::remove_file(&path).unwrap();
    let mut terminal = socket.receive();
    c.start().ok();
    let text = terminal.read_until(r#""controlling":true"#);
    assert!(text.contains(r#"["open","/dev/tty","ok"]"#), "{text}");
    assert!(text.contains(r#"["open","/dev/stdout","ok"]"#), "{text}");
    assert_eq!(text.matches(r#""uid":1000,"gid":5"#).count(), 2, "{text}");
    c.remove();
}

fn pipes_can_be_opened_again(t: &Test) {
    let mut c = mapped(t);
    c.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    c.args(&["sh", "-c", "echo again > /dev/stdout"]).write();
    let mut command = t.command(&["run", "--bundle", c.bundle.to_str().unwrap(), &c.id]);
    let out = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stdout), "again\n", "{}", String::from_utf8_lossy(&out.stderr));
}

fn hooks_run_in_their_namespaces(t: &Test) {
    let mut c = mapped(t);
    let dir = c.share();
    for kind in ["createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
        let inside = kind == "startContainer";
        let to = if inside { format!("/shared/{kind}") } else { dir.join(kind).to_str().unwrap().into() };
        let script = format!("cat /proc/self/uid_map > {to}; id -u >> {to}");
        c.config["hooks"][kind] = json!([{"path": "/bin/sh", "args": ["sh", "-c", script],
            "env": ["PATH=/bin:/usr/bin"]}]);
    }
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    c.args(&["true"]).run().ok();
    for (kind, inside) in [
        ("createRuntime", false),
        ("createContainer", true),
        ("startContainer", true),
        ("poststart", false),
        ("poststop", false),
    ] {
        let said = fs::read_to_string(dir.join(kind)).unwrap_or_else(|e| panic!("{kind}: {e}"));
        assert_eq!(said.contains("100000"), inside, "{kind}: {said}");
        assert!(said.ends_with("\n0\n"), "{kind}: {said}");
    }
}

fn whole_lifecycle_works(t: &Test) {
    let mut c = mapped(t);
    c.probe("pause");
    let pid_file = t.path("pid");
    c.create_with(&["--pid-file", pid_file.to_str().unwrap()]).ok();
    assert_eq!(c.status(), "created");
    assert_eq!(fs::read_to_string(&pid_file).unwrap(), c.pid().to_string());
    assert_eq!(fs::metadata(format!("/proc/{}/maps", c.pid())).unwrap().uid(), 0, "init is not dumpable");
    c.start().ok();
    assert_eq!(c.status(), "running");
    let ps = c.call(&["ps", "--format", "json"]).ok();
    assert!(ps.stdout.contains(&c.pid().to_string()), "{}", ps.stdout);
    if t.hierarchy("freezer").is_some() || t.pure_v2() {
        c.call(&["pause"]).ok();
        assert_eq!(c.status(), "paused");
        c.call(&["resume"]).ok();
    }
    if t.hierarchy("pids").is_some() {
        t.call(&["update", "--pids-limit", "40", &c.id]).ok();
        assert_eq!(c.knob("pids", "pids.max", "pids.max"), "40");
    }
    c.kill("KILL").ok();
    c.stopped();
    c.delete().ok();
}

fn cgroup_is_delegated_to_the_mapped_user(t: &Test) {
    if !t.pure_v2() {
        t.skip("only v2 can be delegated");
    }
    t.needs_controller("pids");
    let mut c = mapped(t);
    c.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "cgroup"}));
    c.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev"]);
    c.config["process"]["user"] = json!({"uid": 7, "gid": 0});
    c.probe("stat /sys/fs/cgroup mkdir /sys/fs/cgroup/below rmdir /sys/fs/cgroup/below say pause").up();
    assert_eq!(fs::metadata(c.cgroup("pids")).unwrap().uid(), BASE + 7);
    let acts = c.says("acts")["acts"].to_string();
    assert!(acts.contains(r#"["mkdir","/sys/fs/cgroup/below","ok"]"#), "{acts}");
    c.remove();
}

fn cgroups_are_mounted(t: &Test) {
    t.needs_controller("pids");
    for own in [false, true] {
        let mut c = mapped(t);
        if own {
            c.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "cgroup"}));
        }
        c.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "ro"]);
        let place = if t.pure_v2() { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/pids" };
        c.args(&["sh", "-c", &format!("cat {place}/cgroup.procs; mkdir {place}/x 2> /dev/null || echo ro")]);
        let out = c.run().ok();
        assert!(out.stdout.starts_with("1\n") && out.stdout.ends_with("ro\n"), "{own}: {}", out.stdout);
    }
}

/// Root of the namespace could uncover the host's root below its own.
fn no_pivot_is_refused(t: &Test) {
    let c = mapped(t);
    c.create_with(&["--no-pivot"]).exits(1).fails(&["cannot be used with --no-pivot"]);
}

fn maps_that_do_not_fit_are_refused(t: &Test) {
    let cases: [(&str, Value, &str); 5] = [
        ("uidMappings", json!([]), "uidMappings: is required"),
        (
            "gidMappings",
            json!([{"containerID": 1, "hostID": BASE, "size": 9}]),
            "gidMappings: must map the id 0",
        ),
        (
            "uidMappings",
            json!([{"containerID": 0, "hostID": BASE, "size": 9}, {"containerID": 8, "hostID": 1, "size": 9}]),
            "uidMappings: the range at index 1 overlaps",
        ),
        (
            "gidMappings",
            (0..341).map(|i| json!({"containerID": i, "hostID": BASE + i, "size": 1})).collect(),
            "gidMappings: the kernel takes 340",
        ),
        (
            "uidMappings",
            json!([{"containerID": 0, "hostID": BASE, "size": 9}]),
            "uidMappings: does not map 10",
        ),
    ];
    for (key, map, said) in cases {
        let mut c = mapped(t);
        c.config["process"]["user"] = json!({"uid": 10, "gid": 0});
        c.config["linux"][key] = map;
        c.create().exits(1).fails(&[said]);
    }
    let mut c = mapped(t);
    c.without_namespace("user");
    c.create().exits(1).fails(&["uidMappings: needs a user namespace"]);
}

fn map_of_many_ranges_is_written(t: &Test) {
    let mut c = mapped(t);
    let many = (0..200).map(|i| json!({"containerID": i, "hostID": BASE + i, "size": 1})).collect();
    c.config["linux"]["uidMappings"] = many;
    c.probe("ids").run().ok();
}

fn create_that_fails_leaves_nothing(t: &Test) {
    let mut c = mapped(t);
    c.mount("/x", "none", "/no/such/source", &["bind"]);
    c.create().exits(1).fails(&["/no/such/source", "no such file or directory"]);
    c.config["mounts"].as_array_mut().unwrap().pop();
    c.config["root"]["path"] = json!("config.json");
    c.create().exits(1).fails(&["not a directory"]);
}
