//! Debian's podman uses the runtime under test.
//!
//! On demand: `--ignored engines`.

use crate::cases;
use crate::common::{Case, Output, Test, eventually};
use crate::sd_notify::Manager;
use serde_json::json;
use std::fs;
use std::process::Command;

pub const CASES: &[Case] = cases![
    podman_run_prints_and_returns_the_status,
    podman_exec_runs_in_the_container,
    podman_run_allocates_a_terminal,
    podman_pause_top_kill_and_wait_work,
    podman_errors_have_their_documented_statuses,
    podman_limits_reach_the_kernel,
    podman_default_seccomp_profile_is_applied,
    podman_volumes_users_and_environment_are_applied,
    podman_passes_readiness_on_as_asked,
];

/// Podman with its own storage, which holds the fixture as an image.
pub struct Podman<'t>(pub &'t Test);

impl<'t> Podman<'t> {
    pub fn new(t: &'t Test) -> Podman<'t> {
        needs(t, "podman");
        let podman = Podman(t);
        let import = podman.command(&["import", "--quiet", "-", "fixture"]);
        let line = format!("tar -C {} -c . | {}", t.rootfs().display(), words(&import));
        let mut shell = Command::new("sh");
        shell.args(["-c", &line]).env("CONTAINERS_CONF", "/dev/null");
        t.finish(shell).ok();
        podman
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("podman");
        command.args([
            "--root",
            "/run/it/podman",
            "--runroot",
            "/run/it/podman-run",
            "--storage-driver",
            "vfs",
        ]);
        command.args(["--cgroup-manager", "cgroupfs", "--events-backend", "none", "--runtime"]);
        command.arg(self.0.runtime_path()).args(args).env("CONTAINERS_CONF", "/dev/null");
        command
    }

    #[track_caller]
    pub fn call(&self, args: &[&str]) -> Output {
        self.0.finish(self.command(args))
    }

    /// `podman run` with the flags that every container here needs.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Output {
        let parent = format!("--cgroup-parent=/{}", self.0.token());
        self.call(&[&["run", "--network=none", &parent], args].concat())
    }
}

impl Drop for Podman<'_> {
    /// Checks that nothing of a container is left, and removes podman's own files.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        self.call(&["stop", "--all", "--time", "0"]).ok();
        // conmon calls podman's cleanup in the background at a container's end. If the container has a user namespace, podman
        // 4.3 does so in another mount namespace and may leave its shm mounted here, with runc too.
        eventually("podman's cleanup has ended", || !runs(&["podman", "conmon"]));
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let shm = mounts.lines().filter_map(|line| line.split(' ').nth(4)).filter(|at| at.ends_with("/shm"));
        shm.filter(|at| at.starts_with("/run/it/")).for_each(|at| nix::mount::umount(at).unwrap());
        self.call(&["rm", "--all", "--force", "--time", "0"]).ok();
        for dir in ["/run/embrun", "/run/runc", "/run/crun"] {
            let left: Vec<_> =
                fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.file_name()).collect();
            assert!(left.is_empty(), "{dir} holds {left:?}");
            let _ = fs::remove_dir(dir);
        }
        eventually("podman's cleanup has ended", || !runs(&["podman", "conmon"]));
        // Podman mounts its storage on itself, and records in /run/libpod that it has seen this boot.
        let _ = fs::remove_dir_all("/run/libpod");
        let _ = nix::mount::umount("/run/it/podman");
        sweep_conmon(self.0);
    }
}

/// Podman leaves the cgroups of conmon to the creator of their parent.
pub fn sweep_conmon(t: &Test) {
    for controller in
        ["pids", "memory", "cpu", "cpuset", "cpuacct", "devices", "freezer", "blkio", "name=systemd"]
    {
        let Some(h) = t.hierarchy(controller) else { continue };
        for entry in fs::read_dir(h.mount.join(t.token())).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().contains("conmon") || entry.file_name() == "conmon" {
                eventually("conmon has left its cgroup", || fs::remove_dir(entry.path()).is_ok());
            }
        }
    }
}

/// Whether a process of this test's pid namespace has one of these names.
pub fn runs(names: &[&str]) -> bool {
    fs::read_dir("/proc").into_iter().flatten().flatten().any(|entry| {
        let comm = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        names.contains(&comm.trim())
    })
}

pub fn needs(t: &Test, program: &str) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&path).any(|dir| dir.join(program).is_file()) {
        t.skip(&format!("{program} is not installed"));
    }
}

