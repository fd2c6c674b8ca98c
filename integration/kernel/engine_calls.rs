//! All that engines send in the life of a container, replayed without an engine.
//!
//! Each file of `engine-calls` has the configuration that an engine wrote, and its calls in their order:
//! arguments, environment if it differs from the call before, the number of further descriptors that the
//! runtime inherits, the process of an exec, resources, and signals that the engine sends itself (from its
//! source). A wrapper in place of the runtime recorded the rest. Words in braces stand for paths and ids.

use crate::cases;
use crate::common::test::{Running, STATE};
use crate::common::{Case, Container, Probed, Test, eventually};
use crate::cri::merge;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Map, Value};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

pub const CASES: &[Case] = cases![
    podman_calls_work_in_their_order,
    podman_calls_with_an_activated_socket_work,
    docker_calls_work_in_their_order,
    ctr_calls_work_in_their_order,
    cri_calls_work_in_their_order,
    crio_calls_work_in_their_order,
    buildah_calls_work_in_their_order,
];

const PODMAN: &str = include_str!("engine-calls/podman.json");
const CRI: &str = include_str!("engine-calls/containerd-cri.json");

fn podman_calls_work_in_their_order(t: &Test) {
    Replay::new(t, PODMAN, "{}").perform();
}

fn podman_calls_with_an_activated_socket_work(t: &Test) {
    Replay::new(t, include_str!("engine-calls/podman-activated.json"), PODMAN).perform();
}

fn docker_calls_work_in_their_order(t: &Test) {
    Replay::new(t, include_str!("engine-calls/docker.json"), "{}").perform();
}

fn ctr_calls_work_in_their_order(t: &Test) {
    Replay::new(t, include_str!("engine-calls/containerd-ctr.json"), "{}").perform();
}

fn cri_calls_work_in_their_order(t: &Test) {
    Replay::new(t, CRI, "{}").perform();
}

fn crio_calls_work_in_their_order(t: &Test) {
    Replay::new(t, include_str!("engine-calls/crio.json"), CRI).perform();
}

fn buildah_calls_work_in_their_order(t: &Test) {
    Replay::new(t, include_str!("engine-calls/buildah.json"), "{}").perform();
}

/// The sections of `linux.resources`, with the controller that each needs.
const SECTIONS: [(&str, &str); 4] =
    [("memory", "memory"), ("cpu", "cpu"), ("pids", "pids"), ("blockIO", "blkio")];

/// The life of one container, as an engine directs it.
struct Replay<'t> {
    t: &'t Test,
    c: Container<'t>,
    /// The pause container of a pod.
    pod: Option<Container<'t>>,
    calls: Vec<Value>,
    out: PathBuf,
    env: Map<String, Value>,
}

