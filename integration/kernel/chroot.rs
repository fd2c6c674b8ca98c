//! A container without a mount namespace.
//!
//! Its root is entered by chroot, and the host's mounts stay as they are.

use crate::cases;
use crate::common::{Case, ConsoleSocket, Container, Test};
use crate::sd_notify::Manager;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

pub const CASES: &[Case] = cases![
    exec_is_in_the_root_of_init,
    payload_and_exec_cannot_leave_the_root,
    what_needs_a_mount_is_refused_by_name,
    root_of_the_host_is_refused,
    device_that_cannot_be_made_is_not_bound,
    terminal_of_a_prepared_root_is_used,
    notify_socket_is_not_mounted,
    ways_to_join_a_user_namespace_are_refused,
];

/// A root with the mounts that an administrator makes for chroot(8).
pub struct Prepared<'t> {
    /// The container.
    pub c: Container<'t>,
    mounted: Vec<PathBuf>,
    table: String,
}

fn table() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap()
}

impl<'t> Prepared<'t> {
    /// Mounts them; they are undone at the end.
    pub fn new(t: &'t Test) -> Prepared<'t> {
        let mut c = t.container();
        c.without_namespace("mount");
        c.config["mounts"] = json!([]);
        c.config["root"]["readonly"] = json!(false);
        for key in ["maskedPaths", "readonlyPaths"] {
            c.config["linux"].as_object_mut().unwrap().remove(key);
        }
        let mut mounted = Vec::new();
        for (at, kind) in [("proc", "proc"), ("dev", "tmpfs")] {
            let target = c.rootfs.join(at);
            fs::create_dir_all(&target).unwrap();
            mount(Some(kind), &target, Some(kind), MsFlags::empty(), None::<&str>).unwrap();
            mounted.push(target);
        }
        Prepared { c, mounted, table: table() }
    }
}

impl Drop for Prepared<'_> {
    fn drop(&mut self) {
        let now = table();
        for target in self.mounted.iter().rev() {
            let _ = umount2(target, MntFlags::MNT_DETACH);
        }
        if !std::thread::panicking() {
            assert_eq!(now, self.table, "the host's mounts have changed");
        }
    }
}

fn own() -> Value {
    json!(fs::read_link("/proc/self/ns/mnt").unwrap().to_str())
}

/// The table of mounts is checked at the end.
fn notify_socket_is_not_mounted(t: &Test) {
    let mut p = Prepared::new(t);
    let _manager = Manager::new(t);
    p.c.args(&["sh", "-c", "echo [$NOTIFY_SOCKET]; ls /run"]);
    let said = p.c.run().ok();
    assert!(said.stdout.starts_with("[]\n") && !said.stdout.contains("notify"), "{}", said.stdout);
    assert!(said.stderr.contains("NOTIFY_SOCKET: "), "{}", said.stderr);
}

fn exec_is_in_the_root_of_init(t: &Test) {
    let mut p = Prepared::new(t);
    p.c.probe("pause");
    p.c.up();
    let seen = p.c.exec(&["probe", "namespaces", "write", "/mark", "x", "pid"]).ok().probe();
    assert_eq!(seen["namespaces"]["mnt"], own());
    assert_eq!(fs::read_to_string(p.c.rootfs.join("mark")).unwrap(), "x");
    p.c.remove();
}

/// The usual way out of a chroot, without the two refused capabilities.
fn payload_and_exec_cannot_leave_the_root(t: &Test) {
    let mut p = Prepared::new(t);
    let out =
        "mkdir /d chroot /d unshare user unshare mount chdir ../../../../.. list . readlink /proc/self/root";
    let all = [
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_SETUID",
        "CAP_SETGID",
        "CAP_SETPCAP",
        "CAP_SETFCAP",
        "CAP_MKNOD",
    ];
    p.c.capabilities(&all).probe(&format!("{out} pause"));
    let words: Vec<&str> = out.split(' ').collect();
    p.c.up();
    let seen = p.c.exec(&[&["probe"], &words[2..]].concat()).ok().probe();
    for what in ["chroot", "unshare user", "unshare mount"] {
        assert_eq!(seen.result(what), "EPERM", "{what}");
    }
    assert_eq!(seen.text("readlink"), "/");
    assert!(seen.result("list").to_string().contains("\"bin\""), "{}", seen.result("list"));
    assert!(!seen.result("list").to_string().contains("bundles"));
    p.c.exec_with(&["--cap", "CAP_SYS_CHROOT"], &["true"]).fails(&["process.capabilities: CAP_SYS_CHROOT"]);
    p.c.remove();
    p.c.capabilities(&["CAP_KILL", "CAP_SYS_ADMIN"]);
    p.c.run().fails(&["process.capabilities: CAP_SYS_ADMIN"]);
    p.c.capabilities(&["CAP_DAC_READ_SEARCH"]);
    p.c.run().fails(&["process.capabilities: CAP_DAC_READ_SEARCH"]);
}

