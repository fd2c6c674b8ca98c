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
    several_faults_are_reported_together,
    config_without_process_is_created_but_not_started,
    late_failure_names_command_and_container_once,
    faults_in_an_exec_process_file_are_refused,
    mutated_configs_are_created_or_leave_nothing,
];

pub const DECODED_LOOSELY: &str = "the decoder does not look";

/// Sets or removes a value of the configuration.
pub fn edit(config: &mut Value, at: &str, value: &str) {
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
pub fn refused(c: &Container<'_>, output: Output, says: &str) {
    let output = output.exits(1);
    if c.test.runtime == Runtime::Embrun {
        assert_eq!(output.stderr.lines().count(), 1, "the error is not one line: {:?}", output.stderr);
        assert!(output.stderr.contains(says), "{:?} does not say {says:?}", output.stderr);
        let verb = if output.command.contains(" run ") { "run" } else { "create" };
        let about = format!("{verb} {}: ", c.id);
        assert!(output.stderr.starts_with(&format!("embrun: error: {about}")), "{:?}", output.stderr);
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
