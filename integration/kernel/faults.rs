//! Every command with a fault at each of its system calls.
//!
//! The fault is SIGKILL, SIGTERM or an error that the call may return, in the process of the command or in init. Afterwards
//! `state` and `list` answer, a command that reports success has had its effect, and once `delete --force` has returned 0,
//! nothing is left.
//!
//! `IT_FAULTS=N` takes every Nth call, other calls each day; `IT_FAULTS=@N` only the call N. `IT_FAULTS_REPORT` names a file for
//! the numbers.

#[path = "faults/scene.rs"]
mod scene;
#[path = "faults/sweep.rs"]
mod sweep;

use crate::cases;
use crate::common::{Case, Test};
use scene::Scene;
use sweep::sweep;

pub const SLOW: &[Case] = cases![
    create_survives_hundreds_of_faults,
    create_that_joins_a_pid_namespace_survives_hundreds_of_faults,
    run_survives_hundreds_of_faults,
    detached_run_survives_hundreds_of_faults,
    start_survives_hundreds_of_faults,
    exec_survives_hundreds_of_faults,
    detached_exec_survives_hundreds_of_faults,
    exec_with_a_terminal_survives_hundreds_of_faults,
    exec_of_a_process_file_survives_hundreds_of_faults,
    kill_survives_hundreds_of_faults,
    pause_survives_hundreds_of_faults,
    resume_survives_hundreds_of_faults,
    update_survives_hundreds_of_faults,
    device_add_survives_hundreds_of_faults,
    device_remove_survives_hundreds_of_faults,
    delete_survives_hundreds_of_faults,
    delete_force_survives_hundreds_of_faults,
    delete_force_of_a_paused_container_survives_hundreds_of_faults,
    delete_force_of_a_hung_container_survives_hundreds_of_faults,
];

/// Whether init waits, or has ended since and `start` reports that.
///
/// Init may get the fault after create has returned.
fn waits_for_its_start(s: &Scene<'_>) -> bool {
    s.status() == "created" || s.call(&["start", "ID"]).status == 1
}

fn create_survives_hundreds_of_faults(t: &Test) {
    let mut s = Scene::new(t, "create");
    s.with_hooks();
    let pid_file = s.c.bundle.join("pid").to_str().unwrap().to_owned();
    s.command(&["create", "--bundle", "BUNDLE", "--pid-file", &pid_file, "ID"]);
    sweep(s.effect(waits_for_its_start));
}

fn create_that_joins_a_pid_namespace_survives_hundreds_of_faults(t: &Test) {
    let mut first = t.container();
    first.args(&["sleep", "1000"]).up();
    let mut s = Scene::new(t, "create, joining a pid namespace");
    s.c.namespace_path("pid", &format!("/proc/{}/ns/pid", first.pid()));
    s.command(&["create", "--bundle", "BUNDLE", "ID"]);
    sweep(s.effect(waits_for_its_start));
    first.remove();
}

fn run_survives_hundreds_of_faults(t: &Test) {
    let mut s = Scene::new(t, "run");
    s.c.args(&["echo", "done"]);
    s.command(&["run", "--bundle", "BUNDLE", "ID"]);
    sweep(s.effect(|s| s.stdout() == "done\n"));
}

fn detached_run_survives_hundreds_of_faults(t: &Test) {
    let mut s = Scene::new(t, "run --detach");
    s.command(&["run", "--detach", "--bundle", "BUNDLE", "ID"]);
    sweep(s.effect(|s| s.status() == "running"));
}

fn start_survives_hundreds_of_faults(t: &Test) {
    let mut s = Scene::new(t, "start");
    s.with_hooks();
    s.before(&["create"]).traces_init().command(&["start", "ID"]);
    sweep(s.effect(|s| s.status() == "running"));
}

fn exec_survives_hundreds_of_faults(t: &Test) {
    let mut s = Scene::new(t, "exec");
    s.before(&["create", "start"]).command(&["exec", "ID", "echo", "done"]);
    sweep(s.effect(|s| s.stdout() == "done\n"));
}

fn detached_exec_survives_hundreds_of_faults(t: &Test) {
    let mut s = Scene::new(t, "exec --detach");
    s.before(&["create", "start"]).command(&["exec", "--detach", "ID", "sleep", "1001"]);
    sweep(s.effect(|s| s.has_process("sleep\u{0}1001")));
}

