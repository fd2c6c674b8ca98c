//! Attacks by containers with a user namespace, and on them.
//!
//! They get nothing of their caller, and the programs and servers that they depend on may hang.

mod fuse;

use crate::cases;
use crate::common::tracer::traced;
use crate::common::{Case, Container, Test, eventually};
use crate::idmap::support::{can_map, in_user_namespace, volume};
use crate::rootless::user::{User, cover, uncover, uncover_ids};
use crate::user_namespaces::{BASE, link, mapped};
use embrun::sys::mount_api::has_mount_setattr;
use fuse::{Answers, Hung};
use nix::mount::{MsFlags, mount, umount};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

pub const CASES: &[Case] = cases![
    groups_of_the_host_end_in_a_joined_user_namespace,
    flags_of_any_idmapped_file_system_stay,
    helpers_for_mounts_die_with_the_runtime,
    sources_behind_a_magic_link_are_refused,
    init_in_an_inner_user_namespace_cannot_hide_from_exec,
    hung_map_helper_blocks_no_command,
    program_executed_before_the_start_cannot_trace_init,
    sources_whose_server_hangs_fail_create,
    mounts_below_the_hosts_sys_are_readonly,
];

const NONE: Option<&str> = None;

/// A user namespace of this owner, with maps, that denies setgroups(2).
fn without_groups(owner: &str) -> Child {
    let mut command = Command::new("setpriv");
    command.args([&format!("--reuid={owner}"), "--", "unshare", "--user", "sleep", "600"]);
    let child = command.spawn().unwrap();
    let file = |name: &str| format!("/proc/{}/{name}", child.id());
    eventually("unshare has made it", || {
        fs::read_to_string(file("comm")).is_ok_and(|comm| comm.trim() == "sleep")
    });
    fs::write(file("setgroups"), "deny").unwrap();
    for map in ["uid_map", "gid_map"] {
        fs::write(file(map), format!("0 {BASE} 65536")).unwrap();
    }
    child
}

fn join(c: &mut Container<'_>, users: &Child) {
    c.namespace_path("user", &format!("/proc/{}/ns/user", users.id()));
    for key in ["uidMappings", "gidMappings"] {
        c.config["linux"].as_object_mut().unwrap().remove(key);
    }
}

fn groups_of_the_host_end_in_a_joined_user_namespace(t: &Test) {
    let mut users = without_groups("0");
    let mut c = mapped(t);
    join(&mut c, &users);
    c.probe("pause").write();
    let call = |args: &[&str]| {
        let inner = t.command(args);
        let mut command = Command::new("setpriv");
        command.args(["--groups=4242,4343", "--"]).arg(inner.get_program()).args(inner.get_args());
        t.finish(command).ok()
    };
    call(&["create", "--bundle", c.bundle.to_str().unwrap(), &c.id]);
    c.start().ok();
    let told = fs::read_to_string(format!("/proc/{}/status", c.pid())).unwrap();
    let executed = call(&["exec", &c.id, "cat", "/proc/self/status"]).stdout;
    for status in [told, executed] {
        let groups = status.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap();
        assert_eq!(groups.trim(), "");
    }
    c.remove();
    users.kill().unwrap();
    users.wait().unwrap();
}

/// A new file system that is not a tmpfs, and a directory of the host.
fn flags_of_any_idmapped_file_system_stay(t: &Test) {
    let mut c = in_user_namespace(t);
    c.capabilities(&["CAP_SYS_ADMIN"]);
    let etc = t.path("etc");
    fs::create_dir(&etc).unwrap();
    let locked = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("/etc"), &etc, NONE, MsFlags::MS_BIND, NONE).unwrap();
    mount(NONE, &etc, NONE, MsFlags::MS_BIND | MsFlags::MS_REMOUNT | locked, NONE).unwrap();
    let pages = t.path("pages");
    fs::create_dir(&pages).unwrap();
    let new = mount(Some("pages"), &pages, Some("hugetlbfs"), MsFlags::empty(), NONE).is_ok();
    let mut points = Vec::new();
    if has_mount_setattr() && can_map(Path::new("/etc")) {
        c.mount("/other", "none", etc.to_str().unwrap(), &["bind", "idmap"]);
        points.push("/other");
    }
    if has_mount_setattr() && new && can_map(&pages) {
        c.mount("/more", "hugetlbfs", "x", &["idmap", "ro", "nosuid", "nodev", "noexec"]);
        points.push("/more");
    }
    if new {
        umount(&pages).unwrap();
    }
    let words: Vec<_> = points.iter().map(|point| format!("mount x {point} remount-rw")).collect();
    let out = c.probe(&format!("mounts {}", words.join(" "))).run();
    umount(&etc).unwrap();
    if points.is_empty() {
        t.skip("the kernel cannot idmap these file systems");
    }
    let seen = out.ok().probe();
    for point in points {
        let options = seen.mount(point).to_string();
        for flag in ["\"ro\"", "nosuid", "nodev", "noexec"] {
            assert!(options.contains(flag), "{point}: {flag}: {options}");
        }
        assert_eq!(seen.result(&format!("mount x {point} remount-rw")), "EPERM");
    }
}

