//! Cgroups that the payload or another program has changed, and `unified`.
//!
//! Their processes can still be joined and killed, and the cgroups removed.

use crate::cases;
use crate::common::{Case, Container, Hierarchy, Runtime, Test, eventually};
use serde_json::json;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

pub const CASES: &[Case] = cases![
    self_frozen_payload_is_killed_and_deleted,
    repeatedly_frozen_payload_is_deleted,
    frozen_child_cgroup_does_not_block_delete,
    processes_start_in_a_cgroup_that_was_killed_before,
    unified_overrides_the_resource_fields,
    exec_joins_the_cgroup_that_init_was_moved_to,
    containers_run_below_threaded_and_populated_parents,
    create_below_a_frozen_cgroup_is_refused,
    freezing_a_container_during_create_does_not_hang,
    exec_into_a_paused_container_waits_until_it_is_resumed,
];

/// The factor for deadlines: emulated hosts are slow (`IT_SLOW=5`).
fn slow() -> u32 {
    std::env::var("IT_SLOW").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

/// Deletes with `--force` in time and checks that nothing is left.
#[track_caller]
fn is_deleted(c: &Container<'_>) {
    let dir = c.cgroup("freezer");
    let start = Instant::now();
    c.remove();
    assert!(start.elapsed() < Duration::from_secs(8) * slow(), "{:?}", start.elapsed());
    assert!(!dir.exists(), "{} is left", dir.display());
}

/// A container that may write to its freezer.
///
/// In its script, `F` is the file of the freezer, `Y` the value that freezes and `G` its cgroup.
fn with_freezer<'t>(t: &'t Test, script: &str) -> Container<'t> {
    t.needs_controller("freezer");
    let v2 = t.hierarchy("freezer").unwrap().v2;
    let names = match v2 {
        true => "G=/sys/fs/cgroup F=cgroup.freeze Y=1",
        false => "G=/sys/fs/cgroup/freezer F=freezer.state Y=FROZEN",
    };
    let mut c = t.container();
    c.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["rw", "nosuid", "nodev", "noexec"]);
    c.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "cgroup"}));
    c.args(&["sh", "-c", &format!("{names}; cd $G; mkdir a a/b a/b/c; {script}")]);
    c.up();
    let state = c.cgroup("freezer").join("a/b/c").join(if v2 { "cgroup.events" } else { "freezer.state" });
    eventually("the payload freezes", || {
        fs::read_to_string(&state).is_ok_and(|text| text == "FROZEN\n" || text.contains("frozen 1"))
    });
    c
}

fn self_frozen_payload_is_killed_and_deleted(t: &Test) {
    let itself = "echo $$ > a/b/c/cgroup.procs; echo $Y > a/b/c/$F; sleep 100";
    let c = with_freezer(t, itself);
    c.kill("KILL").ok();
    c.stopped();
    is_deleted(&c);
    is_deleted(&with_freezer(t, itself));
}

/// One process freezes init and another in a loop, even while `delete` thaws them.
fn repeatedly_frozen_payload_is_deleted(t: &Test) {
    for _ in 0..5 {
        is_deleted(&with_freezer(
            t,
            "sleep 100 & echo $! > a/b/cgroup.procs
            (while :; do echo $Y > a/b/c/$F; echo $Y > a/b/$F; done) &
            echo $$ > a/b/c/cgroup.procs; sleep 100",
        ));
    }
}

fn frozen_child_cgroup_does_not_block_delete(t: &Test) {
    is_deleted(&with_freezer(t, "sleep 100 & echo $! > a/b/c/cgroup.procs; echo $Y > a/b/c/$F; sleep 100"));
}

/// A process can be started in a cgroup after a write to `cgroup.kill`.
///
/// Newer kernels (seen on 6.18) kill every process that is cloned into the cgroup, unless `cgroup.kill`
/// was written as often to the caller's own cgroup.
fn processes_start_in_a_cgroup_that_was_killed_before(t: &Test) {
    let Some(v2) = Hierarchy::all().into_iter().find(|h| h.v2) else { t.skip("there is no cgroup v2") };
    for (own, callers) in [(0, 0), (1, 0), (0, 1), (1, 1), (2, 1), (1, 2)] {
        let mut c = t.container();
        c.probe("pause");
        let killed = |name: &str, times: u32| {
            let dir = v2.mount.join(t.token()).join(name);
            fs::create_dir_all(&dir).unwrap();
            // The file does not exist before Linux 5.14.
            (0..times).for_each(|_| drop(fs::write(dir.join("cgroup.kill"), "1")));
            dir
        };
        let caller = killed(&format!("{}-caller", c.id), callers);
        let call = |args: &[&str]| {
            let mut shell = Command::new("sh");
            let line = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", caller.display());
            let command = t.command(args);
            shell.args(["-c", &line, "sh"]).arg(command.get_program()).args(command.get_args());
            t.finish(shell)
        };
        killed(&c.id, own);
        c.write();
        let bundle = c.bundle.to_str().unwrap().to_string();
        call(&["create", "--bundle", &bundle, &c.id]).ok();
        c.start().ok();
        for _ in 0..2 {
            let seen = call(&["exec", &c.id, "probe", "cgroup"]).ok().probe();
            let place = format!("0::/{}/{}", t.token(), c.id);
            assert!(seen["cgroup"].as_array().unwrap().contains(&json!(place)), "{:?}", seen["cgroup"]);
        }
        c.remove();
        let dir = killed(&c.id, own);
        c.probe("cgroup").write();
        let id = format!("{}-run", c.id);
        call(&["run", "--bundle", &bundle, &id]).ok();
        fs::remove_dir(&caller).unwrap();
        let _ = fs::remove_dir(&dir);
    }
}

