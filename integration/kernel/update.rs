//! `update`, `events` and `device`: resources of an existing container.

use crate::cases;
use crate::common::{Case, Container, Runtime, Test, eventually, own_memory};
use crate::state::{fill_root, with_small_root};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::openpty;
use nix::unistd::pipe2;
use serde_json::{Value, json};
use std::fs;
use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

pub const CASES: &[Case] = cases![
    update_flags_set_the_limits,
    update_reads_resources_from_a_file_and_stdin,
    update_works_on_created_and_paused_containers,
    update_of_a_stopped_container_is_refused,
    failed_update_changes_nothing,
    update_adds_device_rules,
    events_stats_has_the_fields_of_runcs,
    events_end_with_the_container,
    events_do_not_grow_memory,
    events_report_an_oom_kill,
    events_report_the_oom_kill_that_ended_the_container,
    device_is_added_and_removed,
    loop_and_tty_devices_are_added_and_removed,
    invalid_device_is_refused,
    change_that_cannot_be_saved_is_undone,
];

const MIB: i64 = 1 << 20;

fn needs(t: &Test, controllers: &[&str]) {
    controllers.iter().for_each(|c| t.needs_controller(c));
}

fn update_flags_set_the_limits(t: &Test) {
    needs(t, &["memory", "cpu", "pids"]);
    let mut c = t.container();
    c.probe("pause").up();
    let flags =
        ["--memory=32m", "--memory-reservation", "16MB", "--cpu-quota", "30000", "--cpu-period=60000"];
    c.call(&[&["update"], &flags[..], &["--pids-limit", "-1", "--cpu-share=512"]].concat()).ok();
    assert_eq!(c.knob("memory", "memory.limit_in_bytes", "memory.max"), (32 * MIB).to_string());
    assert_eq!(c.knob("memory", "memory.soft_limit_in_bytes", "memory.low"), (16 * MIB).to_string());
    assert_eq!(c.knob("pids", "pids.max", "pids.max"), "max");
    if t.hierarchy("cpu").unwrap().v2 {
        assert_eq!(c.knob("cpu", "", "cpu.max"), "30000 60000");
    } else {
        assert_eq!(c.knob("cpu", "cpu.cfs_quota_us", ""), "30000");
        assert_eq!(c.knob("cpu", "cpu.cfs_period_us", ""), "60000");
        assert_eq!(c.knob("cpu", "cpu.shares", ""), "512");
    }
    // Unnamed fields stay unchanged.
    c.call(&["update", "--pids-limit", "20"]).ok();
    assert_eq!(c.knob("memory", "memory.limit_in_bytes", "memory.max"), (32 * MIB).to_string());
    assert_eq!(c.knob("pids", "pids.max", "pids.max"), "20");
    c.remove();
}

fn update_reads_resources_from_a_file_and_stdin(t: &Test) {
    needs(t, &["memory", "pids"]);
    let mut c = t.container();
    c.probe("pause").up();
    let file = t.path("resources");
    fs::write(&file, json!({"memory": {"limit": 48 * MIB}, "pids": {"limit": 9}}).to_string()).unwrap();
    c.call(&["update", "--resources", file.to_str().unwrap()]).ok();
    assert_eq!(c.knob("memory", "memory.limit_in_bytes", "memory.max"), (48 * MIB).to_string());
    assert_eq!(c.knob("pids", "pids.max", "pids.max"), "9");

    fs::write(&file, json!({"pids": {"limit": 11}}).to_string()).unwrap();
    let mut command = t.command(&["update", "--resources=-", &c.id]);
    command.env("IT_STDIN", "given").stdin(Stdio::from(fs::File::open(&file).unwrap()));
    t.finish(command).ok();
    assert_eq!(c.knob("pids", "pids.max", "pids.max"), "11");
    c.remove();
}

