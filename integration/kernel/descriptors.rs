//! A program has the preserved descriptors and no others.
//!
//! The others are of the caller or the runtime.

use crate::cases;
use crate::common::{Case, Container, Output, Probed, Test};
use nix::fcntl::{FcntlArg, fcntl};
use serde_json::json;
use std::process::Command;

pub const CASES: &[Case] = cases![
    preserved_descriptors_reach_the_program,
    preserving_a_closed_descriptor_is_refused,
    descriptors_above_the_open_file_limit_are_closed,
    open_file_limit_of_the_program_does_not_affect_the_start,
    created_container_starts_without_opening_descriptors,
    every_command_works_with_sixteen_open_files,
    too_few_open_files_fail_and_leave_nothing,
];

/// Runs the runtime from a shell that first closes all but the standard streams.
///
/// The shell then executes `line`.
fn from_a_shell(t: &Test, line: &str, args: &[&str]) -> Output {
    let command = t.command(args);
    let mut shell = Command::new("sh");
    let close = "exec 3<&- 4<&- 5<&- 6<&- 7<&- 8<&- 9<&-";
    shell.args(["-c", &format!("{close}; {line} exec \"$@\""), "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    t.finish(shell)
}

fn running(t: &Test) -> Container<'_> {
    let mut c = t.container();
    c.probe("pause");
    c.up();
    c
}

fn preserved_descriptors_reach_the_program(t: &Test) {
    let file = t.path("passed");
    std::fs::write(&file, "from the caller\n").unwrap();
    let open = format!("exec 3<{} 4<&0;", file.display());
    let mut c = t.container();
    c.args(&["sh", "-c", "cat <&3; ls /proc/self/fd"]).write();
    let bundle = c.bundle.to_str().unwrap();
    let seen = from_a_shell(t, &open, &["run", "--bundle", bundle, "--preserve-fds", "2", &c.id]).ok();
    assert_eq!(seen.stdout, "from the caller\n0\n1\n2\n3\n4\n5\n");
    let c = running(t);
    let seen = from_a_shell(t, &open, &["exec", "--preserve-fds", "1", &c.id, "sh", "-c", "cat <&3"]).ok();
    assert_eq!(seen.stdout, "from the caller\n");
    c.remove();
}

/// The runtime itself uses these numbers by then.
///
/// They are its log, the state root and the container's directory.
fn preserving_a_closed_descriptor_is_refused(t: &Test) {
    let log = t.path("log");
    let log = log.to_str().unwrap();
    let refused = |line: &str, args: &[&str]| {
        let said = from_a_shell(t, line, &[&["--log", log], args].concat());
        assert_ne!(said.status, 0, "{}", said.stdout);
        let said = said.stderr + &std::fs::read_to_string(log).unwrap();
        assert!(said.contains("descriptor 3 is not open"), "{said}");
        std::fs::remove_file(log).unwrap();
    };
    let fresh = t.container();
    fresh.write();
    let bundle = fresh.bundle.to_str().unwrap();
    let up = running(t);
    for n in ["1", "2", "4", "6"] {
        refused("", &["run", "--bundle", bundle, "--preserve-fds", n, &fresh.id]);
        refused("", &["create", "--bundle", bundle, "--preserve-fds", n, &fresh.id]);
        refused("", &["exec", "--preserve-fds", n, &up.id, "ls", "-l", "/proc/self/fd"]);
    }
    let socket = "export LISTEN_PID=$$ LISTEN_FDS=1;";
    refused(socket, &["run", "--bundle", bundle, &fresh.id]);
    refused(socket, &["exec", &up.id, "true"]);
    up.remove();
}

/// Lowering the limit of open files does not close descriptors above it.
fn descriptors_above_the_open_file_limit_are_closed(t: &Test) {
    let high = fcntl(std::fs::File::open("/etc").unwrap(), FcntlArg::F_DUPFD(100)).unwrap();
    assert!(high >= 100);
    let mut c = t.container();
    c.config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 64}]);
    c.probe("fds").write();
    let bundle = c.bundle.to_str().unwrap();
    let numbers = |seen: Probed| seen["fds"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(numbers(c.run().ok().probe()), ["0", "1", "2"]);
    let seen = from_a_shell(t, "exec 3<&0;", &["run", "--bundle", bundle, "--preserve-fds", "1", &c.id]);
    assert_eq!(numbers(seen.ok().probe()), ["0", "1", "2", "3"]);
    c.probe("fds say pause");
    c.create().ok();
    let mut waiting: Vec<_> = std::fs::read_dir(format!("/proc/{}/fd", c.pid()))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    waiting.sort();
    // Init waits on the last two.
    assert_eq!(waiting, ["0", "1", "2", "3", "4"]);
    c.start().ok();
    assert_eq!(numbers(c.says("fds")), ["0", "1", "2"]);
    assert_eq!(numbers(c.exec(&["probe", "fds"]).ok().probe()), ["0", "1", "2"]);
    c.remove();
    nix::unistd::close(high).unwrap();
}

