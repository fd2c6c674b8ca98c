//! The systemd driver on a host run by systemd, on v2, v1 and hybrid.
//!
//! The tests compare the output of `systemctl show`.

use super::*;
use std::path::PathBuf;

/// Runs a command and returns whether it succeeded, and its output.
///
/// The output goes to a file, because a created container keeps it open.
pub(super) fn say(program: &str, args: &[&str]) -> (bool, String) {
    let path = std::env::temp_dir().join(format!("embrun-test-{}-output", std::process::id()));
    let file = std::fs::File::create(&path).unwrap();
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
    let done = command.status().unwrap().success();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    (done, text)
}

/// Whether systemd runs this host; prints the skip if not.
pub(super) fn runs() -> bool {
    let runs = std::path::Path::new("/run/systemd/system").is_dir();
    if !runs {
        eprintln!("SKIPPED: systemd does not run this host");
    }
    runs
}

fn show(unit: &str, property: &str) -> String {
    say("systemctl", &["show", unit, "--value", "-p", property]).1.trim().to_owned()
}

pub(super) fn is_v2() -> bool {
    Layout::discover().unwrap().is_pure_v2()
}

/// A bundle, and a runtime with its own state root.
pub(super) struct Bundle {
    pub(super) at: PathBuf,
    /// The words in front of the runtime: they change its user or its mounts.
    pub(super) before: Vec<String>,
    pub(super) flags: Vec<&'static str>,
}

impl Bundle {
    pub(super) fn new(name: &str) -> Bundle {
        let at = std::env::temp_dir().join(format!("embrun-test-{}-{name}", std::process::id()));
        for directory in ["rootfs/bin", "rootfs/dev", "rootfs/proc"] {
            std::fs::create_dir_all(at.join(directory)).unwrap();
        }
        let busybox =
            ["target/guest/busybox", "/bin/busybox"].into_iter().find(|p| std::path::Path::new(p).exists());
        std::fs::copy(busybox.expect("busybox, by integration/guest/suites.sh"), at.join("rootfs/bin/sleep"))
            .unwrap();
        Bundle { at, before: Vec::new(), flags: vec!["--systemd-cgroup"] }
    }

    pub(super) fn config(&self, path: &str, annotations: &str, resources: &str) {
        let text = format!(
            r#"{{"ociVersion":"1.0.2","process":{{"user":{{"uid":0,"gid":0}},"args":["/bin/sleep","1000"],"cwd":"/"}},
            "root":{{"path":"rootfs"}},"mounts":[{{"destination":"/proc","type":"proc","source":"proc"}},
                {{"destination":"/dev","type":"tmpfs","source":"tmpfs","options":["nosuid","mode=755"]}}],
            "annotations":{{{annotations}}},
            "linux":{{"cgroupsPath":"{path}","namespaces":[{{"type":"pid"}},{{"type":"mount"}}],"resources":{resources}}}}}"#
        );
        std::fs::write(self.at.join("config.json"), text).unwrap();
    }

    pub(super) fn embrun(&self, args: &[&str]) -> (bool, String) {
        let embrun = std::env::var("RUNTIME").unwrap_or(env!("CARGO_BIN_EXE_embrun").to_owned());
        let state = self.at.join("state");
        let mut words: Vec<&str> = self.before.iter().map(String::as_str).collect();
        words.extend([embrun.as_str(), "--root", state.to_str().unwrap()]);
        words.extend(&self.flags);
        words.extend(args);
        say(words[0], &words[1..])
    }

    /// Gives the directories to the guest's user.
    pub(super) fn give_to_user(&self) {
        for directory in ["", "rootfs", "rootfs/dev", "rootfs/proc", "rootfs/bin"] {
            nix::unistd::chown(&self.at.join(directory), Some(1000.into()), Some(1000.into())).unwrap();
        }
    }

    #[track_caller]
    pub(super) fn ok(&self, args: &[&str]) {
        let (done, text) = self.embrun(args);
        assert!(done, "{args:?}: {text}");
    }

    #[track_caller]
    pub(super) fn create(&self) {
        self.ok(&["create", "--bundle", self.at.to_str().unwrap(), "x"]);
    }

    /// A file of the unit's cgroup: in the hierarchy of a controller, or else in v2.
    pub(super) fn file(controller: &str, group: &str, file: &str) -> String {
        let layout = Layout::discover().unwrap();
        let hierarchy = layout.hierarchies.iter().find(|t| t.has(controller)).or(layout.v2()).unwrap();
        let path = format!("{}{group}/{file}", hierarchy.mount);
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}")).trim().to_owned()
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.embrun(&["delete", "--force", "x"]);
        }
        let _ = std::fs::remove_dir_all(&self.at);
    }
}

