//! `spec --role`: a probe does what the role permits and tries what no role may.
//!
//! It runs with the written configuration and the fixture's root file system. The pages are
//! `seccomp-profiles/NAME.md`.

use crate::cases;
use crate::common::{Case, Container, Test};
use nix::pty::openpty;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::chown;
use std::process::Command;

pub const CASES: &[Case] = cases![
    data_collector_reads_devices_and_forwards_data,
    data_processor_keeps_data_without_a_network,
    uplink_has_the_network_and_keeps_data,
    device_controller_writes_to_devices_only,
    firmware_updater_writes_and_starts_programs,
    each_role_has_its_own_user,
    device_of_the_host_opens_with_its_access_only,
    pty_of_the_host_is_bound,
];

/// A container with the configuration that `spec --role` writes.
///
/// The values that the page asks its reader to fill in are filled in: mount sources and the program.
fn of_role<'t>(t: &'t Test, name: &str, options: &[&str]) -> Container<'t> {
    let mut c = t.container();
    let bundle = c.bundle.to_str().unwrap();
    t.call(&[&["spec", "--role", name, "--bundle", bundle], options].concat()).ok();
    let text = fs::read(c.bundle.join("config.json")).unwrap();
    let cgroup = c.config["linux"]["cgroupsPath"].take();
    c.config = serde_json::from_slice(&text).unwrap();
    c.config["linux"]["cgroupsPath"] = cgroup;
    let (uid, gid) = ids(&c);
    for mount in c.config["mounts"].as_array_mut().unwrap() {
        if mount["source"].as_str().unwrap().ends_with(name) {
            let source = t.path("bound");
            fs::create_dir_all(&source).unwrap();
            chown(&source, Some(uid), Some(gid)).unwrap();
            mount["source"] = source.to_str().unwrap().into();
        }
    }
    c
}

/// The program's user and group.
fn ids(c: &Container<'_>) -> (u32, u32) {
    let id = |key: &str| c.config["process"]["user"][key].as_u64().unwrap() as u32;
    (id("uid"), id("gid"))
}

/// Runs the words and compares the result of each act.
///
/// Then it tries what no role may do.
fn acts(t: &Test, name: &str, options: &[&str], expected: &[(&str, &str)]) {
    let never: &[String] = &[
        "mount tmpfs /tmp tmpfs".into(),
        "mount /tmp /proc bind".into(),
        "umount /tmp".into(),
        "chroot /tmp".into(),
        "unshare user".into(),
        "unshare mount".into(),
        "unshare net".into(),
        "socket inet raw".into(),
        "socket packet raw".into(),
        "sethostname y".into(),
        "setuid 0".into(),
        "mknod /tmp/n c 1 3".into(),
        "tiocsti".into(),
        format!("syscall {} 4 0 0 0 0", libc::SYS_ptrace),
        format!("syscall {} 2 0 0", libc::SYS_setns),
        format!("syscall {} 3 0 0 0", libc::SYS_init_module),
        format!("syscall {} 3 0 0 0", libc::SYS_finit_module),
        format!("syscall {} 5 0 0 0 0 0", libc::SYS_kexec_load),
        format!("syscall {} 3 0 0 0", libc::SYS_bpf),
        format!("syscall {} 4 0 0 0 0", libc::SYS_reboot),
        format!("syscall {} 6 1 0 0 0 0 0", libc::SYS_process_vm_readv),
    ];
    let mut c = of_role(t, name, options);
    let words: Vec<&str> =
        expected.iter().map(|(act, _)| *act).chain(never.iter().map(String::as_str)).collect();
    let seen = c.probe(&format!("seccomp {}", words.join(" "))).run().ok().probe();
    assert_eq!(seen["seccomp"], 2, "{name}");
    let results: Vec<&Value> = seen["acts"].as_array().unwrap().iter().collect();
    assert_eq!(results.len(), words.len(), "{name}: {results:?}");
    let denied = never.iter().map(|act| (act.as_str(), if act == "tiocsti" { "denied" } else { "EPERM" }));
    for ((act, wanted), result) in expected.iter().copied().chain(denied).zip(results) {
        let result = result.as_array().unwrap().last().unwrap();
        match wanted {
            // It is denied by its own errno, or together with all other requests.
            "denied" => {
                assert!(*result == json!("EACCES") || *result == json!("EPERM"), "{name}: {act}: {result}")
            }
            _ => assert_eq!(*result, json!(wanted), "{name}: {act}"),
        }
    }
}

fn data_collector_reads_devices_and_forwards_data(t: &Test) {
    acts(
        t,
        "data-collector",
        &["--device", "/dev/zero:/dev/ttyUSB0"],
        &[
            ("open /dev/ttyUSB0 r", "ok"),
            ("open /dev/ttyUSB0 w", "EPERM"),
            ("socket unix stream", "ok"),
            ("write /tmp/x y", "EPERM"),
            ("write /run/gateway/x y", "EPERM"),
            ("mkdir /tmp/x", "EPERM"),
            ("unlink /tmp/x", "EPERM"),
            ("socket inet stream", "EPERM"),
            ("exec /bin/true", "EPERM"),
        ],
    );
}

