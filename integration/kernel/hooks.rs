//! `hooks`: the six kinds, their order, their input and the effect of a failure.

use crate::cases;
use crate::common::{Case, Container, Hierarchy, Test, eventually, has_not_grown, own_memory};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub const CASES: &[Case] = cases![
    six_kinds_run_in_the_specified_order,
    hooks_read_the_state_from_stdin,
    hook_may_leave_its_stdin_unread,
    hook_environment_is_only_the_configured_one,
    host_hook_without_env_inherits_the_runtimes,
    start_container_hook_without_env_inherits_the_programs,
    create_container_hook_starts_in_the_root,
    hook_args_are_passed,
    several_of_a_kind_run_in_listed_order,
    create_runtime_sees_the_host_and_create_container_the_container,
    failing_prestart_hook_fails_create,
    failing_create_runtime_hook_fails_create,
    failing_create_container_hook_fails_create,
    failing_start_container_hook_fails_start,
    init_killed_in_a_start_container_hook_fails_start,
    failing_poststart_hook_fails_start,
    failing_poststop_hook_warns_and_the_rest_run,
    missing_hook_fails_create_and_is_named,
    hanging_hook_is_killed_at_its_timeout,
    create_interrupted_in_a_hook_is_rolled_back,
    hook_output_does_not_grow_memory,
    refused_limits_run_no_hook,
    missing_memory_file_runs_no_hook,
];

const MIB: i64 = 1 << 20;

const KINDS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// A hook that runs a line of shell with the state on its standard input.
fn shell(line: &str) -> Value {
    json!({"path": "/bin/sh", "args": ["sh", "-c", line]})
}

/// Reads the state to its end, which some runtimes may need from every hook.
const READ: &str = "while read -r _; do :; done;";

/// A hook that reads the state and then runs a line of shell.
fn after_reading(line: &str) -> Value {
    shell(&format!("{READ} {line}"))
}

/// A container whose init says `started`, with a directory for hooks and init.
///
/// All of them reach it at one path: on the host the real directory, in the container a mount at the
/// same place.
fn hooked(t: &Test) -> (Container<'_>, PathBuf) {
    let mut c = t.container();
    let log = c.bundle.join("hooks");
    fs::create_dir(&log).unwrap();
    let path = log.to_str().unwrap().to_string();
    c.mount(&path, "none", &path, &["bind", "rw"]);
    c.args(&["sh", "-c", &format!("echo init >> {path}/order")]);
    (c, log)
}

fn six_kinds_run_in_the_specified_order(t: &Test) {
    let (mut c, log) = hooked(t);
    for kind in KINDS {
        c.config["hooks"][kind] = json!([after_reading(&format!("echo {kind} >> {}/order", log.display()))]);
    }
    let order = || fs::read_to_string(log.join("order")).unwrap_or_default();
    c.create().ok();
    assert_eq!(order(), "prestart\ncreateRuntime\ncreateContainer\n");
    c.start().ok();
    c.stopped();
    let started: Vec<String> = order().lines().skip(3).map(String::from).collect();
    assert_eq!(started[0], "startContainer");
    assert!(started.contains(&"init".into()) && started.contains(&"poststart".into()), "{started:?}");
    assert_eq!(started.len(), 3);
    c.delete().ok();
    assert_eq!(order().lines().last(), Some("poststop"));
}

fn hooks_read_the_state_from_stdin(t: &Test) {
    let (mut c, log) = hooked(t);
    c.config["annotations"] = json!({"k": "v"});
    for kind in KINDS {
        c.config["hooks"][kind] = json!([shell(&format!("cat > {}/{kind}", log.display()))]);
    }
    c.args(&["sleep", "100"]);
    c.up();
    let pid = c.pid();
    c.remove();
    for kind in KINDS {
        let state: Value = serde_json::from_str(&fs::read_to_string(log.join(kind)).unwrap()).unwrap();
        assert_eq!(state["id"], json!(c.id), "{kind}");
        assert_eq!(state["bundle"], json!(c.bundle.to_str()), "{kind}");
        assert_eq!(state["annotations"], json!({"k": "v"}), "{kind}");
        assert!(state["ociVersion"].is_string(), "{kind}");
        let statuses: &[&str] = match kind {
            "prestart" | "createRuntime" => &["creating"],
            "createContainer" => &["creating"],
            "startContainer" => &["created", "creating"],
            "poststart" => &["running"],
            _ => &["stopped"],
        };
        let status = state["status"].as_str().unwrap();
        assert!(statuses.contains(&status), "{kind}: {status}");
        if ["prestart", "createRuntime", "poststart"].contains(&kind) {
            assert_eq!(state["pid"], pid, "{kind}");
        }
    }
}

