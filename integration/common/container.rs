//! A container: a bundle from the base config with edits, and its commands.

use super::host::Hierarchy;
use super::test::{HOME, Running, STATE, Test};
use super::{Output, Probed};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// A bundle with its id.
///
/// `config` is written to `config.json` before every command that reads it.
pub struct Container<'t> {
    /// The test it belongs to.
    pub test: &'t Test,
    /// Its id.
    pub id: String,
    /// The bundle's directory.
    pub bundle: PathBuf,
    /// The root file system, a copy of the fixture.
    pub rootfs: PathBuf,
    /// The content of `config.json`.
    pub config: Value,
    init: RefCell<Option<PathBuf>>,
}

impl<'t> Container<'t> {
    pub(super) fn new(test: &'t Test, fixture: &Path, number: u32) -> Container<'t> {
        let bundle = Path::new(HOME).join("bundles").join(number.to_string());
        let rootfs = bundle.join("rootfs");
        copy(fixture, &rootfs);
        let id = format!("c{number}");
        let cgroup = format!("/{}/{id}", test.token());
        Container { test, id, rootfs, config: base(&cgroup), bundle, init: RefCell::new(None) }
    }

    /// Sets the command that the container runs.
    pub fn args(&mut self, args: &[&str]) -> &mut Self {
        self.config["process"]["args"] = json!(args);
        self
    }

    /// Makes the container run the probe with these space-separated words.
    pub fn probe(&mut self, words: &str) -> &mut Self {
        let args: Vec<&str> = std::iter::once("probe").chain(words.split_whitespace()).collect();
        self.args(&args)
    }

    /// Adds a mount.
    pub fn mount(&mut self, destination: &str, kind: &str, source: &str, options: &[&str]) -> &mut Self {
        let mount = json!({"destination": destination, "type": kind, "source": source, "options": options});
        self.config["mounts"].as_array_mut().expect("the base has mounts").push(mount);
        self
    }

    /// Removes the namespace of this type, so that the container shares the runtime's.
    pub fn without_namespace(&mut self, kind: &str) -> &mut Self {
        let list = self.config["linux"]["namespaces"].as_array_mut().expect("the base has namespaces");
        list.retain(|n| n["type"] != kind);
        self
    }

    /// Joins the namespace at a path instead of creating one.
    pub fn namespace_path(&mut self, kind: &str, path: &str) -> &mut Self {
        self.without_namespace(kind);
        let list = self.config["linux"]["namespaces"].as_array_mut().expect("the base has namespaces");
        list.push(json!({"type": kind, "path": path}));
        self
    }

    /// Sets all five capability sets to these names.
    pub fn capabilities(&mut self, names: &[&str]) -> &mut Self {
        let sets = ["bounding", "effective", "inheritable", "permitted", "ambient"];
        let all: serde_json::Map<String, Value> =
            sets.iter().map(|s| (s.to_string(), json!(names))).collect();
        self.config["process"]["capabilities"] = Value::Object(all);
        self
    }

    /// Binds a directory of the host at /shared, to exchange files with the container.
    pub fn share(&mut self) -> PathBuf {
        let dir = self.bundle.join("shared");
        fs::create_dir_all(&dir).expect("a directory in the bundle");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).expect("chmod");
        self.mount("/shared", "none", dir.to_str().expect("utf-8"), &["bind", "rw"]);
        dir
    }

    /// Writes config.json.
    pub fn write(&self) {
        fs::write(self.bundle.join("config.json"), self.config.to_string()).expect("config.json");
    }

    /// Runs a command with the id as its last argument.
    #[track_caller]
    pub fn call(&self, args: &[&str]) -> Output {
        self.test.call(&[args, &[&self.id]].concat())
    }

    /// Starts `run` in the foreground without waiting for it.
    #[track_caller]
    pub fn spawn_run(&self, flags: &[&str]) -> Running {
        self.write();
        let bundle = self.bundle.to_str().expect("utf-8");
        let args = [&["run", "--bundle", bundle], flags, &[&self.id]].concat();
        self.test.spawn(self.test.command(&args))
    }

    /// Runs `run` in the foreground and waits for its end.
    #[track_caller]
    pub fn run(&self) -> Output {
        self.spawn_run(&[]).wait()
    }

    /// `create`, with these flags before the id.
    #[track_caller]
    pub fn create_with(&self, flags: &[&str]) -> Output {
        self.write();
        let bundle = self.bundle.to_str().expect("utf-8");
        let args = [&["create", "--bundle", bundle], flags, &[&self.id]].concat();
        let running = self.test.spawn(self.test.command(&args));
        *self.init.borrow_mut() = Some(running.output_path());
        running.wait()
    }

    /// `create`.
    #[track_caller]
    pub fn create(&self) -> Output {
        self.create_with(&[])
    }