fn data_processor_keeps_data_without_a_network(t: &Test) {
    acts(
        t,
        "data-processor",
        &[],
        &[
            ("write /data/x y", "ok"),
            ("write /tmp/x y", "ok"),
            ("mkdir /data/d", "ok"),
            ("unlink /data/x", "ok"),
            ("write /x y", "EROFS"),
            ("socket unix dgram", "ok"),
            ("socket inet stream", "EPERM"),
            ("exec /bin/true", "EPERM"),
        ],
    );
}

fn uplink_has_the_network_and_keeps_data(t: &Test) {
    acts(
        t,
        "uplink",
        &[],
        &[
            ("socket inet stream", "ok"),
            ("socket inet dgram", "ok"),
            ("socket unix stream", "ok"),
            ("write /data/x y", "ok"),
            ("write /x y", "EROFS"),
            ("exec /bin/true", "EPERM"),
        ],
    );
}

fn device_controller_writes_to_devices_only(t: &Test) {
    acts(
        t,
        "device-controller",
        &["--device", "/dev/zero:/dev/gpiochip0"],
        &[
            ("open /dev/gpiochip0 r", "ok"),
            ("append /dev/gpiochip0 y", "ok"),
            ("socket unix stream", "ok"),
            ("write /tmp/x y", "EPERM"),
            ("mkdir /tmp/x", "EPERM"),
            ("socket inet stream", "EPERM"),
            ("exec /bin/true", "EPERM"),
        ],
    );
}

fn firmware_updater_writes_and_starts_programs(t: &Test) {
    acts(
        t,
        "firmware-updater",
        &["--device", "/dev/zero:/dev/mmcblk0p3"],
        &[
            ("open /dev/mmcblk0p3 w", "ok"),
            ("write /data/x y", "ok"),
            ("write /run/gateway/x y", "EROFS"),
            ("socket inet stream", "ok"),
            ("exec /bin/true", ""),
            ("write /x y", "EROFS"),
        ],
    );
}

fn each_role_has_its_own_user(t: &Test) {
    let names = ["data-collector", "data-processor", "uplink", "device-controller", "firmware-updater"];
    let users: BTreeSet<_> = names.iter().map(|name| ids(&of_role(t, name, &[]))).collect();
    assert_eq!(users.len(), names.len());
    let mut c = of_role(t, "firmware-updater", &["--user", "4001:4002"]);
    let seen = &c.probe("ids").run().ok().probe()["ids"];
    let expected = json!({"uid": [4001, 4001, 4001], "gid": [4002, 4002, 4002], "groups": []});
    assert_eq!(*seen, expected);
}

/// The node of the host belongs to root, and its device may be missing.
fn device_of_the_host_opens_with_its_access_only(t: &Test) {
    t.needs_controller("devices");
    let node = t.path("usb-0:1.3:1.0-disk");
    let made = Command::new("mknod").args(["-m", "600"]).arg(&node).args(["b", "7", "7"]).status();
    assert!(made.unwrap().success());
    let option = format!("{}:/dev/slots/a:r", node.display());
    let mut c = of_role(t, "firmware-updater", &["--device", &option, "--device", "/dev/null"]);
    let words = "open /dev/slots/a r open /dev/slots/a w append /dev/null x";
    let seen = c.probe(words).run().ok().probe();
    assert!(!["EPERM", "EACCES"].contains(&seen.text("open /dev/slots/a")), "{}", seen["acts"]);
    assert_eq!((&seen["acts"][1][2], seen.text("append")), (&json!("EACCES"), "ok"));
    // The owner can change the mode, so the rule has to hold alone.
    c.config["linux"]["devices"][0]["fileMode"] = json!(0o600);
    assert_eq!(c.run().ok().probe()["acts"][1][2], "EPERM");
}

/// A node of a pty fails on another file system than its devpts.
fn pty_of_the_host_is_bound(t: &Test) {
    let pty = openpty(None, None).unwrap();
    let slave = nix::unistd::ttyname(&pty.slave).unwrap();
    let option = format!("{}:/dev/sensor", slave.display());
    let mut c = of_role(t, "data-collector", &["--device", &option]);
    let (uid, gid) = ids(&c);
    chown(&slave, Some(uid), Some(gid)).unwrap();
    assert_eq!(c.probe("open /dev/sensor r").run().ok().probe().text("open"), "ok");
    c.config["mounts"].as_array_mut().unwrap().pop();
    c.config["linux"]["devices"] = json!([{"path": "/dev/sensor", "type": "c", "major": 136, "minor": 0}]);
    assert_eq!(c.run().ok().probe().text("open"), "EIO");
}