/// Runs a command until one of its helpers makes its nth mount namespace.
///
/// Both are stopped then.
fn stop_a_helper(command: Command, nth: usize) -> (Pid, Pid) {
    let mut command = traced(command);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    #[allow(clippy::zombie_processes)]
    let runtime = Pid::from_raw(command.spawn().unwrap().id() as i32);
    waitpid(runtime, None).unwrap();
    let all = Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_TRACESYSGOOD;
    ptrace::setoptions(runtime, all).unwrap();
    ptrace::syscall(runtime, None).unwrap();
    let mut calls = Vec::new();
    loop {
        let status = waitpid(None, Some(WaitPidFlag::__WALL)).unwrap();
        let pid = status.pid().unwrap();
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let own = |status: String| status.contains(&format!("\nPPid:\t{runtime}\n"));
        match status {
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) if pid == runtime => panic!("it has ended"),
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => continue,
            WaitStatus::PtraceSyscall(_)
                if read("syscall").starts_with(&format!("{} ", libc::SYS_unshare))
                    && read("comm") != "embrun:[INIT]\n"
                    && own(read("status")) =>
            {
                calls.push(pid);
                // Each call stops it twice.
                if calls.iter().filter(|caller| **caller == pid).count() == 2 * nth - 1 {
                    return (runtime, pid);
                }
            }
            _ => {}
        }
        let _ = ptrace::syscall(pid, None);
    }
}

fn helpers_for_mounts_die_with_the_runtime(t: &Test) {
    let mut c = in_user_namespace(t);
    let dir = volume(&c);
    if !has_mount_setattr() || !can_map(&dir) {
        t.skip("the kernel cannot idmap this file system");
    }
    c.mount("/volume", "none", dir.to_str().unwrap(), &["bind", "idmap"]);
    // A change to the credentials of another owner clears the death signal. The second mount namespace is made after it.
    let mut users = without_groups("1000");
    join(&mut c, &users);
    c.args(&["true"]).write();
    for nth in [1, 2] {
        let create = t.command(&["create", "--bundle", c.bundle.to_str().unwrap(), &c.id]);
        let (runtime, helper) = stop_a_helper(create, nth);
        kill(runtime, Signal::SIGKILL).unwrap();
        eventually("the runtime is dead", || {
            matches!(waitpid(runtime, Some(WaitPidFlag::__WALL)), Ok(WaitStatus::Signaled(..)))
        });
        let state = || fs::read_to_string(format!("/proc/{helper}/stat")).unwrap_or_default();
        eventually("the helper is dead", || !state().contains(") t "));
        while waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG)).is_ok_and(|s| s.pid().is_some())
        {
        }
        c.remove();
    }
    users.kill().unwrap();
    users.wait().unwrap();
}

/// A magic link leads to a mount namespace where no flag is locked.
fn sources_behind_a_magic_link_are_refused(t: &Test) {
    let refused = |source: &str| {
        let mut c = mapped(t);
        c.mount("/tmp", "none", source, &["rbind"]);
        c.create().exits(1).fails(&["symbolic link loop"]);
    };
    refused("/proc/1/root/tmp");
    refused("/proc/1/cwd");
    let link = t.path("loop");
    std::os::unix::fs::symlink(&link, &link).unwrap();
    refused(link.to_str().unwrap());
}

fn init_in_an_inner_user_namespace_cannot_hide_from_exec(t: &Test) {
    let mut c = mapped(t);
    c.capabilities(&["CAP_SYS_ADMIN"]);
    c.probe("unshare user unshare net say pause").create().ok();
    let own = link(c.pid(), "user");
    c.start().ok();
    let acts = c.says("acts")["acts"].to_string();
    assert_eq!(acts.matches("\"ok\"").count(), 2, "{acts}");
    assert_ne!(link(c.pid(), "user"), own);
    let seen = c.exec_with(&["--user", "1000:1001"], &["probe", "ids", "namespaces"]).ok().probe();
    assert_eq!(seen["namespaces"]["user"], own);
    assert_eq!((&seen["ids"]["uid"][0], &seen["ids"]["gid"][0]), (&json!(1000), &json!(1001)));
    c.remove();
    let mut user = User::new(t);
    user.c.probe("unshare user say pause");
    user.make(&["create"]).ok();
    let pid = user.on(&["state"]).ok().json()["pid"].as_i64().unwrap() as i32;
    let own = link(pid, "user");
    user.on(&["start"]).ok();
    eventually("init is in another one", || link(pid, "user") != own);
    let seen = user.call(&["exec", &user.c.id, "probe", "ids", "namespaces"]).ok().probe();
    assert_eq!((&seen["namespaces"]["user"], &seen["ids"]["uid"][0]), (&own, &json!(0)));
    user.on(&["delete", "--force"]).ok();
}

