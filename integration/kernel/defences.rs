//! Attacks through names, terminals, environments and the installed program.
//!
//! `docs/security.md` lists all defences with their tests.

use crate::cases;
use crate::common::test::STATE;
use crate::common::{Case, ConsoleSocket, Test};
use crate::exchange::exchange;
use crate::hostile::Trap;
use crate::sd_notify::Manager;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::json;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

pub const CASES: &[Case] = cases![
    set_user_id_program_is_refused,
    temporary_name_of_an_output_is_not_followed,
    preserved_descriptor_of_the_host_is_no_working_directory,
    terminal_comes_from_a_devpts_only,
    hook_in_the_container_gets_no_variable_of_the_program,
    made_directories_stay_inside_while_links_are_swapped,
    read_only_path_is_the_directory_that_was_found,
    links_in_the_socket_directory_are_not_followed,
    every_new_file_of_the_state_is_closed_to_others,
];

/// Every user of the host could become root with it.
fn set_user_id_program_is_refused(t: &Test) {
    let c = t.container();
    c.write();
    for mode in [0o4755, 0o2755] {
        let program = t.path("installed");
        fs::copy(t.runtime_path(), &program).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(mode)).unwrap();
        for words in [&["list"][..], &["--version"], &["run", "--bundle", c.bundle.to_str().unwrap(), "x"]] {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=1000", "--regid=1000", "--clear-groups", "--"]).arg(&program).args(words);
            let said = t.finish(command).exits(1);
            let says = "set-user-ID and set-group-ID are refused";
            assert!(said.stderr.contains(says), "{mode:o} {words:?}: {}", said.stderr);
            assert_eq!(said.stdout, "");
        }
        fs::remove_file(&program).unwrap();
    }
}

/// Another user who may write to an output's directory knows the next pids.
fn temporary_name_of_an_output_is_not_followed(t: &Test) {
    let mut c = t.container();
    c.args(&["true"]).write();
    let dir = t.path("outputs");
    fs::create_dir(&dir).unwrap();
    let victim = t.path("victim");
    fs::write(&victim, "unharmed").unwrap();
    let output = dir.join("profile.json");
    // It exists, so the new one cannot just get its name.
    fs::write(&output, "{}").unwrap();
    let next = std::process::id();
    (next..next + 2000).for_each(|pid| symlink(&victim, dir.join(format!(".profile.json.{pid}"))).unwrap());
    t.call(&["seccomp", "record", c.bundle.to_str().unwrap(), "--output", output.to_str().unwrap()]).ok();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "unharmed");
    assert!(fs::symlink_metadata(&output).unwrap().is_file());
    assert!(fs::read_to_string(&output).unwrap().contains("SCMP_ACT_ALLOW"));
}

/// A directory that the caller passes on is no place to start in.
fn preserved_descriptor_of_the_host_is_no_working_directory(t: &Test) {
    let mut c = t.container();
    let call = |args: &[&str]| {
        let inner = t.command(args);
        let mut command = Command::new("sh");
        command.args(["-c", "exec 3</etc; exec \"$@\"", "sh"]);
        command.arg(inner.get_program()).args(inner.get_args());
        t.finish(command)
    };
    let cwd = "/proc/self/fd/3";
    c.config["process"]["cwd"] = json!(cwd);
    c.args(&["sleep", "600"]).write();
    // A directory that is missing is made, and this path leads to none in the container.
    call(&["run", "--preserve-fds", "1", "--bundle", c.bundle.to_str().unwrap(), &c.id]).fails(&["ELOOP"]);
    c.config["process"]["cwd"] = json!("/");
    // In the pid namespace of the host, the container's procfs shows the process that enters, and its descriptors.
    c.without_namespace("pid").up();
    let exec = ["exec", "--preserve-fds", "1", "--cwd", cwd, &c.id, "ls"];
    call(&exec).exits(255).fails(&["is outside of the container"]);
    c.remove();
}

/// A terminal by a name in the image could be another container's, or the host's.
fn terminal_comes_from_a_devpts_only(t: &Test) {
    type Plant = fn(&Path, &Path);
    let plants: [(Plant, &str); 4] = [
        (|ptmx, outside| symlink(outside.join("ptmx"), ptmx).unwrap(), "ELOOP"),
        (|ptmx, _| fs::write(ptmx, "").unwrap(), "is not what it claims to be"),
        (
            |ptmx, _| mknod(ptmx, SFlag::S_IFCHR, Mode::S_IRWXU, makedev(5, 2)).unwrap(),
            "is not what it claims to be",
        ),
        (|_, _| {}, "process.terminal needs a devpts mount"),
    ];
    for (plant, says) in plants {
        let mut trap = Trap::new(t).with_the_images_dev();
        let pts = trap.c.rootfs.join("dev/pts");
        fs::create_dir_all(&pts).unwrap();
        plant(&pts.join("ptmx"), &trap.outside);
        (0..8).for_each(|n| symlink(trap.outside.join("victim"), pts.join(n.to_string())).unwrap());
        trap.c.config["process"]["terminal"] = json!(true);
        let socket = ConsoleSocket::listen(t.path("console"));
        let path = socket.path.to_str().unwrap().to_owned();
        let out = trap.c.create_with(&["--console-socket", &path]).exits(1);
        assert!(out.stderr.contains(says), "{says}: {}", out.stderr);
        trap.check();
        fs::remove_file(&path).unwrap();
    }
}

