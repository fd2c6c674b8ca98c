//! `process`: user, groups, umask, capabilities and `noNewPrivileges`.

use crate::cases;
use crate::common::{Case, Test};
use nix::sys::stat::{Mode, umask};
use serde_json::{Value, json};
use std::fs;

pub const CASES: &[Case] = cases![
    user_group_and_additional_groups_are_set,
    groups_of_the_caller_are_dropped,
    umask_is_set,
    unset_umask_is_0022_regardless_of_the_caller,
    umask_of_exec_is_0022_or_the_configs,
    umask_is_set_before_a_filter_that_forbids_it,
    capabilities_are_exactly_those_listed,
    absent_capabilities_mean_none,
    non_root_user_gets_capabilities_through_ambient,
    unknown_capability_is_skipped_with_a_warning,
    no_new_privileges_is_set_as_configured,
];

fn user_group_and_additional_groups_are_set(t: &Test) {
    let mut c = t.container();
    c.probe("ids");
    c.config["process"]["user"] = json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 6]});
    let ids = c.run().ok().probe();
    assert_eq!(ids["ids"]["uid"], json!([1000, 1000, 1000]));
    assert_eq!(ids["ids"]["gid"], json!([1001, 1001, 1001]));
    let groups: Vec<&Value> =
        ids["ids"]["groups"].as_array().unwrap().iter().filter(|g| **g != 1001).collect();
    assert_eq!(groups, [&json!(5), &json!(6)]);
}

fn groups_of_the_caller_are_dropped(t: &Test) {
    let mut c = t.container();
    c.probe("ids");
    c.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    c.write();
    let mut command = std::process::Command::new("setpriv");
    command.args(["--groups", "0,4,27,999"]).arg(t.runtime_path()).args(["--root", "/run/it/state", "run"]);
    command.args(["--bundle", c.bundle.to_str().unwrap(), &c.id]);
    let seen = t.finish(command).ok().probe();
    let groups: Vec<&Value> =
        seen["ids"]["groups"].as_array().unwrap().iter().filter(|g| **g != 1000).collect();
    assert!(groups.is_empty(), "{groups:?}");
}

fn umask_is_set(t: &Test) {
    let mut c = t.container();
    c.probe("umask");
    c.config["process"]["user"]["umask"] = json!(0o27);
    assert_eq!(c.run().ok().probe()["umask"], 0o27);
}

fn unset_umask_is_0022_regardless_of_the_caller(t: &Test) {
    for mask in [0, 0o77] {
        umask(Mode::from_bits_truncate(mask));
        let mut c = t.container();
        c.probe("umask");
        assert_eq!(c.run().ok().probe()["umask"], 0o22, "run with umask {mask:o}");
        c.probe("umask say pause");
        c.up();
        assert_eq!(c.says("umask")["umask"], 0o22, "create and start with umask {mask:o}");
        c.remove();
    }
}

fn umask_of_exec_is_0022_or_the_configs(t: &Test) {
    for mask in [0, 0o77] {
        umask(Mode::from_bits_truncate(mask));
        let mut c = t.container();
        c.probe("pause");
        c.up();
        assert_eq!(c.exec(&["probe", "umask"]).ok().probe()["umask"], 0o22, "umask {mask:o}");
        let process = t.path("process.json");
        let text = json!({"args": ["probe", "umask"], "env": ["PATH=/bin"], "cwd": "/",
            "user": {"uid": 0, "gid": 0}});
        fs::write(&process, text.to_string()).unwrap();
        let out = t.call(&["exec", "--process", process.to_str().unwrap(), &c.id]);
        assert_eq!(out.ok().probe()["umask"], 0o22, "--process with umask {mask:o}");
        c.remove();
    }
    let mut c = t.container();
    c.config["process"]["user"]["umask"] = json!(0o27);
    c.probe("pause");
    c.up();
    assert_eq!(c.exec(&["probe", "umask"]).ok().probe()["umask"], 0o27, "the umask of the config");
    c.remove();
}

fn umask_is_set_before_a_filter_that_forbids_it(t: &Test) {
    for (no_new_privileges, asked) in [(true, None), (false, None), (false, Some(0o27))] {
        umask(Mode::empty());
        let mut c = t.container();
        c.capabilities(&["CAP_SYS_ADMIN"]);
        c.config["process"]["noNewPrivileges"] = json!(no_new_privileges);
        c.config["process"]["user"]["umask"] = json!(asked);
        let syscalls = json!([{"names": ["umask"], "action": "SCMP_ACT_KILL_PROCESS"}]);
        c.config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": syscalls});
        c.probe("pid say pause");
        c.up();
        c.says("pid");
        // The kernel shows it since Linux 4.7.
        let status = fs::read_to_string(format!("/proc/{}/status", c.pid())).unwrap();
        let mask = status.lines().find_map(|l| l.strip_prefix("Umask:")).unwrap().trim();
        assert_eq!(u32::from_str_radix(mask, 8).unwrap(), asked.unwrap_or(0o22));
        c.remove();
    }
}

/// The mask of these capability numbers, as /proc shows it.
fn mask(numbers: &[u32]) -> Value {
    json!(format!("{:016x}", numbers.iter().map(|n| 1u64 << n).sum::<u64>()))
}

fn capabilities_are_exactly_those_listed(t: &Test) {
    let mut c = t.container();
    c.probe("caps");
    c.config["process"]["capabilities"] = json!({
        "bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_NET_RAW"],
        "permitted": ["CAP_KILL", "CAP_CHOWN"],
        "effective": ["CAP_KILL"],
        "inheritable": [],
    });
    let caps = c.run().ok().probe();
    assert_eq!(caps["caps"]["CapBnd"], mask(&[5, 0, 13]));
    assert_eq!(caps["caps"]["CapInh"], mask(&[]));
    assert_eq!(caps["caps"]["CapPrm"], mask(&[5, 0]));
    assert_eq!(caps["caps"]["CapAmb"], mask(&[]));
}

fn absent_capabilities_mean_none(t: &Test) {
    let mut c = t.container();
    c.probe("caps");
    c.config["process"].as_object_mut().unwrap().remove("capabilities");
    let caps = c.run().ok().probe();
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(caps["caps"][set], mask(&[]), "{set}");
    }
}

fn non_root_user_gets_capabilities_through_ambient(t: &Test) {
    let mut c = t.container();
    c.probe("caps ids");
    c.capabilities(&["CAP_NET_BIND_SERVICE", "CAP_NET_RAW"]);
    c.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    let seen = c.run().ok().probe();
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(seen["caps"][set], mask(&[10, 13]), "{set}");
    }
    // Without the ambient set a non-root user has no capabilities.
    c.config["process"]["capabilities"]["ambient"] = json!([]);
    assert_eq!(c.run().ok().probe()["caps"]["CapEff"], mask(&[]));
}

fn unknown_capability_is_skipped_with_a_warning(t: &Test) {
    let mut c = t.container();
    c.probe("caps");
    c.config["process"]["capabilities"]["bounding"] = json!(["CAP_KILL", "CAP_WALK_ON_WATER"]);
    let out = c.run().ok();
    assert_eq!(out.probe()["caps"]["CapBnd"], mask(&[5]));
    assert!(out.stderr.contains("CAP_WALK_ON_WATER"), "the warning names it: {:?}", out.stderr);
}

fn no_new_privileges_is_set_as_configured(t: &Test) {
    let mut c = t.container();
    c.probe("nnp");
    for asked in [true, false] {
        c.config["process"]["noNewPrivileges"] = json!(asked);
        assert_eq!(c.run().ok().probe()["nnp"], u8::from(asked));
    }
}