/// The runtime opens everything before it sets the limits of the program.
fn open_file_limit_of_the_program_does_not_affect_the_start(t: &Test) {
    let mut c = t.container();
    for n in [0, 1, 4] {
        c.config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": n, "hard": 64}]);
        c.args(&["true"]).run().ok();
        c.up();
        c.stopped();
        c.delete().ok();
        c.args(&["sleep", "60"]).up();
        c.exec(&["true"]).ok();
        c.remove();
    }
}

fn created_container_starts_without_opening_descriptors(t: &Test) {
    let mut c = t.container();
    c.probe("pid say pause");
    c.create().ok();
    let mut prlimit = Command::new("prlimit");
    prlimit.args([format!("--pid={}", c.pid()), "--nofile=3:64".to_owned()]);
    t.finish(prlimit).ok();
    c.start().ok();
    assert_eq!(c.says("pid")["pid"], 1);
    c.remove();
}

/// A container that needs descriptors: filter, limit, hooks, masked paths.
fn demanding(t: &Test) -> Container<'_> {
    let mut c = t.container();
    let profile = include_str!("../../seccomp-profiles/default.json");
    c.config["linux"]["seccomp"] = serde_json::from_str(profile).unwrap();
    // Some callers may not raise a limit again.
    c.config["process"]["rlimits"] = json!([]);
    c.config["linux"]["maskedPaths"].as_array_mut().unwrap().push(json!("/tmp"));
    c.mount("/tmp", "tmpfs", "tmpfs", &["ro"]);
    c.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev"]);
    for kind in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
        c.config["hooks"][kind] = json!([{"path": "/bin/true"}]);
    }
    c
}

fn with_few(t: &Test, files: u32, args: &[&str]) -> Output {
    from_a_shell(t, &format!("ulimit -n {files};"), args)
}

fn every_command_works_with_sixteen_open_files(t: &Test) {
    for files in [16, 17, 20, 31, 64] {
        let mut c = demanding(t);
        let bundle = c.bundle.to_str().unwrap().to_owned();
        c.args(&["true"]).write();
        with_few(t, files, &["run", "--bundle", &bundle, &c.id]).ok();
        c.args(&["sleep", "100"]).write();
        with_few(t, files, &["run", "--detach", "--bundle", &bundle, &c.id]).ok();
        with_few(t, files, &["delete", "--force", &c.id]).ok();
        for words in [
            &["create", "--bundle", &bundle][..],
            &["state"],
            &["start"],
            &["list", "--format", "json"],
            &["exec", "ID", "true"],
            &["exec", "--detach", "ID", "true"],
            &["update", "--pids-limit", "100"],
            &["kill", "ID", "KILL"],
            &["delete", "--force"],
        ] {
            let mut args: Vec<&str> = words.iter().map(|w| if *w == "ID" { &*c.id } else { *w }).collect();
            if !words.contains(&"ID") && words[0] != "list" {
                args.push(&c.id);
            }
            if words[0] != "update" || t.hierarchy("pids").is_some() {
                with_few(t, files, &args).ok();
            }
        }
        c.call(&["state"]).fails(&["does not exist"]);
    }
}

fn too_few_open_files_fail_and_leave_nothing(t: &Test) {
    let mut c = demanding(t);
    let bundle = c.bundle.to_str().unwrap().to_owned();
    c.args(&["sleep", "100"]).write();
    let up = running(t);
    for files in [5, 8, 15] {
        let says: &[&str] = &[&format!("the limit of open files is {files}, embrun needs 16 (ulimit -n")];
        for args in [
            &["run", "--bundle", &bundle, &c.id][..],
            &["create", "--bundle", &bundle, &c.id],
            &["start", &up.id],
            &["pause", &up.id],
            &["delete", "--force", &up.id],
        ] {
            let out = with_few(t, files, args).fails(says);
            assert_eq!(out.status, 1);
        }
        for args in [&["state", &up.id][..], &["list"], &["kill", &up.id, "0"]] {
            let out = with_few(t, files, args);
            if out.status != 0 {
                out.fails(&["no file descriptors available"]);
            }
        }
        assert_eq!(with_few(t, files, &["exec", &up.id, "true"]).fails(says).status, 255);
        c.call(&["state"]).fails(&["does not exist"]);
        assert_eq!(up.status(), "running");
    }
    up.remove();
}