pub(super) const UNIT: &str = "tst-web.scope";
const GROUP: &str = "/machine.slice/tst-web.scope";
const LIMITS: &str = r#"{"devices":[{"allow":false}],"memory":{"limit":33554432},
    "cpu":{"shares":1024,"quota":50000,"period":100000},"pids":{"limit":50}}"#;

#[test]
fn container_gets_a_scope() {
    if !runs() {
        return;
    }
    let b = Bundle::new("systemd");
    cgroup_that_is_there_frozen_is_refused(&b);
    // Five times, because systemd may miss a message only now and then.
    for _ in 0..5 {
        b.config("machine.slice:tst:web", r#""org.systemd.property.TimeoutStopSec":"7""#, LIMITS);
        b.create();
        let (memory, cpu) = if is_v2() { ("MemoryMax", "CPUWeight") } else { ("MemoryLimit", "CPUShares") };
        for (property, value) in [
            ("ActiveState", "active"),
            ("Slice", "machine.slice"),
            ("ControlGroup", GROUP),
            (memory, "33554432"),
            ("TasksMax", "50"),
            ("CPUQuotaPerSecUSec", "500ms"),
            (cpu, if is_v2() { "100" } else { "1024" }),
            ("TimeoutStopUSec", "7s"),
            ("Delegate", "yes"),
            ("DevicePolicy", "strict"),
        ] {
            assert_eq!(show(UNIT, property), value, "{property}");
        }
        b.ok(&["update", "--memory", "64m", "--pids-limit", "60", "x"]);
        assert!(say("systemctl", &["daemon-reload"]).0);
        let memory = if is_v2() { "memory.max" } else { "memory.limit_in_bytes" };
        assert_eq!(Bundle::file("memory", GROUP, memory), "67108864");
        assert_eq!(Bundle::file("pids", GROUP, "pids.max"), "60");
        assert_eq!(
            Bundle::file("pids", GROUP, "cgroup.procs").lines().count(),
            1,
            "only init may be in the cgroup"
        );
        b.ok(&["delete", "--force", "x"]);
        assert_eq!(show(UNIT, "LoadState"), "not-found");
        let left: Vec<String> =
            Layout::discover().unwrap().hierarchies.iter().map(|t| format!("{}{GROUP}", t.mount)).collect();
        assert!(left.iter().all(|d| !std::path::Path::new(d).exists()), "{left:?}");
    }
}

/// systemd must not put a process there, because that would never answer.
fn cgroup_that_is_there_frozen_is_refused(b: &Bundle) {
    b.config("machine.slice:tst:web", "", "{}");
    let places: Vec<String> =
        Layout::discover().unwrap().hierarchies.iter().map(|t| format!("{}{GROUP}", t.mount)).collect();
    for dir in &places {
        std::fs::create_dir_all(dir).unwrap();
        for (file, value) in [("cgroup.freeze", "1"), ("freezer.state", "FROZEN")] {
            let file = format!("{dir}/{file}");
            let _ = std::fs::OpenOptions::new()
                .write(true)
                .open(file)
                .and_then(|mut f| f.write_all(value.as_bytes()));
        }
    }
    let start = Instant::now();
    let (ok, said) = b.embrun(&["run", "--bundle", b.at.to_str().unwrap(), "x"]);
    assert!(!ok && said.contains("container's cgroup unexpectedly frozen"), "{said}");
    assert!(start.elapsed() < Duration::from_secs(10) * patience(), "{:?}", start.elapsed());
    assert_eq!(show(UNIT, "LoadState"), "not-found");
    places.iter().for_each(|dir| std::fs::remove_dir(dir).unwrap());
}

#[test]
fn every_resource_becomes_a_property() {
    if !runs() {
        return;
    }
    let b = Bundle::new("systemd-all");
    let v2 = is_v2();
    // One file is set by a field as well: `unified` wins, also when systemd writes the file again.
    let unified =
        if v2 { r#","unified":{"memory.high":"50331648","memory.min":"4096","pids.max":"99"}"# } else { "" };
    let weight = if has("blkio-weight", "io") && !v2 { r#","blockIO":{"weight":500}"# } else { "" };
    let resources = format!(
        r#"{{"memory":{{"limit":67108864,"swap":100663296,"reservation":16777216}},
            "cpu":{{"shares":2048,"quota":30000,"period":50000}},"pids":{{"limit":0}},
            "devices":[{{"allow":true,"type":"c","major":1,"minor":11,"access":"r"}},
                {{"allow":true,"type":"b","major":7,"access":"rw"}},{{"allow":true,"type":"c","major":136,"access":"rw"}}]{unified}{weight}}}"#
    );
    b.config(":tst:web", "", &resources);
    b.create();
    let of_v2 = [
        ("Slice", "system.slice"),
        ("MemoryMax", "67108864"),
        ("MemoryLow", "16777216"),
        ("MemorySwapMax", "33554432"),
        ("MemoryHigh", "50331648"),
        ("MemoryMin", "4096"),
        ("CPUWeight", "174"),
        ("CPUQuotaPerSecUSec", "600ms"),
        ("CPUQuotaPeriodUSec", "50ms"),
        ("TasksMax", "99"),
    ];
    let of_v1 = [
        ("MemoryLimit", "67108864"),
        ("CPUShares", "2048"),
        ("CPUQuotaPerSecUSec", "600ms"),
        ("TasksMax", "1"),
    ];
    for (property, value) in if v2 { &of_v2[..] } else { &of_v1 } {
        assert_eq!(show("tst-web.scope", property), *value, "{property}");
    }
    if v2 {
        assert!(say("systemctl", &["daemon-reload"]).0);
        assert_eq!(Bundle::file("pids", "/system.slice/tst-web.scope", "pids.max"), "99");
    }
    let devices = show("tst-web.scope", "DeviceAllow");
    for rule in ["/dev/char/1:11 r", "char-pts rw", "/dev/char/1:3 rwm"] {
        assert!(devices.contains(rule), "{rule}: {devices}");
    }
    // Without a cpuset controller systemd keeps the mask but cannot write it anywhere.
    b.ok(&["update", "--cpu-share", "1024", "--pids-limit", "-1", "x"]);
    assert_eq!(show("tst-web.scope", "TasksMax"), "infinity");
    assert_eq!(
        show("tst-web.scope", if v2 { "CPUWeight" } else { "CPUShares" }),
        if v2 { "100" } else { "1024" }
    );
    b.ok(&["delete", "--force", "x"]);
    assert_eq!(show("tst-web.scope", "LoadState"), "not-found");
    quota_and_period_change_alone_and_together(&b);
}

/// systemd stores a rate and a period and later rewrites the files from them.
fn quota_and_period_change_alone_and_together(b: &Bundle) {
    for (flags, now) in [
        (&["--cpu-quota=100000"][..], "100000 200000"),
        (&["--cpu-period=50000"], "50000 50000"),
        (&["--cpu-quota=50000", "--cpu-period=100000"], "50000 100000"),
    ] {
        b.config("machine.slice:tst:web", "", r#"{"cpu":{"quota":50000,"period":200000}}"#);
        b.create();
        b.ok(&[&["update"], flags, &["x"]].concat());
        assert!(say("systemctl", &["daemon-reload"]).0);
        let file = |file| Bundle::file("cpu", GROUP, file);
        let seen = match on_v1("cpu") {
            true => file("cpu.cfs_quota_us") + " " + &file("cpu.cfs_period_us"),
            false => file("cpu.max"),
        };
        assert_eq!(seen, now, "{flags:?}");
        b.ok(&["delete", "--force", "x"]);
    }
}

#[test]
fn annotations_become_properties_of_their_type() {
    if !runs() {
        return;
    }
    let b = Bundle::new("systemd-annotations");
    let key = |name: &str, value: &str| format!(r#""org.systemd.property.{name}":"{value}""#);
    let all = [
        key("TimeoutStopUSec", "uint64 1234567"),
        key("RuntimeMaxSec", "100.5"),
        key("SendSIGHUP", "true"),
        key("KillSignal", "15"),
        key("Documentation", "['man:a(1)', 'man:b(2)']"),
        key("Description", "'a \\\"web\\\"'"),
    ];
    b.config(":tst:web", &all.join(","), "{}");
    b.create();
    for (property, value) in [
        ("TimeoutStopUSec", "1.234567s"),
        ("RuntimeMaxUSec", "1min 40.500000s"),
        ("SendSIGHUP", "yes"),
        ("KillSignal", "15"),
        ("Documentation", r#""man:a(1)" "man:b(2)""#),
        ("Description", "a \"web\""),
    ] {
        assert_eq!(show(UNIT, property), value, "{property}");
    }
    b.ok(&["delete", "--force", "x"]);
    for (path, annotation, says) in [
        ("/a/b", "".into(), "must be slice:prefix:name"),
        (":tst:web", key("Bogus", "5"), "Cannot set property Bogus"),
        (":tst:web", key("SendSIGHUP", "'yes'"), "Failed to set unit properties"),
        (":tst:web", key("TasksMax", "'5'"), "Failed to set unit properties"),
        (":tst:web", key("Description", "'x"), "annotations.org.systemd.property.Description: must be"),
        (":tst:web", key("TimeoutStopSec", "soon"), "must be a number of seconds"),
        ("a--b.slice:tst:web", "".into(), "linux.cgroupsPath"),
    ] {
        b.config(path, &annotation, "{}");
        let (done, text) = b.embrun(&["create", "--bundle", b.at.to_str().unwrap(), "x"]);
        assert!(!done && text.contains(says), "{annotation}: {text}");
        assert_eq!(show(UNIT, "LoadState"), "not-found");
        assert!(!b.embrun(&["state", "x"]).0, "nothing is left");
    }
}

/// A container with the host's bus has no private socket of systemd.
#[test]
fn bus_is_used_without_the_private_socket() {
    if !runs() {
        return;
    }
    let mut b = Bundle::new("systemd-bus");
    let hide = "mount --make-rprivate / && mount --bind /dev/null /run/systemd/private && exec \"$0\" \"$@\"";
    b.before = ["unshare", "-m", "sh", "-c", hide].map(String::from).into();
    b.config("machine.slice:tst:web", "", LIMITS);
    b.create();
    assert_eq!((show(UNIT, "ActiveState").as_str(), show(UNIT, "TasksMax").as_str()), ("active", "50"));
    b.ok(&["update", "--pids-limit", "60", "x"]);
    assert_eq!(show(UNIT, "TasksMax"), "60");
    b.ok(&["delete", "--force", "x"]);
    assert_eq!(show(UNIT, "LoadState"), "not-found");
    // With neither of them the error says so, and nothing is left.
    b.before[4] = format!("mount --bind /dev/null /run/dbus/system_bus_socket && {hide}");
    let (done, text) = b.embrun(&["create", "--bundle", b.at.to_str().unwrap(), "x"]);
    assert!(!done && text.contains("connect to /run/dbus/system_bus_socket"), "{text}");
    assert!(!b.embrun(&["state", "x"]).0);
}

#[test]
fn cgroup_manager_flag_selects_the_driver() {
    if !runs() {
        return;
    }
    let mut b = Bundle::new("systemd-choice");
    let path = "/embrun-test-choice/x";
    for (manager, cgroups_path, unit, at) in [
        ("--cgroup-manager=systemd", ":tst:web", "active", "/system.slice/tst-web.scope"),
        ("--cgroup-manager=cgroupfs", path, "inactive", path),
        ("--cgroup-manager=disabled", path, "inactive", ""),
    ] {
        b.flags = vec![manager];
        b.config(cgroups_path, "", "{}");
        b.create();
        assert_eq!(show(UNIT, "ActiveState"), unit, "{manager}");
        let (_, state) = b.embrun(&["state", "x"]);
        let pid = state.split("\"pid\": ").nth(1).and_then(|s| s.split([',', '\n']).next()).unwrap().trim();
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        if at.is_empty() {
            assert_eq!(groups, own, "it must stay in the cgroup of its creator");
        } else {
            assert!(groups.lines().any(|l| l.ends_with(at)), "{manager}: {groups}");
        }
        b.ok(&["delete", "--force", "x"]);
    }
    b.config(path, "", LIMITS);
    let (done, text) = b.embrun(&["create", "--bundle", b.at.to_str().unwrap(), "x"]);
    assert!(!done && text.contains("linux.resources."), "{text}");
}
