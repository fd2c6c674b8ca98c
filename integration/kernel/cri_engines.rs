//! Containerd's CRI, as Kubernetes' kubelet calls it, with the runtime under test.
//!
//! On demand: `--ignored engines`.

use crate::cases;
use crate::common::{Case, Probed, Test, eventually};
use crate::cri::{Cri, text};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

pub const CASES: &[Case] = cases![
    cri_is_ready_and_has_the_image,
    cri_containers_run_and_end_with_their_status,
    cri_stop_waits_for_the_timeout,
    cri_security_context_is_applied,
    cri_user_namespaces_are_mapped,
    cri_exec_and_attach_are_streamed,
    cri_pod_network_is_shared_and_ports_are_forwarded,
    cri_stats_and_updated_limits_match_the_cgroup,
    cri_oom_kill_is_the_reason,
    cri_log_is_written_and_reopened,
];

fn cri_is_ready_and_has_the_image(t: &Test) {
    let cri = Cri::new(t);
    let version = cri.call("Version", &json!({}));
    assert_eq!(
        (&version["runtime_name"], &version["runtime_api_version"]),
        (&json!("containerd"), &json!("v1"))
    );
    let ready = |kind: &str| {
        let status = cri.call("Status", &json!({}));
        let conditions = status["status"]["conditions"].as_array().unwrap().clone();
        conditions.iter().any(|c| c["type"] == kind && c["status"] == true)
    };
    eventually("the runtime and the network are ready", || ready("RuntimeReady") && ready("NetworkReady"));
    cri.raw("StartContainer", &json!({"container_id": "none"})).exits(120).fails(&["NotFound"]);
}

const HOST: fn() -> Value = || json!({"network": "NODE"});

fn cri_containers_run_and_end_with_their_status(t: &Test) {
    let cri = Cri::new(t);
    let pod = cri.pod(&HOST());
    let one = cri.create(&pod, &["probe", "pause"], &json!({}));
    assert_eq!(cri.status(&one)["state"], "CONTAINER_CREATED");
    cri.on("StartContainer", &one);
    assert_eq!(cri.status(&one)["state"], "CONTAINER_RUNNING");
    let exec = cri.exec(&one, &["sh", "-c", "echo out; echo err >&2; exit 3"]);
    assert_eq!(exec, (3, "out\n".into(), "err\n".into()));
    let slow = json!({"container_id": one, "cmd": ["sleep", "100"], "timeout": 1});
    cri.raw("ExecSync", &slow).exits(120).fails(&["DeadlineExceeded", "timeout 1s exceeded"]);
    let missing = json!({"container_id": one, "cmd": ["no-such-tool"], "timeout": 20});
    cri.raw("ExecSync", &missing).exits(120).fails(&["no-such-tool"]);
    assert_eq!(cri.status(&one)["state"], "CONTAINER_RUNNING");
    for (code, reason) in [(0, "Completed"), (7, "Error")] {
        let id = cri.start(&pod, &["sh", "-c", &format!("exit {code}")], &json!({}));
        assert_eq!(cri.ended(&id), (code, reason.into()));
        cri.on("RemoveContainer", &id);
    }
    for (program, says) in [("no-such-tool", "no-such-tool"), ("/etc/passwd", "ermission denied")] {
        let id = cri.create(&pod, &[program], &json!({}));
        cri.raw("StartContainer", &json!({"container_id": id})).exits(120).fails(&[says]);
        let (code, reason) = cri.ended(&id);
        assert_eq!((code, &reason[..]), (128, "StartError"), "{program}");
    }
    cri.call("StopContainer", &json!({"container_id": one}));
    cri.on("RemoveContainer", &one);
    cri.raw("ContainerStatus", &json!({"container_id": one})).exits(120).fails(&["NotFound"]);
    cri.remove(&pod);
}