/// Each row: fields, their v2 file, and `unified` values at create and at update.
fn unified_overrides_the_resource_fields(t: &Test) {
    let both = [
        ("memory", json!({"memory": {"limit": 33_554_432}}), "memory.max", ["41943040", "50331648"]),
        ("memory", json!({"memory": {"reservation": 4_194_304}}), "memory.low", ["8388608", "4096"]),
        ("pids", json!({"pids": {"limit": 50}}), "pids.max", ["70", "90"]),
        ("cpu", json!({"cpu": {"shares": 1024}}), "cpu.weight", ["7", "8"]),
        (
            "cpu",
            json!({"cpu": {"quota": 50000, "period": 100_000}}),
            "cpu.max",
            ["20000 50000", "max 100000"],
        ),
        (
            "hugetlb",
            json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 8_388_608}]}),
            "hugetlb.2MB.max",
            ["4194304", "6291456"],
        ),
    ];
    let all = Hierarchy::all();
    let is_on = |name: &str| all.iter().any(|h| h.v2 && h.controllers.iter().any(|c| c == name));
    let here = both.iter().filter(|(controller, ..)| is_on(controller));
    let here: Vec<_> = here.filter(|(_, _, file, _)| !file.starts_with("hugetlb") || huge_pages()).collect();
    if here.is_empty() {
        t.skip("cgroup v2 has no controller with limits here");
    }
    for (controller, fields, file, [at_create, at_update]) in here {
        let mut c = t.container();
        c.probe("pause");
        let with = |value: &str| {
            let mut resources = fields.clone();
            resources["unified"] = json!({*file: value});
            resources
        };
        let devices = c.config["linux"]["resources"]["devices"].clone();
        c.config["linux"]["resources"] = with(at_create);
        c.config["linux"]["resources"]["devices"] = devices;
        c.create().ok();
        assert_eq!(c.knob(controller, "", file), *at_create, "{file} beside {fields}");
        let path = t.path("resources");
        fs::write(&path, with(at_update).to_string()).unwrap();
        c.call(&["update", "--resources", path.to_str().unwrap()]).ok();
        assert_eq!(c.knob(controller, "", file), *at_update, "{file} beside {fields}");
        c.remove();
    }
}

fn huge_pages() -> bool {
    std::path::Path::new("/sys/kernel/mm/hugepages/hugepages-2048kB").exists()
}

/// `exec` follows an init that was moved and whose old cgroup was removed.
///
/// If init is in the root cgroup, `exec` does not join it.
fn exec_joins_the_cgroup_that_init_was_moved_to(t: &Test) {
    t.needs_controller("pids");
    let mut c = t.container();
    c.probe("pause");
    c.up();
    let pid = c.pid().to_string();
    let name = format!("{}-moved", c.id);
    let places: Vec<_> =
        Hierarchy::all().into_iter().map(|h| (h.mount.clone(), h.mount.join(t.token()))).collect();
    for (_, parent) in &places {
        let (old, new) = (parent.join(&c.id), parent.join(&name));
        fs::create_dir(&new).unwrap();
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if let Ok(text) = fs::read(old.join(file)) {
                let _ = fs::write(new.join(file), text);
            }
        }
        fs::write(new.join("cgroup.procs"), &pid).unwrap();
        // The kernel may keep the cgroup for a moment after the process has left.
        eventually("the old cgroup can be removed", || fs::remove_dir(&old).is_ok());
    }
    let seen = c.exec(&["probe", "cgroup"]).ok().probe();
    for line in seen["cgroup"].as_array().unwrap() {
        assert!(line.as_str().unwrap().ends_with(&format!("/{name}")), "{line}");
    }
    for (mount, _) in &places {
        fs::write(mount.join("cgroup.procs"), &pid).unwrap();
    }
    c.exec(&["probe", "cgroup"]).exits(255).fails(&["cgroup.procs", "ENOENT"]);
    c.remove();
    for (_, parent) in &places {
        eventually("the new cgroup can be removed", || fs::remove_dir(parent.join(&name)).is_ok());
    }
}

