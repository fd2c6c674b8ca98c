//! Docker's daemon with its own containerd uses the runtime under test.
//!
//! On demand: `--ignored docker`.

use crate::cases;
use crate::common::{Case, Output, Test, eventually};
use crate::engines::needs;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

pub const CASES: &[Case] = cases![
    docker_run_prints_and_returns_the_status,
    docker_exec_pause_update_and_restart_work,
    docker_security_options_are_applied,
    docker_reports_oom_kills_and_restarts_failures,
];

const HOME: &str = "/run/it/docker";

/// A daemon for one test, with the fixture as an image.
pub struct Docker<'t> {
    test: &'t Test,
    daemon: Child,
}

impl<'t> Docker<'t> {
    pub fn new(t: &'t Test) -> Docker<'t> {
        Docker::with(t, &json!({}))
    }

    /// A daemon with more settings.
    pub fn with(t: &'t Test, more: &Value) -> Docker<'t> {
        ["dockerd", "docker", "containerd"].iter().for_each(|program| needs(t, program));
        let home = Path::new(HOME);
        fs::create_dir(home).unwrap();
        let mut settings =
            json!({"runtimes": {"tested": {"path": t.runtime_path()}}, "default-runtime": "tested"});
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        fs::write(home.join("daemon.json"), settings.to_string()).unwrap();
        let log = fs::File::create(home.join("log")).unwrap();
        let args = "--config-file=/run/it/docker/daemon.json --data-root=/run/it/docker/data \
            --exec-root=/run/it/docker/exec --pidfile=/run/it/docker/pid --host=unix:///run/it/docker/sock \
            --iptables=false --ip6tables=false --ip-forward=false --bridge=none --storage-driver=vfs \
            --exec-opt=native.cgroupdriver=cgroupfs";
        let daemon = Command::new("dockerd")
            .args(args.split_whitespace())
            .arg(format!("--cgroup-parent=/{}", t.token()))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap();
        let docker = Docker { test: t, daemon };
        eventually("docker answers", || docker.call(&["version"]).status == 0);
        let line = format!("tar -C {} -c . | docker import - fixture", t.rootfs().display());
        let mut shell = Command::new("sh");
        shell.args(["-c", &line]).env("DOCKER_HOST", "unix:///run/it/docker/sock");
        t.finish(shell).ok();
        docker
    }

    #[track_caller]
    pub fn call(&self, args: &[&str]) -> Output {
        let mut command = Command::new("docker");
        command.args(["--host", "unix:///run/it/docker/sock", "--config", HOME]).args(args);
        self.test.finish(command)
    }

    /// `docker run` with the flags that every container here needs.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Output {
        self.call(&[&["run", "--network=none"], args].concat())
    }

    /// One value of `docker inspect`.
    #[track_caller]
    pub fn of(&self, name: &str, value: &str) -> String {
        self.call(&["inspect", "--format", &format!("{{{{{value}}}}}"), name]).ok().stdout.trim().to_string()
    }
}

impl Drop for Docker<'_> {
    fn drop(&mut self) {
        let whole = !std::thread::panicking();
        if whole {
            let all = self.call(&["ps", "--all", "--quiet"]).ok().stdout;
            all.split_whitespace().for_each(|id| drop(self.call(&["rm", "--force", id]).ok()));
        }
        let pid = nix::unistd::Pid::from_raw(self.daemon.id() as i32);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.daemon.wait();
        if whole {
            let state = Path::new(HOME).join("exec/runtime-runc/moby");
            let left: Vec<_> = fs::read_dir(state).into_iter().flatten().flatten().collect();
            assert!(left.is_empty(), "{left:?}");
            // The daemon and the shims keep these for their next start.
            ["/run/docker", "/run/containerd"].iter().for_each(|dir| drop(fs::remove_dir_all(dir)));
        }
    }
}

fn docker_run_prints_and_returns_the_status(t: &Test) {
    let docker = Docker::new(t);
    let seen = docker.run(&["--rm", "--hostname=box", "fixture", "probe", "pid", "hostname"]).ok().probe();
    assert_eq!((&seen["pid"], &seen["hostname"]), (&json!(1), &json!("box")));
    docker.run(&["--rm", "fixture", "sh", "-c", "echo oops >&2; exit 7"]).exits(7).fails(&["oops"]);
    docker.run(&["--rm", "fixture", "no-such-tool"]).exits(127);
    docker.run(&["--rm", "fixture", "/etc/passwd"]).exits(126);
    docker.run(&["--rm", "fixture", "/etc"]).exits(126);
}

