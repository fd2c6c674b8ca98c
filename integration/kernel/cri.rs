//! Pods and containers of containerd's CRI, by the client of `integration/cri`.

use crate::common::{Output, Test, eventually};
use crate::containerd_engines::{Containerd, HOME, IMAGE, SOCKET, UNUSED};
use crate::engines::needs;
use nix::mount::{MsFlags, mount, umount};
use serde_json::{Value, json};
use std::cell::Cell;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

/// Covers the directory where the CNI plugins keep the results of pods.
struct Results;

impl Results {
    const DIR: &str = "/var/lib/cni";

    fn cover() -> Results {
        fs::create_dir_all(Results::DIR).unwrap();
        let none: Option<&str> = None;
        mount(Some("cni"), Results::DIR, Some("tmpfs"), MsFlags::empty(), none).unwrap();
        Results
    }
}

impl Drop for Results {
    fn drop(&mut self) {
        umount(Results::DIR).unwrap();
        // Both are kept if they are not empty.
        let _ = fs::remove_dir(Results::DIR);
        let _ = fs::remove_dir("/run/netns");
    }
}

/// A containerd with its CRI, in a network namespace of its own.
pub struct Cri<'t> {
    containerd: Containerd<'t>,
    made: Cell<u32>,
    /// Dropped after the daemon has ended.
    _results: Results,
}

/// A pod, and the configuration that each of its containers repeats.
pub struct Pod {
    pub id: String,
    pub config: Value,
}

impl<'t> Cri<'t> {
    pub fn new(t: &'t Test) -> Cri<'t> {
        ["cri", "nsenter", "ip"].iter().for_each(|program| needs(t, program));
        let runtime = t.runtime_path().display();
        // The machine may not give CAP_SYS_RESOURCE, which a low oom_score_adj needs.
        let config = format!(
            r#"disabled_plugins = [{UNUSED}]
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{IMAGE}"
restrict_oom_score_adj = true
stats_collect_period = 1
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "/run/it/cni"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = "{runtime}"
"#
        );
        let ipam = json!({"type": "host-local", "dataDir": "/run/it/ipam", "ranges": [[{"subnet": "10.99.0.0/24"}]]});
        let bridge = json!({"type": "bridge", "bridge": "it0", "isGateway": true, "ipam": ipam});
        let network = json!({"cniVersion": "0.4.0", "name": "it", "plugins": [bridge]});
        fs::create_dir("/run/it/cni").unwrap();
        fs::write("/run/it/cni/it.conflist", network.to_string()).unwrap();
        let results = Results::cover();
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", "ip link set lo up && exec containerd \"$@\"", "sh"]);
        let containerd = Containerd::with(t, "k8s.io", &config, command);
        let cri = Cri { containerd, made: Cell::new(0), _results: results };
        eventually("the image is known", || cri.call("ListImages", &json!({})).to_string().contains(IMAGE));
        cri
    }

    pub fn raw(&self, method: &str, request: &Value) -> Output {
        let mut command = Command::new("cri");
        command.args(["call", SOCKET, method, &request.to_string()]);
        self.containerd.test.finish(command)
    }

    #[track_caller]
    pub fn call(&self, method: &str, request: &Value) -> Value {
        self.raw(method, request).ok().json()
    }

    /// Joins a session of the streaming server.
    ///
    /// The server listens in the daemon's network namespace.
    pub fn stream(&self, words: &[&str], input: &str) -> Output {
        let t = self.containerd.test;
        let path = t.path("input");
        fs::write(&path, input).unwrap();
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.containerd.pid())).arg("cri").args(words);
        command.env("IT_STDIN", "").stdin(File::open(path).unwrap());
        t.finish(command)
    }

    /// Starts a pod with these options of its namespaces.
    pub fn pod(&self, namespaces: &Value) -> Pod {
        let n = self.made.replace(self.made.get() + 1);
        let logs = format!("{HOME}/logs-{n}");
        fs::create_dir(&logs).unwrap();
        let mut config = json!({
            "metadata": {"name": format!("pod{n}"), "uid": format!("uid{n}"), "namespace": "it"},
            "log_directory": logs,
            "linux": {"cgroup_parent": format!("/{}", self.containerd.test.token()),
                "security_context": {"namespace_options": namespaces}},
        });
        // A pod in the host's network shares the host's name too.
        if namespaces["network"] != "NODE" {
            config["hostname"] = format!("pod{n}").into();
        }
        let reply = self.call("RunPodSandbox", &json!({"config": config}));
        Pod { id: text(&reply["pod_sandbox_id"]), config }
    }

    /// Creates a container in a pod; `more` adds to its configuration.
    pub fn create(&self, pod: &Pod, command: &[&str], more: &Value) -> String {
        let n = self.made.replace(self.made.get() + 1);
        let mut config = json!({"metadata": {"name": format!("c{n}")}, "image": {"image": IMAGE}, "command": command,
            "log_path": format!("c{n}.log"), "linux": {}});
        if let Some(options) = pod.config.pointer("/linux/security_context/namespace_options") {
            config["linux"]["security_context"] = json!({"namespace_options": options});
        }
        merge(&mut config, more);
        let request = json!({"pod_sandbox_id": pod.id, "config": config, "sandbox_config": pod.config});
        text(&self.call("CreateContainer", &request)["container_id"])
    }

    pub fn start(&self, pod: &Pod, command: &[&str], more: &Value) -> String {
        let id = self.create(pod, command, more);
        self.on("StartContainer", &id);
        id
    }

    /// Calls a method whose request is the id of a container.
    pub fn on(&self, method: &str, id: &str) -> Value {
        self.call(method, &json!({"container_id": id}))
    }

    pub fn status(&self, id: &str) -> Value {
        self.on("ContainerStatus", id)["status"].take()
    }

    /// Waits for the end of a container, and returns its exit code and the reason.
    pub fn ended(&self, id: &str) -> (i64, String) {
        eventually("it has exited", || self.status(id)["state"] == "CONTAINER_EXITED");
        let status = self.status(id);
        (status["exit_code"].as_i64().unwrap(), text(&status["reason"]))
    }

    /// `ExecSync`: the exit code, and both outputs.
    pub fn exec(&self, id: &str, command: &[&str]) -> (i64, String, String) {
        let reply = self.call("ExecSync", &json!({"container_id": id, "cmd": command, "timeout": 20}));
        (reply["exit_code"].as_i64().unwrap(), bytes(&reply["stdout"]), bytes(&reply["stderr"]))
    }

    pub fn remove(&self, pod: &Pod) {
        let request = json!({"pod_sandbox_id": pod.id});
        self.call("StopPodSandbox", &request);
        assert_eq!(self.call("PodSandboxStatus", &request)["status"]["state"], "SANDBOX_NOTREADY");
        self.call("RemovePodSandbox", &request);
    }
}

