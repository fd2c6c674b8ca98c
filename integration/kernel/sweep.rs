//! Commands killed at each of their system calls.
//!
//! Afterwards every command answers, one `delete --force` succeeds and nothing is left (the cage
//! checks). The killer is a tracer: it counts the calls of the runtime's own process, whose children
//! are not traced.

use crate::cases;
use crate::common::{Case, Container, Test};
use nix::sys::ptrace;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::json;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

pub const SLOW: &[Case] = cases![
    create_killed_at_any_of_hundreds_of_calls_can_be_deleted,
    pid_file_killed_at_any_of_hundreds_of_calls_is_whole_or_absent,
    start_killed_at_any_of_hundreds_of_calls_can_be_deleted,
    kill_killed_at_any_of_hundreds_of_calls_can_be_deleted,
    pause_killed_at_any_of_hundreds_of_calls_can_be_deleted,
    resume_killed_at_any_of_hundreds_of_calls_can_be_deleted,
    delete_killed_at_any_of_hundreds_of_calls_can_be_deleted,
];

/// Runs a command and kills it at its nth system call entry or exit.
///
/// It returns false if the command ended before.
// The command is waited for by its pid.
#[allow(unsafe_code, clippy::zombie_processes)]
fn killed_at(mut command: Command, n: u32) -> bool {
    // SAFETY: the closure makes one system call and touches no memory.
    unsafe { command.pre_exec(|| Ok(ptrace::traceme()?)) };
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let pid = Pid::from_raw(child.id() as i32);
    let ended = |status| matches!(status, WaitStatus::Exited(..) | WaitStatus::Signaled(..));
    // It first stops at its execve.
    assert!(!ended(waitpid(pid, None).unwrap()));
    for _ in 0..n {
        ptrace::syscall(pid, None).unwrap();
        if ended(waitpid(pid, None).unwrap()) {
            return false;
        }
    }
    ptrace::kill(pid).unwrap();
    while !ended(waitpid(pid, None).unwrap()) {}
    true
}

fn sweep(t: &Test, before: &[&str], command: &[&str]) {
    let mut c = t.container();
    c.args(&["sleep", "1000"]);
    for kind in ["createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
        c.config["hooks"][kind] = json!([{"path": "/bin/true"}]);
    }
    c.write();
    for n in 1.. {
        before.iter().for_each(|step| prepare(&c, step));
        let went_on = !killed_at(t.command(&[command, &[&c.id]].concat()), n);
        let list = t.call(&["list"]).ok();
        assert_eq!(list.stderr, "", "{command:?} killed at {n}");
        c.remove();
        assert_eq!(t.call(&["list", "-q"]).ok().stdout, "", "{command:?} killed at {n}");
        if went_on {
            println!("{command:?}: killed at {} points", n - 1);
            assert!(n > 50, "{command:?} is over after {n} stops");
            return;
        }
    }
}

fn prepare(c: &Container<'_>, step: &str) {
    match step {
        "create" => c.create().ok(),
        other => c.call(&[other]).ok(),
    };
}

fn create_killed_at_any_of_hundreds_of_calls_can_be_deleted(t: &Test) {
    sweep(t, &[], &["create", "--bundle", "/run/it/bundles/1"]);
}

/// The pid file exists or it does not: no other file is left beside it.
fn pid_file_killed_at_any_of_hundreds_of_calls_is_whole_or_absent(t: &Test) {
    let dir = t.path("dir");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("pid"), "an older one").unwrap();
    let file = dir.join("pid");
    sweep(t, &[], &["create", "--bundle", "/run/it/bundles/2", "--pid-file", file.to_str().unwrap()]);
    let names = || std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name());
    assert!(names().all(|n| n == "pid"), "{:?}", names().collect::<Vec<_>>());
}

fn start_killed_at_any_of_hundreds_of_calls_can_be_deleted(t: &Test) {
    sweep(t, &["create"], &["start"]);
}

fn kill_killed_at_any_of_hundreds_of_calls_can_be_deleted(t: &Test) {
    sweep(t, &["create", "start"], &["kill"]);
}

fn pause_killed_at_any_of_hundreds_of_calls_can_be_deleted(t: &Test) {
    t.needs_controller("freezer");
    sweep(t, &["create", "start"], &["pause"]);
}

fn resume_killed_at_any_of_hundreds_of_calls_can_be_deleted(t: &Test) {
    t.needs_controller("freezer");
    sweep(t, &["create", "start", "pause"], &["resume"]);
}

fn delete_killed_at_any_of_hundreds_of_calls_can_be_deleted(t: &Test) {
    sweep(t, &["create", "start"], &["delete", "--force"]);
}