fn hook_may_leave_its_stdin_unread(t: &Test) {
    let mut c = t.container();
    // This is more than a pipe holds.
    c.config["annotations"] = json!({"long": "x".repeat(100_000)});
    c.config["hooks"]["createRuntime"] = json!(vec![shell("exit 0"); 20]);
    c.probe("pid").run().ok();
}

fn hook_environment_is_only_the_configured_one(t: &Test) {
    let (mut c, log) = hooked(t);
    let line = format!("{READ} env > {}/env", log.display());
    c.config["hooks"]["poststart"] =
        json!([{"path": "/bin/sh", "args": ["sh", "-c", line], "env": ["PATH=/usr/bin:/bin", "ONLY=this"]}]);
    c.config["process"]["env"] = json!(["PATH=/bin", "SECRET=payload"]);
    c.up();
    c.stopped();
    c.delete().ok();
    let env = fs::read_to_string(log.join("env")).unwrap();
    assert!(env.contains("ONLY=this\n") && !env.contains("SECRET"), "{env}");
    assert!(!env.contains("IT_TOKEN"), "the hook has the runtime's environment: {env}");
}

fn hook_args_are_passed(t: &Test) {
    let (mut c, log) = hooked(t);
    let line = format!("{READ} echo \"$0 $1 $2\" > {}/args", log.display());
    c.config["hooks"]["createRuntime"] =
        json!([{"path": "/bin/sh", "args": ["anything", "-c", line, "a", "b b", ""]}]);
    c.run().ok();
    assert_eq!(fs::read_to_string(log.join("args")).unwrap(), "a b b \n");
}

fn several_of_a_kind_run_in_listed_order(t: &Test) {
    let (mut c, log) = hooked(t);
    let hooks: Vec<Value> =
        (0..5).map(|n| after_reading(&format!("echo {n} >> {}/order", log.display()))).collect();
    c.config["hooks"]["createRuntime"] = json!(hooks);
    c.create().ok();
    assert_eq!(fs::read_to_string(log.join("order")).unwrap(), "0\n1\n2\n3\n4\n");
    c.remove();
}

fn create_runtime_sees_the_host_and_create_container_the_container(t: &Test) {
    let (mut c, log) = hooked(t);
    for kind in ["createRuntime", "createContainer", "startContainer"] {
        let line =
            format!("for n in mnt uts net; do readlink /proc/self/ns/$n; done > {}/{kind}", log.display());
        c.config["hooks"][kind] = json!([after_reading(&line)]);
    }
    let path = log.display().to_string();
    c.args(&["sh", "-c", &format!("for n in mnt uts net; do readlink /proc/self/ns/$n; done > {path}/init")]);
    c.run().ok();
    let seen = |kind: &str| fs::read_to_string(log.join(kind)).unwrap();
    let own: String = ["mnt", "uts", "net"]
        .map(|n| format!("{}\n", fs::read_link(format!("/proc/self/ns/{n}")).unwrap().display()))
        .concat();
    assert_eq!(seen("createRuntime"), own);
    assert_eq!(seen("createContainer"), seen("init"));
    assert_eq!(seen("startContainer"), seen("init"));
}

/// Requires that a failing hook fails create, which says so and leaves nothing.
///
/// Its poststop hook has run; the cage checks for leftovers.
#[track_caller]
fn fails_create(t: &Test, kind: &str) {
    let (c, log) = with_hook(t, kind, "echo the-reason >&2; exit 3");
    c.create().fails(&["hook"]);
    t.call(&["state", &c.id]).exits(1).fails(&["exist", "no such"]);
    let order = || fs::read_to_string(log.join("order")).unwrap_or_default();
    // The payload has not run at any point.
    assert_eq!(order(), "stopped\n");
}