impl Drop for Cri<'_> {
    /// Removes all pods, and checks that no container is left of them.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(Path::new(HOME).join("log")).unwrap_or_default();
            log.lines().filter(|l| l.contains("level=error")).for_each(|l| println!("{l}"));
            return;
        }
        let pods = self.call("ListPodSandbox", &json!({}));
        for pod in pods["items"].as_array().unwrap() {
            let request = json!({"pod_sandbox_id": pod["id"]});
            self.call("StopPodSandbox", &request);
            self.call("RemovePodSandbox", &request);
        }
        assert_eq!(self.call("ListContainers", &json!({}))["containers"], json!([]));
    }
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

/// The bytes of a protobuf field, which JSON has in base64.
fn bytes(value: &Value) -> String {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text(value);
    let digits: Vec<usize> = digits.chars().filter_map(|c| DIGITS.find(c)).collect();
    let triple = |four: &[usize]| {
        let word = four.iter().fold(0, |word, digit| word << 6 | digit) << (6 * (4 - four.len()));
        word.to_be_bytes()[5..][..four.len() - 1].to_vec()
    };
    String::from_utf8(digits.chunks(4).flat_map(triple).collect()).unwrap()
}

/// Merges objects into objects; everything else is replaced.
pub fn merge(to: &mut Value, from: &Value) {
    match (to, from) {
        (Value::Object(to), Value::Object(from)) => {
            from.iter().for_each(|(key, value)| merge(to.entry(key).or_insert(Value::Null), value));
        }
        (to, from) => *to = from.clone(),
    }
}