fn update_works_on_created_and_paused_containers(t: &Test) {
    needs(t, &["pids", "freezer"]);
    let mut c = t.container();
    c.probe("pause").create().ok();
    c.call(&["update", "--pids-limit", "12"]).ok();
    assert_eq!(c.knob("pids", "pids.max", "pids.max"), "12");
    c.start().ok();
    c.call(&["pause"]).ok();
    c.call(&["update", "--pids-limit", "13"]).ok();
    assert_eq!(c.knob("pids", "pids.max", "pids.max"), "13");
    assert_eq!(c.status(), "paused");
    c.remove();
}

fn update_of_a_stopped_container_is_refused(t: &Test) {
    let mut c = t.container();
    c.probe("exit 0").up();
    c.stopped();
    c.call(&["update", "--pids-limit", "12"]).fails(&["container not running"]);
    c.remove();
}

fn failed_update_changes_nothing(t: &Test) {
    needs(t, &["memory", "cpu", "pids"]);
    let mut c = t.container();
    c.config["linux"]["resources"]["pids"] = json!({"limit": 20});
    c.probe("pause").up();
    let limit = c.knob("memory", "memory.limit_in_bytes", "memory.max");
    let file = t.path("resources");
    fs::write(&file, json!({"pids": {"limit": 9}, "blockIO": {"weight": 5}}).to_string()).unwrap();
    let wrong = file.to_str().unwrap();
    for (flags, says) in [
        (&["--pids-limit=9", "--cpu-quota=10"][..], "linux.resources.cpu.quota: write \"10"),
        (&["--memory=64x"], "--memory: must be a size such as 64m"),
        (&["--pids-limit=many"], "--pids-limit: must be a number"),
        (&["--pids-limit=9", "--blkio-weight=5"], "blockIO.weight: must be 10 to 1000, is 5"),
        (&["--memory=64m", "--cpu-quota=10"], "linux.resources.cpu.quota"),
        (&["--l3-cache-schema=x"], "not supported"),
        (&["--resources=/no/such/file"], "/no/such/file"),
        (&["--resources", wrong], &format!("--resources {wrong}: blockIO.weight: must be 10 to 1000, is 5")),
        (&["--resources", wrong, "--blkio-weight=7"], "c1: blockIO.weight: must be 10 to 1000, is 7"),
    ] {
        c.call(&[&["update"], flags].concat()).fails(&[says]);
        assert_eq!(c.knob("pids", "pids.max", "pids.max"), "20", "after {flags:?}");
        assert_eq!(c.knob("memory", "memory.limit_in_bytes", "memory.max"), limit, "after {flags:?}");
    }
    c.remove();
}

/// Home Assistant does this when a radio stick is plugged in.
fn update_adds_device_rules(t: &Test) {
    t.needs_controller("devices");
    let c = with_mknod(t);
    let open = |c: &Container<'_>, number: &str| {
        let words = format!("probe unlink /dev/x mknod /dev/x c 1 {number} open /dev/x r");
        c.exec(&words.split(' ').collect::<Vec<_>>()).ok().probe().result("open").clone()
    };
    assert_eq!(open(&c, "11"), "EPERM");
    let file = t.path("resources");
    let update = |rules: Value| {
        fs::write(&file, json!({"devices": rules}).to_string()).unwrap();
        c.call(&["update", "--resources", file.to_str().unwrap()]).ok();
    };
    update(json!([{"allow": true, "type": "c", "major": 1, "minor": 11, "access": "rw"}]));
    assert_eq!(open(&c, "11"), "ok");
    assert_eq!(open(&c, "1"), "EPERM", "no other device may be added");
    assert_eq!(open(&c, "3"), "ok", "no device may be removed");
    // The next update keeps the rule.
    update(json!([{"allow": true, "type": "c", "major": 10, "minor": 200, "access": "rw"}]));
    assert_eq!(open(&c, "11"), "ok");
    update(json!([{"allow": false}]));
    assert_eq!(open(&c, "11"), "EPERM");
    assert_eq!(open(&c, "3"), "ok");
    c.remove();
}

