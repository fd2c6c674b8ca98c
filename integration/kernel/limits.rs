//! `linux.resources` and `cgroupsPath`: the common limits and their effect.

use crate::cases;
use crate::common::{Case, Container, Hierarchy, Test};
use serde_json::json;
use std::fs;
use std::process::Command;

pub const CASES: &[Case] = cases![
    cgroup_is_created_at_cgroups_path,
    delete_removes_the_cgroups,
    delete_removes_cgroups_made_by_the_payload,
    memory_limit_is_set,
    memory_limit_is_enforced,
    swap_limit_includes_memory,
    cpu_quota_is_set,
    cpu_shares_are_set,
    cpuset_is_set,
    pids_limit_is_enforced,
    minus_one_means_unlimited,
    limits_apply_to_exec,
    earlier_oom_kill_is_not_reported_by_exec,
    exec_cgroup_flag_joins_a_child_cgroup,
    exec_cgroup_flag_accepts_one_controller,
    invalid_exec_cgroup_is_refused,
    exec_joins_inits_cgroup_if_init_made_cgroups,
    cgroup_with_foreign_processes_is_refused_or_left_alone,
    cgroups_path_with_dots_is_refused_or_stays_below,
];

fn cgroup_is_created_at_cgroups_path(t: &Test) {
    t.needs_controller("pids");
    let mut c = t.container();
    c.probe("pause");
    c.up();
    let members = fs::read_to_string(c.cgroup("pids").join("cgroup.procs")).unwrap();
    assert_eq!(members.trim(), c.pid().to_string());
    c.remove();
}

