//! `linux.namespaces` type `time` and `linux.timeOffsets`.

use crate::cases;
use crate::common::{Case, Container, Probed, Test};
use crate::user_namespaces::mapped;
use serde_json::{Value, json};
use std::fs;

pub const CASES: &[Case] = cases![
    program_is_in_a_new_time_namespace_with_its_offsets,
    clocks_may_be_set_back,
    time_namespace_without_offsets_has_the_callers_clocks,
    exec_enters_the_time_namespace,
    time_namespace_of_a_user_namespace_has_its_offsets,
    time_namespace_given_by_path_is_joined,
    hooks_of_the_container_are_in_its_time_namespace,
    offsets_without_a_new_time_namespace_are_refused,
    offset_out_of_range_or_a_missing_feature_fails_create_by_name,
];

/// Init may not write its own offsets there, cloned or staged.
fn time_namespace_of_a_user_namespace_has_its_offsets(t: &Test) {
    if !has_time_namespaces() {
        t.skip("the kernel has no time namespaces");
    }
    let before = clocks(t);
    for join in [false, true] {
        let mut c = mapped(t);
        let namespaces = c.config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.push(json!({"type": "time"}));
        if join {
            // Then init makes its other namespaces in steps.
            namespaces.retain(|n| n["type"] != "uts");
            namespaces.push(json!({"type": "uts", "path": "/proc/self/ns/uts"}));
            c.config.as_object_mut().unwrap().remove("hostname");
        }
        c.config["linux"]["timeOffsets"] = json!({"monotonic": {"secs": 1000}, "boottime": {"secs": 86400}});
        c.probe("clocks");
        let run = c.run();
        differs(&run.ok().probe(), &before, 1000.0, DAY);
    }
}

const DAY: f64 = 86400.0;
const NAMESPACE: &str = "/proc/self/ns/time";

/// A container with a new time namespace, and with offsets unless they are null.
fn with_offsets<'t>(t: &'t Test, offsets: Value) -> Container<'t> {
    if !has_time_namespaces() {
        t.skip("the kernel has no time namespaces");
    }
    with(t, offsets)
}

fn has_time_namespaces() -> bool {
    fs::symlink_metadata(NAMESPACE).is_ok()
}

fn with<'t>(t: &'t Test, offsets: Value) -> Container<'t> {
    let mut c = t.container();
    c.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "time"}));
    if !offsets.is_null() {
        c.config["linux"]["timeOffsets"] = offsets;
    }
    c
}

fn own_namespace() -> Value {
    json!(fs::read_link(NAMESPACE).unwrap().to_str())
}

/// The clocks in a container without a time namespace.
fn clocks(t: &Test) -> Probed {
    t.container().probe("clocks").run().ok().probe()
}

/// Checks that the clocks of a process differ by this from earlier clocks.
#[track_caller]
fn differs(seen: &Probed, before: &Probed, monotonic: f64, boottime: f64) {
    for (name, offset) in [("monotonic", monotonic), ("boottime", boottime)] {
        let at = |probed: &Probed| probed["clocks"][name].as_f64().unwrap();
        let passed = at(seen) - at(before) - offset;
        assert!((0.0..40.0).contains(&passed), "{name}: {passed}");
    }
}

fn program_is_in_a_new_time_namespace_with_its_offsets(t: &Test) {
    let before = clocks(t);
    let offsets =
        json!({"monotonic": {"secs": 86400, "nanosecs": 500_000_000}, "boottime": {"secs": 259_200}});
    let seen = with_offsets(t, offsets).probe("clocks namespaces read /proc/self/timens_offsets").run();
    let seen = seen.ok().probe();
    differs(&seen, &before, DAY + 0.5, 3.0 * DAY);
    assert_ne!(seen["namespaces"]["time"], own_namespace());
    let words: Vec<&str> = seen.text("read").split_ascii_whitespace().collect();
    assert_eq!(words, ["monotonic", "86400", "500000000", "boottime", "259200", "0"]);
}

fn clocks_may_be_set_back(t: &Test) {
    let before = clocks(t);
    let seen = with_offsets(t, json!({"boottime": {"secs": -20, "nanosecs": 1}})).probe("clocks").run();
    differs(&seen.ok().probe(), &before, 0.0, -20.0);
}

fn time_namespace_without_offsets_has_the_callers_clocks(t: &Test) {
    let before = clocks(t);
    let seen = with_offsets(t, Value::Null).probe("clocks namespaces").run().ok().probe();
    differs(&seen, &before, 0.0, 0.0);
    assert_ne!(seen["namespaces"]["time"], own_namespace());
}

fn exec_enters_the_time_namespace(t: &Test) {
    let before = clocks(t);
    let mut c = with_offsets(t, json!({"monotonic": {"secs": 86400}}));
    c.probe("pause");
    c.up();
    let theirs = fs::read_link(format!("/proc/{}/ns/time", c.pid())).unwrap();
    let seen = c.exec(&["probe", "clocks", "namespaces"]).ok().probe();
    differs(&seen, &before, DAY, 0.0);
    assert_eq!(seen["namespaces"]["time"], json!(theirs.to_str()));
    c.remove();
}

fn time_namespace_given_by_path_is_joined(t: &Test) {
    let before = clocks(t);
    let mut first = with_offsets(t, json!({"boottime": {"secs": 86400}}));
    first.probe("pause");
    first.up();
    let path = format!("/proc/{}/ns/time", first.pid());
    let mut second = t.container();
    second.namespace_path("time", &path);
    let seen = second.probe("clocks namespaces").run().ok().probe();
    differs(&seen, &before, 0.0, DAY);
    assert_eq!(seen["namespaces"]["time"], json!(fs::read_link(&path).unwrap().to_str()));
    first.remove();
}

fn hooks_of_the_container_are_in_its_time_namespace(t: &Test) {
    let mut c = with_offsets(t, json!({"monotonic": {"secs": 86400}}));
    let hook = |file: &str| {
        let line = format!("readlink {NAMESPACE} > {}", c.bundle.join(file).display());
        json!([{"path": "/bin/sh", "args": ["sh", "-c", line]}])
    };
    c.config["hooks"] = json!({"createRuntime": hook("runtime"), "createContainer": hook("container")});
    let seen = c.probe("namespaces").run().ok().probe();
    let said = |file: &str| json!(fs::read_to_string(c.bundle.join(file)).unwrap().trim());
    assert_eq!(said("runtime"), own_namespace());
    assert_eq!(said("container"), seen["namespaces"]["time"]);
}

fn offsets_without_a_new_time_namespace_are_refused(t: &Test) {
    let mut c = t.container();
    c.config["linux"]["timeOffsets"] = json!({"monotonic": {"secs": 1}});
    c.create()
        .exits(1)
        .fails(&["linux.timeOffsets: needs a time namespace", "time namespace offsets specified"]);
    c.namespace_path("time", NAMESPACE);
    c.create()
        .exits(1)
        .fails(&["linux.timeOffsets: only a new time namespace has offsets", "only provide one"]);
}

fn offset_out_of_range_or_a_missing_feature_fails_create_by_name(t: &Test) {
    let c = with(t, json!({"monotonic": {"secs": -i64::from(u32::MAX)}}));
    let says = if has_time_namespaces() { "linux.timeOffsets" } else { "time (CONFIG_TIME_NS)" };
    c.create().exits(1).fails(&[says, "timens_offsets"]);
}