fn exec_with_a_terminal_survives_hundreds_of_faults(t: &Test) {
    let mut s = Scene::new(t, "exec --tty");
    let socket = s.listen();
    s.before(&["create", "start"]);
    s.command(&["exec", "--tty", "--detach", "--console-socket", &socket, "ID", "sleep", "1001"]);
    sweep(s.effect(|s| s.has_process("sleep\u{0}1001")));
}

fn exec_of_a_process_file_survives_hundreds_of_faults(t: &Test) {
    let mut s = Scene::new(t, "exec --process");
    let file = s.c.bundle.join("process.json");
    let mut process = s.c.config["process"].clone();
    process["args"] = serde_json::json!(["echo", "done"]);
    std::fs::write(&file, process.to_string()).unwrap();
    s.before(&["create", "start"]).command(&["exec", "--process", file.to_str().unwrap(), "ID"]);
    sweep(s.effect(|s| s.stdout() == "done\n"));
}

fn kill_survives_hundreds_of_faults(t: &Test) {
    let mut s = Scene::new(t, "kill");
    s.before(&["create", "start"]).command(&["kill", "ID", "KILL"]);
    sweep(s.effect(|s| s.comes_to("stopped")));
}

fn pause_survives_hundreds_of_faults(t: &Test) {
    t.needs_controller("freezer");
    let mut s = Scene::new(t, "pause");
    s.before(&["create", "start"]).command(&["pause", "ID"]);
    sweep(s.effect(|s| s.status() == "paused"));
}

fn resume_survives_hundreds_of_faults(t: &Test) {
    t.needs_controller("freezer");
    let mut s = Scene::new(t, "resume");
    s.before(&["create", "start", "pause"]).command(&["resume", "ID"]);
    sweep(s.effect(|s| s.status() == "running"));
}

fn update_survives_hundreds_of_faults(t: &Test) {
    t.needs_controller("pids");
    let mut s = Scene::new(t, "update");
    s.before(&["create", "start"]).command(&["update", "--pids-limit", "77", "ID"]);
    sweep(s.effect(|s| s.c.knob("pids", "pids.max", "pids.max") == "77"));
}

fn device_add_survives_hundreds_of_faults(t: &Test) {
    t.needs_controller("devices");
    let mut s = Scene::new(t, "device add");
    s.before(&["create", "start"]).command(&["device", "add", "ID", "/dev/full", "--as", "/dev/added"]);
    sweep(s.effect(|s| {
        s.call(&["exec", "ID", "dd", "if=/dev/added", "of=/dev/null", "bs=1", "count=1"]).status == 0
    }));
}

fn device_remove_survives_hundreds_of_faults(t: &Test) {
    t.needs_controller("devices");
    let mut s = Scene::new(t, "device remove");
    s.before(&["create", "start", "device add"]).command(&[
        "device",
        "remove",
        "ID",
        "/dev/full",
        "--as",
        "/dev/added",
    ]);
    sweep(s.effect(|s| s.call(&["exec", "ID", "test", "!", "-e", "/dev/added"]).status == 0));
}

fn delete_survives_hundreds_of_faults(t: &Test) {
    let mut s = Scene::new(t, "delete");
    s.with_hooks();
    s.before(&["create", "start", "kill"]).command(&["delete", "ID"]);
    sweep(s.effect(|s| s.is_gone()));
}

fn delete_force_survives_hundreds_of_faults(t: &Test) {
    let mut s = Scene::new(t, "delete --force");
    s.before(&["create", "start"]).command(&["delete", "--force", "ID"]);
    sweep(s.effect(|s| s.is_gone()));
}

fn delete_force_of_a_paused_container_survives_hundreds_of_faults(t: &Test) {
    t.needs_controller("freezer");
    let mut s = Scene::new(t, "delete --force, paused");
    s.before(&["create", "start", "pause"]).command(&["delete", "--force", "ID"]);
    sweep(s.effect(|s| s.is_gone()));
}

fn delete_force_of_a_hung_container_survives_hundreds_of_faults(t: &Test) {
    let mut s = Scene::new(t, "delete --force, hung in a hook");
    s.with_a_hung_hook();
    s.before(&["hang"]).command(&["delete", "--force", "ID"]);
    sweep(s.effect(|s| s.is_gone()));
}
