//! A hostile process in a container whose runtime enters, joins or starts it.

use crate::cases;
use crate::common::{Case, ConsoleSocket, Container, Test, eventually, rounds};
use embrun::sys::mount_api;
use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};
use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

pub const CASES: &[Case] = cases![
    hostile_process_finds_nothing_in_hundreds_of_execs,
    hostile_process_finds_nothing_when_a_container_joins_its_pid_namespace,
    forged_messages_from_inside_kill_nothing_and_hang_nothing,
    process_that_keeps_inits_socket_does_not_block_start,
];

/// A container whose init looks at every new process and may take its descriptors.
///
/// The second value is the directory for the file that ends this.
fn hostile(t: &Test) -> (Container<'_>, PathBuf) {
    let mark = t.path("mount-of-the-host");
    fs::create_dir(&mark).unwrap();
    mount(Some("mark"), &mark, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    let mut c = t.container();
    c.capabilities(&["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"]);
    let shared = c.share();
    c.probe("stare /shared/stop").create().ok();
    c.start().ok();
    (c, shared)
}

fn found_nothing(c: &Container<'_>, shared: &Path) {
    fs::write(shared.join("stop"), "").unwrap();
    let acts = c.says("acts");
    let found = acts["acts"][0][1].as_array().unwrap();
    let found: Vec<_> = found.iter().filter_map(Value::as_str).collect();
    let (looked, found): (Vec<&str>, Vec<&str>) = found.iter().partition(|f| f.starts_with("looked at "));
    assert_eq!(found, [""; 0]);
    // With one processor, init runs only when the others do not.
    let alone = std::thread::available_parallelism().is_ok_and(|n| n.get() == 1);
    assert!(alone || looked == ["looked at many"], "{looked:?}");
    let mark = fs::read_dir("/run/it/tmp").unwrap().flatten();
    for entry in mark.filter(|e| e.file_name().to_string_lossy().ends_with("mount-of-the-host")) {
        nix::mount::umount(&entry.path()).unwrap();
    }
}

fn hostile_process_finds_nothing_in_hundreds_of_execs(t: &Test) {
    let (c, shared) = hostile(t);
    let process = t.path("process.json");
    let mut given = c.config["process"].clone();
    given["args"] = json!(["true"]);
    fs::write(&process, given.to_string()).unwrap();
    let secret = ["--env", "X=secret-argument"];
    let forms: [(&[&str], &[&str]); 4] = [
        (&secret, &["true"]),
        (&[secret[0], secret[1], "--detach"], &["true"]),
        (&["--process", process.to_str().unwrap()], &[]),
        (&[secret[0], secret[1], "--cap", "CAP_SYS_ADMIN", "--user", "1000"], &["true"]),
    ];
    for (flags, words) in forms {
        for _ in 0..rounds(200) {
            let mut exec = t.command(&[&["exec"], flags, &[&c.id], words].concat());
            exec.env("HOST", "secret-of-the-host");
            t.finish(exec).ok();
        }
    }
    for n in 0..rounds(50) {
        let socket = ConsoleSocket::listen(t.path(&format!("console{n}")));
        let path = socket.path.to_str().unwrap().to_owned();
        c.exec_with(&["--tty", "--detach", "--console-socket", &path], &["true"]).ok();
        drop(socket.receive());
    }
    found_nothing(&c, &shared);
    c.remove();
}

fn hostile_process_finds_nothing_when_a_container_joins_its_pid_namespace(t: &Test) {
    let root = fs::File::open("/").unwrap();
    if mount_api::clone_tree(root.as_fd(), c"", false).is_err_and(|e| e == nix::errno::Errno::ENOSYS) {
        t.skip("before Linux 5.2 a helper of the runtime is visible");
    }
    let (c, shared) = hostile(t);
    let mut second = t.container();
    second.namespace_path("pid", &format!("/proc/{}/ns/pid", c.pid()));
    second.args(&["true"]).write();
    let bundle = second.bundle.to_str().unwrap();
    for _ in 0..40 {
        let mut run = t.command(&["run", "--bundle", bundle, &second.id]);
        run.env("HOST", "secret-of-the-host");
        t.finish(run).ok();
        second.up();
        second.stopped();
        second.delete().ok();
    }
    found_nothing(&c, &shared);
    c.remove();
}

/// It sends forged messages once the runtime's clone is in its pid namespace.
fn forged_messages_from_inside_kill_nothing_and_hang_nothing(t: &Test) {
    let mut victim = Command::new("sleep").arg("600").spawn().unwrap();
    let mut c = t.container();
    c.capabilities(&["CAP_SYS_PTRACE"]);
    let shared = c.share();
    c.probe(&format!("lie {} /shared/stop", victim.id())).create().ok();
    c.start().ok();
    let pid_file = t.path("pid");
    for _ in 0..rounds(200) {
        let began = Instant::now();
        let out = c.exec_with(&["--pid-file", pid_file.to_str().unwrap()], &["true"]);
        assert!(began.elapsed() < Duration::from_secs(15), "{}", out.stderr);
        let written = fs::read_to_string(&pid_file).unwrap_or_default();
        assert_ne!(written, victim.id().to_string());
        let _ = fs::remove_file(&pid_file);
        assert!(victim.try_wait().unwrap().is_none(), "a process of the host was killed");
    }
    fs::write(shared.join("stop"), "").unwrap();
    c.remove();
    victim.kill().unwrap();
    victim.wait().unwrap();
}

/// A process that keeps init's socket to `start` neither delays nor hides an error.
fn process_that_keeps_inits_socket_does_not_block_start(t: &Test) {
    if embrun::sys::process::pidfd_open(nix::unistd::getpid()).is_err() {
        t.skip("without pidfd_open(2) nobody takes a descriptor of another process");
    }
    let mut c = t.container();
    c.capabilities(&["CAP_SYS_PTRACE"]);
    let shared = c.share();
    c.args(&["sleep", "600"]).create().ok();
    let thief = t.spawn(t.command(&["exec", &c.id, "probe", "keep", "1", "/shared/stop"]));
    eventually("it has taken the descriptors", || shared.join("kept").exists());
    let began = Instant::now();
    c.start().ok();
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(c.status(), "running");
    c.delete().exits(1).fails(&["not stopped"]);
    fs::write(shared.join("stop"), "").unwrap();
    thief.wait().ok();
    c.remove();
}