fn words(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|w| w.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

fn podman_run_prints_and_returns_the_status(t: &Test) {
    let podman = Podman::new(t);
    let seen = podman
        .run(&["--rm", "--hostname", "box", "fixture", "probe", "pid", "hostname", "argv"])
        .ok()
        .probe();
    assert_eq!((&seen["pid"], &seen["hostname"]), (&json!(1), &json!("box")));
    podman.run(&["--rm", "fixture", "sh", "-c", "echo oops >&2; exit 7"]).exits(7).fails(&["oops"]);
}

fn podman_exec_runs_in_the_container(t: &Test) {
    let podman = Podman::new(t);
    podman.run(&["--detach", "--name", "one", "fixture", "sleep", "100"]).ok();
    assert_eq!(podman.call(&["exec", "one", "echo", "from exec"]).ok().stdout, "from exec\n");
    podman.call(&["exec", "one", "sh", "-c", "exit 3"]).exits(3);
    let seen = podman.call(&[
        "exec",
        "--user",
        "1000",
        "--workdir",
        "/tmp",
        "-e",
        "A=b",
        "one",
        "probe",
        "ids",
        "cwd",
        "env",
    ]);
    let seen = seen.ok().probe();
    assert_eq!(
        (&seen["ids"]["uid"][0], &seen["cwd"], &seen["env"]["A"]),
        (&json!(1000), &json!("/tmp"), &json!("b"))
    );
    podman.call(&["exec", "one", "no-such-tool"]).exits(127);
    podman.call(&["stop", "--time", "0", "one"]).ok();
}

fn podman_run_allocates_a_terminal(t: &Test) {
    let podman = Podman::new(t);
    let out = podman.run(&["--rm", "--tty", "fixture", "probe", "tty"]).ok();
    assert!(out.stdout.contains(r#""std":[true,true,true]"#), "{}", out.stdout);
}

fn podman_pause_top_kill_and_wait_work(t: &Test) {
    let podman = Podman::new(t);
    podman.run(&["--detach", "--name", "one", "fixture", "probe", "pause"]).ok();
    podman.call(&["pause", "one"]).ok();
    let status = || podman.call(&["inspect", "--format", "{{.State.Status}}", "one"]).ok().stdout;
    assert_eq!(status(), "paused\n");
    podman.call(&["unpause", "one"]).ok();
    assert!(podman.call(&["top", "one"]).ok().stdout.contains("probe"));
    podman.call(&["kill", "--signal", "KILL", "one"]).ok();
    assert_eq!(podman.call(&["wait", "one"]).ok().stdout, "137\n");
    assert_eq!(status(), "exited\n");
}

fn podman_errors_have_their_documented_statuses(t: &Test) {
    let podman = Podman::new(t);
    podman.run(&["--rm", "fixture", "no-such-tool"]).exits(127);
    podman.run(&["--rm", "fixture", "/no/such/tool"]).exits(127);
    podman.run(&["--rm", "fixture", "/etc/passwd"]).exits(126);
}

/// conmon relays the container's message, or podman sends one of its own.
fn podman_passes_readiness_on_as_asked(t: &Test) {
    let podman = Podman::new(t);
    for mode in ["container", "conmon", "ignore"] {
        let manager = Manager::new(t);
        let flag = format!("--sdnotify={mode}");
        let container = ["fixture", "probe", "env", "say", "notify", "READY=1", "pause"];
        podman.run(&[&["--detach", "--name", mode, &flag][..], &container].concat()).ok();
        let has = podman.call(&["logs", mode]).ok().stdout.contains("NOTIFY_SOCKET");
        assert_eq!(has, mode == "container", "{mode}");
        match mode {
            "ignore" => assert_eq!(manager.lines(), [""; 0]),
            _ => manager.hears("READY=1"),
        }
        if mode != "ignore" {
            let pid = podman.call(&["inspect", "--format", "{{.State.ConmonPid}}", mode]).ok().stdout;
            manager.hears(&format!("MAINPID={}", pid.trim()));
        }
        podman.call(&["rm", "--force", "--time", "0", mode]).ok();
    }
}

fn podman_limits_reach_the_kernel(t: &Test) {
    t.needs_controller("memory");
    t.needs_controller("pids");
    let podman = Podman::new(t);
    let v2 = t.pure_v2();
    let at = |v1: &str, v2_name: &str| format!("/sys/fs/cgroup/{}", if v2 { v2_name } else { v1 });
    let memory = at("memory/memory.limit_in_bytes", "memory.max");
    let pids = at("pids/pids.max", "pids.max");
    let out =
        podman.run(&["--rm", "--memory", "32m", "--pids-limit", "17", "fixture", "cat", &memory, &pids]).ok();
    assert_eq!(out.stdout, "33554432\n17\n");
}

/// The engines' default profile, as podman resolves it for this kernel.
fn podman_default_seccomp_profile_is_applied(t: &Test) {
    let podman = Podman::new(t);
    let words = "seccomp unshare mount sethostname x mkdir /tmp/x socket unix stream syscall 1000 0";
    let args: Vec<&str> = ["--rm", "fixture", "probe"].into_iter().chain(words.split(' ')).collect();
    let seen = podman.run(&args).ok().probe();
    assert_eq!(seen["seccomp"], 2);
    assert_eq!(seen.result("unshare"), "EPERM");
    assert_eq!((seen.result("mkdir"), seen.result("socket")), (&json!("ok"), &json!("ok")));
    // A call that no profile lists: the C library must see ENOSYS, as from an older kernel.
    assert_eq!(seen.result("syscall"), "ENOSYS");
}

fn podman_volumes_users_and_environment_are_applied(t: &Test) {
    let podman = Podman::new(t);
    let dir = t.path("volume");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("in"), "from the host").unwrap();
    let volume = format!("{}:/data:ro", dir.display());
    let args = [
        "--rm",
        "--user",
        "1000:1000",
        "--env",
        "X=y",
        "--workdir",
        "/data",
        "--read-only",
        "--volume",
        &volume,
    ];
    let probe =
        ["fixture", "probe", "ids", "env", "cwd", "read", "in", "write", "in", "x", "write", "/new", "x"];
    let seen = podman.run(&[&args[..], &probe[..]].concat()).ok().probe();
    assert_eq!(
        (&seen["ids"]["uid"][0], &seen["env"]["X"], &seen["cwd"]),
        (&json!(1000), &json!("y"), &json!("/data"))
    );
    assert_eq!(seen.text("read in"), "from the host");
    assert_eq!((seen.result("write in"), seen.result("write /new")), (&json!("EROFS"), &json!("EROFS")));
}
