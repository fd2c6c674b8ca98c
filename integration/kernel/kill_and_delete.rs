//! runtime.md: `kill` and `delete` in each status.

use crate::cases;
use crate::common::{Case, Test, eventually};
use crate::lifecycle::gone;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs;

pub const CASES: &[Case] = cases![
    kill_accepts_names_numbers_and_any_case,
    kill_ends_a_created_container,
    kill_of_a_stopped_container_is_an_error,
    kill_of_a_missing_container_is_an_error,
    kill_of_an_unknown_signal_is_refused,
    kill_all_in_a_shared_pid_namespace_kills_the_children,
    delete_of_a_running_container_is_refused,
    delete_of_a_created_container_kills_it,
    delete_force_kills_a_running_container,
    delete_force_of_a_missing_container_succeeds,
    delete_of_a_missing_container_is_an_error,
    delete_kills_processes_that_outlive_init,
    paused_container_can_be_deleted,
];

fn kill_accepts_names_numbers_and_any_case(t: &Test) {
    for (signal, got) in
        [("TERM", "TERM"), ("SIGUSR1", "USR1"), ("usr2", "USR2"), ("1", "HUP"), ("sigint", "INT")]
    {
        let mut c = t.container();
        c.probe("trap TERM,USR1,USR2,HUP,INT pid say await TERM,USR1,USR2,HUP,INT say");
        c.up();
        c.says("pid");
        c.kill(signal).ok();
        assert_eq!(*c.says("acts").result("await"), json!(got), "{signal}");
        c.stopped();
        c.delete().ok();
    }
}

fn kill_of_a_stopped_container_is_an_error(t: &Test) {
    let c = t.container();
    c.up();
    c.stopped();
    c.kill("TERM").exits(1).fails(&["container not running", "process already finished", "no such process"]);
    c.delete().ok();
}

fn kill_of_a_missing_container_is_an_error(t: &Test) {
    t.call(&["kill", "nobody", "TERM"]).exits(1).fails(&[gone(t)]);
}

fn kill_of_an_unknown_signal_is_refused(t: &Test) {
    let mut c = t.container();
    c.probe("pause");
    c.up();
    c.kill("NOPE").exits(1).fails(&["signal"]);
    c.kill("99").exits(1);
    assert_eq!(c.status(), "running");
    c.remove();
}

fn kill_all_in_a_shared_pid_namespace_kills_the_children(t: &Test) {
    t.needs_controller("pids");
    let mut c = t.container();
    c.without_namespace("pid");
    c.probe("fork 3 say pause");
    c.up();
    let said = c.says("acts");
    let children: Vec<String> =
        said.result("fork").as_array().unwrap().iter().map(Value::to_string).collect();
    c.call(&["kill", "--all"]).ok();
    c.stopped();
    c.call(&["delete", "--force"]).ok();
    eventually("the children are gone", || {
        children.iter().all(|p| !fs::exists(format!("/proc/{p}")).unwrap())
    });
}

fn delete_of_a_running_container_is_refused(t: &Test) {
    let mut c = t.container();
    c.probe("pause");
    c.up();
    c.delete().exits(1).fails(&["not stopped", "is running", "is not in `created` or `stopped` state"]);
    assert_eq!(c.status(), "running");
    c.remove();
}

fn delete_of_a_created_container_kills_it(t: &Test) {
    let mut c = t.container();
    c.probe("pause");
    c.create().ok();
    let pid = c.pid();
    c.delete().ok();
    eventually("init is gone", || !fs::exists(format!("/proc/{pid}")).unwrap());
}

fn delete_force_kills_a_running_container(t: &Test) {
    let mut c = t.container();
    c.probe("fork 5 pause");
    c.up();
    c.remove();
    c.call(&["state"]).exits(1).fails(&[gone(t)]);
}

fn delete_force_of_a_missing_container_succeeds(t: &Test) {
    t.call(&["delete", "--force", "nobody"]).ok();
}

fn delete_of_a_missing_container_is_an_error(t: &Test) {
    t.call(&["delete", "nobody"]).exits(1).fails(&[gone(t)]);
}

/// In a shared pid namespace only the cgroup identifies the container's processes.
fn delete_kills_processes_that_outlive_init(t: &Test) {
    t.needs_controller("pids");
    let mut c = t.container();
    c.without_namespace("pid");
    c.probe("orphan fork 2 say");
    c.up();
    c.stopped();
    c.call(&["delete", "--force"]).ok();
}

fn paused_container_can_be_deleted(t: &Test) {
    t.needs_controller("freezer");
    let mut c = t.container();
    c.probe("fork 2 pause");
    c.up();
    c.call(&["pause"]).ok();
    c.remove();
}

fn kill_ends_a_created_container(t: &Test) {
    let mut c = t.container();
    c.probe("signals say");
    c.create().ok();
    c.kill("TERM").ok();
    c.stopped();
    c.delete().ok();
    // The program does not inherit the handler.
    let seen = c.run().ok().probe();
    let caught = u64::from_str_radix(seen["signals"]["SigCgt"].as_str().unwrap(), 16).unwrap();
    let asking =
        [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM].iter().fold(0, |all, s| all | 1 << (*s as u64 - 1));
    assert_eq!(caught & asking, 0, "{caught:x}");
}
