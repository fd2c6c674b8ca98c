//! The harness itself: leftovers fail a test.

use crate::cases;
use crate::common::{Case, Test};
use std::fs;
use std::process::Command;

pub const CASES: &[Case] = cases![leftovers_fail_a_test];

/// Tests that must fail; only the test above runs them.
pub const FAILING: &[Case] = cases![
    leaves_a_process,
    leaves_a_mount,
    leaves_a_cgroup,
    leaves_a_file,
    leaves_state,
    leaves_a_descriptor,
    panics
];

fn leftovers_fail_a_test(t: &Test) {
    let expected = [
        ("leaves_a_process", "LEFT BEHIND: process"),
        ("leaves_a_mount", "LEFT BEHIND: mount"),
        ("leaves_a_cgroup", "LEFT BEHIND: cgroup"),
        ("leaves_a_file", "LEFT BEHIND: file /run/stray"),
        ("leaves_state", "LEFT BEHIND: state"),
        ("leaves_a_descriptor", "descriptors of the test itself"),
        ("panics", "on purpose"),
    ];
    for (name, said) in expected {
        if name == "leaves_a_cgroup" && t.hierarchy("pids").is_none() {
            continue;
        }
        let mut runner = Command::new(std::env::current_exe().unwrap());
        runner.args(["--ignored", "--exact", &format!("selftest::{name}")]).env_remove("IT_SKIPS");
        let out = t.finish(runner).exits(1);
        assert!(out.stdout.contains(said) && out.stdout.contains("1 failed"), "{name}: {}", out.stdout);
    }
}

fn leaves_a_process(_: &Test) {
    Command::new("sh").args(["-c", "sleep 1000 > /dev/null 2>&1 &"]).status().unwrap();
}

fn leaves_a_mount(t: &Test) {
    let at = t.path("mount");
    fs::create_dir(&at).unwrap();
    let none: Option<&str> = None;
    nix::mount::mount(Some("tmpfs"), &at, Some("tmpfs"), nix::mount::MsFlags::empty(), none).unwrap();
}

fn leaves_a_cgroup(t: &Test) {
    let h = t.hierarchy("pids").unwrap();
    fs::create_dir(h.mount.join(t.token()).join("stray")).unwrap();
}

fn leaves_a_file(_: &Test) {
    fs::write("/run/stray", "").unwrap();
}

fn leaves_state(t: &Test) {
    let mut c = t.container();
    c.probe("pause");
    c.up();
    c.kill("KILL").ok();
    c.stopped();
}

fn leaves_a_descriptor(_: &Test) {
    std::mem::forget(fs::File::open("/dev/null").unwrap());
}

fn panics(_: &Test) {
    panic!("on purpose");
}
