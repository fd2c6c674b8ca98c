//! `linux.netDevices`: devices of the host that move into the container.
//!
//! Each test has a network namespace of its own, in which it makes devices and runs the runtime.

use crate::cases;
use crate::common::tracer::traced;
use crate::common::{Case, Container, Test, eventually};
use nix::sched::{CloneFlags, unshare};
use nix::sys::ptrace;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::fs;
use std::process::Command;

pub const CASES: &[Case] = cases![
    device_is_moved_renamed_and_up_with_its_addresses,
    device_keeps_its_name_without_a_new_one,
    template_gets_the_first_free_number,
    device_is_moved_into_a_joined_network_namespace,
    devices_are_there_for_hooks_and_sysctls,
    failing_create_moves_everything_back,
    failing_run_moves_everything_back,
    device_comes_back_and_no_other_of_its_name,
    name_that_the_container_has_is_refused,
    missing_device_fails_create_by_name,
    device_that_cannot_move_fails_create_by_name,
    devices_without_an_own_network_namespace_are_refused,
    invalid_device_names_are_refused,
    runtime_stays_in_its_network_namespace,
];

/// Makes a network namespace for this test, with pairs of devices.
///
/// Each name has a device `NAME` and its peer `NAME-peer`.
fn host(t: &Test, names: &[&str]) {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    if Command::new("ip").arg("-V").output().is_err() {
        t.skip("there is no ip command");
    }
    for name in names {
        let peer = format!("{name}-peer");
        if !try_ip(&["link", "add", name, "type", "veth", "peer", "name", &peer]) {
            t.skip("the kernel has no veth devices");
        }
        ip(&["link", "set", &peer, "up"]);
    }
}

fn try_ip(args: &[&str]) -> bool {
    Command::new("ip").args(args).status().unwrap().success()
}

#[track_caller]
fn ip(args: &[&str]) {
    assert!(try_ip(args), "ip {args:?}");
}

/// A container with these devices.
fn with<'t>(t: &'t Test, devices: Value) -> Container<'t> {
    let mut c = t.container();
    c.config["linux"]["netDevices"] = devices;
    c
}

/// The devices of a process's network namespace, or of this one.
fn devices(pid: Option<i32>) -> Vec<Value> {
    let mut command = Command::new(if pid.is_some() { "nsenter" } else { "ip" });
    if let Some(pid) = pid {
        command.arg(format!("--net=/proc/{pid}/ns/net")).arg("ip");
    }
    let out = command.args(["-j", "addr"]).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let all: Vec<Value> = serde_json::from_slice(&out.stdout).unwrap();
    all.into_iter().filter(|device| device["ifname"] != "lo").collect()
}

fn names(pid: Option<i32>) -> Vec<String> {
    let mut all: Vec<_> =
        devices(pid).iter().map(|device| device["ifname"].as_str().unwrap().to_owned()).collect();
    all.sort();
    all
}

fn named(pid: Option<i32>, name: &str) -> Value {
    let found = devices(pid).into_iter().find(|device| device["ifname"] == name);
    found.unwrap_or_else(|| panic!("{name} is not among {:?}", names(pid)))
}

fn is_up(device: &Value) -> bool {
    device["flags"].as_array().unwrap().contains(&json!("UP"))
}

/// The addresses of a device, but for those that the kernel gives each IPv6 device.
fn addresses(device: &Value) -> Vec<String> {
    let all = device["addr_info"].as_array().unwrap().iter();
    let mut all: Vec<_> = all
        .filter(|a| !(a["family"] == "inet6" && a["scope"] == "link"))
        .map(|a| {
            let or = |key: &str| a[key].as_str().unwrap_or("-").to_owned();
            let label = or("label").replace(device["ifname"].as_str().unwrap(), "NAME");
            format!("{}/{} {} {} {label}", or("local"), a["prefixlen"], or("broadcast"), or("address"))
        })
        .collect();
    all.sort();
    all
}

/// Gives a device addresses that move, and some that do not.
fn address(name: &str) {
    ip(&["link", "set", name, "up"]);
    ip(&["addr", "add", "10.1.2.3/24", "broadcast", "10.1.2.255", "dev", name]);
    ip(&["addr", "add", "10.1.2.4/24", "label", &format!("{name}:x"), "dev", name]);
    ip(&["addr", "add", "10.9.0.1", "peer", "10.9.0.2/32", "dev", name]);
    ip(&["addr", "add", "169.254.7.7/16", "scope", "link", "dev", name]);
    ip(&["addr", "add", "10.5.5.5/24", "valid_lft", "1000", "preferred_lft", "1000", "dev", name]);
    if fs::metadata("/proc/sys/net/ipv6").is_ok() {
        ip(&["addr", "add", "fd00::7/64", "nodad", "dev", name]);
    }
}

