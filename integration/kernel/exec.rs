//! `exec`: another process in a running container.

use crate::cases;
use crate::common::{Case, Container, Output, Probed, Test, eventually};
use serde_json::json;
use std::fs;
use std::process::Command;

pub const CASES: &[Case] = cases![
    exec_joins_the_namespaces_and_the_cgroup,
    exec_leads_its_own_session,
    exit_status_is_that_of_the_process,
    killed_process_returns_128_plus_the_signal,
    missing_or_non_executable_command_fails,
    detached_exec_writes_its_pid_file,
    stdin_reaches_the_process,
    rlimits_and_masked_paths_apply_to_exec,
    exec_in_a_stopped_container_is_refused,
    exec_in_a_missing_container_is_refused,
    exec_in_a_created_container_works,
    parallel_execs_return_their_own_statuses,
    exec_runs_in_a_busy_container,
    exec_has_only_the_standard_descriptors,
    exec_cpu_affinity_does_not_apply_to_init,
    callers_cpu_affinity_is_not_inherited,
    exec_has_the_containers_personality,
    exec_joins_the_containers_session_keyring,
];

pub fn up(t: &Test) -> Container<'_> {
    let mut c = t.container();
    c.probe("pause");
    c.up();
    c
}

fn exec_joins_the_namespaces_and_the_cgroup(t: &Test) {
    let c = up(t);
    let seen = c.exec(&["probe", "namespaces", "cgroup", "processes"]).ok().probe();
    let init = c.pid();
    for name in ["pid", "net", "ipc", "uts", "mnt", "cgroup", "user"] {
        let theirs = fs::read_link(format!("/proc/{init}/ns/{name}")).unwrap();
        assert_eq!(seen["namespaces"][name], json!(theirs.to_str()), "{name}");
    }
    let mut own: Vec<String> =
        fs::read_to_string(format!("/proc/{init}/cgroup")).unwrap().lines().map(String::from).collect();
    // On a hybrid host the kernel decides the order. With crun the unified hierarchy is hidden and left
    // out.
    own.retain(|l| l.contains(t.token()));
    let theirs = seen["cgroup"].as_array().unwrap();
    assert_eq!(own.is_empty(), t.hierarchy("pids").is_none(), "{own:?}");
    assert!(own.iter().all(|l| theirs.contains(&json!(l))), "{own:?} {theirs:?}");
    assert!(seen["processes"].as_array().unwrap().contains(&json!(1)));
    c.remove();
}

fn exec_leads_its_own_session(t: &Test) {
    let c = up(t);
    let seen = c.exec(&["probe", "session", "pid"]).ok().probe();
    assert_eq!(seen["session"]["sid"], seen["pid"]);
    c.remove();
}

fn exit_status_is_that_of_the_process(t: &Test) {
    let c = up(t);
    for status in [0, 1, 42, 255] {
        c.exec(&["probe", "exit", &status.to_string()]).exits(status);
    }
    c.remove();
}

fn killed_process_returns_128_plus_the_signal(t: &Test) {
    let c = up(t);
    c.exec(&["sh", "-c", "kill -KILL $$"]).exits(137);
    c.exec(&["sh", "-c", "kill -TERM $$"]).exits(143);
    c.remove();
}

fn missing_or_non_executable_command_fails(t: &Test) {
    let c = up(t);
    let missing = ["executable file not found in $PATH", "executable file `no-such-tool` not found in $PATH"];
    c.exec(&["no-such-tool"]).fails(&missing);
    c.exec(&["/etc/passwd"]).fails(&["permission denied"]);
    assert_eq!(c.status(), "running");
    c.remove();
}

fn detached_exec_writes_its_pid_file(t: &Test) {
    let c = up(t);
    let file = t.path("pid");
    c.exec_with(&["--detach", "--pid-file", file.to_str().unwrap()], &["probe", "pause"]).ok();
    let pid = fs::read_to_string(&file).unwrap();
    assert!(pid.parse::<u32>().is_ok(), "{pid:?}");
    let comm = || fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    eventually("it is the probe", || comm() == "probe\n");
    let pids = c.call(&["ps", "--format", "json"]).ok().json();
    // Without cgroups only init is known.
    let known = if t.hierarchy("pids").is_some() { 2 } else { 1 };
    assert_eq!(pids.as_array().map(Vec::len), Some(known), "{pids}");
    c.remove();
}

fn stdin_reaches_the_process(t: &Test) {
    let c = up(t);
    let exec = format!("{} --root /run/it/state exec {} cat", t.runtime_path().display(), c.id);
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("echo piped | {exec}")]);
    assert_eq!(t.finish(shell).ok().stdout, "piped\n");
    c.remove();
}

fn rlimits_and_masked_paths_apply_to_exec(t: &Test) {
    let c = up(t);
    let seen = c
        .exec(&["probe", "rlimits", "read", "/proc/keys", "write", "/proc/sys/kernel/shmmax", "x"])
        .ok()
        .probe();
    assert_eq!(seen["rlimits"]["Max open files"], json!(["1024", "1024"]));
    assert_eq!(seen.text("read /proc/keys"), "");
    assert_eq!(seen.result("write"), "EROFS");
    c.remove();
}

fn exec_in_a_stopped_container_is_refused(t: &Test) {
    let c = t.container();
    c.up();
    c.stopped();
    c.exec(&["true"]).fails(&["stopped", "not running"]);
    c.delete().ok();
}

fn exec_in_a_missing_container_is_refused(t: &Test) {
    t.call(&["exec", "nobody", "true"]).fails(&["does not exist", "no such file or directory"]);
}

