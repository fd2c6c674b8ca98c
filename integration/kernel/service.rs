//! Containers without an engine: the script of `cross/init`, run by busybox.

use crate::cases;
use crate::common::{Case, Container, Test, eventually};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

pub const CASES: &[Case] = cases![
    failing_container_is_restarted_logged_and_notified,
    stopped_container_is_not_restarted,
    unresponsive_container_is_killed,
];

/// A bundle whose container the script supervises, with only busybox on PATH.
struct Service<'t> {
    c: Container<'t>,
    dir: PathBuf,
}

impl<'t> Service<'t> {
    fn new(t: &'t Test, script: &str, settings: &str) -> Service<'t> {
        let mut c = t.container();
        c.args(&["sh", "-c", script]).write();
        // The id is the name of the directory.
        let dir = t.path("service");
        fs::create_dir_all(dir.join("bin")).unwrap();
        fs::rename(&c.bundle, dir.join(&c.id)).unwrap();
        symlink(t.runtime_path(), dir.join("bin/embrun")).unwrap();
        let busybox = dir.join(&c.id).join("rootfs/bin/busybox");
        for applet in
            ["sh", "cat", "cut", "wc", "mv", "rm", "sleep", "setsid", "mkfifo", "printf", "echo", "kill"]
        {
            symlink(&busybox, dir.join("bin").join(applet)).unwrap();
        }
        let program = dir.join("notify");
        let told = dir.join("told");
        fs::write(&program, format!("#!{}/bin/sh\necho \"$@\" >> {}\n", dir.display(), told.display()))
            .unwrap();
        fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let settings = format!(
            "LOG={0}/log NOTIFY={0}/notify EMBRUN='embrun --root /run/it/state' {settings}\n",
            dir.display()
        );
        fs::write(dir.join(&c.id).join("service"), settings).unwrap();
        Service { c, dir }
    }

    fn call(&self, command: &str) -> crate::common::Output {
        // The script calls itself, and /bin/sh need not be busybox.
        let own = self.dir.join("embrun-service.sh");
        let text = include_str!("../../cross/init/embrun-service.sh").replacen(
            "#!/bin/sh",
            &format!("#!{}/bin/sh", self.dir.display()),
            1,
        );
        if !own.exists() {
            fs::write(&own, text).unwrap();
            fs::set_permissions(&own, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
        let mut call = Command::new(own);
        call.arg(command).arg(self.dir.join(&self.c.id)).env("PATH", self.dir.join("bin"));
        self.c.test.finish(call)
    }

    fn lines(&self, file: &str, line: &str) -> usize {
        let text = fs::read_to_string(self.dir.join(file)).unwrap_or_default();
        text.lines().filter(|l| *l == line).count()
    }

    /// Stops it, and requires that nothing is left.
    fn stop(&self) {
        self.call("stop").ok();
        self.call("status").exits(3);
        self.c.call(&["state"]).exits(1);
        assert_eq!(self.lines("told", &format!("{} stopped", self.c.id)), 1);
        let left = |e: &fs::DirEntry| e.file_name().to_string_lossy().starts_with("embrun-service");
        assert!(!fs::read_dir("/run").unwrap().flatten().any(|e| left(&e)));
    }
}

fn failing_container_is_restarted_logged_and_notified(t: &Test) {
    let s = Service::new(t, "echo at work; echo wrong >&2; exit 3", "DELAY=0");
    s.call("start").ok();
    let id = &s.c.id;
    eventually("three restarts", || {
        s.lines("log", "at work") > 2
            && s.lines("log", "wrong") > 2
            && s.lines("told", &format!("{id} ended 3")) > 2
    });
    assert!(s.lines("told", &format!("{id} started")) > 2);
    s.call("start").exits(1);
    s.stop();
    // A log that is too long is kept once more.
    let s = Service::new(t, "echo 0123456789; exit 3", "DELAY=0 LOG_KB=0");
    s.call("start").ok();
    eventually("a second log", || s.lines("log.0", "0123456789") == 1 && s.lines("log", "0123456789") == 1);
    s.stop();
}

fn stopped_container_is_not_restarted(t: &Test) {
    let s = Service::new(
        t,
        "trap 'echo asked; exit 0' TERM; echo up; while :; do sleep 0.1; done",
        "RESTART=always",
    );
    s.call("start").ok();
    eventually("the start", || s.lines("log", "up") == 1);
    let status = s.call("status").ok();
    assert!(status.stdout.contains("\"status\": \"running\""), "{}", status.stdout);
    // A power cut or a kill of the container is a reason to restart.
    s.c.kill("TERM").ok();
    eventually("the restart", || s.lines("log", "up") == 2);
    s.stop();
    assert_eq!((s.lines("log", "asked"), s.lines("log", "up")), (2, 2));
    // Once, if it succeeds.
    let s = Service::new(t, "echo once", "");
    s.call("run").ok();
    assert_eq!(s.lines("log", "once"), 1);
    s.stop();
}

fn unresponsive_container_is_killed(t: &Test) {
    let s = Service::new(t, "trap '' TERM; echo up; while :; do sleep 0.1; done", "STOP=1");
    s.call("start").ok();
    eventually("the start", || s.lines("log", "up") == 1);
    s.stop();
}
