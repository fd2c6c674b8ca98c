//! The runtime under test with Debian's containerd and its client `ctr`.
//!
//! On demand: `--ignored engines`.

use crate::cases;
use crate::common::{Case, Output, Test, eventually};
use crate::engines::needs;
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Plugins that cannot work in the tests, as a part of `disabled_plugins`.
pub const UNUSED: &str = r#""io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper""#;

pub const CASES: &[Case] = cases![
    ctr_run_prints_and_returns_the_status,
    ctr_exec_runs_in_the_container,
    ctr_pause_metrics_kill_and_delete_work,
    ctr_errors_are_reported,
];

/// A containerd for one test, with the fixture as an image.
pub struct Containerd<'t> {
    pub test: &'t Test,
    daemon: Child,
    namespace: &'static str,
}

pub const HOME: &str = "/run/it/containerd";
pub const SOCKET: &str = "/run/it/containerd/sock";
pub const IMAGE: &str = "docker.io/local/fixture:latest";

impl<'t> Containerd<'t> {
    fn new(t: &'t Test) -> Containerd<'t> {
        let config = format!("disabled_plugins = [\"io.containerd.grpc.v1.cri\", {UNUSED}]\n");
        Containerd::with(t, "default", &config, Command::new("containerd"))
    }

    /// A daemon whose images are in a namespace, with more settings.
    pub fn with(t: &'t Test, namespace: &'static str, more: &str, mut command: Command) -> Containerd<'t> {
        needs(t, "containerd");
        needs(t, "ctr");
        let home = Path::new(HOME);
        fs::create_dir(home).unwrap();
        let config = format!(
            "version = 2\nroot = \"{HOME}/root\"\nstate = \"{HOME}/state\"\n{more}[grpc]\naddress = \"{SOCKET}\"\n"
        );
        fs::write(home.join("config.toml"), config).unwrap();
        let log = fs::File::create(home.join("log")).unwrap();
        let daemon = command
            .args(["--config", "/run/it/containerd/config.toml"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let containerd = Containerd { test: t, daemon, namespace };
        eventually("containerd answers", || containerd.call(&["version"]).status == 0);
        containerd.import(home);
        containerd
    }

    /// The pid of the daemon.
    pub fn pid(&self) -> u32 {
        self.daemon.id()
    }

    /// Imports the fixture as an image of one layer, in docker's format.
    fn import(&self, home: &Path) {
        let image = home.join("image");
        fs::create_dir(&image).unwrap();
        let script = format!(
            r#"set -e; cd {}; tar -C {} -cf layer.tar .
            sum=$(sha256sum layer.tar | cut -d' ' -f1)
            echo '{{"architecture":"{}","os":"linux","config":{{"Env":["PATH=/bin"],"Cmd":["probe","pause"]}},
                "rootfs":{{"type":"layers","diff_ids":["sha256:'$sum'"]}}}}' > config.json
            echo '[{{"Config":"config.json","RepoTags":["local/fixture:latest"],"Layers":["layer.tar"]}}]' > manifest.json
            tar -cf ../image.tar config.json layer.tar manifest.json"#,
            image.display(),
            self.test.rootfs().display(),
            match std::env::consts::ARCH {
                "x86_64" => "amd64",
                "aarch64" => "arm64",
                other => other,
            },
        );
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]);
        self.test.finish(shell).ok();
        self.call(&["images", "import", "--snapshotter", "native", "/run/it/containerd/image.tar"]).ok();
    }

    #[track_caller]
    fn call(&self, args: &[&str]) -> Output {
        let mut command = Command::new("ctr");
        command.args(["--address", SOCKET, "--namespace", self.namespace]).args(args);
        self.test.finish(command)
    }

    #[track_caller]
    fn run(&self, flags: &[&str], id: &str, args: &[&str]) -> Output {
        let cgroup = format!("/{}/{id}", self.test.token());
        let runtime = self.test.runtime_path().to_str().unwrap();
        let fixed = ["run", "--snapshotter", "native", "--runc-binary", runtime, "--cgroup", &cgroup];
        self.call(&[&fixed[..], flags, &[IMAGE, id], args].concat())
    }
}