fn moving() -> Vec<String> {
    let mut all: Vec<String> =
        ["10.1.2.3/24 10.1.2.255 - NAME", "10.1.2.4/24 - - NAME:x", "10.9.0.1/32 - 10.9.0.2 NAME"]
            .map(str::to_owned)
            .to_vec();
    if fs::metadata("/proc/sys/net/ipv6").is_ok() {
        all.push("fd00::7/64 - - -".into());
    }
    all
}

fn device_is_moved_renamed_and_up_with_its_addresses(t: &Test) {
    host(t, &["v0"]);
    address("v0");
    let mac = named(None, "v0")["address"].clone();
    let c = with(t, json!({"v0": {"name": "net0"}}));
    c.create().ok();
    let inside = named(Some(c.pid()), "net0");
    assert!(is_up(&inside), "{inside}");
    assert_eq!(addresses(&inside), moving());
    assert_eq!(inside["address"], mac);
    assert_eq!(names(None), ["v0-peer"]);
    // The runtime leaves it there: the kernel removes it with the namespace.
    c.remove();
    eventually("the namespace is gone", || names(None).is_empty());
}

fn device_keeps_its_name_without_a_new_one(t: &Test) {
    host(t, &["v0", "v1"]);
    let mut c = with(t, json!({"v0": {}, "v1": {"name": ""}}));
    let seen = c.probe("links").run().ok().probe();
    for name in ["lo", "v0", "v1"] {
        assert!(seen["links"].as_array().unwrap().contains(&json!(name)), "{name}");
    }
}

fn template_gets_the_first_free_number(t: &Test) {
    host(t, &["v0", "v1", "v2"]);
    let mut c = with(t, json!({"v0": {"name": "eth1"}, "v1": {"name": "eth%d"}, "v2": {"name": "eth%d"}}));
    let seen = c.probe("links").run().ok().probe();
    for name in ["eth0", "eth1", "eth2"] {
        assert!(seen["links"].as_array().unwrap().contains(&json!(name)), "{name}");
    }
}

fn device_is_moved_into_a_joined_network_namespace(t: &Test) {
    host(t, &["v0"]);
    address("v0");
    let mut first = t.container();
    first.probe("pause");
    first.up();
    let mut second = with(t, json!({"v0": {"name": "net0"}}));
    second.namespace_path("network", &format!("/proc/{}/ns/net", first.pid()));
    second.create().ok();
    assert_eq!(addresses(&named(Some(first.pid()), "net0")), moving());
    // It belongs to the namespace now, not to the container.
    second.remove();
    assert_eq!(names(Some(first.pid())), ["net0"]);
    first.remove();
}

fn devices_are_there_for_hooks_and_sysctls(t: &Test) {
    host(t, &["v0"]);
    let mut c = with(t, json!({"v0": {"name": "net0"}}));
    let file = c.bundle.join("seen");
    let line = format!("cat /proc/self/net/dev > {}", file.display());
    c.config["hooks"]["createContainer"] = json!([{"path": "/bin/sh", "args": ["sh", "-c", line]}]);
    c.config["linux"]["sysctl"] = json!({"net.ipv4.conf.net0.rp_filter": "2"});
    let seen = c.probe("read /proc/sys/net/ipv4/conf/net0/rp_filter").run().ok().probe();
    assert_eq!(seen.text("read").trim(), "2");
    assert!(fs::read_to_string(file).unwrap().contains("net0:"));
}

/// Checks that a failing command leaves names, addresses and states.
#[track_caller]
fn stays(t: &Test, fails: impl Fn(&mut Container<'_>), more: Value) {
    address("v0");
    ip(&["addr", "add", "10.7.7.7/24", "dev", "v1"]);
    let shown = || {
        let all = ["v0", "v1"].map(|name| named(None, name));
        all.map(|device| (device["ifname"].clone(), is_up(&device), addresses(&device)))
    };
    let before = shown();
    let mut all = json!({"v0": {"name": "net0"}, "v1": {}});
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut c = with(t, all);
    fails(&mut c);
    assert_eq!(shown(), before);
}

fn failing_create_moves_everything_back(t: &Test) {
    host(t, &["v0", "v1"]);
    let hook = |c: &mut Container<'_>| {
        c.config["hooks"]["createRuntime"] = json!([{"path": "/bin/false"}]);
        c.create().exits(1).fails(&["hook"]);
    };
    stays(t, hook, json!({}));
}

