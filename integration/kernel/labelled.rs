//! The default AppArmor profiles of podman and docker, really enforced.
//!
//! On demand, in the guest of `make test-labels`: `--ignored labelled`.

use crate::cases;
use crate::common::{Case, Output, Test};
use crate::docker::Docker;
use crate::engines::Podman;

pub const CASES: &[Case] = cases![profile_of_podman_is_enforced, profile_of_the_daemon_is_enforced];

/// The default profiles deny mounts; seccomp and the capabilities allow them here.
const FLAGS: [&str; 2] = ["--cap-add=SYS_ADMIN", "--security-opt=seccomp=unconfined"];
const SCRIPT: &str =
    "cat /proc/self/attr/current; mount -t tmpfs t /tmp 2> /dev/null && echo mounted || echo denied";
const CURRENT: [&str; 2] = ["cat", "/proc/self/attr/current"];

/// Runs and executes with the default profile, with another one and with none.
fn check(default: &str, run: &dyn Fn(&[&str]) -> Output, exec: &dyn Fn(&[&str]) -> Output) {
    for (option, label, result) in [
        (None, default, "denied\n"),
        (Some("--security-opt=no-new-privileges"), default, "denied\n"),
        (Some("--security-opt=apparmor=embrun-test"), "embrun-test (enforce)\n", "denied\n"),
        (Some("--security-opt=apparmor=unconfined"), "unconfined\n", "mounted\n"),
    ] {
        let flags: Vec<&str> = ["--rm"].into_iter().chain(FLAGS).chain(option).collect();
        let seen = run(&[&flags[..], &["fixture", "sh", "-c", SCRIPT]].concat()).ok().stdout;
        assert!(seen.starts_with(label) && seen.ends_with(result), "{option:?}: {seen}");
    }
    run(&[&["--detach", "--name=one"], &FLAGS[..], &["fixture", "sleep", "100"]].concat()).ok();
    let seen = exec(&["one", "sh", "-c", SCRIPT]).ok().stdout;
    assert!(seen.starts_with(default) && seen.ends_with("denied\n"), "{seen}");
    let seen = exec(&[&["--privileged", "one"], &CURRENT[..]].concat()).ok().stdout;
    assert!(!seen.is_empty(), "{seen}");
}

fn profile_of_podman_is_enforced(t: &Test) {
    let podman = Podman::new(t);
    let exec = |args: &[&str]| podman.call(&[&["exec"], args].concat());
    check("containers-default-", &|args| podman.run(args), &exec);
}

fn profile_of_the_daemon_is_enforced(t: &Test) {
    let docker = Docker::new(t);
    let exec = |args: &[&str]| docker.call(&[&["exec"], args].concat());
    check("docker-default (enforce)\n", &|args| docker.run(args), &exec);
}