fn with_mknod(t: &Test) -> Container<'_> {
    let mut c = t.container();
    c.capabilities(&["CAP_MKNOD", "CAP_SYSLOG"]);
    c.probe("pause").up();
    c
}

fn events_stats_has_the_fields_of_runcs(t: &Test) {
    needs(t, &["memory", "cpu", "pids"]);
    let mut c = t.container();
    c.config["linux"]["resources"]["memory"] = json!({"limit": 64 * MIB});
    c.config["linux"]["resources"]["pids"] = json!({"limit": 20});
    c.probe("eat 4 say pause").up();
    c.says("acts");
    let event = c.call(&["events", "--stats"]).ok().json();
    assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(c.id)));
    let data = &event["data"];
    assert_eq!(data["memory"]["usage"]["limit"], 64 * MIB);
    assert!(data["memory"]["usage"]["usage"].as_u64() > Some(10_000), "{data}");
    assert!(data["memory"]["raw"]["pgfault"].as_u64() > Some(0));
    assert_eq!(data["pids"], json!({"current": 1, "limit": 20}));
    assert!(data["cpu"]["usage"]["total"].as_u64() > Some(10_000), "nanoseconds: {data}");
    assert!(
        data["cpu"]["throttling"].is_object() && data["blkio"].is_object() && data["hugetlb"].is_object()
    );
    c.remove();
    c.call(&["events", "--stats"]).fails(&["does not exist"]);
}

fn events_end_with_the_container(t: &Test) {
    let mut c = t.container();
    c.probe("pause").up();
    let running = t.spawn(t.command(&["events", "--interval=100ms", &c.id]));
    eventually("there are two lines", || running.stdout().lines().count() >= 2);
    c.kill("KILL").ok();
    let out = running.wait().ok();
    for line in out.stdout.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(c.id)));
    }
    c.call(&["events", "--interval", "0s"]).fails(&["must be greater than 0"]);
    c.call(&["events", "--stats"]).fails(&["not running"]);
    c.remove();
}

/// Each round must give its memory back, since the heap itself does not.
fn events_do_not_grow_memory(t: &Test) {
    let mut c = t.container();
    c.probe("pause").up();
    let running = t.spawn(t.command(&["events", "--interval=1ms", &c.id]));
    let lines = |n: usize| eventually("there are more lines", || running.stdout().lines().count() >= n);
    lines(10);
    let sample = || own_memory(running.pid());
    let before = (0..100).map(|_| sample()).min().unwrap();
    lines(300);
    // A line has memory of its own until it is written, so one sample proves nothing.
    eventually("the memory of the lines is unmapped", || sample() <= before + 16);
    c.remove();
    running.wait().ok();
}