/// A createContainer hook runs in the container with the rights of the host.
fn hook_in_the_container_gets_no_variable_of_the_program(t: &Test) {
    let mut c = t.container();
    let log = c.bundle.join("log");
    fs::create_dir(&log).unwrap();
    c.config["process"]["env"] = json!(["PATH=/bin", "LD_PRELOAD=/evil.so", "SECRET=payload"]);
    let kinds = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];
    for kind in kinds {
        let line = format!("env > {}/{kind}", log.display());
        c.config["hooks"][kind] = json!([{"path": "/bin/sh", "args": ["sh", "-c", line]}]);
    }
    c.args(&["true"]).run().ok();
    for kind in kinds {
        let env = fs::read_to_string(log.join(kind)).unwrap();
        assert!(!env.contains("LD_PRELOAD") && !env.contains("SECRET") && !env.is_empty(), "{kind}: {env}");
    }
}

/// Exchanges names of a directory until the act is done.
fn while_swapped(dir: &Path, pairs: &[(&str, &str)], act: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    let dir = fs::File::open(dir).unwrap();
    // Later an exchange may fail, because the names come and go.
    for (one, other) in pairs.iter().chain(pairs) {
        exchange(&dir, one, other).expect("the names can be exchanged");
    }
    std::thread::scope(|threads| {
        let racer = threads.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for (one, other) in pairs {
                    let _ = exchange(&dir, one, other);
                }
            }
        });
        act();
        stop.store(true, Ordering::Relaxed);
        racer.join().unwrap();
    });
}

/// The link names the directory of the host by its whole path.
fn made_directories_stay_inside_while_links_are_swapped(t: &Test) {
    let mut trap = Trap::new(t);
    let volume = trap.c.share();
    fs::create_dir(volume.join("dir")).unwrap();
    let dir = fs::File::open(volume.join("dir")).unwrap();
    symlink(&trap.outside, volume.join("link")).unwrap();
    trap.c.mount("/shared/dir/made/below", "tmpfs", "t", &[]);
    trap.c.mount("/shared/dir/file", "none", "config.json", &["bind", "ro"]);
    trap.c.config["process"]["cwd"] = json!("/shared/dir/work");
    trap.c.args(&["true"]);
    while_swapped(&volume, &[("dir", "link")], || {
        for _ in 0..30 {
            // It may be refused: what is made first may be behind the other name by then.
            let _ = trap.run();
            // Through the directory's descriptor, because its name changes.
            let made = format!("/proc/self/fd/{}/made", dir.as_raw_fd());
            let _ = fs::remove_dir_all(made);
        }
    });
}

/// After a second look-up, another directory would become read-only.
fn read_only_path_is_the_directory_that_was_found(t: &Test) {
    let mut c = t.container();
    let volume = c.share();
    for name in ["one", "two"] {
        fs::create_dir(volume.join(name)).unwrap();
        fs::write(volume.join(name).join("name"), name).unwrap();
    }
    c.config["linux"]["readonlyPaths"] = json!(["/shared/one"]);
    c.probe("mounts");
    let mut seen = 0;
    while_swapped(&volume, &[("one", "two")], || {
        for _ in 0..60 {
            let out = c.run();
            if out.status != 0 {
                continue;
            }
            let seen_mounts = out.probe();
            let mounts = seen_mounts["mounts"].as_array().unwrap();
            let at = |m: &&serde_json::Value| m["at"].as_str().is_some_and(|at| at.starts_with("/shared/"));
            let covered: Vec<_> = mounts.iter().filter(at).collect();
            assert_eq!(covered.len(), 1, "{covered:?}");
            let all = covered[0].to_string();
            assert!(all.contains("\"ro\"") || all.contains("ro,"), "it is writable: {all}");
            seen += 1;
        }
    });
    assert!(seen > 0, "no container ran");
}

/// The program can fill that directory if it may remount it.
fn links_in_the_socket_directory_are_not_followed(t: &Test) {
    let _manager = Manager::new(t);
    let outside = t.path("outside");
    fs::create_dir_all(outside.join("deep")).unwrap();
    fs::write(outside.join("deep/victim"), "unharmed").unwrap();
    for round in 0..20 {
        let mut c = t.container();
        c.probe("pause").create().ok();
        let inside = PathBuf::from(format!("{STATE}/{}/notify/inside", c.id));
        symlink(&outside, inside.join("link")).unwrap();
        fs::create_dir_all(inside.join("dir/sub")).unwrap();
        symlink(&outside, inside.join("dir/sub/link")).unwrap();
        if round == 0 {
            c.remove();
        } else {
            while_swapped(&inside, &[("dir", "link")], || c.remove());
        }
        assert_eq!(fs::read_to_string(outside.join("deep/victim")).unwrap(), "unharmed");
    }
}

/// Under any umask of the caller.
fn every_new_file_of_the_state_is_closed_to_others(t: &Test) {
    let mut c = t.container();
    c.probe("pause").write();
    fs::remove_dir(STATE).unwrap();
    let inner = t.command(&["create", "--bundle", c.bundle.to_str().unwrap(), &c.id]);
    let mut command = Command::new("sh");
    command.args(["-c", "umask 0; exec \"$@\"", "sh"]).arg(inner.get_program()).args(inner.get_args());
    t.finish(command).ok();
    let mode = |path: &Path| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(Path::new(STATE)), 0o700);
    let dir = Path::new(STATE).join(&c.id);
    assert_eq!(mode(&dir), 0o711);
    let entries: Vec<PathBuf> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(entries.contains(&dir.join("record")), "{entries:?}");
    for entry in entries {
        let found = mode(&entry);
        assert_eq!(found & 0o077, 0, "{}: {found:o}", entry.display());
    }
    c.remove();
}
