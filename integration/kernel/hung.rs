//! Hooks that hang or that call the runtime themselves.
//!
//! No command waits for them, and `delete --force` ends them.

use crate::cases;
use crate::common::test::Running;
use crate::common::{Case, Container, Output, Test, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub const CASES: &[Case] = cases![
    delete_force_ends_a_hung_prestart_hook,
    delete_force_ends_a_hung_create_runtime_hook,
    delete_force_ends_a_hung_create_container_hook,
    delete_force_ends_a_hung_start_container_hook,
    delete_force_ends_a_hung_poststart_hook,
    delete_force_ends_a_hung_poststop_hook,
    delete_waits_for_a_slow_poststop_hook,
    hung_poststop_hook_of_a_failed_create_is_killed,
    hung_hook_without_a_cgroup_is_killed,
    other_commands_answer_while_a_hook_hangs,
    command_killed_in_a_hung_hook_leaves_nothing,
    command_stopped_in_a_hung_hook_leaves_nothing,
    poststart_hook_may_call_every_command,
    poststop_hook_may_call_delete,
    start_has_one_winner_while_a_hook_runs,
    delete_waits_for_the_hooks_of_a_start,
    foreground_run_waits_for_the_hooks_of_another_delete,
    foreground_run_leaves_another_container_of_its_id_alone,
    foreground_run_ends_as_its_program_when_deleted_at_once,
];

const READ: &str = "while read -r _; do :; done;";

/// The hooks that hang, with the commands that run them.
const WAYS: [(&str, &[&str]); 10] = [
    ("prestart", &["create"]),
    ("prestart", &["run"]),
    ("createRuntime", &["create"]),
    ("createRuntime", &["run"]),
    ("createContainer", &["create"]),
    ("createContainer", &["run", "--detach"]),
    ("startContainer", &["start"]),
    ("startContainer", &["run"]),
    ("poststart", &["start"]),
    ("poststart", &["run"]),
];

/// A container with a hook that writes `on` and never ends.
///
/// It ignores signals that ask it to end, and it has a child process.
struct Hung<'t> {
    c: Container<'t>,
    log: PathBuf,
}