fn failing_prestart_hook_fails_create(t: &Test) {
    fails_create(t, "prestart");
}

fn failing_create_runtime_hook_fails_create(t: &Test) {
    fails_create(t, "createRuntime");
}

fn failing_create_container_hook_fails_create(t: &Test) {
    fails_create(t, "createContainer");
}

/// The container is stopped and taken down by then, and its poststop hook has run.
///
/// This is runtime.md, "Lifecycle", steps 8, 10 and 12 to 14.
#[track_caller]
fn is_taken_down(c: &Container<'_>, log: &Path, order: &str) {
    c.call(&["state"]).exits(1).fails(&["does not exist"]);
    assert_eq!(c.test.call(&["list", "-q"]).ok().stdout, "");
    let has = |h: &Hierarchy| h.mount.join(c.test.token()).join(&c.id).exists();
    assert!(!Hierarchy::all().iter().any(has), "its cgroups still exist");
    assert_eq!(fs::read_to_string(log.join("order")).unwrap_or_default(), order);
}

/// A container with a poststop hook and a hook of another kind that runs this line.
fn with_hook<'t>(t: &'t Test, kind: &str, line: &str) -> (Container<'t>, PathBuf) {
    let (mut c, log) = hooked(t);
    c.config["hooks"] = json!({
        kind: [after_reading(line)],
        "poststop": [after_reading(&format!("echo stopped >> {}/order", log.display()))],
    });
    (c, log)
}

fn failing_start_container_hook_fails_start(t: &Test) {
    for command in [&["start"][..], &["run"], &["run", "--detach"]] {
        let (c, log) = with_hook(t, "startContainer", "exit 3");
        let out = match command {
            ["start"] => {
                c.create().ok();
                c.start()
            }
            _ => c.spawn_run(&command[1..]).wait(),
        };
        out.exits(1).fails(&["error running startContainer hook #0: /bin/sh: exit status 3"]);
        is_taken_down(&c, &log, "stopped\n");
    }
}

/// Neither the end of init's socket nor its death means that the program started.
fn init_killed_in_a_start_container_hook_fails_start(t: &Test) {
    for signal in ["KILL", "TERM"] {
        let (mut c, log) = with_hook(t, "startContainer", "");
        c.config["hooks"]["startContainer"] =
            json!([after_reading(&format!("echo on >> {}/order; sleep 100", log.display()))]);
        c.config["hooks"]["poststart"] =
            json!([after_reading(&format!("echo bad >> {}/order", log.display()))]);
        for command in [&["start"][..], &["run"], &["run", "--detach"]] {
            let _ = fs::remove_file(log.join("order"));
            let running = if command == ["start"] {
                c.create().ok();
                t.spawn(t.command(&["start", &c.id]))
            } else {
                c.spawn_run(&command[1..])
            };
            eventually("the hook runs", || fs::read_to_string(log.join("order")).is_ok());
            c.kill(signal).ok();
            running.wait().exits(1).fails(&["killed", "init ended with status 143"]);
            is_taken_down(&c, &log, "on\nstopped\n");
        }
    }
}

fn failing_poststart_hook_fails_start(t: &Test) {
    for command in [&["start"][..], &["run"], &["run", "--detach"]] {
        let (mut c, log) = with_hook(t, "poststart", "exit 3");
        c.args(&["sleep", "100"]);
        let out = if command == ["start"] {
            c.create().ok();
            c.start()
        } else {
            c.spawn_run(&command[1..]).wait()
        };
        out.exits(1).fails(&["error running poststart hook #0: /bin/sh: exit status 3"]);
        is_taken_down(&c, &log, "stopped\n");
    }
}

fn failing_poststop_hook_warns_and_the_rest_run(t: &Test) {
    let (mut c, log) = hooked(t);
    c.config["hooks"]["poststop"] =
        json!([after_reading("exit 3"), after_reading(&format!("echo ran > {}/second", log.display()))]);
    c.up();
    c.stopped();
    let out = c.delete().ok();
    assert!(out.stderr.contains("hook"), "no warning of a hook in {:?}", out.stderr);
    assert_eq!(fs::read_to_string(log.join("second")).unwrap(), "ran\n");
}