impl Drop for Containerd<'_> {
    fn drop(&mut self) {
        let term = nix::sys::signal::Signal::SIGTERM;
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.daemon.id() as i32), term);
        let _ = self.daemon.wait();
        if std::thread::panicking() {
            return;
        }
        // The shim keeps the runtime's state here, and its own sockets.
        let left: Vec<_> = fs::read_dir(Path::new("/run/containerd/runc").join(self.namespace))
            .into_iter()
            .flatten()
            .flatten()
            .collect();
        assert!(left.is_empty(), "{left:?}");
        let _ = fs::remove_dir_all("/run/containerd");
    }
}

fn ctr_run_prints_and_returns_the_status(t: &Test) {
    let containerd = Containerd::new(t);
    assert_eq!(containerd.run(&["--rm"], "one", &["probe", "pid"]).ok().probe()["pid"], 1);
    containerd.run(&["--rm"], "two", &["sh", "-c", "exit 7"]).exits(7);
}

fn ctr_exec_runs_in_the_container(t: &Test) {
    let containerd = Containerd::new(t);
    containerd.run(&["--detach"], "one", &["sleep", "100"]).ok();
    let exec = |id: &str, args: &[&str]| {
        containerd.call(&[&["tasks", "exec", "--exec-id", id, "one"], args].concat())
    };
    assert_eq!(exec("a", &["echo", "from exec"]).ok().stdout, "from exec\n");
    exec("b", &["sh", "-c", "exit 3"]).exits(3);
    let seen = exec("c", &["probe", "processes", "seccomp"]).ok().probe();
    assert!(seen["processes"].as_array().unwrap().contains(&json!(1)));
    remove(&containerd, "one");
}

#[track_caller]
fn remove(containerd: &Containerd<'_>, id: &str) {
    containerd.call(&["tasks", "kill", "--signal", "KILL", id]).ok();
    let stopped = || {
        containerd
            .call(&["tasks", "list"])
            .ok()
            .stdout
            .lines()
            .any(|l| l.contains(id) && l.contains("STOPPED"))
    };
    eventually("the task has stopped", stopped);
    // The status of a killed task is reported as the status of its deletion.
    let _ = containerd.call(&["tasks", "delete", id]);
    containerd.call(&["containers", "delete", id]).ok();
}

fn ctr_pause_metrics_kill_and_delete_work(t: &Test) {
    t.needs_controller("freezer");
    let containerd = Containerd::new(t);
    containerd.run(&["--detach"], "one", &["probe", "fork", "2", "pause"]).ok();
    let listed = |what: &str| containerd.call(&["tasks", "list"]).ok().stdout.contains(what);
    containerd.call(&["tasks", "pause", "one"]).ok();
    assert!(listed("PAUSED"));
    containerd.call(&["tasks", "resume", "one"]).ok();
    assert!(listed("RUNNING"));
    let metrics = containerd.call(&["tasks", "metrics", "one"]).ok().stdout;
    assert!(metrics.contains("pids.current"), "{metrics}");
    eventually("its children are listed", || {
        containerd.call(&["tasks", "ps", "one"]).ok().stdout.lines().count() == 4
    });
    remove(&containerd, "one");
}

fn ctr_errors_are_reported(t: &Test) {
    let containerd = Containerd::new(t);
    let out = containerd.run(&["--rm"], "one", &["no-such-tool"]);
    out.fails(&["executable file not found in $PATH", "executable file `no-such-tool` not found in $PATH"]);
    let out = containerd.run(&["--rm"], "two", &["/etc/passwd"]);
    out.fails(&["permission denied"]);
}
