//! `linux.devices`, the default devices and symlinks, and the device rules.

use crate::cases;
use crate::common::{Case, Runtime, Test};
use serde_json::{Value, json};
use std::fs;

pub const CASES: &[Case] = cases![
    default_devices_exist_and_work,
    default_symlinks_exist,
    no_console_without_a_terminal,
    listed_device_has_its_type_numbers_mode_and_owner,
    listed_device_gets_its_missing_parent_directories,
    listed_fifo_is_created,
    unlisted_devices_are_denied,
    allowed_device_opens_with_the_allowed_access_only,
    device_denied_after_a_wildcard_cannot_be_opened,
    device_without_numbers_is_refused,
    rule_that_the_kernel_would_widen_is_refused,
];

fn default_devices_exist_and_work(t: &Test) {
    let wanted = [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)];
    let mut c = t.container();
    let words: Vec<String> = wanted.iter().map(|(n, _)| format!("stat /dev/{n} open /dev/{n} rw")).collect();
    c.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    let seen = c.probe(&format!("{} stat /dev/tty write /dev/null x", words.join(" "))).run().ok().probe();
    for (name, minor) in wanted {
        let stat = seen.result(&format!("stat /dev/{name}"));
        assert_eq!(
            (&stat["type"], &stat["major"], &stat["minor"]),
            (&json!("char"), &json!(1), &json!(minor)),
            "{name}"
        );
        assert_eq!(stat["mode"], 0o666, "{name}");
        assert_eq!(seen.result(&format!("open /dev/{name}")), "ok", "{name}");
    }
    let tty = seen.result("stat /dev/tty");
    assert_eq!((&tty["major"], &tty["minor"]), (&json!(5), &json!(0)));
}

fn default_symlinks_exist(t: &Test) {
    let wanted = [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ];
    let words: Vec<String> = wanted.iter().map(|(n, _)| format!("readlink /dev/{n}")).collect();
    let seen = t.container().probe(&words.join(" ")).run().ok().probe();
    for (name, target) in wanted {
        let link = seen.text(&format!("readlink /dev/{name}"));
        assert!(link == target || link == format!("/dev/{target}"), "{name} -> {link}");
    }
}

fn no_console_without_a_terminal(t: &Test) {
    assert_eq!(t.container().probe("stat /dev/console").run().ok().probe().result("stat"), "ENOENT");
}

fn listed_device_has_its_type_numbers_mode_and_owner(t: &Test) {
    let mut c = t.container();
    c.config["linux"]["devices"] = json!([
        {"type": "c", "path": "/dev/mine", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 12, "gid": 34},
        {"type": "b", "path": "/dev/block", "major": 7, "minor": 200, "fileMode": 0o600},
        {"type": "u", "path": "/dev/other", "major": 1, "minor": 5},
    ]);
    let seen = c.probe("stat /dev/mine stat /dev/block stat /dev/other").run().ok().probe();
    let kind = |path: &str| {
        let s = seen.result(&format!("stat {path}")).clone();
        (s["type"].clone(), s["major"].clone(), s["minor"].clone())
    };
    assert_eq!(kind("/dev/mine"), (json!("char"), json!(1), json!(3)));
    let mine = seen.result("stat /dev/mine");
    assert_eq!((&mine["mode"], &mine["uid"], &mine["gid"]), (&json!(0o640), &json!(12), &json!(34)));
    assert_eq!(kind("/dev/block"), (json!("block"), json!(7), json!(200)));
    assert_eq!(kind("/dev/other"), (json!("char"), json!(1), json!(5)));
}

fn listed_device_gets_its_missing_parent_directories(t: &Test) {
    let mut c = t.container();
    c.config["linux"]["devices"] =
        json!([{"type": "c", "path": "/dev/a/b/null", "major": 1, "minor": 3, "fileMode": 0o666}]);
    assert_eq!(c.probe("stat /dev/a/b/null").run().ok().probe().result("stat")["type"], "char");
}

fn listed_fifo_is_created(t: &Test) {
    let mut c = t.container();
    c.config["linux"]["devices"] = json!([{"type": "p", "path": "/dev/pipe", "fileMode": 0o622}]);
    let seen = c.probe("stat /dev/pipe").run().ok().probe();
    assert_eq!((&seen.result("stat")["type"], &seen.result("stat")["mode"]), (&json!("fifo"), &json!(0o622)));
}