fn cri_stop_waits_for_the_timeout(t: &Test) {
    let cri = Cri::new(t);
    let pod = cri.pod(&HOST());
    // The first ends at the signal, the second ignores it and is killed.
    let ends = cri.start(&pod, &["probe", "trap", "TERM", "await", "TERM", "exit", "5"], &json!({}));
    let stays = cri.start(&pod, &["sh", "-c", "trap '' TERM; echo ready; sleep 1000"], &json!({}));
    cri.call("StopContainer", &json!({"container_id": ends, "timeout": 60}));
    assert_eq!(cri.ended(&ends), (5, "Error".into()));
    cri.call("StopContainer", &json!({"container_id": stays, "timeout": 1}));
    assert_eq!(cri.ended(&stays), (137, "Error".into()));
    // A pod ends with its containers.
    let left = cri.start(&pod, &["probe", "pause"], &json!({}));
    cri.call("StopPodSandbox", &json!({"pod_sandbox_id": pod.id}));
    assert_eq!(cri.ended(&left).0, 137);
    cri.remove(&pod);
}

fn cri_security_context_is_applied(t: &Test) {
    let cri = Cri::new(t);
    let pod = cri.pod(&json!({"network": "NODE", "pid": "POD"}));
    let shared = t.path("shared");
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("in"), "from the host").unwrap();
    let more = json!({
        "envs": [{"key": "A", "value": "b"}], "working_dir": "/tmp",
        "mounts": [{"container_path": "/data", "host_path": shared, "readonly": true}],
        "linux": {"security_context": {"run_as_user": {"value": 1000}, "run_as_group": {"value": 5},
            "supplemental_groups": [7], "readonly_rootfs": true, "no_new_privs": true,
            "capabilities": {"drop_capabilities": ["ALL"]}, "masked_paths": ["/etc/passwd"],
            "seccomp": {"profile_type": "RuntimeDefault"}}},
    });
    let id = cri.start(&pod, &["probe", "pause"], &more);
    let words = "pid ids caps nnp seccomp env cwd hostname read /data/in write /data/in x write /new x read /etc/passwd";
    let command: Vec<&str> = ["probe"].into_iter().chain(words.split(' ')).collect();
    let (code, out, _) = cri.exec(&id, &command);
    let seen = Probed::last(&out).unwrap();
    assert_eq!(code, 0);
    assert_ne!(seen["pid"], 1, "the pid namespace is the pod's");
    assert_eq!((&seen["ids"]["uid"][0], &seen["ids"]["gid"][0]), (&json!(1000), &json!(5)));
    assert_eq!((&seen["nnp"], &seen["seccomp"]), (&json!(1), &json!(2)));
    assert_eq!((&seen["env"]["A"], &seen["cwd"]), (&json!("b"), &json!("/tmp")));
    assert_eq!(seen["caps"]["CapBnd"], "0000000000000000");
    assert_eq!((seen.text("read /data/in"), seen.text("read /etc/passwd")), ("from the host", ""));
    assert_eq!(
        (seen.result("write /data/in"), seen.result("write /new")),
        (&json!("EROFS"), &json!("EROFS"))
    );
    // The pod's first process is the pause program, and the namespace shows all its containers.
    let (_, out, _) = cri.exec(&id, &["ps"]);
    assert!(out.lines().filter(|line| line.contains("probe pause")).count() == 2, "{out}");
}

/// `hostUsers: false` of Kubernetes.
fn cri_user_namespaces_are_mapped(t: &Test) {
    let cri = Cri::new(t);
    let version = text(&cri.call("Version", &json!({}))["runtime_version"]);
    if version.starts_with("1.6.") {
        drop(cri);
        t.skip("containerd has no user namespaces before 1.7");
    }
    let map = json!([{"host_id": 200_000, "container_id": 0, "length": 65536}]);
    let users = json!({"mode": "POD", "uids": map, "gids": map});
    let pod = cri.pod(&json!({"userns_options": users}));
    let id = cri.start(&pod, &["probe", "pause"], &json!({}));
    let command =
        ["probe", "ids", "caps", "read", "/proc/self/uid_map", "write", "/new", "x", "stat", "/bin/probe"];
    let (code, out, _) = cri.exec(&id, &command);
    let seen = Probed::last(&out).unwrap();
    assert_eq!((code, &seen["ids"]["uid"][0]), (0, &json!(0)));
    let ids: Vec<_> = seen.text("read /proc/self/uid_map").split_whitespace().collect();
    assert_eq!(ids, ["0", "200000", "65536"]);
    assert_eq!(seen.result("write /new"), "ok");
    assert_eq!(seen.result("stat /bin/probe")["uid"], 0);
    let more = json!({"linux": {"security_context": {"run_as_user": {"value": 1000}}}});
    let user = cri.start(&pod, &["sh", "-c", "exit $(id -u | cut -c4)1"], &more);
    assert_eq!(cri.ended(&user).0, 1);
    // The pod's processes share one user namespace.
    let user = cri.start(&pod, &["probe", "pause"], &more);
    let namespace = |id: &str| cri.exec(id, &["readlink", "/proc/self/ns/user"]).1;
    assert_eq!(namespace(&id), namespace(&user));
    cri.remove(&pod);
}