fn exec_in_a_created_container_works(t: &Test) {
    let mut c = t.container();
    c.probe("pause");
    c.create().ok();
    c.exec(&["true"]).ok();
    assert_eq!(c.status(), "created");
    c.remove();
}

fn parallel_execs_return_their_own_statuses(t: &Test) {
    let c = up(t);
    let running: Vec<_> = (0..8)
        .map(|n| t.spawn(t.command(&["exec", &c.id, "sh", "-c", &format!("echo {n}; exit {n}")])))
        .collect();
    for (n, exec) in running.into_iter().enumerate() {
        assert_eq!(exec.wait().exits(n as i32).stdout, format!("{n}\n"));
    }
    eventually("only init is left", || {
        c.call(&["ps", "--format", "json"]).json().as_array().is_some_and(|p| p.len() == 1)
    });
    c.remove();
}

/// Before Linux 6.6 a process that another moves into a busy v1 cgroup may starve.
///
/// A new process keeps the virtual time of its old run queue and waits until the cgroup's queue has
/// caught up.
fn exec_runs_in_a_busy_container(t: &Test) {
    let mut c = t.container();
    c.args(&["sh", "-c", "while :; do :; done"]);
    if t.hierarchy("cpu").is_some_and(|h| !h.v2) {
        // Virtual time passes 68 times as fast on a queue that runs only processes of this niceness.
        let words = ["-n", "19", "timeout", "1", "sh", "-c", "while :; do :; done"];
        Command::new("nice").args(words).status().unwrap();
    }
    c.up();
    for _ in 0..10 {
        c.exec(&["true"]).ok();
    }
    c.remove();
}

fn exec_has_only_the_standard_descriptors(t: &Test) {
    let c = up(t);
    let seen = c.exec(&["probe", "fds"]).ok().probe();
    let fds: Vec<&String> = seen["fds"].as_object().unwrap().keys().collect();
    assert_eq!(fds, ["0", "1", "2"]);
    c.remove();
}

fn exec_cpu_affinity_does_not_apply_to_init(t: &Test) {
    let processors = std::thread::available_parallelism().map_or(1, |n| n.get());
    if processors < 2 {
        t.skip("the host has only one processor");
    }
    let mut c = t.container();
    c.probe("affinity say pause");
    c.config["process"]["execCPUAffinity"] = json!({"initial": "0", "final": "1"});
    c.up();
    let init = c.says("affinity")["affinity"]["Cpus_allowed_list"].clone();
    assert_ne!(init, "1", "the affinity must not apply to init");
    let seen = c.exec(&["probe", "affinity"]).ok().probe();
    assert_eq!(seen["affinity"]["Cpus_allowed_list"], "1");
    let file = t.path("process.json");
    let process = json!({
        "args": ["probe", "affinity", "scheduling"], "cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["PATH=/bin"],
        "execCPUAffinity": {"final": "0"}, "scheduler": {"policy": "SCHED_BATCH", "nice": 3},
    });
    fs::write(&file, process.to_string()).unwrap();
    let seen = t.call(&["exec", "--process", file.to_str().unwrap(), &c.id]).ok().probe();
    assert_eq!(seen["affinity"]["Cpus_allowed_list"], "0");
    assert_eq!(seen["scheduling"]["policy"], 3);
    assert_eq!(seen["scheduling"]["nice"], 3);
    c.remove();
}

fn exec_joins_the_containers_session_keyring(t: &Test) {
    let keyring = |seen: Probed| seen["acts"][0].as_array().unwrap().last().unwrap().clone();
    // KEYCTL_GET_KEYRING_ID of KEY_SPEC_SESSION_KEYRING (keyctl(2)).
    let keyctl = libc::SYS_keyctl.to_string();
    let exec = |c: &Container<'_>| {
        keyring(c.exec(&["/bin/probe", "syscall", &keyctl, "3", "0", "-3", "0"]).ok().probe())
    };
    let mut own = t.container();
    own.probe("sleep 60").create().ok();
    own.start().ok();
    let mut shared = t.container();
    shared.probe("sleep 60").create_with(&["--no-new-keyring"]).ok();
    shared.start().ok();
    assert_eq!(exec(&own), exec(&own), "all processes of a container share one keyring");
    assert_ne!(exec(&own), exec(&shared), "the keyring is the caller's only on request");
    own.remove();
    shared.remove();
}

/// Runs the runtime on the first processor only.
fn pinned(t: &Test, args: &[&str]) -> Output {
    let command = t.command(args);
    let mut taskset = Command::new("taskset");
    taskset.args(["-c", "0"]).arg(command.get_program()).args(command.get_args());
    t.finish(taskset)
}

fn callers_cpu_affinity_is_not_inherited(t: &Test) {
    if std::thread::available_parallelism().map_or(1, |n| n.get()) < 2 {
        t.skip("the host has only one processor");
    }
    let mut c = t.container();
    c.probe("affinity").write();
    let bundle = c.bundle.to_str().unwrap();
    let seen = pinned(t, &["run", "--bundle", bundle, &c.id]).ok().probe();
    assert_ne!(seen["affinity"]["Cpus_allowed_list"], "0");
    c.probe("pause");
    c.up();
    let seen = pinned(t, &["exec", &c.id, "probe", "affinity"]).ok().probe();
    assert_ne!(seen["affinity"]["Cpus_allowed_list"], "0");
    c.remove();
}

fn exec_has_the_containers_personality(t: &Test) {
    let mut c = t.container();
    c.config["linux"]["personality"] = json!({"domain": "LINUX32"});
    c.probe("machine say pause");
    c.up();
    let seen = c.exec(&["probe", "machine"]).ok().probe();
    assert_eq!(seen["machine"], c.says("machine")["machine"]);
    c.remove();
}