fn missing_hook_fails_create_and_is_named(t: &Test) {
    let (mut c, _) = hooked(t);
    c.config["hooks"]["createRuntime"] = json!([{"path": "/no/such/hook"}]);
    c.create().fails(&["/no/such/hook"]).fails(&["no such file or directory"]);
}

/// The hook's children keep its stderr open, which must not delay the runtime.
fn hanging_hook_is_killed_at_its_timeout(t: &Test) {
    let (mut c, _) = hooked(t);
    let mut hook = after_reading("sleep 100 & sleep 100");
    hook["timeout"] = json!(1);
    c.config["hooks"]["createRuntime"] = json!([hook]);
    let began = std::time::Instant::now();
    c.create().exits(1).fails(&["timeout", "timed out", "killed", "deadline"]);
    assert!(began.elapsed().as_secs() < 15, "it took {:?}", began.elapsed());
}

fn create_interrupted_in_a_hook_is_rolled_back(t: &Test) {
    for kind in ["createRuntime", "createContainer"] {
        for flags in [&["create"][..], &["run"], &["run", "--detach"]] {
            let (mut c, log) = hooked(t);
            c.config["hooks"][kind] =
                json!([after_reading(&format!("echo on >> {}/order; exec sleep 60", log.display()))]);
            c.config["hooks"]["poststop"] =
                json!([after_reading(&format!("echo stop >> {}/order", log.display()))]);
            c.write();
            let bundle = c.bundle.to_str().unwrap();
            let id = c.id.as_str();
            let running = t.spawn(t.command(&[flags, &["--bundle", bundle, id]].concat()));
            let order = || fs::read_to_string(log.join("order")).unwrap_or_default();
            eventually("the hook runs", || order() == "on\n");
            kill(Pid::from_raw(running.pid()), Signal::SIGTERM).unwrap();
            running.wait().fails(&["interrupt"]);
            assert_eq!(t.call(&["list", "-q"]).ok().stdout, "");
            assert!(!order().contains("init"));
        }
    }
}

fn start_container_hook_without_env_inherits_the_programs(t: &Test) {
    let (mut c, log) = hooked(t);
    c.config["process"]["env"] = json!(["PATH=/bin", "ONE=two"]);
    let line = format!("echo $ONE $HOME > {}/env", log.display());
    c.config["hooks"]["startContainer"] = json!([{"path": "/bin/sh", "args": ["sh", "-c", line]}]);
    c.run().ok();
    assert_eq!(fs::read_to_string(log.join("env")).unwrap(), "two /root\n");
}

fn create_container_hook_starts_in_the_root(t: &Test) {
    let mut c = t.container();
    c.config["root"]["readonly"] = json!(false);
    c.mount("/volume", "tmpfs", "t", &[]);
    c.config["hooks"]["createContainer"] = json!([after_reading("echo from the hook > volume/file")]);
    assert_eq!(c.probe("read /volume/file").run().ok().probe().text("read").trim(), "from the hook");
}

fn host_hook_without_env_inherits_the_runtimes(t: &Test) {
    let (mut c, log) = hooked(t);
    let line = format!("{READ} echo $MARK > {}/env", log.display());
    c.config["hooks"]["createRuntime"] = json!([{"path": "/bin/sh", "args": ["sh", "-c", line]}]);
    c.write();
    let mut command = t.command(&["run", "--bundle", c.bundle.to_str().unwrap(), &c.id]);
    command.env("MARK", "the caller's");
    t.finish(command).ok();
    assert_eq!(fs::read_to_string(log.join("env")).unwrap(), "the caller's\n");
}

/// A command that lasts must not grow: the heap does not give memory back.
fn hook_output_does_not_grow_memory(t: &Test) {
    let (mut c, log) = hooked(t);
    let talk = "n=0; while [ $n -lt 3000 ]; do echo word; n=$((n + 1)); done";
    let step = |name: &str| format!("echo {name} >> {}/order", log.display());
    let wait = |name: &str| format!("while [ ! -e {}/{name} ]; do sleep 0.02; done", log.display());
    let line =
        [talk, &step("one"), &wait("go"), talk, &step("two"), &wait("end")].map(String::from).join("; ");
    c.config["hooks"]["createRuntime"] = json!([after_reading(&line)]);
    c.write();
    let running = t.spawn(t.command(&["create", "--bundle", c.bundle.to_str().unwrap(), &c.id]));
    let order = || fs::read_to_string(log.join("order")).unwrap_or_default();
    eventually("the hook has written", || order() == "one\n");
    std::thread::sleep(std::time::Duration::from_millis(100));
    let before = own_memory(running.pid());
    fs::write(log.join("go"), "").unwrap();
    eventually("the hook has written again", || order() == "one\ntwo\n");
    has_not_grown(running.pid(), before);
    fs::write(log.join("end"), "").unwrap();
    running.wait().ok();
    c.remove();
}