fn cri_exec_and_attach_are_streamed(t: &Test) {
    let cri = Cri::new(t);
    let pod = cri.pod(&HOST());
    let script = "while read line; do echo \"got $line\"; [ \"$line\" != end ] || exit 4; done";
    let id = cri.start(&pod, &["sh", "-c", script], &json!({"stdin": true}));
    let request = |command: &[&str], tty: bool| json!({"container_id": id, "cmd": command, "stdin": true, "stdout": true, "stderr": !tty, "tty": tty});
    let script = "read line; echo \"got $line\"; echo oops >&2; exit 3";
    let url = text(&cri.call("Exec", &request(&["sh", "-c", script], false))["url"]);
    let out = cri.stream(&["stream", &url], "word\n").exits(3);
    assert_eq!((&out.stdout[..], &out.stderr[..]), ("got word\n", "oops\n"));
    let url = text(&cri.call("Exec", &request(&["probe", "tty"], true))["url"]);
    let out = cri.stream(&["stream", &url], "").ok();
    assert!(out.stdout.contains(r#""std":[true,true,true]"#), "{}", out.stdout);
    let url = text(&cri.call("Exec", &request(&["no-such-tool"], false))["url"]);
    cri.stream(&["stream", &url], "").exits(120).fails(&["no-such-tool"]);
    let attach = json!({"container_id": id, "stdin": true, "stdout": true, "stderr": true});
    let url = text(&cri.call("Attach", &attach)["url"]);
    assert_eq!(cri.stream(&["stream", &url], "first\nend\n").ok().stdout, "got first\ngot end\n");
    assert_eq!(cri.ended(&id), (4, "Error".into()));
    cri.remove(&pod);
}

fn cri_pod_network_is_shared_and_ports_are_forwarded(t: &Test) {
    let cri = Cri::new(t);
    let pod = cri.pod(&json!({}));
    let request = json!({"pod_sandbox_id": pod.id});
    let address = text(&cri.call("PodSandboxStatus", &request)["status"]["network"]["ip"]);
    assert!(address.starts_with("10.99.0."), "{address}");
    let answer = "read line; echo \"got $line\"";
    let server = ["busybox", "nc", "-l", "-p", "7", "-e", "sh", "-c", answer];
    let id = cri.start(&pod, &server, &json!({}));
    let other = cri.start(&pod, &["probe", "pause"], &json!({}));
    let (_, out, _) = cri.exec(&other, &["ip", "-4", "addr", "show", "eth0"]);
    assert!(out.contains(&address), "{out}");
    let listens = || cri.exec(&other, &["cat", "/proc/net/tcp", "/proc/net/tcp6"]).1.contains(":0007 ");
    eventually("the server listens", listens);
    let url = text(&cri.call("PortForward", &json!({"pod_sandbox_id": pod.id, "port": [7]}))["url"]);
    assert_eq!(cri.stream(&["forward", &url, "7"], "word\n").ok().stdout, "got word\n");
    assert_eq!(cri.ended(&id).0, 0);
    // Another pod reaches the first by its address.
    let server = cri.start(&pod, &server, &json!({}));
    eventually("the server listens again", listens);
    let guest = cri.pod(&json!({}));
    let client = cri.start(&guest, &["probe", "pause"], &json!({}));
    let line = format!("echo hello | busybox nc {address} 7");
    assert_eq!(cri.exec(&client, &["sh", "-c", &line]), (0, "got hello\n".into(), String::new()));
    assert_eq!(cri.ended(&server).0, 0);
    [pod, guest].iter().for_each(|pod| cri.remove(pod));
}

/// The file of a container's cgroup, by its names on v1 and v2.
fn knob(t: &Test, id: &str, controller: &str, v1: &str, v2: &str) -> PathBuf {
    let h = t.hierarchy(controller).unwrap();
    h.mount.join(t.token()).join(id).join(if h.v2 { v2 } else { v1 })
}

fn cri_stats_and_updated_limits_match_the_cgroup(t: &Test) {
    ["memory", "cpu", "pids"].iter().for_each(|controller| t.needs_controller(controller));
    let cri = Cri::new(t);
    let pod = cri.pod(&HOST());
    let limits = |bytes: u64, quota: u64| json!({"memory_limit_in_bytes": bytes, "cpu_period": 100_000, "cpu_quota": quota, "cpu_shares": 512});
    let id = cri.start(&pod, &["probe", "pause"], &json!({"linux": {"resources": limits(64 << 20, 50_000)}}));
    let read = |controller, v1, v2| fs::read_to_string(knob(t, &id, controller, v1, v2)).unwrap();
    let memory = || read("memory", "memory.limit_in_bytes", "memory.max");
    let quota = || read("cpu", "cpu.cfs_quota_us", "cpu.max");
    assert_eq!((&memory()[..], quota().starts_with("50000")), ("67108864\n", true));
    cri.call("UpdateContainerResources", &json!({"container_id": id, "linux": limits(96 << 20, 25_000)}));
    assert_eq!((&memory()[..], quota().starts_with("25000")), ("100663296\n", true));
    let above = |value: &Value| value["value"].as_u64().unwrap_or_default() > 0;
    let stats = cri.on("ContainerStats", &id)["stats"].take();
    assert_eq!(stats["attributes"]["id"], id);
    assert!(
        above(&stats["cpu"]["usage_core_nano_seconds"]) && above(&stats["memory"]["working_set_bytes"]),
        "{stats}"
    );
    let listed = cri.call("ListContainerStats", &json!({}));
    assert_eq!(listed["stats"][0]["attributes"]["id"], id);
    let stats = cri.call("PodSandboxStats", &json!({"pod_sandbox_id": pod.id}));
    let linux = &stats["stats"]["linux"];
    assert!(
        above(&linux["memory"]["working_set_bytes"]) && above(&linux["process"]["process_count"]),
        "{stats}"
    );
    assert_eq!(linux["containers"][0]["attributes"]["id"], id);
    cri.remove(&pod);
}

fn cri_oom_kill_is_the_reason(t: &Test) {
    t.needs_controller("memory");
    let cri = Cri::new(t);
    let pod = cri.pod(&HOST());
    let greedy = "x=a; while :; do x=$x$x; done";
    let limit = json!({"linux": {"resources": {"memory_limit_in_bytes": 16 << 20}}});
    let id = cri.start(&pod, &["sh", "-c", greedy], &limit);
    assert_eq!(cri.ended(&id), (137, "OOMKilled".into()));
    cri.remove(&pod);
}

fn cri_log_is_written_and_reopened(t: &Test) {
    let cri = Cri::new(t);
    let pod = cri.pod(&HOST());
    let script =
        "echo to out; echo to err >&2; while [ ! -e /tmp/go ]; do sleep 0.1; done; echo later; sleep 1000";
    let id = cri.start(&pod, &["sh", "-c", script], &json!({"log_path": "one.log"}));
    let log = Path::new(pod.config["log_directory"].as_str().unwrap()).join("one.log");
    let has = |path: &Path, line: &str| fs::read_to_string(path).unwrap_or_default().contains(line);
    eventually("both lines are logged", || {
        has(&log, " stdout F to out\n") && has(&log, " stderr F to err\n")
    });
    let old = log.with_extension("1");
    fs::rename(&log, &old).unwrap();
    cri.on("ReopenContainerLog", &id);
    assert_eq!(cri.exec(&id, &["touch", "/tmp/go"]).0, 0);
    eventually("the new file has the new line", || has(&log, " stdout F later\n"));
    assert!(!has(&old, "later"));
    cri.remove(&pod);
}
