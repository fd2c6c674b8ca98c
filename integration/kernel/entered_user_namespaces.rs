//! Processes that enter a user namespace: of an exec, or of a container that joins.

use crate::cases;
use crate::common::{Case, ConsoleSocket, Container, Runtime, Test};
use crate::user_namespaces::{BASE, link, mapped};
use serde_json::json;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command};

pub const CASES: &[Case] = cases![
    exec_has_the_mapped_ids,
    exec_has_a_terminal,
    user_namespace_is_joined,
    pod_shares_its_user_namespace,
    namespaces_of_the_host_are_joined_from_a_user_namespace,
    pid_namespace_of_another_owner_is_refused,
    hosts_user_namespace_is_refused,
    joined_user_namespace_with_other_maps_is_refused,
    hostile_root_finds_nothing_in_an_init_of_its_namespace,
    hostile_root_finds_nothing_when_its_pid_namespace_is_joined,
];

/// A running container to join; its processes wait.
fn first<'t>(t: &'t Test) -> Container<'t> {
    let mut c = mapped(t);
    c.probe("pause");
    c.up();
    c
}

/// Makes a container join the user namespace of another one.
fn join_user(c: &mut Container<'_>, pid: i32) {
    c.namespace_path("user", &format!("/proc/{pid}/ns/user"));
}

/// A process in namespaces of its own that the initial user namespace owns.
fn holder(flags: &[&str]) -> Child {
    let child = Command::new("unshare").args(flags).args(["sleep", "600"]).spawn().unwrap();
    let comm = format!("/proc/{}/comm", child.id());
    crate::common::eventually("unshare has done its work", || {
        fs::read_to_string(&comm).is_ok_and(|comm| comm.trim() == "sleep")
    });
    child
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn user_namespace_is_joined(t: &Test) {
    let first = first(t);
    for maps in [true, false] {
        let mut c = mapped(t);
        join_user(&mut c, first.pid());
        if !maps && t.runtime == Runtime::Embrun {
            let linux = c.config["linux"].as_object_mut().unwrap();
            linux.remove("uidMappings");
            linux.remove("gidMappings");
        }
        c.config["process"]["oomScoreAdj"] = json!(300);
        c.probe("namespaces ids pid oom say pause").up();
        let seen = c.says("pid");
        assert_eq!(seen["namespaces"]["user"], link(first.pid(), "user"));
        assert_ne!(seen["namespaces"]["pid"], link(first.pid(), "pid"));
        assert_eq!((&seen["pid"], &seen["oom"]), (&json!(1), &json!(300)));
        let inside = c.exec(&["probe", "namespaces"]).ok().probe();
        assert_eq!(inside["namespaces"]["user"], link(first.pid(), "user"));
        assert_eq!(inside["namespaces"]["pid"], link(c.pid(), "pid"));
        c.remove();
    }
    first.remove();
}

fn pod_shares_its_user_namespace(t: &Test) {
    let first = first(t);
    let pid = first.pid();
    let mut c = mapped(t);
    join_user(&mut c, pid);
    for (kind, name) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid")] {
        c.namespace_path(kind, &format!("/proc/{pid}/ns/{name}"));
    }
    c.config.as_object_mut().unwrap().remove("hostname");
    c.probe("namespaces processes ids say pause").up();
    let seen = c.says("ids");
    for name in ["user", "net", "ipc", "uts", "pid"] {
        assert_eq!(seen["namespaces"][name], link(pid, name), "{name}");
    }
    assert!(seen["processes"].as_array().unwrap().contains(&json!(1)), "{}", seen["processes"]);
    let inside = c.exec(&["probe", "namespaces"]).ok().probe();
    assert_eq!(inside["namespaces"]["pid"], link(pid, "pid"));
    c.remove();
    assert_eq!(first.status(), "running");
    first.remove();
}

fn namespaces_of_the_host_are_joined_from_a_user_namespace(t: &Test) {
    let other = holder(&["--net", "--ipc", "--uts", "--cgroup"]);
    let pid = other.id() as i32;
    let infra = first(t);
    for user in ["new", "joined"] {
        let mut c = mapped(t);
        if user == "joined" {
            join_user(&mut c, infra.pid());
        }
        for (kind, name) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("cgroup", "cgroup")] {
            c.namespace_path(kind, &format!("/proc/{pid}/ns/{name}"));
        }
        // The kernel mounts neither for root of another user namespace.
        c.config["mounts"]
            .as_array_mut()
            .unwrap()
            .retain(|m| !["mqueue", "sysfs"].contains(&m["type"].as_str().unwrap()));
        c.config.as_object_mut().unwrap().remove("hostname");
        c.probe("namespaces pid say pause").up();
        let seen = c.says("pid");
        for name in ["net", "ipc", "uts", "cgroup"] {
            assert_eq!(seen["namespaces"][name], link(pid, name), "{user}: {name}");
        }
        assert_eq!(seen["pid"], 1);
        let inside = c.exec(&["probe", "namespaces"]).ok().probe();
        assert_eq!(inside["namespaces"]["net"], link(pid, "net"));
        c.remove();
    }
    infra.remove();
    end(other);
}