    /// Runs `create` and `start`; both must succeed.
    #[track_caller]
    pub fn up(&self) -> &Self {
        self.create().ok();
        self.start().ok();
        self
    }

    /// `start`.
    #[track_caller]
    pub fn start(&self) -> Output {
        self.call(&["start"])
    }

    /// `kill` with a signal.
    #[track_caller]
    pub fn kill(&self, signal: &str) -> Output {
        self.test.call(&["kill", &self.id, signal])
    }

    /// `delete`.
    #[track_caller]
    pub fn delete(&self) -> Output {
        self.call(&["delete"])
    }

    /// Whether a command holds the lock of the container's state directory.
    pub fn is_locked(&self) -> bool {
        let inode = fs::metadata(Path::new(STATE).join(&self.id)).expect("the state directory").ino();
        let locks = fs::read_to_string("/proc/locks").expect("/proc/locks");
        locks.lines().any(|l| l.contains("FLOCK") && l.contains(&format!(":{inode} ")))
    }

    /// Runs `delete --force`, which must succeed.
    #[track_caller]
    pub fn remove(&self) {
        self.call(&["delete", "--force"]).ok();
    }

    /// `exec` of a command.
    #[track_caller]
    pub fn exec(&self, args: &[&str]) -> Output {
        self.exec_with(&[], args)
    }

    /// `exec` with flags before the id.
    #[track_caller]
    pub fn exec_with(&self, flags: &[&str], args: &[&str]) -> Output {
        self.test.call(&[&["exec"], flags, &[&self.id], args].concat())
    }

    /// The output of `state`.
    #[track_caller]
    pub fn state(&self) -> Value {
        self.call(&["state"]).ok().json()
    }

    /// The status that `state` prints.
    #[track_caller]
    pub fn status(&self) -> String {
        self.state()["status"].as_str().expect("a status").into()
    }

    /// The pid of init that `state` prints.
    #[track_caller]
    pub fn pid(&self) -> i32 {
        self.state()["pid"].as_i64().expect("a pid") as i32
    }

    /// Waits until the container has stopped.
    #[track_caller]
    pub fn stopped(&self) {
        super::eventually("the container has stopped", || self.status() == "stopped");
    }

    /// The output of init so far, if `create` made the container.
    pub fn stdout(&self) -> String {
        let path = self.init.borrow();
        let path = path.as_ref().expect("`create` of this handle made the container");
        String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
    }

    /// Waits until init prints a line of the probe with `key`.
    #[track_caller]
    pub fn says(&self, key: &str) -> Probed {
        let seen = || Probed::last(&self.stdout()).filter(|p| !p[key].is_null());
        super::eventually(&format!("the probe has said {key}"), || seen().is_some());
        seen().expect("just seen")
    }

    /// The cgroup directory of the container in the hierarchy of a controller.
    pub fn cgroup(&self, controller: &str) -> PathBuf {
        let Some(h) = self.test.hierarchy(controller) else {
            self.test.skip(&format!("the host has no {controller} cgroup controller"))
        };
        h.mount.join(self.test.token()).join(&self.id)
    }

    /// The content of a file of the container's cgroup, by its names in v1 and v2.
    #[track_caller]
    pub fn knob(&self, controller: &str, v1: &str, v2: &str) -> String {
        let dir = self.cgroup(controller);
        let v2_here = self.test.hierarchy(controller).is_some_and(|h| h.v2);
        let file = dir.join(if v2_here { v2 } else { v1 });
        let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        text.trim().to_string()
    }
}

/// The config of `runc spec` without a terminal, in the test's own cgroup.
fn base(cgroup: &str) -> Value {
    // Device rules need cgroups, so leave them out on a host without any.
    let devices =
        if Hierarchy::all().is_empty() { json!([]) } else { json!([{"allow": false, "access": "rwm"}]) };
    let caps = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": ["true"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "fixture",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
             "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
             "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs",
             "options": ["nosuid", "noexec", "nodev", "ro"]}
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "resources": {"devices": devices},
            "namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}
            ],
            "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    })
}

/// Copies a tree of directories, files and symlinks, with modes and owners.
fn copy(from: &Path, to: &Path) {
    use std::os::unix::fs::{MetadataExt, lchown};
    let meta = fs::symlink_metadata(from).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
    if meta.is_symlink() {
        symlink(fs::read_link(from).expect("readlink"), to).expect("symlink");
        return;
    }
    if meta.is_dir() {
        fs::create_dir_all(to).expect("mkdir");
        for entry in fs::read_dir(from).expect("readdir").flatten() {
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        fs::copy(from, to).expect("copy");
    }
    lchown(to, Some(meta.uid()), Some(meta.gid())).expect("chown");
    fs::set_permissions(to, meta.permissions()).expect("chmod");
}