/// A container with device rules that may create device nodes.
#[track_caller]
fn ruled(t: &Test, rules: Value, words: &str) -> crate::common::Output {
    t.needs_controller("devices");
    let mut c = t.container();
    c.capabilities(&["CAP_MKNOD", "CAP_SYS_RAWIO", "CAP_SYSLOG"]);
    c.config["linux"]["resources"]["devices"] = rules;
    c.probe(words).run()
}

fn unlisted_devices_are_denied(t: &Test) {
    let nodes = [("/dev/kmsg", "c 1 11"), ("/dev/mem", "c 1 1"), ("/dev/sda", "b 8 0")];
    let words = nodes.map(|(path, numbers)| format!("mknod {path} {numbers} open {path} r")).join(" ");
    let seen = ruled(t, json!([{"allow": false, "access": "rwm"}]), &words).ok().probe();
    for (path, _) in nodes {
        let opened = seen.result(&format!("open {path}"));
        assert!(opened == "EPERM" || opened == "ENOENT", "{path}: {opened}");
    }
}

fn allowed_device_opens_with_the_allowed_access_only(t: &Test) {
    let rules = json!([
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "rm"},
    ]);
    let words = "mknod /dev/kmsg c 1 11 open /dev/kmsg r open /dev/kmsg w write /dev/null x";
    let seen = ruled(t, rules, words).ok().probe();
    assert_eq!(seen.result("mknod"), "ok");
    assert_eq!(seen.result("open /dev/kmsg"), "ok");
    assert_eq!(seen["acts"][2][2], "EPERM", "opening for writing must fail");
    assert_eq!(seen.result("write /dev/null"), "ok");
}

fn device_denied_after_a_wildcard_cannot_be_opened(t: &Test) {
    let rules = json!([
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 1, "access": "rwm"},
        {"allow": false, "type": "c", "major": 1, "minor": 11, "access": "r"},
    ]);
    let out =
        ruled(t, rules, "mknod /dev/kmsg c 1 11 open /dev/kmsg r mknod /dev/full2 c 1 7 open /dev/full2 r");
    // A v1 list cannot exclude a device from a wildcard: refusing is fine, half-applied rules are not.
    if out.status != 0 {
        out.fails(&["device"]);
        return;
    }
    let seen = out.ok().probe();
    assert_eq!(seen.result("open /dev/full2"), "ok");
    assert_eq!(seen.result("open /dev/kmsg"), "EPERM");
}

fn device_without_numbers_is_refused(t: &Test) {
    let mut c = t.container();
    c.config["linux"]["devices"] = json!([{"type": "x", "path": "/dev/x", "major": 1, "minor": 3}]);
    c.create().exits(1);
    c.config["linux"]["devices"] = json!([{"type": "c", "path": "/dev/x"}]);
    c.create().exits(1).fails(&["major"]);
}

/// The kernel's v1 lists read 4294967295 as "any".
///
/// An absent `access` was once taken for all kinds of access.
fn rule_that_the_kernel_would_widen_is_refused(t: &Test) {
    t.needs_controller("devices");
    let rules = [
        json!({"allow": true, "type": "c", "major": 4_294_967_295_u32, "minor": 11, "access": "rw"}),
        json!({"allow": true, "type": "c", "major": 1, "minor": 4_294_967_295_u32, "access": "rw"}),
        json!({"allow": true, "type": "c", "major": 1, "minor": 11}),
        json!({"allow": true}),
    ];
    for rule in rules {
        let mut c = t.container();
        c.config["linux"]["resources"]["devices"] = json!([{"allow": false, "access": "rwm"}, rule]);
        c.create().exits(1);
    }
    let c = t.container();
    c.up();
    let file = t.path("resources");
    fs::write(&file, json!({"devices": [{"allow": true, "type": "c"}]}).to_string()).unwrap();
    let update = c.call(&["update", "--resources", file.to_str().unwrap()]);
    // runc and crun ignore device rules of an update.
    if t.runtime == Runtime::Embrun {
        update.exits(1).fails(&["devices[0].access: is required"]);
    }
    c.remove();
}
