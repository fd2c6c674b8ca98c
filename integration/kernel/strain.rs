//! Containers at their limits and racing commands: nothing hangs or is left.

use crate::cases;
use crate::common::{Case, Container, Hierarchy, Output, Test, eventually, rounds};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub const CASES: &[Case] = cases![
    container_starts_with_256_kib_of_memory,
    memory_limit_too_low_for_the_start_is_reported,
    commands_work_under_repeated_oom_kills,
    pids_limit_stops_a_fork_bomb,
    update_racing_with_delete_is_in_time_or_reports_gone,
    exec_racing_with_the_end_reports_not_running,
    update_and_delete_handle_an_externally_removed_cgroup,
    delete_works_while_paused_and_while_pausing,
];

const MIB: i64 = 1 << 20;

/// The errors of runtimes for a missing container.
const GONE: &[&str] = &["does not exist", "no such file"];

/// Runs `true` with little memory: the memory of the runtime must not count.
///
/// The kernel charges up to a quarter of a MiB in advance per processor, so a start may fail now and
/// then, and reports it.
fn container_starts_with_256_kib_of_memory(t: &Test) {
    t.needs_controller("memory");
    let profile: Value = serde_json::from_str(include_str!("../../seccomp-profiles/default.json")).unwrap();
    for seccomp in [None, Some(profile)] {
        let mut c = t.container();
        c.config["linux"]["resources"]["memory"] = json!({"limit": MIB / 4, "swap": MIB / 4});
        if let Some(profile) = seccomp {
            c.config["linux"]["seccomp"] = profile;
        }
        c.args(&["true"]);
        let fits = |act: &mut dyn FnMut() -> Output| {
            let out = act();
            if out.status != 0 {
                out.fails(&["OOM", "unable to set memory limit"]);
                return false;
            }
            true
        };
        let started = |c: &Container<'_>| {
            let created = fits(&mut || c.create());
            if created {
                assert_eq!(c.knob("memory", "memory.limit_in_bytes", "memory.max"), (MIB / 4).to_string());
            }
            let started = created && fits(&mut || c.start());
            c.call(&["delete", "--force"]).ok();
            started
        };
        assert!((0..4).any(|_| fits(&mut || c.run())));
        assert!((0..4).any(|_| started(&c)));
    }
}

/// At each limit from one page on, start reports the failure or the program runs.
fn memory_limit_too_low_for_the_start_is_reported(t: &Test) {
    t.needs_controller("memory");
    const WORDS: &[&str] = &[
        "OOM-killed (memory limit too low?)",
        "OOM: the memory limit could be too low",
        "unable to set memory limit to ",
    ];
    let mut c = t.container();
    c.args(&["sh", "-c", "echo alive; sleep 0.2; exit 7"]);
    for kib in [4, 16, 32, 48, 64, 80, 96, 128, 192, 256].repeat(rounds(3).max(1) as usize) {
        c.config["linux"]["resources"]["memory"] = json!({"limit": kib * 1024, "swap": kib * 1024});
        let out = c.run();
        if (out.status, out.stdout.as_str()) != (7, "alive\n") {
            out.fails(WORDS);
        }
        c.call(&["state"]).fails(GONE);
        let out = c.create();
        if out.status == 0 {
            let out = c.start();
            if out.status != 0 {
                out.fails(WORDS);
            }
            c.remove();
        } else {
            out.fails(WORDS);
            c.call(&["state"]).fails(GONE);
        }
        let bundle = c.bundle.to_str().unwrap();
        let out = t.call(&["run", "--detach", "--bundle", bundle, &c.id]);
        if out.status == 0 {
            eventually("it ends", || c.status() == "stopped");
            assert_eq!(out.stdout, "alive\n", "{kib} KiB: started, and killed before it ran");
            c.remove();
        } else {
            out.fails(WORDS);
            c.call(&["state"]).fails(GONE);
        }
    }
    assert!(c.test.call(&["list", "-q"]).ok().stdout.is_empty());
}

fn small(t: &Test) -> Container<'_> {
    let mut c = t.container();
    c.config["linux"]["resources"]["memory"] = json!({"limit": 24 * MIB, "swap": 24 * MIB});
    c.config["linux"]["resources"]["pids"] = json!({"limit": 100});
    c
}

