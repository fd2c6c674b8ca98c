//! The state on disk: damaged, of an earlier boot, on a full or read-only disk.
//!
//! Commands may also have been interrupted. In every case no foreign process gets a signal, nothing is
//! lost, and the id can be used again.

use crate::cases;
use crate::common::test::STATE;
use crate::common::tracer;
use crate::common::{Case, Container, Test, eventually};
use embrun::state::record::{Phase, ProcessMark, Record};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

pub const CASES: &[Case] = cases![
    state_output_is_formatted_like_runcs,
    state_json_has_the_keys_that_others_read,
    reused_pid_is_never_signalled,
    container_of_an_earlier_boot_is_stopped_and_replaced,
    container_of_an_earlier_boot_is_deleted_without_a_signal,
    delete_killed_at_any_time_can_be_repeated,
    pause_and_kill_killed_at_any_time_do_no_harm,
    interrupted_delete_is_completed_without_force,
    interrupted_create_does_not_kill_other_containers,
    existing_cgroup_is_emptied_and_kept,
    kill_and_delete_work_on_a_full_disk,
    create_on_a_tiny_disk_fails_and_leaves_nothing,
    read_only_state_root_keeps_the_state_for_a_later_delete,
    run_returns_the_programs_status_if_the_delete_fails,
    locked_container_is_waited_for,
    delete_force_kills_the_command_that_holds_the_lock,
    paused_container_dies_by_kill,
    container_without_its_cgroup_is_stopped_and_deletable,
    start_fifo_alone_does_not_mean_created,
];

pub fn dir(c: &Container<'_>) -> PathBuf {
    Path::new(STATE).join(&c.id)
}

pub fn record(c: &Container<'_>) -> Record {
    Record::decode(&fs::read(dir(c).join("record")).unwrap()).unwrap()
}

fn edit(c: &Container<'_>, change: impl FnOnce(&mut Record)) {
    let mut record = record(c);
    change(&mut record);
    fs::write(dir(c).join("record"), record.encode()).unwrap();
}

/// A process that has nothing to do with any container.
struct Stranger(Child);

impl Stranger {
    fn new() -> Stranger {
        Stranger(Command::new("sleep").arg("1000").spawn().unwrap())
    }

    fn pid(&self) -> i32 {
        self.0.id() as i32
    }

    #[track_caller]
    fn goes_on(mut self) {
        assert!(self.0.try_wait().unwrap().is_none(), "a foreign process got a signal");
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

pub fn paused(t: &Test) -> Container<'_> {
    let mut c = t.container();
    c.probe("pause");
    c
}

fn state_output_is_formatted_like_runcs(t: &Test) {
    let mut c = paused(t);
    c.config["annotations"] = json!({"a": "1"});
    c.up();
    let text = c.call(&["state"]).ok().stdout;
    let keys: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("  \"")?.split('"').next()).collect();
    let order = ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "annotations", "owner"];
    assert_eq!(keys, order);
    assert!(text.starts_with("{\n  \"ociVersion\": \"") && text.ends_with("\"owner\": \"\"\n}"), "{text:?}");
    let list = t.call(&["list", "-f", "json"]).ok().stdout;
    assert!(list.starts_with("[{\"ociVersion\":\"") && list.ends_with("\"owner\":\"root\"}]\n"), "{list:?}");
    c.remove();
}

fn state_json_has_the_keys_that_others_read(t: &Test) {
    let c = paused(t);
    c.up();
    let text = fs::read_to_string(dir(&c).join("state.json")).unwrap();
    let state: serde_json::Value = serde_json::from_str(&text).unwrap();
    let start = record(&c).init.unwrap().start;
    assert_eq!(state["id"], json!(c.id));
    assert_eq!(state["init_process_pid"], json!(c.pid()));
    assert_eq!(state["init_process_start"], json!(start));
    assert_eq!(state["created"], c.state()["created"]);
    assert_eq!(state["config"]["rootfs"], json!(c.rootfs.to_str()));
    assert!(state["config"]["mounts"].as_array().unwrap().iter().any(|m| m["destination"] == "/proc"));
    for path in state["cgroup_paths"].as_object().unwrap().values() {
        let procs = fs::read_to_string(Path::new(path.as_str().unwrap()).join("cgroup.procs")).unwrap();
        assert_eq!(procs.trim(), c.pid().to_string(), "{path}");
    }
    for (kind, path) in state["namespace_paths"].as_object().unwrap() {
        assert!(fs::read_link(path.as_str().unwrap()).is_ok(), "{kind} {path}");
    }
    c.remove();
}

