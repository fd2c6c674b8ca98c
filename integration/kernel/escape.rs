//! Ways out of a container that lead through the runtime itself.
//!
//! They use its descriptors while it becomes the program, its process while it enters, and its
//! executable.

use crate::cases;
use crate::common::tracer::{Exec, trace};
use crate::common::{Case, ConsoleSocket, Container, Output, Test, eventually};
use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

pub const CASES: &[Case] = cases![
    no_host_descriptor_is_open_at_execve,
    program_path_through_a_descriptor_does_not_reach_the_host,
    exec_path_through_hundreds_of_descriptors_does_not_reach_the_host,
    hook_path_through_a_descriptor_does_not_reach_the_host,
    executable_stays_unwritable_on_any_mount,
    procfs_of_a_joined_pid_namespace_shows_only_its_processes,
    init_in_a_user_namespace_cannot_hide_from_exec,
    keyring_cannot_be_squatted_or_found,
];

pub const SLOW: &[Case] = cases![paths_through_a_thousand_descriptors_do_not_reach_the_host];

/// The filters of the matrix.
const FILTERS: [&str; 4] = ["none", "with no_new_privs", "without no_new_privs", "with an agent"];

/// An agent that takes every listener and never answers.
///
/// No call of the tests is sent to it.
fn agent(t: &Test) -> (PathBuf, UnixListener) {
    let path = t.path("agent");
    (path.clone(), UnixListener::bind(path).unwrap())
}

fn set_filter(c: &mut Container<'_>, filter: &str, agent: &Path) {
    let action = if filter == "with an agent" { "SCMP_ACT_NOTIFY" } else { "SCMP_ACT_ERRNO" };
    c.config["process"]["noNewPrivileges"] = json!(filter != "without no_new_privs");
    c.config["linux"]["seccomp"] = match filter {
        "none" => Value::Null,
        _ => json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": agent.to_str().unwrap(),
                    "syscalls": [{"names": ["sethostname"], "action": action}]}),
    };
}

/// Checks the open descriptors of each execve of the container and of its hooks.
///
/// They are the streams, the preserved descriptors and the conversation.
fn check(execs: &[Exec], program: &str, preserved: i32, what: &str) {
    let hook = |path: &str| path.ends_with("/true");
    assert!(execs.iter().any(|e| e.path.ends_with(program)), "{what}: {program} was not seen: {execs:?}");
    for exec in execs.iter().filter(|e| hook(&e.path) || e.comm.starts_with("embrun:")) {
        let kept = if hook(&exec.path) && program != "true" { 0 } else { preserved };
        let rest: Vec<_> = exec.fds.range(3 + kept..).map(|(_, link)| link.as_str()).collect();
        let conversation = |link: &&str| {
            link.starts_with("socket:") || link.ends_with("/start.fifo") || link.ends_with("/started.fifo")
        };
        assert!(rest.iter().all(conversation) && rest.len() <= 2, "{what}: {exec:?}");
        assert!(kept == preserved || rest.is_empty(), "{what}: a hook has more than its streams: {exec:?}");
    }
}