fn delete_removes_the_cgroups(t: &Test) {
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

fn delete_removes_cgroups_made_by_the_payload(t: &Test) {
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

pub const MIB: i64 = 1 << 20;

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

fn memory_limit_is_enforced(t: &Test) {
    t.needs_controller("memory");
    let mut c = t.container();
    c.config["linux"]["resources"]["memory"] = json!({"limit": 24 * MIB});
    c.probe("eat 4").run().ok();
    c.probe("eat 200").run().exits(137);
}

fn swap_limit_includes_memory(t: &Test) {
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
        // 20 by the former linear conversion, 59 by the one in the spec since 2025.
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

fn pids_limit_is_enforced(t: &Test) {
    t.needs_controller("pids");
    let mut c = t.container();
    c.config["linux"]["resources"]["pids"] = json!({"limit": 6});
    let seen = c.probe("fork 20 say").run().ok().probe();
    let made = seen.result("fork").as_array().unwrap();
    let failed = made.iter().filter(|p| **p == "EAGAIN").count();
    assert_eq!(failed, 15, "{made:?}");
}

fn minus_one_means_unlimited(t: &Test) {
    t.needs_controller("pids");
    t.needs_controller("memory");
    let mut c = t.container();
    c.probe("pause");
    c.config["linux"]["resources"]["pids"] = json!({"limit": -1});
    c.config["linux"]["resources"]["memory"] = json!({"limit": -1});
    c.create().ok();
    assert_eq!(c.knob("pids", "pids.max", "pids.max"), "max");
    let memory = c.knob("memory", "memory.limit_in_bytes", "memory.max");
    // Without a limit v1 shows the largest number of pages, which is 2^31 on a 32-bit kernel.
    assert!(memory == "max" || memory.parse::<u64>().is_ok_and(|n| n > 1 << 42), "{memory}");
    c.remove();
}

fn limits_apply_to_exec(t: &Test) {
    t.needs_controller("memory");
    let mut c = t.container();
    c.probe("pause");
    c.config["linux"]["resources"]["memory"] = json!({"limit": 24 * MIB});
    c.up();
    c.exec(&["probe", "eat", "200"]).exits(137);
    c.remove();
}

/// The kernel's count covers the cgroup's whole life.
fn earlier_oom_kill_is_not_reported_by_exec(t: &Test) {
    t.needs_controller("memory");
    let mut c = t.container();
    c.probe("pause");
    c.config["linux"]["resources"]["memory"] = json!({"limit": 24 * MIB});
    c.create().ok();
    c.exec(&["probe", "eat", "200"]).exits(137);
    c.start().ok();
    for _ in 0..30 {
        c.exec(&["true"]).ok();
    }
    c.remove();
}

/// Creates a cgroup below the container's, in every hierarchy of the container.
///
/// A new cpuset cgroup is empty until it gets values.
fn make_below(c: &Container<'_>, name: &str) {
    for h in Hierarchy::all() {
        let own = h.mount.join(c.test.token()).join(&c.id);
        if fs::create_dir(own.join(name)).is_err() {
            continue;
        }
        for file in ["cpuset.cpus", "cpuset.mems"].into_iter().filter(|_| !h.v2) {
            if let Ok(value) = fs::read(own.join(file)) {
                fs::write(own.join(name).join(file), value).unwrap();
            }
        }
    }
}

/// The `/proc/self/cgroup` of a new process, for the hierarchies of the container.
#[track_caller]
fn exec_in(c: &Container<'_>, flags: &[&str]) -> Vec<String> {
    let seen = c.exec_with(flags, &["probe", "cgroup"]).ok().probe();
    let lines = seen["cgroup"].as_array().unwrap().iter().map(|l| l.as_str().unwrap().to_owned());
    let own: Vec<String> = lines.filter(|l| l.contains(c.test.token())).collect();
    assert!(!own.is_empty(), "{flags:?}");
    own
}

fn exec_cgroup_flag_joins_a_child_cgroup(t: &Test) {
    t.needs_controller("pids");
    let mut c = t.container();
    c.probe("pause").up();
    make_below(&c, "a");
    make_below(&c, "a/b");
    let own = format!("/{}/{}", t.token(), c.id);
    for (path, at) in [("a", "/a"), ("/a/b", "/a/b"), ("./a//b/", "/a/b")] {
        let seen = exec_in(&c, &["--cgroup", path]);
        assert!(seen.iter().all(|l| l.ends_with(&format!("{own}{at}"))), "{path}: {seen:?}");
    }
    assert!(exec_in(&c, &[]).iter().all(|l| l.ends_with(&own)));
    c.remove();
}

fn exec_cgroup_flag_accepts_one_controller(t: &Test) {
    t.needs_controller("pids");
    t.needs_controller("memory");
    if t.hierarchy("pids").unwrap().v2 {
        t.skip("v2 has one hierarchy for all controllers");
    }
    let mut c = t.container();
    c.probe("pause").up();
    make_below(&c, "a");
    make_below(&c, "b");
    for (flags, is) in [
        (&["--cgroup=pids,memory:/a"][..], [("pids", "/a"), ("memory", "/a"), ("freezer", "")]),
        (
            &["--cgroup", "pids:a", "--cgroup", "memory:b"],
            [("pids", "/a"), ("memory", "/b"), ("freezer", "")],
        ),
    ] {
        let seen = exec_in(&c, flags);
        for (controller, at) in is {
            let end = format!(":/{}/{}{at}", t.token(), c.id);
            let line = seen.iter().find(|l| l.split(':').nth(1).unwrap().split(',').any(|c| c == controller));
            assert!(line.unwrap().ends_with(&end), "{flags:?} {controller}: {seen:?}");
        }
    }
    c.remove();
}

fn invalid_exec_cgroup_is_refused(t: &Test) {
    t.needs_controller("pids");
    let mut c = t.container();
    c.probe("pause").up();
    make_below(&c, "a");
    for (flags, says) in [
        (&["--cgroup=../x"][..], "is not a sub cgroup path"),
        (&["--cgroup=a/../.."], "is not a sub cgroup path"),
        (&["--cgroup=none"], "no such file or directory"),
        (&["--cgroup=bogus:a"], "unknown controller bogus"),
        (&["--cgroup=a", "--cgroup=a"], "missing <controller>: prefix"),
        (&["--cgroup=pids:a:b"], "invalid --cgroup argument: pids:a:b"),
    ] {
        c.exec_with(flags, &["probe", "say"]).exits(255).fails(&[says]);
    }
    c.remove();
}

/// Init moves itself to a child cgroup, as systemd does in a container.
///
/// v2 then accepts no process in the container's own cgroup.
fn exec_joins_inits_cgroup_if_init_made_cgroups(t: &Test) {
    if !t.pure_v2() || t.hierarchy("pids").is_none() {
        t.skip("only v2 keeps processes out of a cgroup that has controllers below");
    }
    let mut c = t.container();
    c.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["rw", "nosuid", "nodev", "noexec"]);
    c.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "cgroup"}));
    c.probe(
        "mkdir /sys/fs/cgroup/init write /sys/fs/cgroup/init/cgroup.procs 0 \
         write /sys/fs/cgroup/cgroup.subtree_control +pids say pause",
    );
    c.up();
    assert_eq!(c.says("acts").result("write /sys/fs/cgroup/cgroup.subtree_control"), "ok");
    let seen = c.exec(&["probe", "cgroup"]).ok().probe();
    assert!(seen["cgroup"].as_array().unwrap().contains(&json!("0::/init")), "{:?}", seen["cgroup"]);
    let words = [" adding pid ", " to cgroups ", "/cgroup.procs: device or resource busy"];
    c.exec_with(&["--cgroup=/"], &["probe", "say"]).exits(255).fails(&words);
    c.remove();
}

/// A cgroup with foreign processes must not be taken over, let alone killed.
fn cgroup_with_foreign_processes_is_refused_or_left_alone(t: &Test) {
    t.needs_controller("pids");
    let mut c = t.container();
    c.probe("pause");
    let dir = c.cgroup("pids");
    fs::create_dir(&dir).unwrap();
    let mut stranger = Command::new("sleep").arg("100").spawn().unwrap();
    fs::write(dir.join("cgroup.procs"), stranger.id().to_string()).unwrap();
    c.create().fails(&["cgroup"]);
    let alive = stranger.try_wait().unwrap().is_none();
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    assert!(alive, "a foreign process was killed");
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