fn reused_pid_is_never_signalled(t: &Test) {
    let c = paused(t);
    for same_start in [false, true] {
        c.up();
        // Start times are counted in ticks of 10 ms, and these two must differ.
        std::thread::sleep(Duration::from_millis(20));
        let stranger = Stranger::new();
        let (mine, theirs) = (record(&c).init.unwrap(), ProcessMark::of(stranger.pid()).unwrap());
        // A reused pid, and a pid with the wrong start time.
        let start = if same_start { mine.start } else { theirs.start - 1 };
        edit(&c, |r| r.init = Some(ProcessMark { pid: theirs.pid, start }));
        assert_eq!(c.status(), "stopped");
        c.kill("KILL").exits(1).fails(&["container not running"]);
        c.remove();
        stranger.goes_on();
        // The init of the cage reaps it when it gets there.
        eventually("the real init has ended with its cgroup", || {
            !fs::exists(format!("/proc/{}", mine.pid)).unwrap()
        });
    }
}

/// A container as a power loss leaves it.
///
/// Its files exist, its processes and cgroups do not, and another process has its pid.
fn from_an_earlier_boot<'t>(t: &'t Test, stranger: &Stranger) -> Container<'t> {
    let c = paused(t);
    c.up();
    c.kill("KILL").ok();
    c.stopped();
    edit(&c, |r| {
        r.boot_id = "00000000-0000-4000-8000-000000000000";
        r.init = Some(ProcessMark::of(stranger.pid()).unwrap());
        for place in std::mem::take(&mut r.cgroup.places) {
            fs::remove_dir(place.directory()).unwrap();
        }
    });
    c
}

fn container_of_an_earlier_boot_is_stopped_and_replaced(t: &Test) {
    let stranger = Stranger::new();
    let c = from_an_earlier_boot(t, &stranger);
    assert_eq!(c.status(), "stopped");
    assert_eq!(c.state()["pid"], 0);
    c.start().exits(1).fails(&["stopped"]);
    c.exec(&["true"]).fails(&["stopped"]);
    c.kill("KILL").exits(1).fails(&["container not running"]);
    c.up();
    assert_eq!(c.status(), "running");
    c.remove();
    stranger.goes_on();
}

fn container_of_an_earlier_boot_is_deleted_without_a_signal(t: &Test) {
    let stranger = Stranger::new();
    let c = from_an_earlier_boot(t, &stranger);
    c.delete().ok();
    stranger.goes_on();
}

/// Runs a command and kills it after a delay.
fn interrupt(c: &Container<'_>, args: &[&str], delay: Duration) {
    let running = c.test.spawn(c.test.command(&[args, &[&c.id]].concat()));
    std::thread::sleep(delay);
    let _ = kill(Pid::from_raw(running.pid()), Signal::SIGKILL);
    running.wait();
}

fn delete_killed_at_any_time_can_be_repeated(t: &Test) {
    let mut c = t.container();
    c.probe("fork 3 pause");
    let log = c.bundle.join("poststop");
    let hook =
        |n: u32| json!({"path": "/bin/sh", "args": ["sh", "-c", format!("echo {n} >> {}", log.display())]});
    c.config["hooks"]["poststop"] = json!([hook(1), hook(2)]);
    for step in 0..40 {
        let _ = fs::remove_file(&log);
        c.up();
        interrupt(&c, &["delete", "--force"], Duration::from_micros(300 * step));
        assert_eq!(t.call(&["list"]).ok().stderr, "", "killed at step {step}");
        c.remove();
        // No hook is left out. An interrupted one runs again, and so does one whose note was interrupted.
        let ran = fs::read_to_string(&log).unwrap();
        assert!(ran.contains("1\n") && ran.ends_with("2\n") && ran.len() <= 8, "step {step}: {ran:?}");
    }
}

fn pause_and_kill_killed_at_any_time_do_no_harm(t: &Test) {
    t.needs_controller("freezer");
    let mut c = t.container();
    c.args(&["sh", "-c", "while :; do true; /bin/true; done"]);
    for step in 0..12 {
        c.up();
        for command in [&["pause"][..], &["resume"], &["pause"], &["kill"]] {
            interrupt(&c, command, Duration::from_micros(500 * step));
            assert!(["running", "paused"].contains(&c.status().as_str()), "{}", c.status());
        }
        c.remove();
    }
}