fn no_host_descriptor_is_open_at_execve(t: &Test) {
    if !Path::new("/proc/self/syscall").exists() {
        t.skip("the kernel does not show the system call that a process is in");
    }
    let (path, _agent) = agent(t);
    let file = t.path("trace");
    for filter in FILTERS {
        for preserve in [0, 2] {
            let mut c = t.container();
            set_filter(&mut c, filter, &path);
            let hook = json!([{"path": "/bin/true", "args": ["true"]}]);
            for kind in
                ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
            {
                c.config["hooks"][kind] = hook.clone();
            }
            c.args(&["/bin/sleep", "0.1"]).write();
            let bundle = c.bundle.to_str().unwrap().to_owned();
            let number = preserve.to_string();
            let flags = ["--preserve-fds", &number, "--bundle", &bundle];
            // The trace is one more file that the runtime has open.
            let global = if preserve == 0 { &[][..] } else { &["--trace", file.to_str().unwrap()] };
            let what = format!("filter {filter}, {preserve} descriptors, {global:?}");
            let run = trace(passing(t, &[global, &["run"], &flags, &[&c.id]].concat(), preserve));
            check(&run.join().unwrap(), "sleep", preserve, &format!("run, {what}"));
            // Create it with one process and start it with another.
            let create = trace(passing(t, &[global, &["create"], &flags, &[&c.id]].concat(), preserve));
            eventually("the container is created", || {
                let state = t.call(&["state", &c.id]);
                state.status == 0 && state.json()["status"] == "created"
            });
            c.start().ok();
            check(&create.join().unwrap(), "sleep", preserve, &format!("create, {what}"));
            c.remove();
            execs(t, &mut c, global, preserve, &what);
        }
    }
}

/// Checks exec in the same way, in all its forms.
fn execs(t: &Test, c: &mut Container<'_>, global: &[&str], preserve: i32, what: &str) {
    c.config.as_object_mut().unwrap().remove("hooks");
    c.args(&["sleep", "60"]).up();
    let process = t.path("process.json");
    let mut given = c.config["process"].clone();
    given["args"] = json!(["/bin/sleep", "0"]);
    fs::write(&process, given.to_string()).unwrap();
    let number = preserve.to_string();
    let preserved = ["--preserve-fds", &number];
    let sleep = ["/bin/sleep", "0"];
    let console = ConsoleSocket::listen(t.path("console"));
    let forms: [(&[&str], &[&str]); 4] = [
        (&[], &sleep),
        (&["--detach"], &sleep),
        (&["--process", process.to_str().unwrap()], &[]),
        (&["--tty", "--detach", "--console-socket", console.path.to_str().unwrap()], &sleep),
    ];
    for (flags, words) in forms {
        let args = [global, &["exec"], &preserved[..], flags, &[&c.id], words].concat();
        let seen = trace(passing(t, &args, preserve)).join().unwrap();
        check(&seen, "sleep", preserve, &format!("exec {flags:?}, {what}"));
    }
    drop(console.receive());
    c.remove();
}

