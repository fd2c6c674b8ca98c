//! A container, the command that gets a fault, and what is left afterwards.

use crate::common::cage::{below, token_cgroups};
use crate::common::inject::{Fault, Faulted, perform};
use crate::common::runner::patience;
use crate::common::test::STATE;
use crate::common::{ConsoleSocket, Container, Output, Test};
use nix::unistd::Pid;
use serde_json::json;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A command answers within this time, before `IT_SLOW` multiplies it.
const LIMIT: Duration = Duration::from_secs(20);

/// Whether a command that reported success has had its effect.
type Effect = fn(&Scene<'_>) -> bool;

pub struct Scene<'t> {
    pub name: &'static str,
    pub c: Container<'t>,
    t: &'t Test,
    before: Vec<&'static str>,
    command: Vec<String>,
    init: bool,
    effect: Effect,
    socket: Option<ConsoleSocket>,
    background: RefCell<Option<Child>>,
    usual: BTreeSet<String>,
}

impl<'t> Scene<'t> {
    pub fn new(t: &'t Test, name: &'static str) -> Scene<'t> {
        let mut c = t.container();
        c.args(&["sleep", "1000"]);
        Scene {
            name,
            c,
            t,
            before: Vec::new(),
            command: Vec::new(),
            init: false,
            effect: |_| true,
            socket: None,
            background: RefCell::new(None),
            usual: BTreeSet::new(),
        }
    }

    pub fn with_hooks(&mut self) {
        for kind in ["createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
            self.c.config["hooks"][kind] = json!([{"path": "/bin/true"}]);
        }
    }

    /// Adds a hook that makes a file and never ends, with a child.
    pub fn with_a_hung_hook(&mut self) {
        let line = format!("touch {}; sleep 1000 & sleep 1000", self.mark().display());
        self.c.config["hooks"]["createRuntime"] = json!([{"path": "/bin/sh", "args": ["sh", "-c", line]}]);
    }

    fn mark(&self) -> PathBuf {
        self.c.bundle.join("hangs")
    }

    /// Returns the path of a console socket whose terminals are not used.
    pub fn listen(&mut self) -> String {
        let path = self.c.bundle.join("console");
        self.socket = Some(ConsoleSocket::listen(path.clone()));
        path.to_str().unwrap().into()
    }

    pub fn before(&mut self, steps: &[&'static str]) -> &mut Self {
        self.before = steps.to_vec();
        self
    }

    pub fn traces_init(&mut self) -> &mut Self {
        self.init = true;
        self
    }

    pub fn command(&mut self, words: &[&str]) -> &mut Self {
        self.command = self.words(words);
        self
    }

    /// Completes the scene.
    pub fn effect(mut self, effect: Effect) -> Scene<'t> {
        self.effect = effect;
        self.c.write();
        // The files of the outputs exist from now on.
        self.call(&["list"]);
        self.usual = self.present();
        self
    }

    fn words(&self, words: &[&str]) -> Vec<String> {
        let bundle = self.c.bundle.to_str().unwrap();
        let word = |w: &&str| match *w {
            "ID" => self.c.id.clone(),
            "BUNDLE" => bundle.into(),
            other => other.into(),
        };
        words.iter().map(word).collect()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.c.bundle.join(name)
    }

    fn prepared(&self, words: &[String], out: &str, errors: &str) -> Command {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = self.t.command(&words);
        let file = |name: &str| File::create(self.file(name)).unwrap();
        command.stdin(Stdio::null()).stdout(file(out)).stderr(file(errors));
        command
    }

    /// Runs a command without a fault.
    ///
    /// The status of a command that does not end in time is 124.
    pub fn call(&self, words: &[&str]) -> Output {
        let words = self.words(words);
        let mut child = self.prepared(&words, "answer", "complaints").spawn().unwrap();
        let began = Instant::now();
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break status.code().unwrap_or(125),
                None if began.elapsed() > LIMIT * patience() => {
                    let _ = child.kill();
                    child.wait().unwrap();
                    break 124;
                }
                None => std::thread::sleep(Duration::from_micros(300)),
            }
        };
        let read = |name| fs::read_to_string(self.file(name)).unwrap_or_default();
        Output { command: words.join(" "), status, stdout: read("answer"), stderr: read("complaints") }
    }

    /// Brings the container into the state that the command needs.
    pub fn prepare(&self) {
        for step in &self.before {
            let out = match *step {
                "create" => self.call(&["create", "--bundle", "BUNDLE", "ID"]),
                "kill" => {
                    self.call(&["kill", "ID", "KILL"]);
                    assert!(self.comes_to("stopped"));
                    continue;
                }
                "device add" => self.call(&["device", "add", "ID", "/dev/full", "--as", "/dev/added"]),
                "hang" => {
                    self.hang();
                    continue;
                }
                other => self.call(&[other, "ID"]),
            };
            assert_eq!(out.status, 0, "{}: {}", out.command, out.stderr);
        }
    }

    fn hang(&self) {
        let _ = fs::remove_file(self.mark());
        let mut create =
            self.prepared(&self.words(&["create", "--bundle", "BUNDLE", "ID"]), "ignored", "ignored");
        *self.background.borrow_mut() = Some(create.spawn().unwrap());
        assert!(within(|| self.mark().exists()), "the hook does not run");
    }

    /// Performs the command with a fault.
    pub fn fault(&self, fault: Fault) -> Faulted {
        let init = self.init.then(|| Pid::from_raw(self.pid()));
        perform(self.prepared(&self.command, "output", "errors"), init, fault, LIMIT * patience())
    }

    /// Whether the command did what it reports.
    pub fn is_right(&self, status: i32, errors: &str) -> bool {
        if status == 0 { (self.effect)(self) } else { !errors.is_empty() }
    }

    pub fn errors(&self) -> String {
        fs::read_to_string(self.file("errors")).unwrap_or_default()
    }

    pub fn stdout(&self) -> String {
        fs::read_to_string(self.file("output")).unwrap_or_default()
    }

    fn pid(&self) -> i32 {
        self.call(&["state", "ID"]).json()["pid"].as_i64().unwrap() as i32
    }

    pub fn status(&self) -> String {
        let out = self.call(&["state", "ID"]);
        if out.status == 0 { out.json()["status"].as_str().unwrap().into() } else { String::new() }
    }

    pub fn comes_to(&self, status: &str) -> bool {
        within(|| self.status() == status)
    }

    /// Whether a process has this command line.
    pub fn has_process(&self, line: &str) -> bool {
        let has = |pid: &String| {
            fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|l| l.trim_end_matches('\0') == line)
        };
        within(|| pids().iter().any(has))
    }

    pub fn is_gone(&self) -> bool {
        self.settle();
        self.left().is_empty()
    }

    /// Ends the command in the background.
    pub fn settle(&self) {
        if let Some(mut child) = self.background.borrow_mut().take() {
            if !within(|| child.try_wait().unwrap().is_some()) {
                println!("the command in the background did not end");
            }
            let _ = child.kill();
            child.wait().unwrap();
        }
    }

    /// Returns the processes, cgroups, mounts and files that the container has left.
    ///
    /// The kernel gets some time to remove them.
    pub fn left(&self) -> BTreeSet<String> {
        let mut left = BTreeSet::new();
        within(|| {
            left = self.present().difference(&self.usual).cloned().collect();
            left.is_empty()
        });
        left
    }

    fn present(&self) -> BTreeSet<String> {
        let names = |dir: &Path| {
            let entries: Vec<_> = fs::read_dir(dir).into_iter().flatten().flatten().collect();
            let hidden = ["pid", "hangs", "output", "answer", "errors", "complaints", "ignored"];
            let shown = entries.into_iter().filter(move |e| !hidden.iter().any(|h| e.file_name() == **h));
            shown.map(|e| format!("file {}", e.path().display())).collect::<Vec<_>>()
        };
        let mut all: BTreeSet<String> = pids().into_iter().map(|pid| format!("process {pid}")).collect();
        for dir in [Path::new("/run"), Path::new(STATE), &self.c.bundle] {
            all.extend(names(dir));
        }
        for dir in token_cgroups(self.t.token()) {
            all.extend(below(&dir).into_iter().map(|d| format!("cgroup {}", d.display())));
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        all.extend(mounts.lines().map(|line| format!("mount {line}")));
        all
    }
}

/// Whether a condition holds within some seconds.
fn within(mut holds: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    loop {
        if holds() {
            return true;
        }
        if began.elapsed() > Duration::from_secs(4) * patience() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// All processes but the test's own and its parent, which is pid 1.
fn pids() -> Vec<String> {
    let own = std::process::id();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let names = entries.map(|e| e.file_name().to_string_lossy().into_owned());
    names.filter(|n| n.parse::<u32>().is_ok_and(|pid| pid != 1 && pid != own)).collect()
}