/// Root may change its root in each user namespace that it has made.
fn ways_to_join_a_user_namespace_are_refused(t: &Test) {
    let mut p = Prepared::new(t);
    p.c.without_namespace("pid");
    p.c.run().fails(&["linux.namespaces: a container without a mount namespace needs a new pid namespace"]);
    p.c.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "pid"}));
    p.c.namespace_path("network", "/proc/self/ns/net");
    p.c.run().fails(&["linux.namespaces: a path: needs a mount namespace"]);
}

fn what_needs_a_mount_is_refused_by_name(t: &Test) {
    let mut p = Prepared::new(t);
    let good = p.c.config.clone();
    let ids = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
    for (path, value) in [
        ("root.readonly", json!(true)),
        ("mounts", json!([{"destination": "/x", "type": "tmpfs", "source": "x"}])),
        ("linux.rootfsPropagation", json!("shared")),
        ("linux.maskedPaths", json!(["/proc/kcore"])),
        ("linux.readonlyPaths", json!(["/proc/sys"])),
        ("linux.mountLabel", json!("system_u:object_r:x_t:s0")),
    ] {
        p.c.config = good.clone();
        let at = path.split('.').fold(&mut p.c.config, |json, key| &mut json[key]);
        *at = value;
        p.c.run().fails(&[&format!("{path}: needs a mount namespace")]);
    }
    p.c.config = good;
    p.c.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    p.c.config["linux"]["uidMappings"] = ids.clone();
    p.c.config["linux"]["gidMappings"] = ids;
    p.c.run().fails(&["type \"user\": needs a mount namespace"]);
}

/// A container with the host's root is none; other paths to it are refused too.
fn root_of_the_host_is_refused(t: &Test) {
    let mut p = Prepared::new(t);
    let alias = t.path("alias");
    fs::create_dir(&alias).unwrap();
    mount(Some("/"), &alias, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    let undo = alias.clone();
    for path in ["/", "/proc/self/root", alias.to_str().unwrap()] {
        p.c.config["root"]["path"] = json!(path);
        p.c.run().fails(&["is the host's root"]);
    }
    umount2(&undo, MntFlags::MNT_DETACH).unwrap();
}

/// A bind of the host's node would stay.
fn device_that_cannot_be_made_is_not_bound(t: &Test) {
    let p = Prepared::new(t);
    p.c.write();
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-mknod", "--"]).arg(t.runtime_path()).args([
        "--root",
        "/run/it/state",
        "run",
    ]);
    command.args(["--bundle", p.c.bundle.to_str().unwrap(), &p.c.id]);
    t.finish(command).fails(&["device /dev/null"]);
}

fn terminal_of_a_prepared_root_is_used(t: &Test) {
    let mut p = Prepared::new(t);
    let pts = p.c.rootfs.join("dev/pts");
    fs::create_dir(&pts).unwrap();
    mount(Some("devpts"), &pts, Some("devpts"), MsFlags::empty(), Some("newinstance,ptmxmode=0666")).unwrap();
    p.mounted.push(pts);
    p.table = table();
    p.c.config["process"]["terminal"] = json!(true);
    p.c.probe("tty stat /dev/console say pause");
    let socket = ConsoleSocket::listen(t.path("console.sock"));
    let path = socket.path.to_str().unwrap().to_owned();
    p.c.create_with(&["--console-socket", &path]).ok();
    let mut terminal = socket.receive();
    p.c.start().ok();
    let text = terminal.read_until("}\r\n");
    assert!(text.contains(r#""name":"/dev/pts/0""#) && text.contains(r#""controlling":true"#), "{text}");
    // There is no bind of it.
    assert!(text.contains(r#"["stat","/dev/console","ENOENT"]"#), "{text}");
    p.c.remove();
    fs::remove_file(path).unwrap();
}
