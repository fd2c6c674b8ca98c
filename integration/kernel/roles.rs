//! `spec --role`: a probe does what the role permits and tries what no role may.
//!
//! It runs with the written configuration and the fixture's root file system. The pages are
//! `seccomp-profiles/NAME.md`.

use crate::cases;
use crate::common::{Case, Container, Test};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::chown;

pub const CASES: &[Case] = cases![
    data_collector_reads_devices_and_forwards_data,
    data_processor_keeps_data_without_a_network,
    uplink_has_the_network_and_keeps_data,
    device_controller_writes_to_devices_only,
    firmware_updater_writes_and_starts_programs,
];

/// A container with the configuration that the runtime writes for a role.
///
/// The values that the page asks its reader to fill in are filled in: mount sources, device numbers
/// (those of /dev/zero) and the program.
fn of_role<'t>(t: &'t Test, name: &str) -> Container<'t> {
    let mut c = t.container();
    let bundle = c.bundle.to_str().unwrap();
    t.call(&["spec", "--role", name, "--bundle", bundle]).ok();
    let text = fs::read(c.bundle.join("config.json")).unwrap();
    let cgroup = c.config["linux"]["cgroupsPath"].take();
    c.config = serde_json::from_slice(&text).unwrap();
    c.config["linux"]["cgroupsPath"] = cgroup;
    for mount in c.config["mounts"].as_array_mut().unwrap().iter_mut().filter(|m| m["type"] == "bind") {
        let source = t.path("bound");
        fs::create_dir_all(&source).unwrap();
        chown(&source, Some(1000), Some(1000)).unwrap();
        mount["source"] = source.to_str().unwrap().into();
    }
    let zero = |device: &mut Value| {
        if device["major"].is_number() {
            device["type"] = "c".into();
            device["major"] = 1.into();
            device["minor"] = 5.into();
        }
    };
    c.config["linux"]["devices"].as_array_mut().unwrap().iter_mut().for_each(zero);
    c.config["linux"]["resources"]["devices"].as_array_mut().unwrap().iter_mut().for_each(zero);
    c
}

/// Runs the words and compares the result of each act.
///
/// Then it tries what no role may do.
fn acts(t: &Test, name: &str, expected: &[(&str, &str)]) {
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
    let mut c = of_role(t, name);
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
        &[
            ("open /dev/mmcblk0p3 w", "ok"),
            ("write /data/x y", "ok"),
            ("socket inet stream", "ok"),
            ("exec /bin/true", ""),
            ("write /x y", "EROFS"),
        ],
    );
}
