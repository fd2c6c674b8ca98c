//! Damaged state: the rest is enough to find, kill and remove a container.

use crate::cases;
use crate::common::{Case, Test, eventually};
use crate::state::{dir, gone, paused, record};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::Stdio;

pub const CASES: &[Case] = cases![
    damaged_state_is_restored_from_its_copy,
    state_is_rebuilt_from_the_config_if_both_copies_are_damaged,
    run_deletes_its_container_whose_state_is_damaged,
    fully_damaged_state_is_deleted_with_force,
    rebuilt_state_does_not_touch_the_cgroup_of_another_container,
    state_torn_at_any_length_keeps_the_container,
    list_shows_the_others_beside_a_damaged_container,
];

fn damaged_state_is_restored_from_its_copy(t: &Test) {
    let c = paused(t);
    for damage in TORN {
        c.up();
        tear(&dir(&c).join("record"), damage);
        assert_eq!(c.status(), "running", "{damage}");
        c.delete().exits(1).fails(&["not stopped: running"]);
        c.remove();
    }
}

const TORN: [&str; 4] = ["empty", "torn", "zeroes", "missing"];

/// Damages a file of the state as a power loss or a bad block does.
fn tear(file: &Path, damage: &str) {
    let whole = fs::read(file).unwrap();
    match damage {
        "empty" => fs::write(file, "").unwrap(),
        "torn" => fs::write(file, &whole[..whole.len() / 2]).unwrap(),
        "zeroes" => fs::write(file, vec![0; whole.len()]).unwrap(),
        _ => fs::remove_file(file).unwrap(),
    }
}

/// The configuration names the cgroup, and init still runs.
///
/// The cage checks for leftovers.
fn state_is_rebuilt_from_the_config_if_both_copies_are_damaged(t: &Test) {
    t.needs_controller("freezer");
    for (shared, record, copy) in
        TORN.into_iter().flat_map(|r| TORN.map(|c| (r == c, r, c))).chain([(true, "torn", "torn")])
    {
        let mut c = t.container();
        c.probe("fork 2 say pause");
        c.config["annotations"] = json!({"a": "1"});
        if shared {
            c.without_namespace("pid");
        }
        c.up();
        c.says("acts");
        let (pid, file) = (c.pid(), |name: &str| dir(&c).join(name));
        tear(&file("record"), record);
        tear(&file("state.json"), copy);
        let state = c.call(&["state"]).ok();
        assert!(state.stderr.contains("using what config.json says"), "{}", state.stderr);
        assert_eq!(state.stderr.lines().count(), 1, "{}", state.stderr);
        let state = state.json();
        assert_eq!((&state["status"], &state["pid"]), (&json!("running"), &json!(pid)), "{record} {copy}");
        assert_eq!(state["annotations"], json!({"a": "1"}));
        c.exec(&["true"]).ok();
        c.call(&["pause"]).ok();
        assert_eq!(c.status(), "paused");
        c.call(&["resume"]).ok();
        c.create().exits(1).fails(&["already exists"]);
        c.delete().exits(1).fails(&["not stopped: running"]);
        if record == copy {
            c.kill("KILL").ok();
            c.stopped();
            c.delete().ok();
        } else {
            c.remove();
        }
    }
}

/// If no file of a container is readable, the state is removed and nothing killed.
/// The cage checks for leftovers, such as the cgroup.
fn run_deletes_its_container_whose_state_is_damaged(t: &Test) {
    let mut c = t.container();
    c.args(&["sh", "-c", "read line; exit 5"]);
    c.write();
    for damage in TORN {
        let mut command = t.command(&["run", "--bundle", c.bundle.to_str().unwrap(), &c.id]);
        let mut run = command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        eventually("it runs", || {
            let state = c.call(&["state"]);
            state.status == 0 && state.json()["status"] == "running"
        });
        tear(&dir(&c).join("record"), damage);
        tear(&dir(&c).join("state.json"), damage);
        drop(run.stdin.take());
        assert_eq!(run.wait().unwrap().code(), Some(5));
        assert!(!dir(&c).exists(), "{damage}");
    }
}

fn fully_damaged_state_is_deleted_with_force(t: &Test) {
    let other = paused(t);
    other.up();
    for damage in TORN {
        let c = gone(t);
        for name in ["record", "state.json", "config.json"] {
            tear(&dir(&c).join(name), damage);
        }
        for command in [&["state"][..], &["kill"], &["delete"], &["pause"]] {
            c.call(command).exits(1).fails(&["record, state.json and config.json: "]);
        }
        c.create().exits(1).fails(&["already exists"]);
        c.remove();
    }
    assert_eq!(other.status(), "running");
    other.remove();
}

/// The create of `two` was refused for its cgroup, interrupted, and then damaged.
fn rebuilt_state_does_not_touch_the_cgroup_of_another_container(t: &Test) {
    let (one, mut two) = (paused(t), paused(t));
    one.up();
    two.config["linux"]["cgroupsPath"] = one.config["linux"]["cgroupsPath"].clone();
    fs::create_dir(dir(&two)).unwrap();
    fs::write(dir(&two).join("config.json"), two.config.to_string()).unwrap();
    for name in ["record", "state.json"] {
        fs::write(dir(&two).join(name), "").unwrap();
    }
    assert_eq!(two.status(), "stopped");
    two.remove();
    assert_eq!(one.status(), "running");
    one.remove();
}

/// A power loss may leave any part of a file.
fn state_torn_at_any_length_keeps_the_container(t: &Test) {
    let c = paused(t);
    c.up();
    let whole = ["record", "state.json"].map(|name| fs::read(dir(&c).join(name)).unwrap());
    let write = |name: &str, bytes: &[u8]| fs::write(dir(&c).join(name), bytes).unwrap();
    for length in 0..whole[0].len() {
        write("record", &whole[0][..length]);
        assert_eq!(c.status(), "running", "the record has {length} bytes");
        if length % 8 == 0 {
            write("state.json", &whole[1][..(length * 2).min(whole[1].len() - 1)]);
            assert_eq!(c.status(), "running", "both are torn at {length}");
            c.delete().exits(1).fails(&["not stopped: running"]);
            write("state.json", &whole[1]);
        }
    }
    c.remove();
}

fn list_shows_the_others_beside_a_damaged_container(t: &Test) {
    let (one, two) = (paused(t), paused(t));
    one.up();
    two.up();
    let whole = record(&one).encode();
    for name in ["record", "state.json"] {
        fs::write(dir(&one).join(name), "{").unwrap();
    }
    let list = t.call(&["list", "-q"]).ok();
    assert_eq!(list.stdout, format!("{}\n{}\n", one.id, two.id));
    fs::write(dir(&one).join("config.json"), "{").unwrap();
    let list = t.call(&["list", "-q"]).ok();
    assert_eq!(list.stdout, format!("{}\n", two.id));
    assert!(list.stderr.contains(&one.id), "{}", list.stderr);
    fs::write(dir(&one).join("record"), whole).unwrap();
    one.remove();
    two.remove();
}
