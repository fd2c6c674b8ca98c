//! runtime.md: the operations, the state, and their leftovers.

use crate::cases;
use crate::common::{Case, ConsoleSocket, Runtime, Test, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::fs;

pub const CASES: &[Case] = cases![
    create_start_and_delete_change_the_status,
    args_do_not_run_before_start,
    state_has_the_keys_of_the_spec,
    state_of_a_missing_container_is_an_error,
    config_changed_after_create_has_no_effect,
    config_flag_selects_another_file,
    pid_file_holds_the_pid_and_no_newline,
    pidfd_socket_receives_a_pidfd,
    taken_id_is_refused_and_its_container_keeps_running,
    invalid_id_is_refused,
    id_is_free_again_after_delete,
    start_twice_is_refused,
    start_of_a_stopped_container_is_refused,
    start_fails_if_init_dies_before_it_answers,
    container_runs_until_its_last_thread_ends,
    pause_and_resume_freeze_and_thaw,
    pause_and_resume_in_a_wrong_status_are_refused,
    list_prints_a_table_json_and_ids,
    ps_lists_the_processes,
    run_returns_at_once_with_detach_and_keeps_with_keep,
    run_deletes_the_container_at_its_end,
    rootfs_that_is_missing_or_a_file_is_refused,
];

/// The error for a missing container, which engines match.
///
/// crun names the missing file.
pub fn gone(t: &Test) -> &'static str {
    if t.runtime == Runtime::Crun { "no such file or directory" } else { "does not exist" }
}

fn create_start_and_delete_change_the_status(t: &Test) {
    let mut c = t.container();
    c.probe("pid say pause");
    c.create().ok();
    assert_eq!(c.status(), "created");
    c.start().ok();
    assert_eq!(c.says("pid")["pid"], 1);
    assert_eq!(c.status(), "running");
    c.kill("KILL").ok();
    c.stopped();
    assert_eq!(c.state()["pid"], 0);
    c.delete().ok();
    c.call(&["state"]).exits(1).fails(&[gone(t)]);
}

fn args_do_not_run_before_start(t: &Test) {
    let mut c = t.container();
    let shared = c.share();
    c.probe("write /shared/ran x");
    c.create().ok();
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert!(!shared.join("ran").exists());
    c.start().ok();
    eventually("it ran", || shared.join("ran").exists());
    c.stopped();
    c.delete().ok();
}

fn state_has_the_keys_of_the_spec(t: &Test) {
    let mut c = t.container();
    c.probe("pause");
    c.config["annotations"] = json!({"org.example.key": "value"});
    c.up();
    let state = c.state();
    assert_eq!(state["id"], json!(c.id));
    assert_eq!(state["status"], "running");
    assert_eq!(state["bundle"], json!(c.bundle.to_str()));
    assert_eq!(state["annotations"]["org.example.key"], "value");
    assert!(state["ociVersion"].as_str().is_some_and(|v| v.starts_with("1.")));
    assert!(
        state["created"].as_str().is_some_and(|c| c.contains('T') && c.ends_with('Z')),
        "{}",
        state["created"]
    );
    // A start may return before the program runs (runc's does).
    let comm = || fs::read_to_string(format!("/proc/{}/comm", state["pid"])).unwrap();
    eventually("the pid is that of the program", || comm() == "probe\n");
    c.remove();
}

fn state_of_a_missing_container_is_an_error(t: &Test) {
    t.call(&["state", "nobody"]).exits(1).fails(&[gone(t)]);
}

fn config_changed_after_create_has_no_effect(t: &Test) {
    let mut c = t.container();
    c.probe("env say pause");
    c.create().ok();
    c.config["process"]["env"] = json!(["CHANGED=1"]);
    c.write();
    c.start().ok();
    assert_eq!(c.says("env")["env"]["CHANGED"], Value::Null);
    c.remove();
}

fn pid_file_holds_the_pid_and_no_newline(t: &Test) {
    let mut c = t.container();
    c.probe("pause");
    let file = t.path("pid");
    c.create_with(&["--pid-file", file.to_str().unwrap()]).ok();
    assert_eq!(fs::read_to_string(&file).unwrap(), c.pid().to_string());
    c.remove();
}