/// It could make init run a program without the filter.
fn program_executed_before_the_start_cannot_trace_init(t: &Test) {
    let mut user = User::new(t);
    user.map_more();
    for uid in [0, 7] {
        user.c.config["process"]["user"] = json!({"uid": uid, "gid": uid});
        user.c.args(&["sleep", "100"]);
        user.make(&["create"]).ok();
        // Both need the right to trace it.
        let look = "readlink /proc/1/root || echo refused; cat /proc/1/environ > /dev/null || echo refused";
        let seen = user.call(&["exec", &user.c.id, "sh", "-c", look]).ok();
        assert_eq!(seen.stdout, "refused\nrefused\n", "{uid}");
        user.on(&["start"]).ok();
        let pid = user.on(&["state"]).ok().json()["pid"].to_string();
        let status = || fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        eventually("the program runs", || status().starts_with("Name:\tsleep"));
        let permitted =
            status().lines().find_map(|line| Some(line.strip_prefix("CapPrm:")?.trim().to_owned()));
        let permitted = u64::from_str_radix(&permitted.unwrap(), 16).unwrap();
        assert_eq!(permitted & 1 << 19, 0, "{uid}: CAP_SYS_PTRACE");
        user.on(&["delete", "--force"]).ok();
    }
    uncover_ids();
}

fn hung_map_helper_blocks_no_command(t: &Test) {
    let mut user = User::new(t);
    user.map_more();
    let mark = user.home.join("mark");
    let script = format!("#!/bin/sh\ntrap '' TERM\necho $$ > {}\nsleep 1000\n", mark.display());
    cover(t, "/usr/bin/newuidmap", &script);
    user.c.args(&["true"]).write();
    for killed in [false, true] {
        let mut create = user.command(&["create", "--bundle", &user.bundle(), &user.c.id]);
        let mut create = create.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let helper = || fs::read_to_string(&mark).unwrap_or_default();
        eventually("the helper hangs", || helper().ends_with('\n'));
        if killed {
            create.kill().unwrap();
        }
        let began = std::time::Instant::now();
        assert_eq!(user.status(), if killed { "stopped" } else { "creating" });
        user.on(&["delete", "--force"]).ok();
        assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
        create.wait().unwrap();
        let comm = format!("/proc/{}/comm", helper().trim());
        eventually("the helper is dead", || !Path::new(&comm).exists());
        fs::remove_file(&mark).unwrap();
    }
    uncover(&["/usr/bin/newuidmap"]);
    uncover_ids();
}

/// The second hangs while the error is explained, the third while flags are locked.
/// Whether another process has the file open.
fn is_open(file: &Path) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let links = processes.filter_map(|p| fs::read_dir(p.path().join("fd")).ok()).flatten().flatten();
    links.filter_map(|link| fs::read_link(link.path()).ok()).any(|target| target == file)
}

fn sources_whose_server_hangs_fail_create(t: &Test) {
    let mut all = vec![(mapped(t), "/tmp", "rbind", Answers::Nothing)];
    if has_mount_setattr() {
        for answers in [Answers::Nothing, Answers::OneLookup, Answers::OneLookupOfAnIdmapped] {
            all.push((in_user_namespace(t), "/volume", "idmap", answers));
        }
    }
    let created: Vec<_> = all
        .iter_mut()
        .map(|(c, at, option, answers)| {
            let hung = Hung::mount(t, *answers);
            c.mount(at, "none", hung.dir.join("volume").to_str().unwrap(), &["bind", option]);
            c.write();
            let create = t.command(&["create", "--bundle", c.bundle.to_str().unwrap(), &c.id]);
            (t.spawn(create), hung, *at)
        })
        .collect();
    for (create, hung, at) in created {
        let output = create.output_path();
        let out = create.wait();
        // The kernel does not end a helper whose request the server has read, but the caller may wait for this file's end.
        assert!(!is_open(&output), "a helper holds the output");
        hung.end();
        out.exits(1).fails(&[at]);
    }
}

fn mounts_below_the_hosts_sys_are_readonly(t: &Test) {
    let mut c = mapped(t);
    c.without_namespace("network");
    let seen = c.probe("mounts").run().ok().probe();
    let mounts = seen["mounts"].as_array().unwrap().iter();
    let below: Vec<_> = mounts.filter(|m| m["at"].as_str().unwrap().starts_with("/sys/")).collect();
    if below.is_empty() || !has_mount_setattr() {
        t.skip("nothing is mounted below /sys, or its flags cannot be set");
    }
    for mount in below {
        assert!(mount.to_string().contains("\"ro\""), "{mount}");
    }
}