impl<'t> Replay<'t> {
    /// Reads a record. Values that it does not set come from `base`.
    fn new(t: &'t Test, record: &str, base: &str) -> Replay<'t> {
        t.needs_controller("freezer");
        let out = t.path("out");
        fs::create_dir_all(out.join("host")).unwrap();
        let mut c = t.container();
        let pod = serde_json::from_str::<Value>(&format!("[{base},{record}]")).unwrap();
        let pod = pod[1].get("pod").or(pod[0].get("pod")).map(|config| {
            let mut pod = t.container();
            pod.config = config.clone();
            pod
        });
        let fill = |text: &str| {
            let path = |p: &Path| p.to_str().unwrap().to_owned();
            let mut places = vec![
                ("{ROOT}", STATE.to_owned()),
                ("{BUNDLE}", path(&c.bundle)),
                ("{ROOTFS}", path(&c.rootfs)),
                ("{OUT}", path(&out)),
                ("{HOST}", path(&out.join("host"))),
                ("{PROCESS}", path(&out.join("process"))),
                ("{CGROUP}", t.token().to_owned()),
                ("{ID}", c.id.clone()),
            ];
            places.extend(pod.as_ref().map(|pod| ("{POD}", pod.id.clone())));
            let text = places.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value));
            serde_json::from_str::<Value>(&text).unwrap()
        };
        let (mut all, record) = (fill(base), fill(record));
        for (key, value) in record.as_object().unwrap() {
            match (key.as_str(), all.get_mut(key)) {
                ("config", Some(config)) => merge(config, value),
                _ => all[key] = value.clone(),
            }
        }
        println!("{}", all["engine"]);
        c.config = all["config"].take();
        let pod = pod.map(|mut pod| {
            pod.config = all["pod"].take();
            pod
        });
        let Value::Array(calls) = all["calls"].take() else { panic!("no calls") };
        Replay { t, c, pod, calls, out, env: Map::new() }
    }

    fn perform(mut self) {
        if let Some(mut pod) = self.pod.take() {
            self.prepare(&mut pod);
            pod.up();
            let namespaces = format!("/proc/{}/ns", pod.pid());
            let config = self.c.config.to_string().replace("{PAUSE}", &namespaces);
            self.c.config = serde_json::from_str(&config).unwrap();
            self.pod = Some(pod);
        }
        let mut config = std::mem::take(&mut self.c.config);
        self.adapt(&mut config);
        self.c.config = config;
        self.c.write();
        for call in std::mem::take(&mut self.calls) {
            match (call["to"].as_str(), call["until"].as_str()) {
                (Some(file), _) => self.signal(&call, Path::new(file)),
                // The engine asks for the state until it changes.
                (_, Some(status)) => eventually("the status changes", || self.c.status() == status),
                _ => self.call(&call),
            }
        }
        assert!(!Path::new(STATE).join(&self.c.id).exists());
        if let Some(pod) = &self.pod {
            pod.remove();
        }
    }

    fn prepare(&self, pod: &mut Container<'_>) {
        let mut config = std::mem::take(&mut pod.config);
        self.adapt(&mut config);
        pod.config = config;
        pod.config["root"]["path"] = pod.rootfs.to_str().into();
    }

    /// Creates the sources of mounts, and leaves out what this host does not have.
    fn adapt(&self, config: &mut Value) {
        for mount in config["mounts"].as_array().unwrap() {
            let source = Path::new(mount["source"].as_str().unwrap());
            if !source.starts_with(&self.out) {
                continue;
            }
            let dir = source.to_str().unwrap().ends_with('/');
            let made = if dir { fs::create_dir_all(source) } else { fs::write(source, "") };
            made.unwrap();
        }
        let x86 = cfg!(target_arch = "x86_64");
        if let Some(seccomp) = config["linux"]["seccomp"].as_object_mut().filter(|_| !x86) {
            seccomp.remove("architectures");
        }
        self.keep_known(&mut config["linux"]["resources"]);
    }

    fn keep_known(&self, resources: &mut Value) {
        for (section, controller) in SECTIONS {
            if self.t.hierarchy(controller).is_none() {
                resources.as_object_mut().unwrap().remove(section);
            }
        }
    }

    /// Sends a signal as the engine does: to the pid in a file.
    fn signal(&self, call: &Value, file: &Path) {
        let pid = fs::read_to_string(file).unwrap().trim().parse().unwrap();
        let signal: Signal = format!("SIG{}", call["signal"].as_str().unwrap()).parse().unwrap();
        eventually("the program of the exec runs", || comm(pid) == "sleep");
        kill(Pid::from_raw(pid), signal).unwrap();
        eventually("it has ended", || comm(pid) != "sleep");
    }

    /// Performs a call, and checks its effect.
    fn call(&mut self, call: &Value) {
        if let Some(env) = call["env"].as_object() {
            self.env = env.clone();
        }
        let args: Vec<&str> = call["args"].as_array().unwrap().iter().map(|a| a.as_str().unwrap()).collect();
        let mut resources = call["resources"].clone();
        let file = self.out.join("resources");
        if resources.is_object() {
            self.keep_known(&mut resources);
        }
        fs::write(&file, resources.to_string()).unwrap();
        fs::write(self.out.join("process"), call["process"].to_string()).unwrap();
        // The shell opens the further descriptors, up to number 9, which some engines leave open for the runtime.
        let further = call["descriptors"].as_u64().unwrap_or(0).min(7);
        let line: String = (3..3 + further).map(|n| format!(" {n}</dev/null")).collect();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &format!("exec \"$@\"{line}"), "sh"]).arg(self.t.runtime_path());
        // Without --root the engine relies on the default, which the tests keep for themselves.
        if !args.iter().any(|a| a.starts_with("--root")) {
            command.args(["--root", STATE]);
        }
        let env = self.env.iter().map(|(key, value)| (key, value.as_str().unwrap()));
        command.args(&args).env_clear().envs(env).current_dir(&self.c.bundle);
        if args.contains(&"-") || args.contains(&"--resources=-") {
            command.env("IT_STDIN", "").stdin(File::open(&file).unwrap());
        }
        let running = self.t.spawn(command);
        let verb = args.iter().find(|a| VERBS.contains(a)).unwrap_or(&"--version");
        match *verb {
            "exec" => self.executed(running, &call["process"]),
            // Shims send the second one after the container's end.
            "kill" if args.contains(&"--all") => drop(running.wait()),
            _ => drop(running.wait().ok()),
        }
        match *verb {
            "start" => self.started(),
            "update" => self.updated(&resources),
            "pause" => assert_eq!(self.c.status(), "paused"),
            "resume" => assert_eq!(self.c.status(), "running"),
            "kill" if args.contains(&"9") || args.contains(&"KILL") => self.c.stopped(),
            _ => {}
        }
    }

    /// The output of an exec, if it runs the probe.
    fn executed(&self, running: Running, process: &Value) {
        let seen = || Probed::last(&running.stdout());
        if process["args"][0] == "probe" {
            eventually("the probe answers", || seen().is_some());
            let seen = seen().unwrap();
            let uid = &process["user"]["uid"];
            if !seen["ids"].is_null() {
                assert_eq!(&seen["ids"]["uid"][0], uid);
                assert_eq!(seen["ids"]["gid"][0], process["user"]["gid"]);
            }
            if !seen["cwd"].is_null() {
                assert_eq!(seen["cwd"], process["cwd"]);
            }
            for pair in process["env"].as_array().into_iter().flatten().filter(|_| !seen["env"].is_null()) {
                let (key, value) = pair.as_str().unwrap().split_once('=').unwrap();
                assert_eq!(seen["env"][key], value, "{key}");
            }
        }
        drop(running.wait());
    }

    /// Compares the first process with its configuration.
    fn started(&self) {
        let (config, pid) = (&self.c.config, self.c.pid());
        let program = config["process"]["args"][0].as_str().unwrap();
        let name = program.rsplit('/').next().unwrap();
        eventually("the program runs", || comm(pid) == name || self.c.status() == "stopped");
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let open = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        // The program of buildah ends by itself, and closes its descriptors before it is stopped.
        if open == 0 || self.c.status() == "stopped" {
            return;
        }
        let field = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(&format!("{key}:")));
            line.unwrap().split_whitespace().next().unwrap().to_owned()
        };
        assert_eq!(field("Uid"), config["process"]["user"]["uid"].to_string());
        let privileges = config["process"]["noNewPrivileges"].as_bool().unwrap_or(false);
        assert_eq!(field("NoNewPrivs"), u8::from(privileges).to_string());
        // The tests themselves may run under a filter, which answers for an older kernel.
        let filtered = !config["linux"]["seccomp"].is_null() || crate::common::test::host_label() == "older";
        assert_eq!(field("Seccomp"), if filtered { "2" } else { "0" });
        let bounding = config["process"]["capabilities"]["bounding"].as_array().map_or(0, Vec::len);
        let set = u64::from_str_radix(&field("CapBnd"), 16).unwrap();
        assert_eq!(set.count_ones() as usize, bounding, "{set:x}");
        assert_eq!(open, 3 + usize::from(self.passes("LISTEN_FDS")), "descriptors of the program");
    }

    /// Whether the configuration gives the program this variable.
    fn passes(&self, name: &str) -> bool {
        let env = self.c.config["process"]["env"].as_array().unwrap();
        env.iter().any(|pair| pair.as_str().unwrap().starts_with(name))
    }

    /// Compares the limit in the cgroup with the updated one.
    fn updated(&self, resources: &Value) {
        let Some(limit) = resources["memory"]["limit"].as_u64() else { return };
        let h = self.t.hierarchy("memory").unwrap();
        let file = if h.v2 { "memory.max" } else { "memory.limit_in_bytes" };
        let path = self.c.config["linux"]["cgroupsPath"].as_str().unwrap();
        let text = fs::read_to_string(h.mount.join(path.trim_start_matches('/')).join(file)).unwrap();
        assert_eq!(text.trim(), limit.to_string());
    }
}

/// The commands whose effect is checked.
const VERBS: [&str; 9] = ["create", "start", "state", "exec", "ps", "pause", "resume", "update", "kill"];

fn comm(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}
