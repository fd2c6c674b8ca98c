//! Invalid configurations: `create` and `run` refuse them and leave nothing.
//!
//! The error is one line that names the property. runc is the reference: it refuses every case with the
//! same status unless the case gives a reason. crun's parser accepts more.

use crate::cases;
use crate::common::{Case, Container, Output, Runtime, Test, rounds};
use crate::mutate::{Random, mutate};
use embrun::json::value::Json;
use serde_json::{Value, json};
use std::fs;

pub const CASES: &[Case] = cases![
    missing_config_json_is_refused,
    malformed_json_is_reported_by_line_and_column,
    values_of_a_wrong_type_are_refused,
    faults_in_top_level_fields_are_refused,
    faults_in_process_are_refused,
    faults_in_namespaces_and_id_mappings_are_refused,
    faults_in_linux_sections_are_refused,
    contradictory_fields_are_refused,
    several_faults_are_reported_together,
    config_without_process_is_created_but_not_started,
    late_failure_names_command_and_container_once,
    faults_in_an_exec_process_file_are_refused,
    mutated_configs_are_created_or_leave_nothing,
];

/// One invalid value.
struct Wrong {
    /// Its place, as a JSON pointer.
    at: &'static str,
    /// The value as JSON; empty removes the present value.
    value: &'static str,
    /// The start of our error, after the name of the file.
    says: &'static str,
    /// The reason why runc accepts it; empty if it does not.
    lenient: &'static str,
}

const fn wrong(at: &'static str, value: &'static str, says: &'static str) -> Wrong {
    Wrong { at, value, says, lenient: "" }
}

/// A case that runc accepts, with the reason.
const fn ours(at: &'static str, value: &'static str, says: &'static str, lenient: &'static str) -> Wrong {
    Wrong { at, value, says, lenient }
}

const DECODED_LOOSELY: &str = "the decoder does not look";
const NOT_CHECKED: &str = "not checked: the kernel or nobody decides";

/// Sets or removes a value of the configuration.
fn edit(config: &mut Value, at: &str, value: &str) {
    let (parent, key) = at.rsplit_once('/').expect("a pointer");
    let parent = config.pointer_mut(parent).unwrap_or_else(|| panic!("{at} is not in the base config"));
    match (parent, value) {
        (Value::Object(members), "") => drop(members.remove(key)),
        (Value::Object(members), _) => drop(members.insert(key.into(), serde_json::from_str(value).unwrap())),
        (Value::Array(items), _) => items.push(serde_json::from_str(value).unwrap()),
        _ => panic!("{at} is not in an object or an array"),
    }
}

/// Requires a one-line error and no trace of the container.
///
/// The line names the command and the container, and the status is 1.
#[track_caller]
fn refused(c: &Container<'_>, output: Output, says: &str) {
    let output = output.exits(1);
    if c.test.runtime == Runtime::Embrun {
        assert_eq!(output.stderr.lines().count(), 1, "the error is not one line: {:?}", output.stderr);
        assert!(output.stderr.contains(says), "{:?} does not say {says:?}", output.stderr);
        let verb = if output.command.contains(" run ") { "run" } else { "create" };
        let about = format!("{verb} {}: ", c.id);
        assert!(output.stderr.starts_with(&format!("embrun: {about}")), "{:?}", output.stderr);
        assert_eq!(output.stderr.matches(&about).count(), 1, "{:?}", output.stderr);
    }
    nothing_of(c);
}

#[track_caller]
fn nothing_of(c: &Container<'_>) {
    c.call(&["state"]).exits(1);
    let state = fs::read_dir("/run/it/state").unwrap().flatten().count();
    assert_eq!(state, 0, "the state directory is left");
    for controller in ["memory", "pids", "devices", "freezer"] {
        if c.test.hierarchy(controller).is_some() {
            assert!(!c.cgroup(controller).exists(), "{} is left", c.cgroup(controller).display());
        }
    }
}

fn all_wrong(t: &Test, table: &[Wrong]) {
    for case in table {
        if !case.lenient.is_empty() && t.runtime != Runtime::Embrun {
            println!("  left out: {} {}: {}", case.at, case.value, case.lenient);
            continue;
        }
        println!("  {} {}", case.at, case.value);
        let mut c = t.container();
        edit(&mut c.config, case.at, case.value);
        refused(&c, c.create(), case.says);
        refused(&c, c.run(), case.says);
    }
}

fn missing_config_json_is_refused(t: &Test) {
    let c = t.container();
    let bundle = c.bundle.to_str().unwrap();
    for command in ["create", "run"] {
        refused(
            &c,
            c.call(&[command, "--bundle", bundle]),
            "config.json: no such file or directory (ENOENT)",
        );
        refused(
            &c,
            c.call(&[command, "--bundle", "/run/it/nowhere"]),
            "/run/it/nowhere: no such file or directory",
        );
    }
}

