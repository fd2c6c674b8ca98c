//! `linux.resources` and `cgroupsPath`: the limits that most bundles set, as the kernel holds them.

use crate::cases;
use crate::common::{Case, Test};
use serde_json::json;
use std::fs;

pub const CASES: &[Case] = cases![
    cgroups_path_is_where_it_was_asked_for,
    cgroups_are_gone_after_delete,
    nested_cgroups_of_the_payload_are_gone_too,
    memory_limit_is_set,
    memory_limit_is_held,
    memory_and_swap_are_one_sum,
    cpu_quota_is_set,
    cpu_shares_are_set,
    cpuset_is_set,
    pids_limit_is_held,
    minus_one_is_unlimited,
    limits_hold_for_exec,
    cgroup_with_strangers_is_refused_or_left_alone,
    cgroups_path_with_dots_is_refused_or_stays_below,
];

fn cgroups_path_is_where_it_was_asked_for(t: &Test) {
    t.needs_controller("pids");
    let mut c = t.container();
    c.probe("pause");
    c.up();
    let members = fs::read_to_string(c.cgroup("pids").join("cgroup.procs")).unwrap();
    assert_eq!(members.trim(), c.pid().to_string());
    c.remove();
}

fn cgroups_are_gone_after_delete(t: &Test) {
    t.needs_controller("pids");
    let mut c = t.container();
    c.probe("fork 3 say pause");
    c.up();
    c.says("acts");
    let dir = c.cgroup("pids");
    assert!(dir.exists());
    c.remove();
    assert!(!dir.exists());
}

fn nested_cgroups_of_the_payload_are_gone_too(t: &Test) {
    t.needs_controller("pids");
    let mut c = t.container();
    c.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["rw", "nosuid", "nodev", "noexec"]);
    c.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "cgroup"}));
    let dir = if t.hierarchy("pids").unwrap().v2 { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/pids" };
    let words = format!(
        "mkdir {dir}/a mkdir {dir}/a/b mkdir {dir}/c write {dir}/a/b/cgroup.procs 0 fork 2 say pause"
    );
    c.probe(&words);
    c.up();
    let seen = c.says("acts");
    assert_eq!(seen.result(&format!("mkdir {dir}/a/b")), "ok");
    assert_eq!(seen.result("write"), "ok");
    c.remove();
}

const MIB: i64 = 1 << 20;

fn memory_limit_is_set(t: &Test) {
    t.needs_controller("memory");
    let mut c = t.container();
    c.probe("pause");
    c.config["linux"]["resources"]["memory"] = json!({"limit": 64 * MIB, "reservation": 32 * MIB});
    c.create().ok();
    assert_eq!(c.knob("memory", "memory.limit_in_bytes", "memory.max"), (64 * MIB).to_string());
    assert_eq!(c.knob("memory", "memory.soft_limit_in_bytes", "memory.low"), (32 * MIB).to_string());
    c.remove();
}

fn memory_limit_is_held(t: &Test) {
    t.needs_controller("memory");
    let mut c = t.container();
    c.config["linux"]["resources"]["memory"] = json!({"limit": 24 * MIB});
    c.probe("eat 4").run().ok();
    c.probe("eat 200").run().exits(137);
}

fn memory_and_swap_are_one_sum(t: &Test) {
    t.needs_controller("memory");
    let mut c = t.container();
    c.probe("pause");
    let dir = t.hierarchy("memory").unwrap();
    let has = |file: &str| {
        fs::read_dir(&dir.mount).unwrap().flatten().any(|d| d.path().join(file).exists())
            || dir.mount.join(file).exists()
    };
    if !has("memory.memsw.limit_in_bytes") && !has("memory.swap.max") {
        t.skip("the kernel does not account swap");
    }
    c.config["linux"]["resources"]["memory"] = json!({"limit": 64 * MIB, "swap": 96 * MIB});
    c.create().ok();
    let wanted = if dir.v2 { 32 * MIB } else { 96 * MIB };
    assert_eq!(c.knob("memory", "memory.memsw.limit_in_bytes", "memory.swap.max"), wanted.to_string());
    c.remove();
}