fn failing_run_moves_everything_back(t: &Test) {
    host(t, &["v0", "v1"]);
    // The second of two faults comes after some have moved; the interpreter is missing only at exec.
    let missing = |c: &mut Container<'_>| {
        c.create().exits(1).fails(&["nowhere"]);
    };
    stays(t, missing, json!({"zz-nowhere": {}}));
    for name in ["v0", "v1"] {
        ip(&["addr", "flush", "dev", name]);
    }
    let exec = |c: &mut Container<'_>| {
        let tool = c.rootfs.join("bin/tool");
        fs::write(&tool, "#!/no/interpreter\n").unwrap();
        fs::set_permissions(&tool, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        c.args(&["tool"]);
        assert_ne!(c.run().status, 0);
    };
    stays(t, exec, json!({}));
}

/// The container could otherwise put a device of its own in the host's network.
fn device_comes_back_and_no_other_of_its_name(t: &Test) {
    host(t, &["v0", "v1"]);
    let hardware_address = || named(None, "v0")["address"].clone();
    let before = hardware_address();
    let script = r#"pid=$(sed 's/.*"pid": *\([0-9]*\).*/\1/')
        nsenter --net=/proc/$pid/ns/net sh -c 'ip link set net0 down && ip link set net0 name other &&
            ip link add net0 type veth peer name x' && exit 9"#;
    let hook = |c: &mut Container<'_>| {
        let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]});
        c.config["hooks"]["createRuntime"] = json!([hook]);
        c.create().exits(1).fails(&["exit status 9"]);
    };
    stays(t, hook, json!({}));
    assert_eq!(hardware_address(), before);
}

fn name_that_the_container_has_is_refused(t: &Test) {
    host(t, &["v0", "v1"]);
    let lo = |c: &mut Container<'_>| {
        c.config["linux"]["netDevices"]["v1"]["name"] = json!("lo");
        c.create().exits(1).fails(&["linux.netDevices.v1: name: the container has", "exist"]);
    };
    stays(t, lo, json!({}));
}

fn missing_device_fails_create_by_name(t: &Test) {
    host(t, &[]);
    let c = with(t, json!({"nowhere": {}}));
    c.create().exits(1).fails(&["linux.netDevices.nowhere: there is no such network device", "nowhere"]);
}

fn device_that_cannot_move_fails_create_by_name(t: &Test) {
    host(t, &[]);
    ip(&["link", "set", "lo", "up"]);
    let c = with(t, json!({"lo": {"name": "lo7"}}));
    c.create().exits(1).fails(&["linux.netDevices.lo: move the device: invalid argument", "lo"]);
    assert!(fs::read_to_string("/proc/self/net/route").is_ok());
    ip(&["link", "show", "lo", "up"]);
}

fn devices_without_an_own_network_namespace_are_refused(t: &Test) {
    host(t, &["v0"]);
    let mut c = with(t, json!({"v0": {}}));
    c.without_namespace("network");
    c.create().exits(1).fails(&["linux.netDevices: needs a network namespace", "NET namespace"]);
    c.namespace_path("network", "/proc/self/ns/net");
    c.create().exits(1).fails(&["the host's network namespace", "NET namespace", "file exists"]);
    assert_eq!(names(None), ["v0", "v0-peer"]);
}

fn invalid_device_names_are_refused(t: &Test) {
    for (devices, says) in [
        (json!({"a/b": {}}), "linux.netDevices.a/b: is not a name"),
        (json!({"a": {"name": "0123456789abcdef"}}), "linux.netDevices.a.name"),
        (json!({"a": {"name": "x"}, "b": {"name": "x"}}), "linux.netDevices.b.name: another device"),
        (json!({"a": {"name": 7}}), "linux.netDevices.a.name: must be a string"),
    ] {
        with(t, devices).create().exits(1).fails(&[says, "invalid", "unmarshal"]);
    }
}

/// If it went there itself, it could fail to come back.
fn runtime_stays_in_its_network_namespace(t: &Test) {
    host(t, &["mv"]);
    let mut c = with(t, json!({"mv": {}}));
    c.args(&["true"]).write();
    let create = t.command(&["create", "--bundle", c.bundle.to_str().unwrap(), &c.id]);
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    #[allow(clippy::zombie_processes)]
    let runtime = Pid::from_raw(traced(create).spawn().unwrap().id() as i32);
    waitpid(runtime, None).unwrap();
    let there = format!("/proc/{runtime}/ns/net");
    loop {
        // A process that is ending has none.
        assert!(fs::read_link(&there).map_or(true, |now| now == own));
        ptrace::syscall(runtime, None).unwrap();
        match waitpid(runtime, None).unwrap() {
            WaitStatus::Exited(_, status) => break assert_eq!(status, 0),
            WaitStatus::Stopped(..) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(names(Some(c.pid())), ["mv"]);
    c.remove();
}