fn malformed_json_is_reported_by_line_and_column(t: &Test) {
    let c = t.container();
    let bundle = c.bundle.to_str().unwrap();
    let sound = c.config.to_string();
    for (text, says, lenient) in [
        ("".to_owned(), "config.json: EOF while parsing a value at line 1 column 0", false),
        ("[1]".to_owned(), "config.json: must be an object, is an array", false),
        (
            sound.replacen('{', "{\n\"hostname\": nodename,\n", 1),
            "config.json: expected ident at line 2 column 14",
            false,
        ),
        (sound[..sound.len() - 1].to_owned(), "config.json: EOF while parsing an object at line 1", false),
        (format!("{sound}\n{sound}"), "config.json: trailing characters at line 2 column 1", true),
        (
            sound.replacen('{', "{\"hostname\":\"a\",", 1),
            "config.json: duplicate key \"hostname\" at line 1",
            true,
        ),
        (sound.replace("fixture", "fix\\u0000ture"), "config.json: hostname: contains a NUL character", true),
    ] {
        if lenient && t.runtime != Runtime::Embrun {
            println!("  left out: {says}: {DECODED_LOOSELY}");
            continue;
        }
        fs::write(c.bundle.join("config.json"), &text).unwrap();
        for command in ["create", "run"] {
            refused(&c, c.call(&[command, "--bundle", bundle]), says);
        }
    }
    if t.runtime == Runtime::Embrun {
        let bytes = [sound.as_bytes(), b"\xff"].concat();
        fs::write(c.bundle.join("config.json"), bytes.as_slice()).unwrap();
        refused(&c, c.call(&["create", "--bundle", bundle]), "config.json: trailing characters at line 1");
    }
}

