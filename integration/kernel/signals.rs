//! `run` in the foreground: it forwards signals and returns the container's status.

use crate::cases;
use crate::common::{Case, Test, eventually, has_not_grown, own_memory};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use std::process::Command;

pub const CASES: &[Case] = cases![
    exit_status_of_the_program_is_returned,
    death_by_a_signal_returns_128_plus_the_signal,
    signals_are_forwarded,
    signals_of_every_number_are_forwarded,
    waiting_does_not_grow_memory,
    term_ends_a_container_that_handles_it,
    orphans_die_with_the_container,
    container_can_be_deleted_after_the_runtime_is_killed,
    caller_that_ignores_sigchld_gets_the_exit_status,
];

fn exit_status_of_the_program_is_returned(t: &Test) {
    let mut c = t.container();
    for status in [0, 1, 7, 127, 255] {
        c.probe(&format!("exit {status}")).run().exits(status);
    }
}

fn death_by_a_signal_returns_128_plus_the_signal(t: &Test) {
    let mut c = t.container();
    c.probe("crash").run().exits(139);
    c.probe("pid say pause");
    let running = c.spawn_run(&[]);
    eventually("it runs", || running.stdout().contains("pid"));
    c.kill("KILL").ok();
    running.wait().exits(137);
}

fn signals_are_forwarded(t: &Test) {
    for (signal, name) in [
        (Signal::SIGTERM, "TERM"),
        (Signal::SIGINT, "INT"),
        (Signal::SIGHUP, "HUP"),
        (Signal::SIGUSR1, "USR1"),
        (Signal::SIGUSR2, "USR2"),
        (Signal::SIGQUIT, "QUIT"),
    ] {
        let mut c = t.container();
        c.probe(&format!("trap {name} pid say await {name} exit 5"));
        let running = c.spawn_run(&[]);
        eventually("the probe waits for the signal", || running.stdout().contains("pid"));
        kill(Pid::from_raw(running.pid()), signal).unwrap();
        let out = running.wait().exits(5);
        assert_eq!(*out.probe().result("await"), json!(name));
    }
}

/// Each C library hides some of the real-time signals.
fn signals_of_every_number_are_forwarded(t: &Test) {
    let mut pause = t.container();
    pause.probe("pause");
    pause.up();
    // The other signals end no program by default, or are faults of the runtime itself.
    let ending = [1, 2, 3, 10, 12, 14, 15, 16].into_iter().chain(24..=27).chain(29..=64);
    for signal in ending {
        // The kernel spares the first process of a pid namespace.
        let mut c = t.container();
        c.without_namespace("pid").probe("pid say pause");
        let exec = t.command(&["exec", &pause.id, "probe", "pid", "say", "pause"]);
        for running in [c.spawn_run(&[]), t.spawn(exec)] {
            // No shell: busybox's ignores SIGQUIT until it has become another program.
            eventually("it runs", || running.stdout().contains("pid"));
            send(running.pid(), signal);
            running.wait().exits(128 + signal);
        }
    }
    pause.remove();
}

#[allow(unsafe_code)]
fn send(pid: i32, signal: i32) {
    // SAFETY: plain integers.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

/// A command that waits for long must not grow: the heap does not give memory back.
fn waiting_does_not_grow_memory(t: &Test) {
    let mut c = t.container();
    c.probe("pid say pause");
    let running = c.spawn_run(&[]);
    eventually("it runs", || running.stdout().contains("pid"));
    let bother = |times: u32| {
        for _ in 0..times {
            kill(Pid::from_raw(running.pid()), Signal::SIGWINCH).unwrap();
            std::thread::sleep(std::time::Duration::from_micros(100));
        }
    };
    bother(10);
    let before = own_memory(running.pid());
    bother(2000);
    has_not_grown(running.pid(), before);
    c.kill("KILL").ok();
    running.wait().exits(137);
}

fn term_ends_a_container_that_handles_it(t: &Test) {
    let mut c = t.container();
    c.args(&["sh", "-c", "trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done"]);
    let running = c.spawn_run(&[]);
    eventually("it is ready", || running.stdout().contains("ready"));
    kill(Pid::from_raw(running.pid()), Signal::SIGTERM).unwrap();
    running.wait().exits(3);
}

fn orphans_die_with_the_container(t: &Test) {
    let mut c = t.container();
    c.probe("orphan orphan fork 2 exit 0").run().ok();
}

fn container_can_be_deleted_after_the_runtime_is_killed(t: &Test) {
    let mut c = t.container();
    c.probe("pid say pause");
    let running = c.spawn_run(&[]);
    eventually("it runs", || running.stdout().contains("pid"));
    kill(Pid::from_raw(running.pid()), Signal::SIGKILL).unwrap();
    running.wait().exits(137);
    assert_eq!(c.status(), "running");
    c.remove();
}

fn caller_that_ignores_sigchld_gets_the_exit_status(t: &Test) {
    let ignoring = |args: &[&str]| {
        let command = t.command(args);
        let mut env = Command::new("env");
        env.arg("--ignore-signal=CHLD").arg(command.get_program()).args(command.get_args());
        t.finish(env)
    };
    let mut c = t.container();
    c.config["hooks"] = json!({"createRuntime": [{"path": "/bin/true"}]});
    c.probe("exit 3").write();
    let bundle = c.bundle.to_str().unwrap();
    ignoring(&["run", "--bundle", bundle, &c.id]).exits(3);
    c.probe("pause");
    c.up();
    ignoring(&["exec", &c.id, "probe", "exit", "4"]).exits(4);
    c.remove();
}