fn docker_exec_pause_update_and_restart_work(t: &Test) {
    let docker = Docker::new(t);
    docker
        .run(&["--detach", "--name=one", "--memory=64m", "--pids-limit=50", "fixture", "sleep", "1000"])
        .ok();
    docker.call(&["exec", "one", "sh", "-c", "exit 3"]).exits(3);
    let seen = docker.call(&[
        "exec",
        "--user=1000:5",
        "--env=A=b",
        "--workdir=/tmp",
        "one",
        "probe",
        "ids",
        "env",
        "cwd",
    ]);
    let seen = seen.ok().probe();
    assert_eq!((&seen["ids"]["uid"][0], &seen["ids"]["gid"][0]), (&json!(1000), &json!(5)));
    assert_eq!((&seen["env"]["A"], &seen["cwd"]), (&json!("b"), &json!("/tmp")));
    assert!(docker.call(&["top", "one"]).ok().stdout.contains("sleep 1000"));
    docker.call(&["pause", "one"]).ok();
    assert_eq!(docker.of("one", ".State.Status"), "paused");
    docker.call(&["unpause", "one"]).ok();
    docker.call(&["update", "--memory=128m", "--memory-swap=256m", "--pids-limit=70", "one"]).ok();
    let id = docker.of("one", ".Id");
    for (controller, v1, v2, value) in [
        ("memory", "memory.limit_in_bytes", "memory.max", "134217728"),
        ("pids", "pids.max", "pids.max", "70"),
    ] {
        let h = t.hierarchy(controller).unwrap();
        let file = h.mount.join(t.token()).join(&id).join(if h.v2 { v2 } else { v1 });
        assert_eq!(fs::read_to_string(file).unwrap().trim(), value);
    }
    docker.call(&["restart", "--time=0", "one"]).ok();
    assert_eq!(docker.of("one", ".State.Status"), "running");
    docker.call(&["stop", "--time=0", "one"]).ok();
    assert_eq!(docker.of("one", ".State.ExitCode"), "137");
}

fn docker_security_options_are_applied(t: &Test) {
    let docker = Docker::new(t);
    let args = ["--rm", "--read-only", "--tmpfs=/scratch", "--user=1000", "--cap-drop=ALL"];
    let more = ["--security-opt=no-new-privileges", "--ulimit=nofile=100:200", "fixture", "probe"];
    let words =
        ["ids", "caps", "nnp", "seccomp", "rlimits", "write", "/new", "x", "write", "/scratch/new", "x"];
    let seen = docker.run(&[&args[..], &more, &words].concat()).ok().probe();
    assert_eq!(seen["ids"]["uid"], json!([1000, 1000, 1000]));
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(seen["caps"][set], "0000000000000000", "{set}");
    }
    assert_eq!((&seen["nnp"], &seen["seccomp"]), (&json!(1), &json!(2)));
    assert_eq!(seen["rlimits"]["Max open files"], json!(["100", "200"]));
    assert_eq!(
        (seen.result("write /new"), seen.result("write /scratch/new")),
        (&json!("EROFS"), &json!("ok"))
    );
    let plain =
        docker.run(&["--rm", "--security-opt=seccomp=unconfined", "fixture", "probe", "seccomp"]).ok();
    assert_eq!(plain.probe()["seccomp"], 0);
}

/// docker forgets an OOM kill if its event arrives after the exit.
///
/// So the container lives until docker has reported a first kill, which its main process survives.
fn docker_reports_oom_kills_and_restarts_failures(t: &Test) {
    t.needs_controller("memory");
    let docker = Docker::new(t);
    let greedy = "x=a; while :; do x=$x$x; done";
    let wait = |file| format!("until [ -e {file} ]; do sleep 0.1; done");
    let program = format!("{}; sh -c '{greedy}'; {}; {greedy}", wait("/once"), wait("/again"));
    docker.run(&["--detach", "--name=greedy", "--memory=16m", "fixture", "sh", "-c", &program]).ok();
    docker.run(&["--detach", "--name=fails", "--restart=on-failure:2", "fixture", "sh", "-c", "exit 3"]).ok();
    docker.call(&["exec", "greedy", "touch", "/once"]).ok();
    let oom = ["events", "--since=1", "--until=0s", "--filter=event=oom", "--filter=container=greedy"];
    eventually("docker reports the kill", || docker.call(&oom).ok().stdout.contains(" oom "));
    docker.call(&["exec", "greedy", "touch", "/again"]).ok();
    eventually("it was killed", || docker.of("greedy", ".State.Status") == "exited");
    assert_eq!(docker.of("greedy", ".State.ExitCode"), "137");
    assert_eq!(docker.of("greedy", ".State.OOMKilled"), "true");
    eventually("it was restarted twice", || {
        docker.of("fails", ".State.Status") == "exited" && docker.of("fails", ".RestartCount") == "2"
    });
    assert_eq!(docker.of("fails", ".State.ExitCode"), "3");
}
