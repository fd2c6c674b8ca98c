//! `linux.namespaces`, `hostname`, `domainname`: new, joined or shared namespaces.

use crate::cases;
use crate::chroot::Prepared;
use crate::common::{Case, Test};
use serde_json::{Value, json};
use std::fs;

pub const CASES: &[Case] = cases![
    listed_namespaces_are_new,
    unlisted_namespaces_are_shared_with_the_runtime,
    unlisted_mount_namespace_is_shared,
    cgroup_namespace_is_rooted_at_the_containers_cgroup,
    namespaces_given_by_path_are_joined,
    pid_namespace_given_by_path_is_joined,
    namespace_path_of_another_type_is_refused,
    path_that_is_not_a_namespace_is_refused,
    missing_namespace_path_is_refused,
    namespace_listed_twice_is_refused,
    hostname_and_domainname_are_set_inside_only,
    hostname_without_a_uts_namespace_is_refused,
    new_network_namespace_has_its_loopback_up,
];

const KINDS: [(&str, &str); 5] =
    [("pid", "pid"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("mount", "mnt")];

fn own(name: &str) -> Value {
    json!(fs::read_link(format!("/proc/self/ns/{name}")).unwrap().to_str())
}

fn listed_namespaces_are_new(t: &Test) {
    let seen = t.container().probe("namespaces").run().ok().probe();
    for (_, name) in KINDS {
        assert_ne!(seen["namespaces"][name], own(name), "{name}");
    }
}

fn unlisted_namespaces_are_shared_with_the_runtime(t: &Test) {
    let mut c = t.container();
    c.without_namespace("network").without_namespace("ipc").without_namespace("uts");
    c.config.as_object_mut().unwrap().remove("hostname");
    let seen = c.probe("namespaces").run().ok().probe();
    for name in ["net", "ipc", "uts", "user", "cgroup"] {
        assert_eq!(seen["namespaces"][name], own(name), "{name}");
    }
}

fn unlisted_mount_namespace_is_shared(t: &Test) {
    let mut p = Prepared::new(t);
    fs::write(p.c.rootfs.join("mark"), "x").unwrap();
    let seen = p.c.probe("namespaces read /mark cwd fds write /dev/null x").run().ok().probe();
    assert_eq!(seen["namespaces"]["mnt"], own("mnt"));
    assert_eq!(seen.text("read"), "x");
    assert_eq!(seen.result("write"), "ok");
    assert_eq!(seen["cwd"], "/");
}

fn cgroup_namespace_is_rooted_at_the_containers_cgroup(t: &Test) {
    t.needs_controller("freezer");
    let mut c = t.container();
    c.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "cgroup"}));
    let seen = c.probe("namespaces cgroup").run().ok().probe();
    assert_ne!(seen["namespaces"]["cgroup"], own("cgroup"));
    let lines: Vec<&str> = seen["cgroup"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(lines.iter().any(|l| l.ends_with(":/")), "{lines:?}");
    assert!(!lines.iter().any(|l| l.contains(t.token())), "{lines:?}");
}

fn namespaces_given_by_path_are_joined(t: &Test) {
    let mut first = t.container();
    first.probe("pause");
    first.up();
    let pid = first.pid();
    let mut second = t.container();
    for (kind, name) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts")] {
        second.namespace_path(kind, &format!("/proc/{pid}/ns/{name}"));
    }
    second.config.as_object_mut().unwrap().remove("hostname");
    let seen = second.probe("namespaces hostname").run().ok().probe();
    for name in ["net", "ipc", "uts"] {
        let theirs = fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
        assert_eq!(seen["namespaces"][name], json!(theirs.to_str()), "{name}");
    }
    assert_eq!(seen["hostname"], "fixture");
    first.remove();
}

fn pid_namespace_given_by_path_is_joined(t: &Test) {
    let mut first = t.container();
    first.probe("pause");
    first.up();
    let pid = first.pid();
    let mut second = t.container();
    second.namespace_path("pid", &format!("/proc/{pid}/ns/pid"));
    let seen = second.probe("pid namespaces processes").run().ok().probe();
    let theirs = fs::read_link(format!("/proc/{pid}/ns/pid")).unwrap();
    assert_eq!(seen["namespaces"]["pid"], json!(theirs.to_str()));
    assert_ne!(seen["pid"], 1);
    assert!(
        seen["processes"].as_array().unwrap().contains(&json!(1)),
        "it must see the init of the other container"
    );
    assert_eq!(first.status(), "running");
    first.remove();
}

fn namespace_path_of_another_type_is_refused(t: &Test) {
    let mut c = t.container();
    c.namespace_path("network", "/proc/self/ns/ipc");
    c.create().exits(1).fails(&["network", "/proc/self/ns/ipc", "invalid argument"]);
}

fn path_that_is_not_a_namespace_is_refused(t: &Test) {
    let mut c = t.container();
    c.namespace_path("ipc", "/etc/passwd");
    c.create().exits(1).fails(&["ipc", "/etc/passwd", "invalid argument"]);
}

fn missing_namespace_path_is_refused(t: &Test) {
    let mut c = t.container();
    c.namespace_path("network", "/run/no/such/netns");
    c.create().exits(1).fails(&["no such file or directory"]).fails(&["/run/no/such/netns"]);
}

fn namespace_listed_twice_is_refused(t: &Test) {
    let mut c = t.container();
    c.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "ipc"}));
    c.create().exits(1).fails(&["duplicate", "twice", "more than once"]);
}

fn hostname_and_domainname_are_set_inside_only(t: &Test) {
    let mut c = t.container();
    let before = nix::unistd::gethostname().unwrap();
    c.config["hostname"] = json!("box-7");
    c.config["domainname"] = json!("example.test");
    let seen = c.probe("hostname domainname").run().ok().probe();
    assert_eq!((&seen["hostname"], &seen["domainname"]), (&json!("box-7"), &json!("example.test")));
    assert_eq!(nix::unistd::gethostname().unwrap(), before);
}

fn hostname_without_a_uts_namespace_is_refused(t: &Test) {
    let mut c = t.container();
    c.without_namespace("uts");
    c.create().exits(1).fails(&["hostname"]);
}

fn new_network_namespace_has_its_loopback_up(t: &Test) {
    let seen = t.container().probe("links read /sys/class/net/lo/flags").run().ok().probe();
    assert!(seen["links"].as_array().unwrap().contains(&json!("lo")));
    // IFF_UP | IFF_LOOPBACK
    assert_eq!(seen.text("read").trim(), "0x9");
}
