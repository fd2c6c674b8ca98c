//! Pid 1 of a test's namespaces: sets up the cage, runs the test, finds leftovers.
//!
//! It also reaps the orphans of the test.

use super::host::Hierarchy;
use super::test;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// Prepares the cage, runs the test `name` in it and checks for leftovers.
///
/// The exit status is the test's, or 1 on a leak.
pub fn enter(name: &str) -> ExitCode {
    let token = std::env::var("IT_TOKEN").expect("the runner sets IT_TOKEN");
    prepare(&token);
    let before = Inventory::take();
    let mut child = Command::new(std::env::current_exe().expect("our own path"))
        .args(["--inside", name])
        .spawn()
        .expect("our own binary again");
    let test = Pid::from_raw(child.id() as i32);
    let status = loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, status)) if pid == test => break status,
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == test => break 128 + signal as i32,
            Ok(_) => {}
            Err(e) => panic!("waitpid: {e}"),
        }
    };
    let _ = child.try_wait();
    let leaks = if status == 0 { leaks(&token, &before) } else { Vec::new() };
    leaks.iter().for_each(|leak| println!("LEFT BEHIND: {leak}"));
    let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
    sweep_cgroups(&token);
    match status {
        0 if !leaks.is_empty() => ExitCode::from(1),
        status => ExitCode::from(status as u8),
    }
}

/// Prepares the mounts and the parent cgroups of the cage.
///
/// A fresh tmpfs on /run holds bundles, state and everything else, so a new file there is a leftover.
/// The parent cgroups are created here, so that the runtime has to remove only its own.
fn prepare(token: &str) {
    let none: Option<&str> = None;
    mount(Some("run"), "/run", Some("tmpfs"), MsFlags::empty(), Some("mode=755,size=512m")).expect("tmpfs");
    mount(none, "/run", none, MsFlags::MS_PRIVATE, none).expect("private /run");
    for dir in ["state", "tmp", "bundles"] {
        fs::create_dir_all(Path::new(test::HOME).join(dir)).expect("a directory in a fresh tmpfs");
    }
    if test::runtime_name(&test::runtime_path()) == "crun" {
        own_null();
    }
    let hierarchies = Hierarchy::all();
    let hybrid = hierarchies.iter().any(|h| !h.v2);
    for h in &hierarchies {
        // crun refuses a hybrid layout whose v2 hierarchy owns a controller, so it gets only the v1 part.
        if h.v2 && hybrid && test::runtime_name(&test::runtime_path()) == "crun" {
            umount2(&h.mount, MntFlags::MNT_DETACH).expect("umount the unified tree");
            continue;
        }
        let dir = h.mount.join(token);
        if let Err(e) = fs::create_dir(&dir) {
            panic!("{}: {e}", dir.display());
        }
    }
}

/// Puts a device of the cage in place of /dev/null.
///
/// crun gives its standard streams to the container's user.
fn own_null() {
    let null = Path::new(test::HOME).join("null");
    let mode = Mode::from_bits_truncate(0o666);
    mknod(&null, SFlag::S_IFCHR, mode, makedev(1, 3)).expect("mknod");
    fs::set_permissions(&null, fs::Permissions::from_mode(0o666)).expect("chmod");
    let none: Option<&str> = None;
    mount(Some(&null), "/dev/null", none, MsFlags::MS_BIND, none).expect("bind /dev/null");
}

/// The state that a test must restore.
struct Inventory {
    mounts: Vec<String>,
    run: BTreeSet<String>,
}

impl Inventory {
    fn take() -> Inventory {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Inventory { mounts: mounts.lines().map(String::from).collect(), run: names("/run") }
    }
}

fn names(dir: impl AsRef<Path>) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect()
}

fn leaks(token: &str, before: &Inventory) -> Vec<String> {
    let mut leaks = processes();
    let after = Inventory::take();
    leaks.extend(after.mounts.iter().filter(|m| !before.mounts.contains(m)).map(|m| format!("mount {m}")));
    leaks.extend(
        before.mounts.iter().filter(|m| !after.mounts.contains(m)).map(|m| format!("mount gone: {m}")),
    );
    leaks.extend(after.run.difference(&before.run).map(|n| format!("file /run/{n}")));
    leaks.extend(names(test::STATE).iter().map(|n| format!("state {}/{n}", test::STATE)));
    for dir in token_cgroups(token) {
        leaks.extend(below(&dir).into_iter().map(|d| format!("cgroup {}", d.display())));
    }
    leaks
}

/// Lists the processes that are still there, after a grace period for dying ones.
fn processes() -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(1);
    loop {
        while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(s) if s != WaitStatus::StillAlive) {}
        let left: Vec<String> =
            names("/proc").into_iter().filter(|n| n.parse::<u32>().is_ok_and(|pid| pid != 1)).collect();
        if left.is_empty() || Instant::now() > deadline {
            let shown = |pid: &String| {
                let read = |f: &str| fs::read_to_string(format!("/proc/{pid}/{f}")).unwrap_or_default();
                format!("process {pid} [{}] {}", read("comm").trim(), read("cmdline").replace('\0', " "))
            };
            return left.iter().map(shown).collect();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The test's own parent cgroup in each hierarchy that has it.
pub fn token_cgroups(token: &str) -> Vec<PathBuf> {
    Hierarchy::all().into_iter().map(|h| h.mount.join(token)).filter(|dir| dir.exists()).collect()
}

/// Every cgroup below `dir`, deepest first.
pub fn below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            found.extend(below(&entry.path()));
            found.push(entry.path());
        }
    }
    found
}

/// Removes the cgroups of a test, in whatever state it left them.
pub fn sweep_cgroups(token: &str) {
    let deadline = Instant::now() + Duration::from_secs(2);
    for parent in token_cgroups(token) {
        for dir in below(&parent).into_iter().chain([parent.clone()]) {
            let _ = fs::write(dir.join("freezer.state"), "THAWED");
            let _ = fs::write(dir.join("cgroup.freeze"), "0");
            let _ = fs::write(dir.join("cgroup.kill"), "1");
            while fs::remove_dir(&dir).is_err() && dir.exists() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}