/// The payload's children are OOM-killed all the time while commands run on it.
fn commands_work_under_repeated_oom_kills(t: &Test) {
    t.needs_controller("memory");
    t.needs_controller("pids");
    let mut c = small(t);
    // The OOM killer must choose the child.
    let greedy = "(echo 1000 > /proc/self/oom_score_adj; exec probe eat 200 > /dev/null)";
    c.args(&["sh", "-c", &format!("while :; do {greedy}; done")]).up();
    let events = t.spawn(t.command(&["events", "--interval=50ms", &c.id]));
    let kills = || {
        let (v1, v2) = ("memory.oom_control", "memory.events");
        let text = c.knob("memory", v1, v2);
        text.lines().find_map(|l| l.strip_prefix("oom_kill ")).map_or(0, |n| n.trim().parse::<u32>().unwrap())
    };
    for round in 1..=5 {
        let before = kills();
        eventually("one more is killed", || kills() > before);
        assert_eq!(c.status(), "running", "round {round}");
        c.call(&["ps", "--format=json"]).ok();
        c.call(&["update", "--pids-limit", &(90 + round).to_string()]).ok();
    }
    eventually("the OOM kill is reported", || events.stdout().contains(r#""type":"oom""#));
    let began = Instant::now();
    c.remove();
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    events.wait().ok();
}

fn pids_limit_stops_a_fork_bomb(t: &Test) {
    t.needs_controller("pids");
    let mut c = small(t);
    // Room for a hundred processes, with the kernel memory for each.
    c.config["linux"]["resources"]["memory"] = json!({"limit": 128 * MIB, "swap": 128 * MIB});
    c.args(&["sh", "-c", "bomb() { bomb | bomb & }; bomb; while :; do :; done"]).up();
    // Count how often the limit was hit: the bomb may be over before anyone counts its processes.
    let met = || c.knob("pids", "pids.events", "pids.events").trim() != "max 0";
    eventually("the bomb has hit its limit", met);
    // `pids.current` also counts a fork that is being refused, for a moment.
    let members = c.knob("pids", "cgroup.procs", "cgroup.procs").lines().count();
    assert!(members <= 100, "{members}");
    c.call(&["state"]).ok();
    let began = Instant::now();
    c.remove();
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
}

/// An update is in time or reports that the container is gone.
///
/// A deleted container stays deleted.
fn update_racing_with_delete_is_in_time_or_reports_gone(t: &Test) {
    t.needs_controller("pids");
    for round in 0..6 {
        let mut c = t.container();
        c.probe("pause").up();
        let dir = c.cgroup("pids");
        let updates: Vec<_> = (0..4)
            .map(|n| t.spawn(t.command(&["update", "--pids-limit", &(50 + n).to_string(), &c.id])))
            .collect();
        std::thread::sleep(Duration::from_millis(round * 3));
        c.remove();
        assert!(!dir.exists());
        for update in updates {
            let out = update.wait();
            if out.status != 0 {
                out.fails(&["does not exist", "not running", "is gone", "no such file"]);
            }
        }
        assert!(!dir.exists());
        c.call(&["state"]).fails(GONE);
    }
}

fn update_and_delete_handle_an_externally_removed_cgroup(t: &Test) {
    t.needs_controller("pids");
    let mut c = t.container();
    c.probe("pause").up();
    let all: Vec<PathBuf> =
        Hierarchy::all().iter().map(|h| h.mount.join(t.token()).join(&c.id)).filter(|d| d.exists()).collect();
    assert!(!all.is_empty());
    c.kill("KILL").ok();
    c.stopped();
    eventually("the kernel has released the cgroups", || {
        all.iter().all(|d| fs::remove_dir(d).is_ok() || !d.exists())
    });
    assert_eq!(c.status(), "stopped");
    c.call(&["update", "--pids-limit", "5"]).fails(&["not running", "no such file"]);
    c.delete().ok();
}

fn delete_works_while_paused_and_while_pausing(t: &Test) {
    t.needs_controller("freezer");
    let mut c = t.container();
    c.probe("fork 5 say pause").up();
    c.says("acts");
    c.call(&["pause"]).ok();
    c.remove();
    let mut c = t.container();
    c.probe("fork 5 say pause").up();
    c.says("acts");
    let pauses: Vec<_> = (0..3).map(|_| t.spawn(t.command(&["pause", &c.id]))).collect();
    c.remove();
    for pause in pauses {
        let out = pause.wait();
        if out.status != 0 {
            out.fails(&["does not exist", "not running", "paused", "is gone", "no such file"]);
        }
    }
    c.call(&["state"]).fails(GONE);
}

/// An exec that meets the end of init reports that the container does not run.
///
/// The kernel's own errors (no namespace, no memory) make engines report a missing program.
fn exec_racing_with_the_end_reports_not_running(t: &Test) {
    for round in 0..24 {
        let mut c = t.container();
        c.args(&["sleep", &format!("0.0{}", round % 9 + 1)]);
        c.create().ok();
        let runtime = format!("{} --root /run/it/state", t.runtime_path().display());
        let line = format!("for i in 1 2 3 4 5 6 7 8; do {runtime} exec {} true || true; done", c.id);
        let execs = [(); 4].map(|()| {
            let mut shell = std::process::Command::new("sh");
            shell.args(["-c", &line]);
            shell
        });
        c.start().ok();
        let said = execs.map(|shell| t.spawn(shell)).map(|running| running.wait().ok().stderr).concat();
        let known = ["container not running", "cannot exec in a stopped container"];
        let odd = said.lines().find(|line| !known.iter().any(|k| line.ends_with(k)));
        assert_eq!(odd, None);
        c.remove();
    }
}