fn interrupted_delete_is_completed_without_force(t: &Test) {
    let c = paused(t);
    c.up();
    edit(&c, |r| r.phase = Phase::Deleting);
    assert_eq!(c.status(), "running", "the status must still be observed");
    c.create().exits(1).fails(&["already exists"]);
    c.delete().ok();
}

/// The cgroup of an interrupted create may belong to another container.
fn interrupted_create_does_not_kill_other_containers(t: &Test) {
    let (one, mut two) = (paused(t), paused(t));
    one.up();
    two.config["linux"]["cgroupsPath"] = one.config["linux"]["cgroupsPath"].clone();
    two.create().exits(1).fails(&["container's cgroup is not empty"]);
    let mut planned = Record { id: two.id.clone().leak(), phase: Phase::Planned, init: None, ..record(&one) };
    planned.creator.start += 1;
    assert!(planned.cgroup.places.iter().all(|p| p.made > 0));
    fs::create_dir(dir(&two)).unwrap();
    fs::write(dir(&two).join("record"), planned.encode()).unwrap();
    assert_eq!(two.status(), "stopped");
    two.delete().ok();
    assert_eq!(one.status(), "running");
    one.remove();
}

fn existing_cgroup_is_emptied_and_kept(t: &Test) {
    t.needs_controller("pids");
    for shared in [false, true] {
        let mut c = t.container();
        c.probe("fork 2 say pause");
        if shared {
            c.without_namespace("pid");
        }
        let made = c.cgroup("pids");
        fs::create_dir(&made).unwrap();
        c.up();
        c.says("acts");
        kill(Pid::from_raw(c.pid()), Signal::SIGKILL).unwrap();
        c.stopped();
        c.delete().ok();
        eventually("the cgroup has no process", || {
            fs::read_to_string(made.join("cgroup.procs")).unwrap().is_empty()
        });
        fs::remove_dir(&made).unwrap();
    }
}

/// Mounts a file system over the state root while the closure runs.
pub fn with_small_root(options: &str, run: impl FnOnce()) {
    mount(Some("state"), STATE, Some("tmpfs"), MsFlags::empty(), Some(options)).unwrap();
    run();
    assert_eq!(fs::read_dir(STATE).unwrap().map(|e| e.unwrap().file_name()).collect::<Vec<_>>(), [""; 0]);
    umount2(STATE, MntFlags::empty()).unwrap();
}