fn pidfd_socket_receives_a_pidfd(t: &Test) {
    use std::os::fd::AsRawFd;
    let pid_of = |socket: ConsoleSocket| {
        let pidfd = socket.receive_fd();
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).unwrap();
        let pid = info.lines().find_map(|l| l.strip_prefix("Pid:")).expect("a pidfd");
        pid.trim().parse::<i32>().unwrap()
    };
    let mut c = t.container();
    c.probe("pause");
    let socket = ConsoleSocket::listen(t.path("pidfd"));
    c.create_with(&["--pidfd-socket", socket.path.to_str().unwrap()]).ok();
    assert_eq!(pid_of(socket), c.pid());
    c.start().ok();
    let (socket, file) = (ConsoleSocket::listen(t.path("pidfd")), t.path("pid"));
    let flags = ["-d", "--pidfd-socket", socket.path.to_str().unwrap(), "--pid-file", file.to_str().unwrap()];
    let exec = c.exec_with(&flags, &["sleep", "1000"]);
    if embrun::sys::process::pidfd_open(nix::unistd::getpid()).is_ok() {
        exec.ok();
        assert_eq!(pid_of(socket).to_string(), fs::read_to_string(file).unwrap());
    } else {
        exec.exits(255).fails(&["--pidfd-socket: needs Linux 5.3"]);
    }
    c.remove();
}

fn taken_id_is_refused_and_its_container_keeps_running(t: &Test) {
    let mut c = t.container();
    c.probe("pause");
    c.up();
    c.create().exits(1).fails(&["already exist"]);
    assert_eq!(c.status(), "running");
    c.remove();
}

fn invalid_id_is_refused(t: &Test) {
    let mut c = t.container();
    for id in ["", ".", "..", "a/b", "a b", "a\tb", "ä", "../x"] {
        c.id = id.into();
        let out = c.create();
        assert_ne!(out.status, 0, "id {id:?}");
    }
}

fn id_is_free_again_after_delete(t: &Test) {
    let mut c = t.container();
    c.probe("pause");
    for _ in 0..3 {
        c.up();
        c.remove();
    }
}

fn start_twice_is_refused(t: &Test) {
    let mut c = t.container();
    c.probe("pause");
    c.up();
    c.start().exits(1).fails(&["cannot start an already running container", "exec.fifo"]);
    assert_eq!(c.status(), "running");
    c.remove();
}

fn start_of_a_stopped_container_is_refused(t: &Test) {
    let c = t.container();
    c.up();
    c.stopped();
    c.start().exits(1).fails(&[
        "cannot start a container that has stopped",
        "already",
        "not in",
        "not running",
    ]);
    c.delete().ok();
}

/// The main thread of a program may end before the others (pthread_exit).
fn container_runs_until_its_last_thread_ends(t: &Test) {
    let mut c = t.container();
    c.probe("leave 1000");
    for signal in ["KILL", "TERM"] {
        c.create().ok();
        let pid = c.pid();
        c.start().ok();
        let stat = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        eventually("its main thread has ended", || stat().contains(") Z "));
        assert_eq!(c.status(), "running");
        assert_eq!(c.pid(), pid);
        c.exec(&["true"]).exits(255).fails(&["container not running"]);
        c.delete().exits(1).fails(&["not stopped: running"]);
        if t.hierarchy("pids").is_some() {
            c.call(&["update", "--pids-limit", "100"]).ok();
        }
        if signal == "KILL" {
            c.kill("KILL").ok();
            c.stopped();
            c.delete().ok();
        } else {
            c.remove();
        }
    }
    c.probe("leave 1").up();
    c.stopped();
    c.delete().ok();
}

fn pause_and_resume_freeze_and_thaw(t: &Test) {
    t.needs_controller("freezer");
    let mut c = t.container();
    let shared = c.share();
    c.args(&["sh", "-c", "while :; do echo x >> /shared/beat; sleep 0.02; done"]);
    c.up();
    let size = || fs::metadata(shared.join("beat")).map_or(0, |m| m.len());
    eventually("the program writes", || size() > 0);
    c.call(&["pause"]).ok();
    assert_eq!(c.status(), "paused");
    let frozen = size();
    std::thread::sleep(std::time::Duration::from_millis(150));
    assert_eq!(size(), frozen);
    c.exec(&["true"]).fails(&["paused"]);
    c.call(&["resume"]).ok();
    assert_eq!(c.status(), "running");
    eventually("the program writes again", || size() > frozen);
    c.remove();
}

fn pause_and_resume_in_a_wrong_status_are_refused(t: &Test) {
    t.needs_controller("freezer");
    let mut c = t.container();
    c.probe("pause");
    c.up();
    c.call(&["resume"]).exits(1).fails(&["not paused"]);
    c.kill("KILL").ok();
    c.stopped();
    c.call(&["pause"]).exits(1).fails(&["not running", "no such", "stopped"]);
    c.delete().ok();
}