fn cpu_quota_is_set(t: &Test) {
    t.needs_controller("cpu");
    let mut c = t.container();
    c.probe("pause");
    let quota = if t.hierarchy("cpu").unwrap().v2 { "cpu.max" } else { "cpu.cfs_quota_us" };
    c.config["linux"]["resources"]["cpu"] = json!({"quota": 20000, "period": 50000});
    c.create().ok();
    let seen = c.knob("cpu", quota, quota);
    assert_eq!(seen, if quota == "cpu.max" { "20000 50000" } else { "20000" });
    c.remove();
}

fn cpu_shares_are_set(t: &Test) {
    t.needs_controller("cpu");
    let mut c = t.container();
    c.probe("pause");
    c.config["linux"]["resources"]["cpu"] = json!({"shares": 512});
    c.create().ok();
    let seen = c.knob("cpu", "cpu.shares", "cpu.weight");
    if t.hierarchy("cpu").unwrap().v2 {
        // 20 by the linear conversion of old, 59 by the one that the spec has had since 2025.
        assert!(["20", "59"].contains(&seen.as_str()), "{seen}");
    } else {
        assert_eq!(seen, "512");
    }
    c.remove();
}

fn cpuset_is_set(t: &Test) {
    t.needs_controller("cpuset");
    let mut c = t.container();
    c.config["linux"]["resources"]["cpu"] = json!({"cpus": "0", "mems": "0"});
    assert_eq!(c.probe("affinity").run().ok().probe()["affinity"]["Cpus_allowed_list"], "0");
}

fn pids_limit_is_held(t: &Test) {
    t.needs_controller("pids");
    let mut c = t.container();
    c.config["linux"]["resources"]["pids"] = json!({"limit": 6});
    let seen = c.probe("fork 20 say").run().ok().probe();
    let made = seen.result("fork").as_array().unwrap();
    let failed = made.iter().filter(|p| **p == "EAGAIN").count();
    assert_eq!(failed, 15, "{made:?}");
}

fn minus_one_is_unlimited(t: &Test) {
    t.needs_controller("pids");
    t.needs_controller("memory");
    let mut c = t.container();
    c.probe("pause");
    c.config["linux"]["resources"]["pids"] = json!({"limit": -1});
    c.config["linux"]["resources"]["memory"] = json!({"limit": -1});
    c.create().ok();
    assert_eq!(c.knob("pids", "pids.max", "pids.max"), "max");
    let memory = c.knob("memory", "memory.limit_in_bytes", "memory.max");
    assert!(memory == "max" || memory.parse::<u64>().is_ok_and(|n| n > 1 << 60), "{memory}");
    c.remove();
}

fn limits_hold_for_exec(t: &Test) {
    t.needs_controller("memory");
    let mut c = t.container();
    c.probe("pause");
    c.config["linux"]["resources"]["memory"] = json!({"limit": 24 * MIB});
    c.up();
    c.exec(&["probe", "eat", "200"]).exits(137);
    c.remove();
}

/// A cgroup that somebody else's process lives in must not be taken over, let alone killed.
fn cgroup_with_strangers_is_refused_or_left_alone(t: &Test) {
    t.needs_controller("pids");
    let mut c = t.container();
    c.probe("pause");
    let dir = c.cgroup("pids");
    fs::create_dir(&dir).unwrap();
    let mut stranger = std::process::Command::new("sleep").arg("100").spawn().unwrap();
    fs::write(dir.join("cgroup.procs"), stranger.id().to_string()).unwrap();
    c.create().fails(&["cgroup"]);
    let alive = stranger.try_wait().unwrap().is_none();
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    assert!(alive, "the stranger was killed");
    fs::remove_dir(&dir).unwrap();
}

fn cgroups_path_with_dots_is_refused_or_stays_below(t: &Test) {
    let mut c = t.container();
    let path = format!("/{}/x/../../../../{}-escaped", t.token(), t.token());
    c.config["linux"]["cgroupsPath"] = json!(path);
    let out = c.run();
    let escaped = format!("{}-escaped", t.token());
    for controller in ["pids", "memory"] {
        if let Some(h) = t.hierarchy(controller) {
            let above = h.mount.parent().unwrap().join(&escaped);
            assert!(!above.exists(), "{} exists (status {})", above.display(), out.status);
            let _ = fs::remove_dir(h.mount.join(&escaped));
        }
    }
}