impl<'t> Hung<'t> {
    fn new(t: &'t Test) -> Hung<'t> {
        let mut c = t.container();
        let log = c.bundle.join("hooks");
        fs::create_dir(&log).unwrap();
        let path = log.to_str().unwrap().to_string();
        c.mount(&path, "none", &path, &["bind", "rw"]);
        c.args(&["sleep", "1000"]);
        Hung { c, log }
    }

    fn of(t: &'t Test, kind: &str) -> Hung<'t> {
        let mut hung = Hung::new(t);
        let line = format!("{READ} trap '' TERM; {}; sleep 1000 & sleep 1000", hung.says("on"));
        hung.c.config["hooks"][kind] = json!([shell(&line)]);
        hung.c.config["hooks"]["poststop"] = json!([shell(&format!("{READ} {}", hung.says("stop")))]);
        hung
    }

    /// A line of shell that writes this word to the log.
    fn says(&self, word: &str) -> String {
        format!("echo {word} >> {}/order", self.log.display())
    }

    fn order(&self) -> String {
        fs::read_to_string(self.log.join("order")).unwrap_or_default()
    }

    fn spawn(&self, command: &[&str]) -> Running {
        let (t, c) = (self.c.test, &self.c);
        let id = c.id.as_str();
        c.write();
        match command {
            ["start"] => {
                c.create().ok();
                t.spawn(t.command(&["start", id]))
            }
            _ => t.spawn(t.command(&[command, &["--bundle", c.bundle.to_str().unwrap(), id]].concat())),
        }
    }

    /// Begins a command and waits until the hook hangs.
    fn begin(&self, command: &[&str]) -> Running {
        let _ = fs::remove_file(self.log.join("order"));
        let running = self.spawn(command);
        eventually("the hook runs", || self.order() == "on\n");
        running
    }

    /// Removes the container; the cage checks for leftovers.
    #[track_caller]
    fn is_removed(&self) {
        let began = Instant::now();
        self.c.remove();
        assert!(began.elapsed() < Duration::from_secs(8), "it took {:?}", began.elapsed());
        assert_eq!(self.c.test.call(&["list", "-q"]).ok().stdout, "");
    }
}

fn shell(line: &str) -> Value {
    json!({"path": "/bin/sh", "args": ["sh", "-c", line]})
}

fn ends_hung(t: &Test, kind: &str) {
    for (_, command) in WAYS.iter().filter(|way| way.0 == kind) {
        let mut hung = Hung::of(t, kind);
        let running = hung.begin(command);
        hung.is_removed();
        let out = running.wait();
        assert!(out.status != 0 && !out.stderr.is_empty(), "{command:?}");
        assert_eq!(hung.order(), "on\nstop\n", "{command:?}");
        // The id is free, and its previous container does not affect a new one.
        hung.c.config["hooks"] = json!({});
        hung.c.up();
        assert_eq!(hung.c.status(), "running");
        hung.c.remove();
    }
}

fn delete_force_ends_a_hung_prestart_hook(t: &Test) {
    ends_hung(t, "prestart");
}

fn delete_force_ends_a_hung_create_runtime_hook(t: &Test) {
    ends_hung(t, "createRuntime");
}

fn delete_force_ends_a_hung_create_container_hook(t: &Test) {
    ends_hung(t, "createContainer");
}

fn delete_force_ends_a_hung_start_container_hook(t: &Test) {
    ends_hung(t, "startContainer");
}

fn delete_force_ends_a_hung_poststart_hook(t: &Test) {
    ends_hung(t, "poststart");
}

/// Another delete waits for the hook; the hooks after it run.
fn delete_force_ends_a_hung_poststop_hook(t: &Test) {
    for first in [&["delete"][..], &["delete", "--force"], &["run"]] {
        let mut hung = Hung::of(t, "poststop");
        let second = shell(&format!("{READ} {}", hung.says("second")));
        let hooks = hung.c.config["hooks"]["poststop"].take();
        let hanging = shell(&format!("{READ} {}; sleep 1000 & sleep 1000", hung.says("on")));
        assert!(hooks.is_array());
        hung.c.config["hooks"]["poststop"] = json!([hanging, second]);
        hung.c.args(&["true"]);
        let running = if first == ["run"] {
            hung.begin(first)
        } else {
            hung.c.up();
            hung.c.stopped();
            let running = t.spawn(t.command(&[first, &[&hung.c.id]].concat()));
            eventually("the hook runs", || hung.order() == "on\n");
            running
        };
        hung.is_removed();
        // A command that takes long to end is killed.
        let out = running.wait();
        assert!(out.stderr.is_empty() && [0, 137].contains(&out.status), "{first:?}: {}", out.stderr);
        assert_eq!(hung.order(), "on\nsecond\n", "{first:?}");
    }
}

fn delete_waits_for_a_slow_poststop_hook(t: &Test) {
    let mut hung = Hung::new(t);
    let slow = shell(&format!("{READ} {}; sleep 1; {}", hung.says("on"), hung.says("off")));
    hung.c.config["hooks"]["poststop"] = json!([slow]);
    hung.c.up();
    let all: Vec<_> = (0..4).map(|_| t.spawn(t.command(&["delete", "--force", &hung.c.id]))).collect();
    all.into_iter().for_each(|delete| drop(delete.wait().ok()));
    assert_eq!(hung.order(), "on\noff\n", "the hook must run once, to its end");
}

fn hung_poststop_hook_of_a_failed_create_is_killed(t: &Test) {
    let mut hung = Hung::of(t, "poststop");
    hung.c.config["hooks"]["createRuntime"] = json!([shell(&format!("{READ} exit 3"))]);
    let hanging = shell(&format!("{READ} {}; sleep 1000 & sleep 1000", hung.says("on")));
    hung.c.config["hooks"]["poststop"] = json!([hanging]);
    for command in [&["create"][..], &["run"]] {
        let running = hung.begin(command);
        hung.is_removed();
        running.wait().exits(1).fails(&["error running createRuntime hook #0"]);
    }
}

fn hung_hook_without_a_cgroup_is_killed(t: &Test) {
    for (kind, command) in WAYS {
        let mut hung = Hung::of(t, kind);
        hung.c.config["linux"]["resources"] = json!({});
        let id = hung.c.id.clone();
        let without = ["--cgroup-manager", "disabled"];
        let bundle = hung.c.bundle.to_str().unwrap().to_string();
        hung.c.write();
        let call = |words: &[&str]| t.command(&[&without, words, &["--bundle", &bundle, &id]].concat());
        let running = if command == ["start"] {
            t.finish(call(&["create"])).ok();
            t.spawn(t.command(&["start", &id]))
        } else {
            t.spawn(call(command))
        };
        eventually("the hook runs", || hung.order() == "on\n");
        hung.is_removed();
        assert_ne!(running.wait().status, 0);
    }
}

/// A command that cannot work with such a container fails at once.
fn other_commands_answer_while_a_hook_hangs(t: &Test) {
    t.needs_controller("freezer");
    for (kind, command) in WAYS {
        let hung = Hung::of(t, kind);
        let (c, running) = (&hung.c, hung.begin(command));
        let soon = |args: &[&str]| -> Output {
            let began = Instant::now();
            let out = c.call(args);
            assert!(began.elapsed() < Duration::from_secs(2), "{kind} {args:?}: {:?}", began.elapsed());
            out
        };
        let creating = ["prestart", "createRuntime", "createContainer"].contains(&kind);
        let statuses: &[&str] = match kind {
            "startContainer" => &["created", "running"],
            "poststart" => &["running"],
            _ => &["creating"],
        };
        let status = soon(&["state"]).ok().json()["status"].clone();
        assert!(statuses.contains(&status.as_str().unwrap()), "{kind} {command:?}: {status}");
        t.call(&["list"]).ok();
        let stopped = "container not running";
        for args in [&["pause"][..], &["resume"], &["update", "--pids-limit", "100"]] {
            let out = soon(args);
            if creating { drop(out.exits(1)) } else { drop(out.ok()) }
        }
        soon(&["start"]).exits(1).fails(&["cannot start an already running container"]);
        let killed = t.call(&["kill", &c.id, "KILL"]);
        if creating {
            drop(killed.exits(1).fails(&[stopped]))
        } else {
            drop(killed.ok())
        }
        hung.is_removed();
        running.wait();
    }
}

/// The waiting command is killed, then the container is deleted: the hook ends too.
fn command_killed_in_a_hung_hook_leaves_nothing(t: &Test) {
    for (kind, command) in WAYS {
        let hung = Hung::of(t, kind);
        let running = hung.begin(command);
        kill(Pid::from_raw(running.pid()), Signal::SIGKILL).unwrap();
        running.wait();
        hung.is_removed();
    }
    // The hook runs once more, in the next delete.
    let mut hung = Hung::of(t, "poststop");
    let line = format!("{READ} {}; [ -e {}/go ] || sleep 1000", hung.says("on"), hung.log.display());
    hung.c.config["hooks"]["poststop"] = json!([shell(&line)]);
    hung.c.up();
    let running = t.spawn(t.command(&["delete", "--force", &hung.c.id]));
    eventually("the hook runs", || hung.order() == "on\n");
    kill(Pid::from_raw(running.pid()), Signal::SIGKILL).unwrap();
    running.wait();
    fs::write(hung.log.join("go"), "").unwrap();
    hung.is_removed();
    assert_eq!(hung.order(), "on\non\n");
}

/// A stopped command cannot notice that the container is gone.
fn command_stopped_in_a_hung_hook_leaves_nothing(t: &Test) {
    // Only every second way, since each takes 2 s.
    for (kind, command) in WAYS.into_iter().step_by(2) {
        let hung = Hung::of(t, kind);
        let running = hung.begin(command);
        // The hook may have begun before the command gave up the lock.
        eventually("the lock is free", || !hung.c.is_locked());
        kill(Pid::from_raw(running.pid()), Signal::SIGSTOP).unwrap();
        hung.is_removed();
        assert_eq!(running.wait().status, 128 + 9, "{kind} {command:?}");
    }
}

fn poststart_hook_may_call_every_command(t: &Test) {
    t.needs_controller("freezer");
    for (words, ends) in [
        ("state ID", 0),
        ("list", 0),
        ("update --pids-limit 77 ID", 0),
        ("pause ID && RT resume ID", 0),
        ("exec ID true", 0),
        ("kill ID KILL", 0),
        ("delete --force ID", 1),
        ("start ID && exit 9 || true", 0),
        ("delete ID && exit 9 || true", 0),
    ] {
        for command in [&["start"][..], &["run", "--detach"]] {
            let mut hung = Hung::new(t);
            let rt = format!("{} --root /run/it/state", t.runtime_path().display());
            let line = format!("{READ} set -e; RT {words}; {}", hung.says("done"));
            let line = line.replace("RT", &rt).replace("ID", &hung.c.id);
            hung.c.config["hooks"]["poststart"] = json!([shell(&line)]);
            let began = Instant::now();
            let out = hung.spawn(command).wait().exits(ends);
            assert!(began.elapsed() < Duration::from_secs(8), "{words}: {:?}", began.elapsed());
            assert_eq!(hung.order(), "done\n", "{words}: {}", out.stderr);
            if words.starts_with("update") {
                assert_eq!(hung.c.knob("pids", "pids.max", "pids.max"), "77");
            }
            hung.is_removed();
        }
    }
}

fn poststop_hook_may_call_delete(t: &Test) {
    for flag in ["", "--force"] {
        let mut hung = Hung::new(t);
        let rt = format!("{} --root /run/it/state", t.runtime_path().display());
        let line = format!("{READ} {rt} delete {flag} {} && {}", hung.c.id, hung.says("done"));
        let rest = shell(&format!("{READ} {}", hung.says("rest")));
        hung.c.config["hooks"]["poststop"] = json!([shell(&line), rest]);
        hung.c.up();
        hung.is_removed();
        assert_eq!(hung.order(), "rest\ndone\n");
    }
}

fn start_has_one_winner_while_a_hook_runs(t: &Test) {
    for kind in ["startContainer", "poststart"] {
        let mut hung = Hung::new(t);
        hung.c.config["hooks"][kind] = json!([shell(&format!("{READ} {}; sleep 0.5", hung.says("on")))]);
        hung.c.create().ok();
        let all: Vec<_> = (0..5).map(|_| t.spawn(t.command(&["start", &hung.c.id]))).collect();
        let ends: Vec<Output> = all.into_iter().map(Running::wait).collect();
        let lost: Vec<&Output> = ends.iter().filter(|out| out.status != 0).collect();
        assert_eq!(lost.len(), 4, "{kind}");
        assert!(lost.iter().all(|out| out.stderr.contains("cannot start an already running")), "{kind}");
        assert_eq!((hung.order().as_str(), hung.c.status().as_str()), ("on\n", "running"), "{kind}");
        hung.is_removed();
    }
}

/// The container may end before its poststart hooks do.
fn delete_waits_for_the_hooks_of_a_start(t: &Test) {
    let mut hung = Hung::new(t);
    hung.c.args(&["true"]);
    let slow = shell(&format!("{READ} {}; sleep 1; {}", hung.says("on"), hung.says("off")));
    hung.c.config["hooks"]["poststart"] = json!([slow]);
    let start = hung.begin(&["start"]);
    hung.c.stopped();
    hung.c.delete().ok();
    start.wait().ok();
    assert_eq!(hung.order(), "on\noff\n");
}

/// Such a hook takes longer than another forced delete would wait.
fn foreground_run_waits_for_the_hooks_of_another_delete(t: &Test) {
    let mut hung = Hung::new(t);
    let slow = shell(&format!("{READ} {}; sleep 4; {}", hung.says("on"), hung.says("off")));
    hung.c.config["hooks"]["poststop"] = json!([slow]);
    let running = hung.spawn(&["run"]);
    eventually("it runs", || hung.c.call(&["state"]).stdout.contains("\"running\""));
    assert_eq!(hung.c.call(&["delete", "--force"]).ok().stderr, "");
    let out = running.wait().exits(128 + 9);
    assert_eq!((hung.order().as_str(), out.stderr.as_str()), ("on\noff\n", ""));
}

fn foreground_run_leaves_another_container_of_its_id_alone(t: &Test) {
    let hung = Hung::new(t);
    let running = hung.spawn(&["run"]);
    eventually("it runs", || hung.c.call(&["state"]).stdout.contains("\"running\"") && !hung.c.is_locked());
    kill(Pid::from_raw(running.pid()), Signal::SIGSTOP).unwrap();
    hung.c.call(&["delete", "--force"]).ok();
    hung.c.up();
    kill(Pid::from_raw(running.pid()), Signal::SIGCONT).unwrap();
    let out = running.wait().exits(128 + 9);
    assert_eq!((out.stderr.as_str(), hung.c.status().as_str()), ("", "running"));
    hung.is_removed();
}

/// The delete may come before the command knows that the program runs.
fn foreground_run_ends_as_its_program_when_deleted_at_once(t: &Test) {
    let mut hung = Hung::new(t);
    let go = hung.log.join("go");
    let line = format!(
        "{READ} {}; until [ -e {} ]; do sleep 0.1; done; {}",
        hung.says("on"),
        go.display(),
        hung.says("off")
    );
    hung.c.config["hooks"]["startContainer"] = json!([shell(&line)]);
    let running = hung.begin(&["run"]);
    eventually("the lock is free", || !hung.c.is_locked());
    kill(Pid::from_raw(running.pid()), Signal::SIGSTOP).unwrap();
    fs::write(&go, "").unwrap();
    eventually("the hook has ended", || hung.order() == "on\noff\n");
    let pid = hung.c.call(&["state"]).ok().json()["pid"].clone();
    eventually("the program runs", || {
        fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with("sleep"))
    });
    let delete = t.spawn(t.command(&["delete", "--force", &hung.c.id]));
    eventually("it is deleted", || hung.c.call(&["state"]).status != 0);
    kill(Pid::from_raw(running.pid()), Signal::SIGCONT).unwrap();
    delete.wait().ok();
    let out = running.wait().exits(128 + 9);
    assert_eq!(out.stderr, "");
}