/// An engine may run in the parent cgroup of its containers.
///
/// v2 then allows only threaded cgroups there.
fn containers_run_below_threaded_and_populated_parents(t: &Test) {
    let Some(v2) = Hierarchy::all().into_iter().find(|h| h.v2) else { t.skip("there is no cgroup v2") };
    let is_on = |name: &str| v2.controllers.iter().any(|c| c == name);
    let pids = is_on("pids");
    for (at, threaded) in [true, false].into_iter().enumerate() {
        let parent = v2.mount.join(t.token()).join(format!("parent{at}"));
        fs::create_dir_all(parent.join("t")).unwrap();
        let mut engine = Command::new("sleep").arg("1000").spawn().unwrap();
        fs::write(parent.join("cgroup.procs"), engine.id().to_string()).unwrap();
        if threaded {
            fs::write(parent.join("t/cgroup.type"), "threaded").unwrap();
        }
        let mut c = t.container();
        c.config["linux"]["cgroupsPath"] = json!(format!("/{}/parent{at}/a/{}", t.token(), c.id));
        if pids {
            c.config["linux"]["resources"]["pids"] = json!({"limit": 50});
        }
        c.probe("fork 2 say pause");
        c.up();
        c.says("acts");
        let dir = parent.join("a").join(&c.id);
        if pids {
            assert_eq!(fs::read_to_string(dir.join("pids.max")).unwrap().trim(), "50");
        }
        let seen = c.exec(&["probe", "cgroup"]).ok().probe();
        let place = format!("0::/{}/parent{at}/a/{}", t.token(), c.id);
        assert!(seen["cgroup"].as_array().unwrap().contains(&json!(place)), "{:?}", seen["cgroup"]);
        if t.runtime == Runtime::Embrun {
            let listed = c.call(&["ps", "-f", "json"]).ok().json();
            assert!(listed.as_array().unwrap().len() >= 3, "{listed}");
        }
        c.call(&["pause"]).ok();
        c.call(&["resume"]).ok();
        c.remove();
        assert!(!dir.exists());
        for (controller, resources) in [
            ("memory", json!({"memory": {"limit": 67_108_864}})),
            ("hugetlb", json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4_194_304}]})),
        ] {
            if is_on(controller) && (threaded || pids) {
                c.config["linux"]["resources"] = resources;
                c.create().exits(1).fails(&[controller]);
            }
        }
        engine.kill().unwrap();
        engine.wait().unwrap();
        for dir in [parent.join("t"), parent.clone()] {
            eventually("the parent can be removed", || fs::remove_dir(&dir).is_ok());
        }
    }
}

/// The freezer file and the value that freezes.
fn freezer(t: &Test) -> (&'static str, &'static str) {
    t.needs_controller("freezer");
    match t.hierarchy("freezer").unwrap().v2 {
        true => ("cgroup.freeze", "1"),
        false => ("freezer.state", "FROZEN"),
    }
}

/// Init would freeze there and never answer.
fn create_below_a_frozen_cgroup_is_refused(t: &Test) {
    let (file, frozen) = freezer(t);
    let mut c = t.container();
    c.config["linux"]["cgroupsPath"] = json!(format!("/{}/pod/{}", t.token(), c.id));
    let pod = t.hierarchy("freezer").unwrap().mount.join(t.token()).join("pod");
    fs::create_dir_all(&pod).unwrap();
    fs::write(pod.join(file), frozen).unwrap();
    c.create().exits(1).fails(&["frozen"]);
    fs::remove_dir(pod).unwrap();
}

/// A hook freezes it, like a program that ignores that a container is being made.
fn freezing_a_container_during_create_does_not_hang(t: &Test) {
    let (file, frozen) = freezer(t);
    let mut c = t.container();
    let path = c.cgroup("freezer").join(file);
    let line = format!("cat > /dev/null; echo {frozen} > {}", path.display());
    c.config["hooks"] = json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", line]}]});
    let start = Instant::now();
    c.create().exits(1).fails(&["frozen"]);
    assert!(start.elapsed() < Duration::from_secs(20) * slow(), "{:?}", start.elapsed());
    assert!(!c.cgroup("freezer").exists());
}

/// The pause is longer than a container may be frozen during create.
fn exec_into_a_paused_container_waits_until_it_is_resumed(t: &Test) {
    t.needs_controller("freezer");
    let mut c = t.container();
    c.probe("pause");
    c.up();
    c.call(&["pause"]).ok();
    let exec = t.spawn(t.command(&["exec", "--ignore-paused", &c.id, "probe", "cgroup"]));
    std::thread::sleep(Duration::from_secs(7));
    assert_eq!(exec.stdout(), "");
    c.call(&["resume"]).ok();
    exec.wait().ok();
    c.remove();
}
