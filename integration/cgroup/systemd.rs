//! The systemd driver, where systemd runs: what it says of the unit, by `systemctl show`.

use super::*;

/// Runs a command; its status and what it said. By a file: a container that is made keeps its output open.
fn say(program: &str, args: &[&str]) -> (bool, String) {
    let path = std::env::temp_dir().join(format!("embrun-test-{}-output", std::process::id()));
    let file = std::fs::File::create(&path).unwrap();
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
    let done = command.status().unwrap().success();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    (done, text)
}

fn show(unit: &str, property: &str) -> String {
    say("systemctl", &["show", unit, "--value", "-p", property]).1.trim().to_owned()
}

#[test]
fn a_container_is_a_scope() {
    if !std::path::Path::new("/run/systemd/system").is_dir() {
        eprintln!("SKIPPED: systemd does not run this host");
        return;
    }
    let bundle = std::env::temp_dir().join(format!("embrun-test-{}-systemd", std::process::id()));
    for directory in ["rootfs/bin", "rootfs/dev", "rootfs/proc"] {
        std::fs::create_dir_all(bundle.join(directory)).unwrap();
    }
    std::fs::copy("/bin/busybox", bundle.join("rootfs/bin/sleep")).unwrap();
    let config = |path: &str, more: &str| {
        let text = format!(
            r#"{{"ociVersion":"1.0.2","process":{{"user":{{"uid":0,"gid":0}},"args":["/bin/sleep","1000"],"cwd":"/"}},
            "root":{{"path":"rootfs"}},"mounts":[{{"destination":"/proc","type":"proc","source":"proc"}},
                {{"destination":"/dev","type":"tmpfs","source":"tmpfs","options":["nosuid","mode=755"]}}],
            "annotations":{{"org.systemd.property.TimeoutStopSec":"7"{more}}},
            "linux":{{"cgroupsPath":"{path}","namespaces":[{{"type":"pid"}},{{"type":"mount"}}],
                "resources":{{"devices":[{{"allow":false}}],"memory":{{"limit":33554432}},
                    "cpu":{{"shares":1024,"quota":50000,"period":100000}},"pids":{{"limit":50}}}}}}}}"#
        );
        std::fs::write(bundle.join("config.json"), text).unwrap();
    };
    let state = bundle.join("state");
    let (state, at) = (state.to_str().unwrap(), bundle.to_str().unwrap());
    let embrun = |args: &[&str]| {
        say(env!("CARGO_BIN_EXE_embrun"), &[&["--root", state, "--systemd-cgroup"], args].concat())
    };
    let unit = "tst-web.scope";

    // Five times: a message that systemd overlooks is overlooked now and then only.
    for _ in 0..5 {
        config("machine.slice:tst:web", "");
        let (done, text) = embrun(&["create", "--bundle", at, "x"]);
        assert!(done, "{text}");
        assert_eq!(show(unit, "ActiveState"), "active");
        for (property, value) in [
            ("Slice", "machine.slice"),
            ("ControlGroup", "/machine.slice/tst-web.scope"),
            ("MemoryMax", "33554432"),
            ("TasksMax", "50"),
            ("CPUQuotaPerSecUSec", "500ms"),
            ("CPUWeight", "100"),
            ("TimeoutStopUSec", "7s"),
            ("Delegate", "yes"),
            ("DevicePolicy", "strict"),
        ] {
            assert_eq!(show(unit, property), value, "{property}");
        }
        let (done, text) = embrun(&["update", "--memory", "64m", "--pids-limit", "60", "x"]);
        assert!(done, "{text}");
        assert!(say("systemctl", &["daemon-reload"]).0);
        let file =
            |name: &str| std::fs::read_to_string(format!("/sys/fs/cgroup/machine.slice/{unit}/{name}"));
        assert_eq!(
            (file("memory.max").unwrap().trim(), file("pids.max").unwrap().trim()),
            ("67108864", "60")
        );
        assert_eq!(file("cgroup.procs").unwrap().lines().count(), 1, "init alone");
        let (done, text) = embrun(&["delete", "--force", "x"]);
        assert!(done, "{text}");
        assert_eq!(show(unit, "LoadState"), "not-found");
    }

    for (path, more, says) in [
        ("/a/b", "", "must be slice:prefix:name"),
        (":tst:web", r#","org.systemd.property.Bogus":"5""#, "Cannot set property Bogus"),
        (
            ":tst:web",
            r#","org.systemd.property.Nice":"'x""#,
            "annotations.org.systemd.property.Nice: must be",
        ),
    ] {
        config(path, more);
        let (done, text) = embrun(&["create", "--bundle", at, "x"]);
        assert!(!done && text.contains(says), "{text}");
        assert_eq!(show(unit, "LoadState"), "not-found");
        assert!(!embrun(&["state", "x"]).0, "nothing is left");
    }
    std::fs::remove_dir_all(bundle).unwrap();
}