/// The runtime with this many preserved descriptors of a host directory.
///
/// Some more above them are open but not preserved.
fn passing(t: &Test, args: &[&str], count: i32) -> Command {
    let command = t.command(args);
    let mut shell = Command::new("sh");
    let passed: String = (3..3 + count).map(|n| format!("exec {n}</; ")).collect();
    let more = format!("exec {}</etc; exec {}</; ", 3 + count, 6 + count);
    shell.args(["-c", &format!("{passed}{more}exec \"$@\""), "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    shell
}

/// A static program on the host that the container does not have.
fn program(t: &Test) -> PathBuf {
    let program = t.path("program");
    fs::copy(t.rootfs().join("bin/probe"), &program).unwrap();
    program
}

/// The path of a file of the host through a descriptor of a directory.
fn through(fd: u32, file: &Path) -> String {
    format!("/proc/self/fd/{fd}/../../../../../../../../../..{}", file.display())
}

fn nowhere(out: &Output, how: &str) {
    assert_ne!(out.status, 0, "{how}: a program of the host ran: {}", out.stdout);
    let lost = ["no such file or directory", "not a directory", "permission denied", "too many levels"];
    assert!(lost.iter().any(|l| out.stderr.to_lowercase().contains(l)), "{how}: {}", out.stderr);
}

fn start_by(t: &Test, c: &mut Container<'_>, numbers: impl Iterator<Item = u32>) {
    let program = program(t);
    c.config["root"]["readonly"] = json!(false);
    let script = c.rootfs.join("script");
    for n in numbers {
        let path = through(n, &program);
        let out = c.args(&[&path, "pid"]).run();
        nowhere(&out, &format!("run {path}"));
        // Use the working directory, and a program below it.
        c.config["process"]["cwd"] = json!(format!("/proc/self/fd/{n}"));
        let out = c.args(&["sh", "-c", "ls .."]).run();
        assert_ne!(out.status, 0, "cwd {n}: {}", out.stdout);
        c.config["process"]["cwd"] = json!("/");
        // Use an interpreter.
        fs::write(&script, format!("#!{path} print\n")).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let out = c.args(&["/script"]).run();
        nowhere(&out, &format!("#!{path}"));
        c.create().ok();
        let out = c.start();
        nowhere(&out, &format!("create and start #!{path}"));
        c.remove();
    }
}

fn program_path_through_a_descriptor_does_not_reach_the_host(t: &Test) {
    start_by(t, &mut t.container(), 3..24);
}

fn exec_by(t: &Test, c: &Container<'_>, numbers: impl Iterator<Item = u32>) {
    let program = program(t);
    let script = c.rootfs.join("script");
    for n in numbers {
        let path = through(n, &program);
        let out = c.exec(&[&path, "pid"]);
        nowhere(&out, &format!("exec {path}"));
        let cwd = format!("/proc/self/fd/{n}");
        assert_ne!(c.exec_with(&["--cwd", &cwd], &["ls", ".."]).status, 0, "{cwd}");
        if n < 40 {
            fs::write(&script, format!("#!{path} print\n")).unwrap();
            fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
            let out = c.exec(&["/script"]);
            nowhere(&out, &format!("exec #!{path}"));
        }
    }
}

fn exec_path_through_hundreds_of_descriptors_does_not_reach_the_host(t: &Test) {
    let mut c = t.container();
    c.args(&["sleep", "600"]).up();
    exec_by(t, &c, (3..40).chain((41..1024).step_by(17)).chain([1023]));
    c.remove();
}

fn hook_path_through_a_descriptor_does_not_reach_the_host(t: &Test) {
    let program = program(t);
    for n in 3..24 {
        for nnp in [true, false] {
            let mut c = t.container();
            c.config["process"]["noNewPrivileges"] = json!(nnp);
            let path = through(n, &program);
            c.config["hooks"]["startContainer"] = json!([{"path": path, "args": ["probe", "pid"]}]);
            let out = c.args(&["true"]).run();
            nowhere(&out, &format!("hook {path}"));
            let script = c.rootfs.join("script");
            fs::write(&script, format!("#!{path} print\n")).unwrap();
            fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
            c.config["hooks"]["startContainer"] = json!([{"path": "/script"}]);
            let out = c.run();
            nowhere(&out, &format!("hook #!{path}"));
        }
    }
}

fn paths_through_a_thousand_descriptors_do_not_reach_the_host(t: &Test) {
    start_by(t, &mut t.container(), 24..1024);
    let mut c = t.container();
    c.args(&["sleep", "600"]).up();
    exec_by(t, &c, 3..1024);
    c.remove();
}

/// A descriptor of the runtime's file that a container keeps stays read-only.
///
/// A gateway remounts its root writable for an update.
fn executable_stays_unwritable_on_any_mount(t: &Test) {
    let none: Option<&str> = None;
    for readonly in [true, false] {
        let dir = t.path("bin");
        fs::create_dir(&dir).unwrap();
        mount(Some("bin"), &dir, Some("tmpfs"), MsFlags::empty(), none).unwrap();
        let runtime = dir.join("embrun");
        fs::copy(t.runtime_path(), &runtime).unwrap();
        let remount = |flags: MsFlags| mount(none, &dir, none, MsFlags::MS_REMOUNT | flags, none).unwrap();
        if readonly {
            remount(MsFlags::MS_RDONLY);
        }
        let mut c = t.container();
        c.args(&["sleep", "60"]).write();
        let mut create = Command::new(&runtime);
        create.args(["--root", "/run/it/state", "create", "--bundle", c.bundle.to_str().unwrap(), &c.id]);
        t.finish(create).ok();
        let exe = format!("/proc/{}/exe", c.pid());
        let kept = fs::OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(exe).unwrap();
        c.remove();
        remount(MsFlags::empty());
        let again = format!("/proc/self/fd/{}", kept.as_raw_fd());
        // A sealed memory file can be opened but not written.
        let written =
            fs::OpenOptions::new().append(true).open(again).and_then(|mut file| file.write_all(b"x"));
        let errno = written.unwrap_err().raw_os_error().unwrap();
        assert!([libc::EROFS, libc::EPERM].contains(&errno), "read-only before: {readonly}: {errno}");
        drop(kept);
        nix::mount::umount(&dir).unwrap();
    }
}

fn procfs_of_a_joined_pid_namespace_shows_only_its_processes(t: &Test) {
    let mut first = t.container();
    first.probe("pause");
    first.up();
    let mut second = t.container();
    second.namespace_path("pid", &format!("/proc/{}/ns/pid", first.pid()));
    second.config["mounts"][0]["options"] = json!(["nosuid", "noexec", "nodev", "noatime", "hidepid=2"]);
    let seen = second.probe("pid processes mounts session").run().ok().probe();
    let own = seen["pid"].as_i64().unwrap();
    assert_eq!(seen["processes"], json!([1, own]), "the processes of the two containers");
    assert_eq!(seen["session"]["sid"], json!(own));
    let proc = seen["mounts"].as_array().unwrap().iter().find(|m| m["at"] == "/proc").unwrap();
    assert!(proc.to_string().contains("hidepid") && proc.to_string().contains("noatime"), "{proc}");
    first.remove();
}

/// Init leaves the namespaces that it was created with, and an exec still enters.
fn init_in_a_user_namespace_cannot_hide_from_exec(t: &Test) {
    let mut c = t.container();
    c.without_namespace("network");
    c.capabilities(&["CAP_SYS_ADMIN"]);
    c.probe("unshare user unshare net say pause").create().ok();
    c.start().ok();
    assert_eq!(c.says("acts").result("unshare user"), "ok");
    let seen = c.exec(&["probe", "ids", "namespaces"]).ok().probe();
    let own = |name: &str| json!(fs::read_link(format!("/proc/self/ns/{name}")).unwrap().to_str());
    for name in ["user", "net"] {
        assert_eq!(seen["namespaces"][name], own(name), "{name}");
    }
    c.remove();
}

/// Another container of the same user knows the id and can list its keyrings.
fn keyring_cannot_be_squatted_or_found(t: &Test) {
    let keyctl = libc::SYS_keyctl.to_string();
    let id = |c: &Container<'_>| {
        let seen = c.exec(&["/bin/probe", "syscall", &keyctl, "3", "0", "-3", "0"]).ok().probe();
        seen["acts"][0].as_array().unwrap().last().unwrap().clone()
    };
    let mut first = t.container();
    first.config["linux"]["maskedPaths"] = json!([]);
    first.args(&["sleep", "60"]).up();
    let keys = first.exec(&["cat", "/proc/keys"]).ok().stdout;
    assert!(keys.contains(&format!("_ses.{}.", first.id)), "a container must see its own keyring: {keys}");
    let mut second = t.container();
    second.config["linux"]["maskedPaths"] = json!([]);
    second.args(&["sleep", "60"]).up();
    let keys = second.exec(&["cat", "/proc/keys"]).ok().stdout;
    assert!(
        !keys.contains(&format!("_ses.{}.", first.id)),
        "a container must not see another's keyring: {keys}"
    );
    assert_ne!(id(&first), id(&second));
    first.remove();
    // The container's name alone is no keyring that a later container joins.
    first.up();
    assert_ne!(id(&first), id(&second));
    first.remove();
    second.remove();
}