fn pid_namespace_of_another_owner_is_refused(t: &Test) {
    let mut c = t.container();
    c.probe("pause");
    c.up();
    let mut second = mapped(t);
    second.namespace_path("pid", &format!("/proc/{}/ns/pid", c.pid()));
    second.probe("pid").run().exits(1).fails(&["pid namespace", "operation not permitted"]);
    c.remove();
}

fn hosts_user_namespace_is_refused(t: &Test) {
    let mut c = mapped(t);
    c.namespace_path("user", "/proc/self/ns/user");
    c.run().exits(1).fails(&["user namespace"]);
}

fn joined_user_namespace_with_other_maps_is_refused(t: &Test) {
    let first = first(t);
    let mut c = mapped(t);
    join_user(&mut c, first.pid());
    c.config["linux"]["gidMappings"][0]["size"] = json!(100);
    c.run().exits(1).fails(&["linux.gidMappings", "another map"]);
    first.remove();
}

fn hostile_root_finds_nothing_in_an_init_of_its_namespace(t: &Test) {
    // Root of the user namespace, with every process of the host in sight.
    let mut c = mapped(t);
    c.capabilities(&["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_SYS_ADMIN"]);
    c.without_namespace("pid").without_namespace("network");
    let shared = c.share();
    c.probe("stare /shared/stop say pause").up();
    let mut second = mapped(t);
    join_user(&mut second, c.pid());
    second.without_namespace("network");
    second.probe("pause");
    for _ in 0..25 {
        second.create().ok();
        second.exec(&["true"]).ok();
        second.remove();
    }
    fs::write(shared.join("stop"), "").unwrap();
    let found = c.says("acts")["acts"].to_string();
    // It sees the capabilities of the host process, which is in its pid namespace too.
    assert_eq!(found, r#"[["stare",["it has every capability","looked at many"]]]"#);
    c.remove();
}

fn hostile_root_finds_nothing_when_its_pid_namespace_is_joined(t: &Test) {
    let mark = t.path("mount-of-the-host");
    fs::create_dir(&mark).unwrap();
    let none = None::<&str>;
    nix::mount::mount(Some("mark"), &mark, Some("tmpfs"), nix::mount::MsFlags::empty(), none).unwrap();
    let mut c = mapped(t);
    c.capabilities(&["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"]);
    let shared = c.share();
    c.probe("stare /shared/stop say pause").up();
    let mut second = mapped(t);
    join_user(&mut second, c.pid());
    second.namespace_path("pid", &format!("/proc/{}/ns/pid", c.pid()));
    second.probe("pause").write();
    for _ in 0..25 {
        let bundle = second.bundle.to_str().unwrap();
        let mut create = t.command(&["create", "--bundle", bundle, &second.id]);
        create.env("HOST", "secret-of-the-host");
        t.finish(create).ok();
        second.exec_with(&["--env", "X=secret-argument"], &["true"]).ok();
        second.remove();
    }
    fs::write(shared.join("stop"), "").unwrap();
    let found = c.says("acts")["acts"].to_string();
    nix::mount::umount(&mark).unwrap();
    // With one processor, init runs only when the others do not.
    assert_eq!(found.replace("few", "many"), r#"[["stare",["looked at many"]]]"#);
    c.remove();
}

fn exec_has_the_mapped_ids(t: &Test) {
    let mut c = mapped(t);
    c.probe("pause");
    c.up();
    let host = |pid: i32| fs::metadata(format!("/proc/{pid}")).unwrap().uid();
    assert_eq!(host(c.pid()), BASE);
    let seen = c.exec(&["probe", "ids", "namespaces", "read", "/proc/self/uid_map"]).ok().probe();
    assert_eq!(seen["ids"]["uid"][0], 0);
    for name in ["user", "pid", "net", "ipc", "uts", "mnt"] {
        assert_eq!(seen["namespaces"][name], link(c.pid(), name), "{name}");
    }
    let pid_file = t.path("pid");
    let flags = ["--user", "1000:1001", "--detach", "--pid-file", pid_file.to_str().unwrap()];
    c.exec_with(&flags, &["probe", "pause"]).ok();
    let pid = fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    assert_eq!(host(pid), BASE + 1000);
    c.exec_with(&["--user", "70000"], &["true"]).exits(255);
    c.remove();
}

fn exec_has_a_terminal(t: &Test) {
    let mut c = mapped(t);
    c.probe("pause");
    c.up();
    let socket = ConsoleSocket::listen(t.path("console.sock"));
    let path = socket.path.to_str().unwrap().to_string();
    let flags = ["--tty", "--detach", "--user", "1000:1000", "--console-socket", &path];
    c.exec_with(&flags, &["probe", "tty", "stat", "/dev/pts/0", "open", "/dev/tty", "rw", "say", "pause"])
        .ok();
    fs::remove_file(&path).unwrap();
    let text = socket.receive().read_until("}\r\n");
    assert!(text.contains(r#""controlling":true"#) && text.contains(r#""uid":1000,"gid":5"#), "{text}");
    assert!(text.contains(r#"["open","/dev/tty","ok"]"#), "{text}");
    c.remove();
}