/// Fills the free space of the state root with the returned file.
pub fn fill_root() -> PathBuf {
    let filler = Path::new(STATE).join(".filler");
    let full = fs::write(&filler, vec![1; 1 << 20]);
    assert_eq!(full.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    filler
}

fn kill_and_delete_work_on_a_full_disk(t: &Test) {
    for size in ["64k", "256k"] {
        with_small_root(&format!("mode=700,size={size}"), || {
            let mut c = paused(t);
            c.config["hooks"]["poststop"] = json!([{"path": "/bin/true"}]);
            c.up();
            let filler = fill_root();
            assert_eq!(c.status(), "running");
            c.kill("KILL").ok();
            c.stopped();
            c.delete().ok();
            fs::remove_file(filler).unwrap();
        });
    }
}

fn create_on_a_tiny_disk_fails_and_leaves_nothing(t: &Test) {
    let c = paused(t);
    let sizes = ["size=4k", "size=8k", "size=12k", "size=16k", "nr_inodes=2", "nr_inodes=3", "nr_inodes=4"];
    for size in sizes {
        with_small_root(&format!("mode=700,{size}"), || {
            let created = c.create();
            if created.status != 0 {
                assert!(created.stderr.contains("no space left on device"), "{size}: {}", created.stderr);
                assert_eq!(created.stderr.lines().count(), 1, "{size}: {}", created.stderr);
                return;
            }
            c.remove();
        });
    }
}

fn read_only_state_root_keeps_the_state_for_a_later_delete(t: &Test) {
    with_small_root("mode=700,size=1m", || {
        let none: Option<&str> = None;
        let remount = |flags| mount(none, STATE, none, MsFlags::MS_REMOUNT | flags, none).unwrap();
        let c = paused(t);
        c.up();
        remount(MsFlags::MS_RDONLY);
        assert_eq!(c.status(), "running");
        t.call(&["list"]).ok();
        c.delete().exits(1);
        c.call(&["delete", "--force"]).exits(1).fails(&["read-only file system"]);
        c.kill("KILL").ok();
        c.stopped();
        remount(MsFlags::empty());
        c.delete().ok();
    });
}

fn run_returns_the_programs_status_if_the_delete_fails(t: &Test) {
    with_small_root("mode=700,size=1m", || {
        let none: Option<&str> = None;
        let remount = |flags| mount(none, STATE, none, MsFlags::MS_REMOUNT | flags, none).unwrap();
        let mut c = t.container();
        let shared = c.share();
        c.args(&["sh", "-c", "echo x > /shared/on; while [ ! -e /shared/go ]; do sleep 0.02; done; exit 7"]);
        let running = c.spawn_run(&[]);
        eventually("it runs", || shared.join("on").exists());
        // `run` may still be about to undo its note that it waited for init.
        let work = dir(&c).join("work");
        eventually("`run` has cleared its note", || {
            fs::read_to_string(&work).is_ok_and(|work| work.trim().is_empty())
        });
        remount(MsFlags::MS_RDONLY);
        fs::write(shared.join("go"), "").unwrap();
        let out = running.wait().exits(7);
        assert!(out.stderr.contains(&format!("delete {}: ", c.id)), "{}", out.stderr);
        assert!(out.stderr.contains("read-only file system"), "{}", out.stderr);
        remount(MsFlags::empty());
        c.delete().ok();
    });
}

fn locked_container_is_waited_for(t: &Test) {
    use nix::fcntl::{Flock, FlockArg};
    let c = paused(t);
    c.up();
    let lock = Flock::lock(fs::File::open(dir(&c)).unwrap(), FlockArg::LockExclusive).unwrap();
    c.create().exits(1).fails(&["already exists"]);
    assert_eq!(c.status(), "running", "reading needs no lock");
    let delete = t.spawn(t.command(&["delete", "--force", &c.id]));
    std::thread::sleep(Duration::from_millis(300));
    assert!(dir(&c).exists(), "delete must wait");
    drop(lock);
    delete.wait().ok();
}

/// A command that was stopped while it held the lock.
fn delete_force_kills_the_command_that_holds_the_lock(t: &Test) {
    let c = paused(t);
    c.up();
    let stopped = t.spawn(tracer::traced(t.command(&["delete", &c.id])));
    tracer::stop_when(Pid::from_raw(stopped.pid()), || c.is_locked());
    c.remove();
    assert_eq!(stopped.wait().status, 128 + 9);
}

fn paused_container_dies_by_kill(t: &Test) {
    t.needs_controller("freezer");
    for shared in [false, true] {
        let mut c = t.container();
        c.probe("fork 2 say pause");
        if shared {
            c.without_namespace("pid");
        }
        c.up();
        c.says("acts");
        c.call(&["pause"]).ok();
        c.kill("KILL").ok();
        c.stopped();
        c.delete().ok();
    }
}

/// A container whose processes and cgroups vanished without the runtime.
pub fn gone(t: &Test) -> Container<'_> {
    let c = paused(t);
    c.up();
    kill(Pid::from_raw(c.pid()), Signal::SIGKILL).unwrap();
    c.stopped();
    for place in record(&c).cgroup.places {
        eventually("the cgroup is empty", || fs::remove_dir(place.directory()).is_ok());
    }
    c
}

fn container_without_its_cgroup_is_stopped_and_deletable(t: &Test) {
    let c = gone(t);
    assert_eq!(c.status(), "stopped");
    c.delete().ok();
}

/// The status comes from the kernel: a FIFO alone does not mean "created".
fn start_fifo_alone_does_not_mean_created(t: &Test) {
    let c = paused(t);
    c.create().ok();
    assert_eq!(c.status(), "created");
    kill(Pid::from_raw(c.pid()), Signal::SIGKILL).unwrap();
    c.stopped();
    assert!(dir(&c).exists());
    c.delete().ok();
    c.up();
    assert!(dir(&c).join("start.fifo").exists());
    assert_eq!(c.status(), "running", "no process waits at the FIFO");
    c.start().exits(1).fails(&["already running"]);
    c.remove();
}
