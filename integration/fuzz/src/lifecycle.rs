//! Sequences of commands with the real program, beside a model of the lifecycle.
//!
//! It needs root, `EMBRUN` with the program's path, busybox, and a pid namespace whose first process it is: run.sh makes it.

use std::cell::OnceCell;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use serde_json::{Value, json};

use crate::draw::Draw;
use crate::model::{Status, Verb, after};
use crate::scratch::Scratch;

const IDS: [&str; 2] = ["one", "two"];
/// The longest sequence, since a command takes milliseconds.
const LONGEST: usize = 16;

thread_local! {
    static STAGE: OnceCell<Stage> = const { OnceCell::new() };
}

/// Performs a sequence: a byte chooses the container and the command.
pub fn judge(input: &[u8]) {
    STAGE.with(|cell| {
        let stage = cell.get_or_init(Stage::new);
        let mut draw = Draw(&input[..input.len().min(LONGEST)]);
        let (mut model, mut past) = ([Status::Absent; 2], Vec::new());
        while !draw.is_empty() {
            let byte = usize::from(draw.byte());
            let (at, verb) = (byte / Verb::ALL.len() % 2, Verb::ALL[byte % Verb::ALL.len()]);
            past.push((IDS[at], verb));
            let output = stage.perform(IDS[at], verb);
            let wanted = after(model[at], verb);
            let says = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.success(), wanted.is_some(), "{past:?} from {model:?}: {output:?}");
            assert_eq!(
                says.is_empty(),
                wanted.is_some(),
                "{past:?}: success is silent, a failure says why: {says}"
            );
            model[at] = wanted.unwrap_or(model[at]);
            for (id, status) in IDS.iter().zip(model) {
                stage.reaches(id, status, &past);
            }
        }
        for id in IDS {
            assert!(stage.perform(id, Verb::Force).status.success(), "{past:?}: delete --force");
        }
        stage.is_clean(&past);
    });
}

struct Stage {
    scratch: Scratch,
    program: PathBuf,
}

impl Stage {
    fn new() -> Stage {
        let program = env::var_os("EMBRUN").map(PathBuf::from).expect("EMBRUN is the program's path");
        assert_eq!(std::process::id(), 1, "this target must be process 1 of a pid namespace");
        let scratch = Scratch::new("lifecycle");
        let stage = Stage { scratch, program };
        let bin = stage.bundle().join("rootfs/bin");
        fs::create_dir_all(&bin).unwrap();
        // As in runc, a root that the caller names must exist to be listed.
        fs::create_dir(stage.scratch.path().join("state")).unwrap();
        fs::copy("/bin/busybox", bin.join("busybox")).expect("a static busybox");
        let spec = Command::new(&stage.program).args(["spec", "-b"]).arg(stage.bundle()).status().unwrap();
        assert!(spec.success());
        for id in IDS {
            stage.configure(id);
        }
        stage
    }

    fn bundle(&self) -> PathBuf {
        self.scratch.path().join("bundle")
    }

    /// A program that waits, in a cgroup of its own.
    fn configure(&self, id: &str) {
        let text = fs::read(self.bundle().join("config.json")).unwrap();
        let mut config: Value = serde_json::from_slice(&text).unwrap();
        config["process"]["args"] = json!(["/bin/busybox", "sleep", "100000"]);
        config["process"]["terminal"] = json!(false);
        config["linux"]["cgroupsPath"] = json!(format!("{}/{id}", self.cgroup()));
        fs::write(self.bundle().join(format!("{id}.json")), config.to_string()).unwrap();
    }

    fn cgroup(&self) -> String {
        let name = self.scratch.path().file_name().unwrap().to_str().unwrap();
        format!("/{name}")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(self.scratch.path().join("state")).args(words);
        command.current_dir(self.bundle()).stdin(Stdio::null());
        command
    }

    /// The output goes to files: a container keeps its standard streams open.
    fn perform(&self, id: &str, verb: Verb) -> Output {
        let (front, back) = verb.words();
        let mut command = self.command(front);
        if matches!(verb, Verb::Create | Verb::Run) {
            command.arg("--config").arg(format!("{id}.json"));
        }
        command.arg(id).args(back);
        let file = |name: &str| self.scratch.path().join(name);
        let [out, err] = ["stdout", "stderr"].map(|name| fs::File::create(file(name)).unwrap());
        let status = command.stdout(out).stderr(err).status().unwrap();
        let [stdout, stderr] = ["stdout", "stderr"].map(|name| fs::read(file(name)).unwrap());
        reap();
        Output { status, stdout, stderr }
    }

    /// Waits until `state` prints the status: a killed process takes a moment to end.
    fn reaches(&self, id: &str, status: Status, past: &[(&str, Verb)]) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            reap();
            let output = self.command(&["state", id]).output().unwrap();
            let seen = serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default();
            let word = seen["status"].as_str().unwrap_or("");
            let is_there = output.status.success() == (status != Status::Absent);
            if is_there && word == status.word() {
                let has_pid = seen["pid"].as_i64().unwrap_or(0) > 0;
                assert_eq!(has_pid, !matches!(status, Status::Absent | Status::Stopped), "{past:?}: {seen}");
                return;
            }
            let may_wait = status == Status::Stopped && Instant::now() < deadline;
            assert!(may_wait, "{past:?}: {id} is {output:?}, not {status:?}");
            std::thread::yield_now();
        }
    }

    /// No process, record or cgroup is left.
    fn is_clean(&self, past: &[(&str, Verb)]) {
        reap();
        let list = self.command(&["list", "--quiet"]).output().unwrap();
        assert!(list.status.success() && list.stdout.is_empty(), "{past:?}: {list:?}");
        let state = self.scratch.path().join("state");
        let left: Vec<_> =
            fs::read_dir(state).into_iter().flatten().map(|e| e.unwrap().file_name()).collect();
        assert!(left.is_empty(), "{past:?}: {left:?} are left in the state root");
        let others: Vec<_> = pids().into_iter().filter(|pid| *pid > 1).collect();
        assert!(others.is_empty(), "{past:?}: the processes {others:?} are left");
        let top = Path::new("/sys/fs/cgroup");
        let hierarchies = fs::read_dir(top).into_iter().flatten().map(|e| e.unwrap().path());
        for hierarchy in hierarchies.chain([top.to_owned()]) {
            // The container that made it could not remove it if another one was still in it.
            let shared = hierarchy.join(&self.cgroup()[1..]);
            let empty = !shared.exists() || fs::remove_dir(&shared).is_ok();
            assert!(empty, "{past:?}: a cgroup is left in {}", shared.display());
        }
    }
}

/// Waits for the ended processes that the containers left to process 1.
fn reap() {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            return;
        }
    }
}

fn pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().map(|e| e.unwrap().file_name());
    entries.filter_map(|name| name.to_str()?.parse().ok()).collect()
}
