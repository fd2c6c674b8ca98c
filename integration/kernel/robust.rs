//! Faults and races: one winner, no loss, no leftovers.

use crate::cases;
use crate::common::test::STATE;
use crate::common::{Case, Container, Runtime, Test, eventually};
use crate::state::with_small_root;
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub const CASES: &[Case] = cases![
    parallel_creates_of_one_id_have_one_winner,
    parallel_starts_have_one_winner,
    parallel_deletes_all_succeed,
    create_killed_at_any_time_can_be_deleted,
    create_terminated_by_sigterm_leaves_nothing,
    start_fails_if_init_was_killed,
    passwd_fifo_does_not_hang,
    full_stdout_is_an_error,
    created_init_holds_no_descriptor_of_the_host,
    umask_of_the_caller_has_no_effect,
    run_that_could_not_clear_its_note_returns_the_programs_status,
    delete_that_cannot_read_its_note_fails_and_can_be_repeated,
];

pub const SLOW: &[Case] =
    cases![a_thousand_containers_leave_nothing, create_killed_two_hundred_times_can_be_deleted];

fn parallel_creates_of_one_id_have_one_winner(t: &Test) {
    let mut c = t.container();
    c.probe("pause");
    c.write();
    let bundle = c.bundle.to_str().unwrap();
    for _ in 0..3 {
        let all: Vec<_> =
            (0..6).map(|_| t.spawn(t.command(&["create", "--bundle", bundle, &c.id]))).collect();
        let won = all.into_iter().map(|r| r.wait()).filter(|o| o.status == 0).count();
        assert_eq!(won, 1);
        assert_eq!(c.status(), "created");
        c.remove();
    }
}

fn parallel_starts_have_one_winner(t: &Test) {
    let mut c = t.container();
    let shared = c.share();
    c.args(&["sh", "-c", "echo x >> /shared/starts; sleep 100"]);
    c.create().ok();
    let all: Vec<_> = (0..6).map(|_| t.spawn(t.command(&["start", &c.id]))).collect();
    let won = all.into_iter().map(|r| r.wait()).filter(|o| o.status == 0).count();
    assert_eq!(won, 1);
    // The shell creates the file and writes it in two steps.
    let starts = || fs::read_to_string(shared.join("starts")).unwrap_or_default();
    eventually("it ran", || !starts().is_empty());
    assert_eq!(starts(), "x\n");
    c.remove();
}

fn parallel_deletes_all_succeed(t: &Test) {
    let mut c = t.container();
    c.probe("fork 3 pause");
    for _ in 0..3 {
        c.up();
        let all: Vec<_> = (0..5).map(|_| t.spawn(t.command(&["delete", "--force", &c.id]))).collect();
        all.into_iter().for_each(|r| drop(r.wait().ok()));
    }
}

/// Kills `create` after a delay and checks that the id can be deleted and reused.
fn kill_create_after(c: &Container<'_>, delay: Duration, signal: Signal) {
    c.write();
    let command = c.test.command(&["create", "--bundle", c.bundle.to_str().unwrap(), &c.id]);
    let running = c.test.spawn(command);
    std::thread::sleep(delay);
    let _ = kill(Pid::from_raw(running.pid()), signal);
    running.wait();
    c.remove();
    assert_eq!(c.test.call(&["list", "-q"]).ok().stdout, "", "killed after {delay:?}");
}

fn create_killed_at_any_time_can_be_deleted(t: &Test) {
    let mut c = t.container();
    c.probe("pause");
    for step in 0..25 {
        kill_create_after(&c, Duration::from_micros(400 * step), Signal::SIGKILL);
    }
    c.create().ok();
    c.remove();
}

fn create_killed_two_hundred_times_can_be_deleted(t: &Test) {
    let mut c = t.container();
    c.probe("pause");
    for step in 0..200 {
        kill_create_after(&c, Duration::from_micros(97 * step), Signal::SIGKILL);
    }
    c.create().ok();
    c.remove();
}

fn create_terminated_by_sigterm_leaves_nothing(t: &Test) {
    let mut c = t.container();
    c.probe("pause");
    for step in 0..10 {
        kill_create_after(&c, Duration::from_millis(step), Signal::SIGTERM);
    }
}

fn start_fails_if_init_was_killed(t: &Test) {
    let mut c = t.container();
    c.probe("pause");
    c.create().ok();
    kill(Pid::from_raw(c.pid()), Signal::SIGKILL).unwrap();
    c.stopped();
    let out = c.start();
    assert_ne!(out.status, 0);
    c.delete().ok();
}

fn passwd_fifo_does_not_hang(t: &Test) {
    let mut c = t.container();
    let passwd = c.rootfs.join("etc/passwd");
    fs::remove_file(&passwd).unwrap();
    nix::unistd::mkfifo(&passwd, nix::sys::stat::Mode::from_bits_truncate(0o644)).unwrap();
    c.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    assert_eq!(c.probe("env").run().ok().probe()["env"]["HOME"], "/");
}

fn full_stdout_is_an_error(t: &Test) {
    let mut c = t.container();
    c.probe("pause");
    c.up();
    for command in [format!("state {}", c.id), "list".into(), "list --format json".into()] {
        let line = format!("{} --root /run/it/state {command} > /dev/full", t.runtime_path().display());
        let mut shell = Command::new("sh");
        shell.args(["-c", &line]);
        assert_ne!(t.finish(shell).status, 0, "{command}");
    }
    c.remove();
}