fn list_prints_a_table_json_and_ids(t: &Test) {
    assert_eq!(t.call(&["list", "--quiet"]).ok().stdout, "");
    let empty = t.call(&["list", "--format", "json"]).ok().json();
    assert!(empty.is_null() || empty == json!([]), "{empty}");
    let (mut one, mut two) = (t.container(), t.container());
    one.probe("pause").create().ok();
    two.probe("pause").up();
    assert_eq!(t.call(&["list", "-q"]).ok().stdout, format!("{}\n{}\n", one.id, two.id));
    let json = t.call(&["list", "--format=json"]).ok().json();
    let row = |id: &str| json.as_array().unwrap().iter().find(|r| r["id"] == id).unwrap().clone();
    assert_eq!((&row(&one.id)["status"], &row(&two.id)["status"]), (&json!("created"), &json!("running")));
    assert_eq!(row(&two.id)["pid"], two.pid());
    assert_eq!(row(&two.id)["bundle"], json!(two.bundle.to_str()));
    let table = t.call(&["list"]).ok().stdout;
    assert!(table.lines().next().is_some_and(|l| l.contains("STATUS") && l.contains("PID")), "{table}");
    assert!(table.lines().any(|l| l.starts_with(&two.id) && l.contains("running")), "{table}");
    one.remove();
    two.remove();
}

fn ps_lists_the_processes(t: &Test) {
    // Without cgroups only init is known.
    t.needs_controller("pids");
    let mut c = t.container();
    c.probe("fork 2 say pause");
    c.up();
    c.says("acts");
    let pids = c.call(&["ps", "--format", "json"]).ok().json();
    assert_eq!(pids.as_array().map(Vec::len), Some(3), "{pids}");
    assert!(pids.as_array().unwrap().contains(&json!(c.pid())));
    // The table comes from the host's ps, which does not work in every guest. crun prints pids only.
    let works = std::process::Command::new("ps").arg("-ef").output().is_ok_and(|o| o.status.success());
    if works && t.runtime != Runtime::Crun {
        let table = c.call(&["ps"]).ok().stdout;
        assert!(table.lines().next().is_some_and(|l| l.contains("PID") && l.contains("CMD")), "{table}");
        assert_eq!(table.lines().filter(|l| l.contains("probe")).count(), 3, "{table}");
    }
    c.remove();
}

fn run_returns_at_once_with_detach_and_keeps_with_keep(t: &Test) {
    let mut c = t.container();
    c.probe("pause");
    c.spawn_run(&["--detach"]).wait().ok();
    assert_eq!(c.status(), "running");
    c.remove();
    c.args(&["probe", "exit", "3"]);
    c.spawn_run(&["--keep"]).wait().exits(3);
    assert_eq!(c.status(), "stopped");
    c.delete().ok();
}

fn run_deletes_the_container_at_its_end(t: &Test) {
    let mut c = t.container();
    c.probe("exit 0").run().ok();
    c.call(&["state"]).exits(1).fails(&[gone(t)]);
}

fn rootfs_that_is_missing_or_a_file_is_refused(t: &Test) {
    let mut c = t.container();
    c.config["root"]["path"] = json!("nowhere");
    c.create().exits(1).fails(&["no such file or directory", "not exist"]);
    fs::write(c.bundle.join("file"), "").unwrap();
    c.config["root"]["path"] = json!("file");
    c.create().exits(1).fails(&["not a directory"]);
}

fn config_flag_selects_another_file(t: &Test) {
    let mut c = t.container();
    c.probe("hostname").write();
    let (given, other) = (c.bundle.join("config.json"), c.bundle.join("other.json"));
    fs::rename(&given, &other).unwrap();
    let bundle = c.bundle.to_str().unwrap();
    t.call(&["run", "--bundle", bundle, "--config", other.to_str().unwrap(), &c.id]).ok();
    t.call(&["run", "--bundle", bundle, &c.id]).exits(1).fails(&["config.json"]);
}

fn start_fails_if_init_dies_before_it_answers(t: &Test) {
    let mut c = t.container();
    c.probe("pid say pause");
    c.create().ok();
    let init = Pid::from_raw(c.pid());
    kill(init, Signal::SIGSTOP).unwrap();
    let starting = t.spawn(t.command(&["start", &c.id]));
    // By then start has sent its request and waits for the result.
    std::thread::sleep(std::time::Duration::from_millis(500));
    kill(init, Signal::SIGKILL).unwrap();
    let said = ["cannot start a container that has stopped", "container process is already dead"];
    starting.wait().exits(1).fails(&said);
    assert_eq!(c.stdout(), "");
    c.remove();
}