/// Refused limits have no effect: no hook has run, and no state root is made.
fn refused_limits_run_no_hook(t: &Test) {
    let (mut c, log) = hooked(t);
    for kind in KINDS {
        c.config["hooks"][kind] = json!([after_reading(&format!("echo {kind} >> {}/order", log.display()))]);
    }
    let (v1, v2) = (t.hierarchy("memory").is_some_and(|h| !h.v2), t.pure_v2());
    let disabled = "cgroups are disabled (--cgroup-manager)";
    let less = "memory.swap: 1048576 is memory and swap together, and less than memory.limit, 2097152";
    let no_such_setting = "cgroup v2 has no such setting";
    let swap = json!({"memory": {"limit": 2 * MIB, "swap": 2 * MIB}});
    for (here, manager, resources, says) in [
        (true, "disabled", swap, disabled),
        (true, "disabled", json!({"pids": {"limit": 5}}), disabled),
        (true, "disabled", json!({"unified": {"memory.max": "max"}}), "there is no cgroup v2 here"),
        (true, "cgroupfs", json!({"cpu": {"idle": 2}}), "linux.resources.cpu.idle: must be 0 or 1"),
        (true, "cgroupfs", json!({"memory": {"limit": -2}}), "linux.resources.memory.limit: must be "),
        (true, "cgroupfs", json!({"unified": {"bogus.max": "1"}}), "linux.resources.unified"),
        (v1 || v2, "cgroupfs", json!({"memory": {"limit": 2 * MIB, "swap": MIB}}), less),
        (v2, "cgroupfs", json!({"memory": {"swap": MIB}}), "memory.swap: needs a memory.limit"),
        (v2, "cgroupfs", json!({"memory": {"swappiness": 5}}), no_such_setting),
        (v2, "cgroupfs", json!({"memory": {"disableOOMKiller": true}}), no_such_setting),
        (v2, "cgroupfs", json!({"network": {"classID": 5}}), "cgroup v2 has no"),
        (v1, "cgroupfs", json!({"unified": {"memory.max": "max"}}), "linux.resources.unified"),
        (
            v1 && t.hierarchy("devices").is_some_and(|h| !h.v2),
            "cgroupfs",
            json!({"devices": [
                {"allow": true, "type": "c", "major": 1, "access": "rwm"},
                {"allow": false, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
            ]}),
            "cgroup v1 cannot deny c 1:3 rwm",
        ),
    ] {
        if !here {
            continue;
        }
        c.config["linux"]["resources"] = resources;
        c.write();
        let root = t.path("no-states");
        let mut command = Command::new(t.runtime_path());
        command.args(["--root", root.to_str().unwrap(), "--cgroup-manager", manager]);
        command.args(["create", "--bundle", c.bundle.to_str().unwrap(), &c.id]);
        t.finish(command).fails(&[says]);
        assert!(!log.join("order").exists(), "hooks have run before {says:?}");
        assert!(!root.exists(), "the root of the states was made before {says:?}");
    }
}

/// A missing file shows only in the cgroup, and memory limits are set late.
fn missing_memory_file_runs_no_hook(t: &Test) {
    t.needs_controller("memory");
    if !t.pure_v2() {
        t.skip("a file is named by itself on v2 only");
    }
    let (mut c, log) = hooked(t);
    for kind in KINDS {
        c.config["hooks"][kind] = json!([after_reading(&format!("echo {kind} >> {}/order", log.display()))]);
    }
    c.config["linux"]["resources"] = json!({"unified": {"memory.bogus": "1"}});
    c.create().fails(&["linux.resources.unified: write \"1\" to ", "memory.bogus", "ENOENT"]);
    is_taken_down(&c, &log, "");
}