fn values_of_a_wrong_type_are_refused(t: &Test) {
    all_wrong(
        t,
        &[
            wrong("/process/args", r#""sh""#, "process.args: must be an array, is a string"),
            wrong("/process/args", "[1]", "process.args[0]: must be a string, is a number"),
            wrong("/process/env", r#"{"A":"1"}"#, "process.env: must be an array, is an object"),
            wrong("/process/user/uid", r#""0""#, "process.user.uid: must be an integer, is a string"),
            wrong("/process/user/uid", "-1", "process.user.uid: -1 is out of range"),
            wrong("/process/user/uid", "4294967296", "process.user.uid: 4294967296 is out of range"),
            wrong("/process/user/uid", "1.5", "process.user.uid: must be an integer, is 1.5"),
            wrong("/process/terminal", r#""no""#, "process.terminal: must be a boolean, is a string"),
            wrong("/root/readonly", "1", "root.readonly: must be a boolean, is a number"),
            wrong("/mounts", r#"{"/proc":{}}"#, "mounts: must be an array, is an object"),
            wrong("/mounts/-", "7", "mounts[6]: must be an object, is a number"),
            wrong("/linux/namespaces", r#"["pid"]"#, "linux.namespaces[0]: must be an object, is a string"),
            wrong(
                "/linux/sysctl",
                r#"{"net.ipv4.ip_forward":1}"#,
                "linux.sysctl.net.ipv4.ip_forward: must be a string",
            ),
            wrong("/annotations", r#"{"a":1}"#, "annotations.a: must be a string, is a number"),
            wrong(
                "/hooks",
                r#"{"prestart":{"path":"/bin/true"}}"#,
                "hooks.prestart: must be an array, is an object",
            ),
        ],
    );
}

fn faults_in_top_level_fields_are_refused(t: &Test) {
    all_wrong(
        t,
        &[
            ours("/ociVersion", "", "ociVersion: is required", NOT_CHECKED),
            ours(
                "/ociVersion",
                r#""2.0.0""#,
                r#"ociVersion: "2.0.0" is not supported (must be 1.x)"#,
                NOT_CHECKED,
            ),
            ours("/ociVersion", r#""one""#, r#"ociVersion: "one" is not a version"#, NOT_CHECKED),
            wrong("/root", "", "root: is required"),
            wrong(
                "/root/path",
                r#""nowhere""#,
                r#"root.path: "nowhere": no such file or directory (ENOENT)"#,
            ),
            wrong("/root/path", r#""/etc/passwd""#, r#"root.path: "/etc/passwd": not a directory (ENOTDIR)"#),
            ours("/mounts/-", r#"{"type":"tmpfs"}"#, "mounts[6].destination: is required", NOT_CHECKED),
            ours("/annotations", r#"{"":"x"}"#, "annotations: a key must not be empty", NOT_CHECKED),
            ours(
                "/hooks",
                r#"{"poststop":[{"path":"true"}]}"#,
                "hooks.poststop[0].path: must be an absolute",
                NOT_CHECKED,
            ),
            ours(
                "/hooks",
                r#"{"poststop":[{"path":"/x","timeout":0}]}"#,
                "hooks.poststop[0].timeout: must be",
                NOT_CHECKED,
            ),
        ],
    );
}

fn faults_in_process_are_refused(t: &Test) {
    all_wrong(
        t,
        &[
            wrong("/process/args", "[]", "process.args: must not be empty"),
            wrong("/process/args", "", "process.args: is required"),
            wrong("/process/cwd", r#""tmp""#, r#"process.cwd: must be an absolute path, is "tmp""#),
            wrong("/process/cwd", "", "process.cwd: is required"),
            wrong("/process/env", r#"["A"]"#, r#"process.env[0]: "A" is not KEY=VALUE"#),
            ours("/process/user/uid", "4294967295", "process.user.uid: 4294967295 is not an id", NOT_CHECKED),
            ours("/process/user/umask", "512", "process.user.umask: 512 is not a umask", NOT_CHECKED),
            wrong(
                "/process/rlimits",
                r#"[{"type":"RLIMIT_FOO","soft":1,"hard":1}]"#,
                r#"process.rlimits[0].type: unknown "RLIMIT_FOO""#,
            ),
            ours(
                "/process/rlimits/-",
                r#"{"type":"RLIMIT_NOFILE","soft":1,"hard":1}"#,
                r#"process.rlimits[1].type: "RLIMIT_NOFILE" is given twice"#,
                "the last one wins",
            ),
            wrong(
                "/process/rlimits",
                r#"[{"type":"RLIMIT_CPU","soft":2,"hard":1}]"#,
                "process.rlimits[0].soft: 2 is above hard (1)",
            ),
            ours("/process/oomScoreAdj", "1001", "process.oomScoreAdj: 1001 is out of range", NOT_CHECKED),
        ],
    );
}

fn faults_in_namespaces_and_id_mappings_are_refused(t: &Test) {
    all_wrong(
        t,
        &[
            wrong("/linux/namespaces/-", r#"{"type":"net"}"#, r#"linux.namespaces[5].type: unknown "net""#),
            wrong(
                "/linux/namespaces/-",
                r#"{"type":"pid"}"#,
                r#"linux.namespaces[5].type: "pid" is given twice"#,
            ),
            ours(
                "/linux/namespaces/-",
                r#"{"type":"cgroup","path":"proc/1/ns/cgroup"}"#,
                "linux.namespaces[5].path: must be an absolute path",
                NOT_CHECKED,
            ),
            ours(
                "/linux/uidMappings",
                r#"[{"containerID":0,"hostID":0,"size":0}]"#,
                "linux.uidMappings[0].size: must be at least 1",
                NOT_CHECKED,
            ),
        ],
    );
}

fn faults_in_linux_sections_are_refused(t: &Test) {
    all_wrong(
        t,
        &[
            ours(
                "/linux/devices",
                r#"[{"type":"c","path":"/dev/x","minor":3}]"#,
                "linux.devices[0].major: is required",
                DECODED_LOOSELY,
            ),
            wrong(
                "/linux/devices",
                r#"[{"type":"x","path":"/dev/x"}]"#,
                r#"linux.devices[0].type: unknown "x""#,
            ),
            ours(
                "/linux/maskedPaths/-",
                r#""proc""#,
                "linux.maskedPaths[10]: must be an absolute path",
                NOT_CHECKED,
            ),
            ours(
                "/linux/readonlyPaths/-",
                r#""proc""#,
                "linux.readonlyPaths[5]: must be an absolute path",
                NOT_CHECKED,
            ),
            wrong("/linux/rootfsPropagation", r#""sharde""#, r#"linux.rootfsPropagation: unknown "sharde""#),
            ours(
                "/linux/personality",
                r#"{"domain":"BSD"}"#,
                "linux.personality.domain: unknown",
                "not known to runc 1.1",
            ),
            wrong("/linux/seccomp", r#"{"defaultAction":"ALLOW"}"#, "linux.seccomp.defaultAction: unknown"),
            ours(
                "/linux/intelRdt",
                r#"{"closID":"x"}"#,
                "linux.intelRdt: is not supported by this version",
                "supported, if the processor has it",
            ),
        ],
    );
}

fn contradictory_fields_are_refused(t: &Test) {
    all_wrong(
        t,
        &[
            wrong(
                "/linux/namespaces",
                r#"[{"type":"pid"},{"type":"mount"}]"#,
                "hostname: needs a uts namespace (add {\"type\": \"uts\"} to linux.namespaces)",
            ),
            ours(
                "/linux/uidMappings",
                r#"[{"containerID":0,"hostID":0,"size":1}]"#,
                "linux.uidMappings: is not supported by this version",
                "it is ignored",
            ),
            ours(
                "/mounts/-",
                r#"{"destination":"/x","source":"/x","options":["bind","idmap"]}"#,
                "mounts[6].options: idmapped mounts are not supported by this version",
                "not known to runc 1.1",
            ),
        ],
    );
}

fn several_faults_are_reported_together(t: &Test) {
    let mut c = t.container();
    c.without_namespace("uts");
    c.config["linux"]["sysctl"] = json!({"vm.swappiness": "1"});
    c.config["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1}});
    let output = c.create();
    for field in ["hostname: ", "linux.sysctl.vm.swappiness: ", "linux.timeOffsets: "] {
        assert!(output.stderr.contains(field), "{field:?} is not in {:?}", output.stderr);
    }
    refused(&c, output, "");
}

fn config_without_process_is_created_but_not_started(t: &Test) {
    let mut c = t.container();
    edit(&mut c.config, "/process", "");
    refused(&c, c.run(), "process: is required");
    c.create().ok();
    c.start().exits(1).fails(&["process: is required"]);
    assert_ne!(c.status(), "running");
    c.remove();
    nothing_of(&c);
}

fn late_failure_names_command_and_container_once(t: &Test) {
    let mut c = t.container();
    c.args(&["no-such-tool"]);
    refused(&c, c.create(), "executable file not found in $PATH");
    refused(&c, c.run(), "executable file not found in $PATH");
    c.args(&["true"]);
    c.mount("/mnt", "nosuchfs", "x", &[]);
    refused(&c, c.create(), "no such device (ENODEV)");
    refused(&c, c.run(), "no such device (ENODEV)");
}

fn faults_in_an_exec_process_file_are_refused(t: &Test) {
    let mut c = t.container();
    c.args(&["sleep", "86399"]);
    c.up();
    let file = t.path("process.json");
    let path = file.to_str().unwrap();
    for (text, says, lenient) in [
        ("{", "EOF while parsing an object at line 1 column 1", false),
        (r#"{"cwd":"/"}"#, "args: is required", false),
        (r#"{"args":[],"cwd":"/"}"#, "args: must not be empty", false),
        (r#"{"args":["true"]}"#, "cwd: is required", false),
        (r#"{"args":["true"],"cwd":"tmp"}"#, "cwd: must be an absolute path", false),
        (
            r#"{"args":["true"],"cwd":"/","user":{"uid":4294967295}}"#,
            "user.uid: 4294967295 is not an id",
            true,
        ),
    ] {
        if lenient && t.runtime != Runtime::Embrun {
            continue;
        }
        fs::write(&file, text).unwrap();
        let output = t.call(&["exec", "--process", path, &c.id]).exits(255);
        if t.runtime == Runtime::Embrun {
            assert!(
                output.stderr.contains(&format!("{path}: {says}")),
                "{:?} does not say {says:?}",
                output.stderr
            );
            assert_eq!(output.stderr.lines().count(), 1, "{:?}", output.stderr);
        }
    }
    fs::remove_file(&file).unwrap();
    t.call(&["exec", "--process", path, &c.id]).exits(255).fails(&["no such file or directory"]);
    c.remove();
}

/// `create` ends for any configuration; a failure prints a line and leaves nothing.
fn mutated_configs_are_created_or_leave_nothing(t: &Test) {
    let mut random = Random::new();
    let mut c = t.container();
    let bundle = c.bundle.to_str().unwrap().to_owned();
    let sound = Json::parse(c.config.to_string().as_bytes()).unwrap();
    let (mut created, mut failed) = (0, 0);
    for _ in 0..rounds(150) {
        let mut mutant = sound.clone();
        for _ in 0..=random.below(2) {
            mutate(&mut mutant, &mut random);
        }
        c.config = serde_json::from_str(&mutant.compact()).unwrap();
        if !c.config.is_object() {
            continue;
        }
        // Remove the fields that would affect the machine outside of this test.
        if c.config["linux"].is_object() {
            c.config["linux"]["cgroupsPath"] = json!(format!("/{}/{}", t.token(), c.id));
        }
        c.config["root"] = json!({"path": "rootfs"});
        c.write();
        let output = c.call(&["create", "--bundle", &bundle]);
        let lines: Vec<&str> = output.stderr.lines().filter(|l| !l.contains("warning: ")).collect();
        if output.status == 0 {
            created += 1;
            assert!(lines.is_empty(), "{lines:?}");
            c.remove();
        } else {
            failed += 1;
            assert_eq!((output.status, lines.len()), (1, 1), "{}", c.config);
        }
        nothing_of(&c);
    }
    println!("{created} created, {failed} failed");
    assert!(created > 0 && failed > 0, "{created} created, {failed} failed");
}