fn events_report_an_oom_kill(t: &Test) {
    t.needs_controller("memory");
    let mut c = t.container();
    c.config["linux"]["resources"]["memory"] = json!({"limit": 24 * MIB, "swap": 24 * MIB});
    c.probe("pause").up();
    let running = t.spawn(t.command(&["events", "--interval=10s", &c.id]));
    std::thread::sleep(Duration::from_millis(300));
    c.exec(&["probe", "eat", "200"]).exits(137);
    eventually("the OOM kill is reported", || running.stdout().contains(r#""type":"oom""#));
    c.remove();
    running.wait().ok();
}

/// The kill comes while the statistics are printed, and their reader is slow.
fn events_report_the_oom_kill_that_ended_the_container(t: &Test) {
    t.needs_controller("memory");
    let mut c = t.container();
    c.config["linux"]["resources"]["memory"] = json!({"limit": 24 * MIB, "swap": 24 * MIB});
    c.probe("eat 200").create().ok();
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
    fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    let mut command = t.command(&["events", "--interval=1ms", &c.id]);
    let mut events = command.stdin(Stdio::null()).stdout(writer).spawn().unwrap();
    drop(command);
    // One or two lines fill the pipe.
    std::thread::sleep(Duration::from_millis(500));
    c.start();
    c.stopped();
    let mut text = String::new();
    fs::File::from(reader).read_to_string(&mut text).unwrap();
    assert!(events.wait().unwrap().success());
    assert!(text.contains(r#""type":"stats""#) && text.contains(r#""type":"oom""#), "{text}");
    c.delete().ok();
}

fn device_is_added_and_removed(t: &Test) {
    t.needs_controller("devices");
    let c = with_mknod(t);
    let exec = |c: &Container<'_>, words: &str| c.exec(&words.split(' ').collect::<Vec<_>>()).ok().probe();
    assert_eq!(exec(&c, "probe open /dev/kmsg r").result("open"), "ENOENT");
    for _ in 0..2 {
        t.call(&["device", "add", "--mode", "r", &c.id, "/dev/kmsg"]).ok();
        let seen = exec(&c, "probe open /dev/kmsg r open /dev/kmsg w stat /dev/kmsg");
        assert_eq!((seen.result("open"), &seen["acts"][1][2]), (&json!("ok"), &json!("EPERM")));
        assert_eq!(seen.result("stat")["minor"], 11);
        // Add it again with more access, for the same node.
        t.call(&["device", "add", &c.id, "/dev/kmsg"]).ok();
        assert_eq!(exec(&c, "probe open /dev/kmsg w").result("open"), "ok");
        t.call(&["device", "add", &c.id, "/dev/kmsg", "--as", "/dev/radio/0"]).ok();
        assert_eq!(exec(&c, "probe open /dev/radio/0 r").result("open"), "ok");

        t.call(&["device", "remove", &c.id, "/dev/kmsg"]).ok();
        let seen = exec(&c, "probe open /dev/kmsg r mknod /dev/y c 1 11 open /dev/y r unlink /dev/y");
        assert_eq!(seen.result("open /dev/kmsg"), "ENOENT");
        assert_eq!(seen.result("open /dev/y"), "EPERM");
        t.call(&["device", "remove", &c.id, "/dev/kmsg", "--as", "/dev/radio/0"]).ok();
        assert_eq!(exec(&c, "probe open /dev/radio/0 r").result("open"), "ENOENT");
    }
    assert_eq!(exec(&c, "probe open /dev/null r").result("open"), "ok");
    c.remove();
}

/// The device itself may be missing: only a denied one answers EPERM.
fn loop_and_tty_devices_are_added_and_removed(t: &Test) {
    t.needs_controller("devices");
    let c = with_mknod(t);
    let open = |path: &str| c.exec(&["probe", "open", path, "r"]).ok().probe().result("open").clone();
    // Nodes created inside cannot bypass the rules.
    let forged = |major: &str, kind: &str, minor: &str| {
        let words = [
            "probe",
            "mknod",
            "/dev/forged",
            kind,
            major,
            minor,
            "open",
            "/dev/forged",
            "r",
            "unlink",
            "/dev/forged",
        ];
        c.exec(&words).ok().probe().result("open").clone()
    };
    for (name, kind, major, minor) in [("loop7", "b", 7, 7), ("ttyS3", "c", 4, 67)] {
        let at = format!("/dev/{name}");
        let node = t.path(name);
        let made = std::process::Command::new("mknod")
            .arg(&node)
            .args([kind, &major.to_string(), &minor.to_string()])
            .status();
        assert!(made.unwrap().success());
        let (major, minor) = (major.to_string(), minor.to_string());
        assert_eq!((open(&at), forged(&major, kind, &minor)), (json!("ENOENT"), json!("EPERM")), "{name}");
        for _ in 0..2 {
            t.call(&["device", "add", &c.id, node.to_str().unwrap(), "--as", &at, "--mode", "rw"]).ok();
            let seen = c.exec(&["probe", "stat", &at, "open", &at, "r"]).ok().probe();
            assert_eq!(seen.result("stat")["minor"].to_string(), minor, "{name}");
            assert!(!["EPERM", "EACCES"].contains(&seen.text("open")), "{name}: {}", seen.result("open"));
            t.call(&["device", "remove", &c.id, node.to_str().unwrap(), "--as", &at]).ok();
            assert_eq!(
                (open(&at), forged(&major, kind, &minor)),
                (json!("ENOENT"), json!("EPERM")),
                "{name}"
            );
        }
    }
    c.remove();
}

fn invalid_device_is_refused(t: &Test) {
    t.needs_controller("devices");
    let mut c = t.container();
    c.probe("pause").up();
    let etc = c.rootfs.join("etc");
    fs::create_dir_all(&etc).unwrap();
    let pair = openpty(None, None).unwrap();
    let pty = nix::unistd::ttyname(&pair.slave).unwrap();
    for (args, says) in [
        (&["add", "/no/such/device"][..], "/no/such/device: no such file or directory"),
        (&["add", "/etc/passwd"], "/etc/passwd is no device"),
        (&["add", "/dev/null", "--as", "relative"], "must be an absolute path"),
        (&["add", "/dev/null", "--mode", "x"], "--mode: must be made of r, w and m"),
        (&["remove", "/no/such/device"], "/no/such/device is no device"),
        (&["remove", "/dev/null"], "/dev/null cannot be removed: every container has this device"),
        (&["plug", "/dev/null"], "expected add or remove"),
        (&["add", pty.to_str().unwrap()], "a pty works only on its devpts (bind it with spec --device)"),
        // Another device has that name in the container.
        (&["add", "/dev/kmsg", "--as", "/dev/zero"], "something else is there already"),
    ] {
        t.call(&[&["device", args[0], &c.id], &args[1..]].concat()).fails(&[says]);
    }
    c.remove();
    if t.runtime == Runtime::Embrun {
        t.call(&["device", "add", &c.id, "/dev/null"]).fails(&["does not exist"]);
    }
}

/// Limits that are applied but not saved would be lost or return later.
fn change_that_cannot_be_saved_is_undone(t: &Test) {
    needs(t, &["devices", "pids"]);
    with_small_root("mode=700,size=64k", || {
        let c = with_mknod(t);
        let pids = || c.knob("pids", "pids.max", "pids.max");
        // Open the added node, and one that is created inside.
        let open = || {
            let words = "probe open /dev/kmsg r mknod /dev/y c 1 11 open /dev/y r unlink /dev/y";
            let seen = c.exec(&words.split(' ').collect::<Vec<_>>()).ok().probe();
            [seen.result("open /dev/kmsg").clone(), seen.result("open /dev/y").clone()]
        };
        let device = |verb: &str| t.call(&["device", verb, &c.id, "/dev/kmsg"]);
        let file = t.path("resources");
        let update = |resources: Value| {
            fs::write(&file, resources.to_string()).unwrap();
            c.call(&["update", "--resources", file.to_str().unwrap()])
        };
        let full = &["write record: no space left on device"];
        let limit = pids();

        let filler = fill_root();
        let rule = json!({"allow": true, "type": "c", "major": 1, "minor": 11, "access": "rwm"});
        update(json!({"devices": [rule], "pids": {"limit": 9}})).exits(1).fails(full);
        assert_eq!((open(), pids()), ([json!("ENOENT"), json!("EPERM")], limit.clone()));
        device("add").exits(1).fails(full);
        assert_eq!(open(), ["ENOENT", "EPERM"]);
        fs::remove_file(&filler).unwrap();

        device("add").ok();
        fill_root();
        device("remove").exits(1).fails(full);
        assert_eq!(open(), ["ok", "ok"]);
        update(json!({"devices": [{"allow": false}], "pids": {"limit": 9}})).exits(1).fails(full);
        assert_eq!((open(), pids()), ([json!("ok"), json!("ok")], limit));
        fs::remove_file(&filler).unwrap();

        device("remove").ok();
        assert_eq!(open(), ["ENOENT", "EPERM"]);
        c.remove();
    });
}