/// The container can reach the descriptors of a waiting init through /proc.
fn created_init_holds_no_descriptor_of_the_host(t: &Test) {
    let mut c = t.container();
    c.probe("pause");
    c.create().ok();
    let dir = format!("/proc/{}/fd", c.pid());
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let number: u32 = entry.file_name().to_str().unwrap().parse().unwrap();
        let target = fs::read_link(entry.path()).unwrap();
        if number > 2 && fs::metadata(entry.path()).is_ok_and(|m| m.is_dir()) {
            panic!("descriptor {number} is the directory {}", target.display());
        }
    }
    c.remove();
}

/// Runs create, start and delete a thousand times.
///
/// The cage finds leftovers, and counts that no cage sees stay unchanged.
fn a_thousand_containers_leave_nothing(t: &Test) {
    let mut c = t.container();
    c.args(&["true"]);
    let dying = || {
        let stat = fs::read_to_string("/sys/fs/cgroup/cgroup.stat").unwrap_or_default();
        stat.lines().find_map(|l| l.strip_prefix("nr_descendants ")?.parse::<u64>().ok())
    };
    let before = dying();
    for n in 0..1000 {
        c.id = format!("loop{n}");
        c.create().ok();
        c.start().ok();
        c.remove();
    }
    assert_eq!(dying(), before, "cgroups");
}

/// The container's user can enter each directory that was created for it.
fn umask_of_the_caller_has_no_effect(t: &Test) {
    for mask in ["000", "077", "777"] {
        let mut c = t.container();
        c.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        c.config["process"]["cwd"] = json!("/made/work");
        c.config["root"]["readonly"] = json!(false);
        c.config["linux"]["devices"] =
            json!([{"path": "/nodes/n", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666}]);
        c.mount("/opt/app/file", "none", "config.json", &["bind", "ro"]);
        c.mount("/srv/vol/t", "tmpfs", "t", &["mode=1777"]);
        c.probe("list /opt/app write /srv/vol/t/x x stat /nodes/n list /made/work").write();
        let call = |act: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", &format!("umask {mask}; exec \"$@\""), "sh"]);
            let runtime = t.command(&[act, "--bundle", c.bundle.to_str().unwrap(), &c.id]);
            command.arg(runtime.get_program()).args(runtime.get_args());
            t.finish(command).ok()
        };
        let seen = call("run").probe();
        assert_eq!(seen.result("write"), "ok");
        assert_eq!(seen.result("list /opt/app"), &json!(["file"]));
        assert_eq!(seen.result("list /made/work"), &json!([]));
        assert_eq!(seen.result("stat /nodes/n")["mode"], json!(0o666));
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode();
        for directory in ["opt", "opt/app", "srv", "srv/vol", "srv/vol/t", "nodes", "made", "made/work"] {
            assert_eq!(mode(c.rootfs.join(directory)), 0o40755, "{directory} {mask}");
        }
        assert_eq!(mode(c.rootfs.join("opt/app/file")) & !0o111, 0o100644, "{mask}");
        call("create");
        if t.hierarchy("pids").is_some() && t.runtime == Runtime::Embrun {
            assert_eq!(mode(c.cgroup("pids")), 0o40755, "{mask}");
        }
        c.remove();
    }
}

/// The state root is read-only while `run` clears its note about a hook.
fn run_that_could_not_clear_its_note_returns_the_programs_status(t: &Test) {
    with_small_root("mode=700,size=1m", || {
        let none: Option<&str> = None;
        let remount = |flags| mount(none, STATE, none, MsFlags::MS_REMOUNT | flags, none).unwrap();
        let mut c = t.container();
        let shared = c.share();
        let here = shared.display();
        let wait = |on: &str, go: &str| format!("echo x > {on}; while [ ! -e {go} ]; do sleep 0.02; done");
        let hook = wait(&format!("{here}/hook"), &format!("{here}/end"));
        c.config["hooks"]["poststart"] = json!([{"path": "/bin/sh", "args": ["sh", "-c", hook]}]);
        c.args(&["sh", "-c", &(wait("/shared/on", "/shared/go") + "; exit 7")]).write();
        let steps = t.path("steps");
        let bundle = c.bundle.to_str().unwrap();
        let run = ["--trace", steps.to_str().unwrap(), "run", "--bundle", bundle, &c.id];
        let running = t.spawn(t.command(&run));
        eventually("the hook runs", || shared.join("hook").exists());
        remount(MsFlags::MS_RDONLY);
        fs::write(shared.join("end"), "").unwrap();
        eventually("run waits for the program", || {
            fs::read_to_string(&steps).is_ok_and(|text| text.contains("wait for the program to end"))
        });
        remount(MsFlags::empty());
        fs::write(shared.join("go"), "").unwrap();
        assert_eq!(running.wait().exits(7).stderr, "");
    });
}

/// An error is no proof that another command has deleted the container.
fn delete_that_cannot_read_its_note_fails_and_can_be_repeated(t: &Test) {
    let mut c = t.container();
    let (mark, note) = (c.bundle.join("mark"), Path::new(STATE).join(&c.id).join("work"));
    let (mark, note) = (mark.display(), note.display());
    let hook = format!("[ -e {mark} ] || ln -sf nowhere {note}; touch {mark}");
    c.config["hooks"]["poststop"] = json!([{"path": "/bin/sh", "args": ["sh", "-c", hook]}]);
    c.up();
    c.stopped();
    c.delete().exits(1).fails(&["work: symbolic link loop"]);
    assert_eq!(c.status(), "stopped");
    c.delete().ok();
}
