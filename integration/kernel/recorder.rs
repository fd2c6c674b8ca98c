//! `seccomp record`: the profile permits the same work and nothing else.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cases;
use crate::common::{Case, Container, Output, Test, eventually};
use embrun::json::value::Json;
use embrun::seccomp::arch::Arch;
use embrun::seccomp::compile::compile;
use embrun::seccomp::policy::policy;
use embrun::sys::seccomp::load;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

pub const CASES: &[Case] = cases![
    recorded_profile_permits_the_same_run_and_denies_other_calls,
    recorded_profile_permits_create_start_and_exec,
    only_execve_is_added_with_no_new_privileges,
    processes_threads_and_handlers_are_recorded,
    start_container_hooks_are_recorded,
    merging_allows_what_either_run_needed,
    foreign_calls_are_recorded_under_their_architecture,
    record_returns_the_status_of_the_workload,
    record_forwards_signals,
    terminal_is_relayed_and_recorded,
    profile_of_the_bundle_is_not_applied_and_a_warning_says_so,
    profile_is_written_to_the_bundle_by_default,
    invalid_requests_are_refused_before_the_run,
    workload_that_cannot_start_leaves_no_profile,
    missing_listener_support_is_reported,
    missing_support_to_continue_a_call_is_reported,
    recorder_outlives_the_command_and_ends_with_the_container,
];

/// Records the container's run into a file of this test.
fn record(t: &Test, c: &Container<'_>, flags: &[&str]) -> (Output, PathBuf) {
    let file = t.path("profile.json");
    let out = t.finish(command(t, c, &[&["-o", file.to_str().unwrap()], flags].concat()));
    (out, file)
}

fn command(t: &Test, c: &Container<'_>, flags: &[&str]) -> Command {
    c.write();
    t.command(&[&["seccomp", "record", c.bundle.to_str().unwrap()], flags].concat())
}

fn profile(file: &Path) -> Value {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

fn names(profile: &Value) -> Vec<&str> {
    profile["syscalls"][0]["names"].as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect()
}

fn with_privileges<'t>(t: &'t Test, nnp: bool) -> Container<'t> {
    let mut c = t.container();
    c.config["process"]["noNewPrivileges"] = nnp.into();
    c
}

fn recorded_profile_permits_the_same_run_and_denies_other_calls(t: &Test) {
    for nnp in [true, false] {
        let mut c = with_privileges(t, nnp);
        c.probe("mkdir /dev/shm/x");
        let (out, file) = record(t, &c, &[]);
        assert_eq!(out.ok().probe().result("mkdir"), "ok");
        c.config["linux"]["seccomp"] = profile(&file);
        assert_eq!(c.run().ok().probe().result("mkdir"), "ok", "no_new_privs {nnp}");
        let seen = c.probe("mkdir /dev/shm/x rmdir /dev/shm/x socket unix stream").run().ok().probe();
        assert_eq!(seen.result("mkdir"), "ok");
        assert_eq!(seen.result("rmdir"), "EPERM");
        // On 32-bit ARM its number is above all recorded calls. Without no_new_privs these include the
        // runtime's own.
        let unknown = if cfg!(target_arch = "arm") && nnp { "ENOSYS" } else { "EPERM" };
        assert_eq!(seen.result("socket"), unknown);
    }
}

fn recorded_profile_permits_create_start_and_exec(t: &Test) {
    for (nnp, user) in [(true, 0), (false, 0), (false, 1000)] {
        let mut c = with_privileges(t, nnp);
        c.config["process"]["user"] = json!({"uid": user, "gid": user});
        c.probe("pid sleep 0.05 until /dev/shm/end");
        // Create the file that ends it beforehand.
        c.mount("/dev/shm/end", "none", "/dev/null", &["bind"]);
        let (out, file) = record(t, &c, &[]);
        out.ok();
        c.config["linux"]["seccomp"] = profile(&file);
        c.config["mounts"].as_array_mut().unwrap().pop();
        c.up();
        c.says("pid");
        c.exec(&["probe", "pid"]).ok();
        assert_eq!(c.exec(&["probe", "rmdir", "/dev/shm/x"]).ok().probe().result("rmdir"), "EPERM");
        c.remove();
    }
}

/// A program that only exits, through the entry of a foreign or our architecture.
///
/// The exit status is the result of a call before it. The ELF file is as small as possible.
fn program(c: &Container<'_>, wide: bool, code: &[u8]) {
    let header = if wide { 64 + 56 } else { 52 + 32 };
    let length = (header + code.len()) as u64;
    let base = 0x0804_8000u64;
    let mut elf = b"\x7fELF".to_vec();
    elf.extend([if wide { 2 } else { 1 }, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let word = |n: u64| n.to_le_bytes()[..if wide { 8 } else { 4 }].to_vec();
    elf.extend([2, 0, if wide { 62 } else { 3 }, 0, 1, 0, 0, 0]);
    elf.extend([word(base + header as u64), word(if wide { 64 } else { 52 }), word(0)].concat());
    elf.extend([0, 0, 0, 0]);
    elf.extend(if wide {
        [64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]
    } else {
        [52, 0, 32, 0, 1, 0, 0, 0, 0, 0, 0, 0]
    });
    elf.extend(1u32.to_le_bytes());
    let flags = 5u32.to_le_bytes();
    if wide {
        elf.extend(flags);
    }
    elf.extend([word(0), word(base), word(base), word(length), word(length)].concat());
    if !wide {
        elf.extend(flags);
    }
    elf.extend(word(0x1000));
    assert_eq!(elf.len(), header);
    elf.extend(code);
    let path = c.rootfs.join("bin/program");
    fs::write(&path, elf).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// `exit(-umask(0))` through the 32-bit entry of an x86 kernel.
const X86_UMASK: &[u8] = &[
    0xb8, 60, 0, 0, 0, 0x31, 0xdb, 0xcd, 0x80, // mov eax, 60; xor ebx, ebx; int 0x80
    0xf7, 0xd8, 0x89, 0xc3, 0xb8, 1, 0, 0, 0, 0xcd, 0x80, // neg eax; mov ebx, eax; mov eax, 1; int 0x80
];
/// `exit(7)` of x86_64.
const EXIT: &[u8] = &[0xb8, 60, 0, 0, 0, 0xbf, 7, 0, 0, 0, 0x0f, 0x05];

fn only_execve_is_added_with_no_new_privileges(t: &Test) {
    if Arch::NATIVE != Arch::X86_64 {
        t.skip("the program is written for x86_64");
    }
    let mut c = with_privileges(t, true);
    program(&c, true, EXIT);
    c.args(&["/bin/program"]);
    let (out, file) = record(t, &c, &[]);
    out.exits(7);
    let mut profile = profile(&file);
    assert_eq!(names(&profile), ["execve", "exit", "exit_group", "restart_syscall"]);
    // The profile is enough even if everything else kills the process.
    profile["defaultAction"] = "SCMP_ACT_KILL_PROCESS".into();
    profile.as_object_mut().unwrap().remove("defaultErrnoRet");
    c.config["linux"]["seccomp"] = profile;
    c.run().exits(7);
    c.up();
    c.stopped();
    c.delete().ok();
}

fn foreign_calls_are_recorded_under_their_architecture(t: &Test) {
    if Arch::NATIVE != Arch::X86_64 {
        t.skip("the program is written for 32-bit x86");
    }
    let mut c = t.container();
    c.config["process"]["user"]["umask"] = 0.into();
    program(&c, false, X86_UMASK);
    c.args(&["/bin/program"]);
    if c.run().status != 0 {
        t.skip("this kernel runs no 32-bit programs (CONFIG_IA32_EMULATION)");
    }
    let (out, file) = record(t, &c, &[]);
    out.ok();
    let mut foreign = profile(&file);
    assert_eq!(foreign["architectures"], json!(["SCMP_ARCH_X86", "SCMP_ARCH_X86_64"]));
    assert_eq!(names(&foreign), ["execve", "exit", "exit_group", "restart_syscall", "umask"]);
    c.config["linux"]["seccomp"] = foreign.clone();
    c.run().ok();
    // Without the foreign architecture it is not enough.
    foreign["syscalls"][0]["names"] = json!(["execve", "exit", "exit_group"]);
    c.config["linux"]["seccomp"] = foreign;
    c.run().exits(libc::EPERM);
    // Merging keeps a profile that was recorded on another machine.
    let arm = t.path("arm.json");
    let text = r#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_ARM"],
        "syscalls":[{"names":["cacheflush","set_tls"],"action":"SCMP_ACT_ALLOW"}]}"#;
    fs::write(&arm, text).unwrap();
    let (out, file) = record(t, &c, &["--merge", arm.to_str().unwrap(), "--merge", file.to_str().unwrap()]);
    out.ok();
    let both = profile(&file);
    assert_eq!(both["architectures"], json!(["SCMP_ARCH_X86", "SCMP_ARCH_X86_64", "SCMP_ARCH_ARM"]));
    for name in ["cacheflush", "set_tls", "umask"] {
        assert!(names(&both).contains(&name), "{both}");
    }
    c.config["linux"]["seccomp"] = both;
    c.run().ok();
}

fn processes_threads_and_handlers_are_recorded(t: &Test) {
    // A shell would not do: a call that waits for the recorder fails with EINTR when a signal with a handler
    // arrives, as seccomp_unotify(2) warns, and a shell that handles SIGCHLD may then wait for ever.
    let mut c = t.container();
    c.probe("crowd 3");
    let (out, file) = record(t, &c, &[]);
    assert_eq!(out.ok().probe().result("crowd"), "handled 1");
    c.config["linux"]["seccomp"] = profile(&file);
    for _ in 0..5 {
        assert_eq!(c.run().ok().probe().result("crowd"), "handled 1");
    }
    // The return of a handler is allowed even if its signal never comes.
    let mut c = t.container();
    c.args(&["sh", "-c", "trap 'echo caught' USR1; [ -z \"$1\" ] || kill -USR1 $$; :", "sh", "-"]);
    let (out, file) = record(t, &c, &[]);
    out.ok();
    assert!(names(&profile(&file)).contains(&"rt_sigreturn"));
}

fn start_container_hooks_are_recorded(t: &Test) {
    let mut c = with_privileges(t, true);
    c.config["hooks"] =
        json!({"startContainer": [{"path": "/bin/mkdir", "args": ["mkdir", "/dev/shm/hook"]}]});
    c.probe("stat /dev/shm/hook");
    let (out, file) = record(t, &c, &[]);
    assert_eq!(out.ok().probe().result("stat")["type"], "directory");
    c.config["linux"]["seccomp"] = profile(&file);
    assert_eq!(c.run().ok().probe().result("stat")["type"], "directory");
    c.up();
    c.stopped();
    c.delete().ok();
}

fn merging_allows_what_either_run_needed(t: &Test) {
    let mut c = t.container();
    c.probe("mkdir /dev/shm/x");
    let (out, file) = record(t, &c, &[]);
    out.ok();
    let first = profile(&file);
    c.probe("socket unix stream");
    let path = file.to_str().unwrap();
    t.finish(command(t, &c, &["--merge", path, "--output", path])).ok();
    let both = profile(&file);
    let union = |p: &Value| names(p).iter().all(|n| names(&both).contains(n));
    assert!(union(&first) && names(&both).contains(&"socket") && !names(&first).contains(&"socket"));
    assert!(names(&both).is_sorted());
    c.config["linux"]["seccomp"] = both;
    let seen = c.probe("mkdir /dev/shm/x socket unix stream rmdir /dev/shm/x").run().ok().probe();
    assert_eq!(
        (seen.result("mkdir"), seen.result("socket"), seen.result("rmdir")),
        (&json!("ok"), &json!("ok"), &json!("EPERM"))
    );
    // The old file was replaced as a whole, and no temporary file is left.
    let beside = fs::read_dir(file.parent().unwrap()).unwrap().flatten();
    assert!(beside.map(|e| e.file_name()).all(|n| !n.to_string_lossy().starts_with(".")));
}

fn record_returns_the_status_of_the_workload(t: &Test) {
    let mut c = t.container();
    for (words, status) in [("exit 9", 9), ("crash", 139)] {
        c.probe(words);
        let (out, file) = record(t, &c, &[]);
        out.exits(status);
        assert!(names(&profile(&file)).contains(&"execve"));
    }
}

fn record_forwards_signals(t: &Test) {
    let mut c = t.container();
    c.probe("trap TERM pid say await TERM exit 5");
    let file = t.path("profile.json");
    let running = t.spawn(command(t, &c, &["-o", file.to_str().unwrap()]));
    eventually("the probe waits for the signal", || running.stdout().contains("pid"));
    kill(Pid::from_raw(running.pid()), Signal::SIGTERM).unwrap();
    assert_eq!(*running.wait().exits(5).probe().result("await"), json!("TERM"));
    assert!(names(&profile(&file)).iter().any(|n| n.starts_with("rt_sigtimedwait")));
}

fn terminal_is_relayed_and_recorded(t: &Test) {
    let mut c = t.container();
    c.config["process"]["terminal"] = true.into();
    c.args(&["tty"]);
    let (out, file) = record(t, &c, &[]);
    assert!(out.ok().stdout.contains("/dev/pts/0"));
    c.config["linux"]["seccomp"] = profile(&file);
    assert!(c.run().ok().stdout.contains("/dev/pts/0"));
}

fn profile_of_the_bundle_is_not_applied_and_a_warning_says_so(t: &Test) {
    let mut c = t.container();
    c.config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL_PROCESS"}]});
    c.probe("mkdir /dev/shm/x");
    let (out, _) = record(t, &c, &[]);
    assert!(out.stderr.contains("linux.seccomp of the bundle is not in force"), "{}", out.stderr);
    assert_eq!(out.ok().probe().result("mkdir"), "ok");
}

fn profile_is_written_to_the_bundle_by_default(t: &Test) {
    let mut c = t.container();
    c.probe("pid");
    t.finish(command(t, &c, &[])).ok();
    c.config["linux"]["seccomp"] = profile(&c.bundle.join("seccomp.json"));
    c.run().ok();
}

/// A workload that shows on the host whether it ran: it creates a file.
fn marked<'t>(t: &'t Test) -> (Container<'t>, PathBuf) {
    let mut c = t.container();
    let mark = c.share().join("ran");
    c.probe("write /shared/ran y");
    (c, mark)
}

fn invalid_requests_are_refused_before_the_run(t: &Test) {
    let (c, mark) = marked(t);
    let profile = t.path("profile.json");
    fs::write(&profile, r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#).unwrap();
    let profile = profile.to_str().unwrap();
    for (flags, says) in [
        (&["-o", "/no/such/dir/p.json"][..], "--output /no/such/dir/p.json: no such file or directory"),
        (&["-o", "/dev/null"], "--output /dev/null: exists and is not a regular file"),
        (&["-o", "/run"], "--output /run: exists and is not a regular file"),
        (&["-o", "/proc/x"], "--output /proc/x: "),
        (&["--merge", "/no/such"], "/no/such: no such file or directory"),
        (&["--merge", profile], "defaultAction: must be SCMP_ACT_ERRNO"),
        (&["--arch", "x86"], "takes no --arch"),
        (&["too", "many"], "takes one bundle"),
    ] {
        t.finish(command(t, &c, flags)).exits(1).fails(&[says]);
        assert!(!mark.exists(), "{flags:?}");
    }
    t.call(&["seccomp", "record", "/no/such/bundle"]).exits(1).fails(&["/no/such/bundle: no such file"]);
    t.call(&["seccomp", "dump", "-o", "/run/x", profile])
        .exits(1)
        .fails(&["--output and --merge are of record"]);
    let (out, _) = record(t, &c, &[]);
    out.ok();
    assert!(mark.exists(), "a valid request must run the workload");
}

fn workload_that_cannot_start_leaves_no_profile(t: &Test) {
    for nnp in [true, false] {
        let mut c = with_privileges(t, nnp);
        c.args(&["/no/such/program"]);
        let (out, file) = record(t, &c, &[]);
        out.exits(1).fails(&["no such file"]);
        assert!(!file.exists());
        // A program that is found but cannot be executed.
        fs::write(c.rootfs.join("bin/broken"), "\x7fELF").unwrap();
        fs::set_permissions(c.rootfs.join("bin/broken"), fs::Permissions::from_mode(0o755)).unwrap();
        c.args(&["/bin/broken"]);
        let (out, file) = record(t, &c, &[]);
        out.exits(1).fails(&["exec format error"]);
        assert!(!file.exists());
    }
}

/// Runs a record where a call with these arguments fails with EINVAL.
#[allow(unsafe_code)]
fn on_a_kernel_without(t: &Test, call: &str, args: Value, nnp: bool) -> (Output, PathBuf) {
    let rule = json!({"names": [call], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::EINVAL, "args": args});
    let json = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}).to_string();
    let filter = compile(&policy(&Json::parse(json.as_bytes()).unwrap()).unwrap(), Arch::NATIVE).unwrap();
    let (mut c, mark) = marked(t);
    c.config["process"]["noNewPrivileges"] = nnp.into();
    let mut command = command(t, &c, &["-o", "/run/it/tmp/none.json"]);
    let load = move || load(&filter.program, 0).map(drop).map_err(std::io::Error::from);
    // SAFETY: the child makes one system call.
    unsafe { command.pre_exec(load) };
    let out = t.finish(command);
    assert!(!Path::new("/run/it/tmp/none.json").exists());
    (out, mark)
}

fn missing_listener_support_is_reported(t: &Test) {
    // SECCOMP_FILTER_FLAG_NEW_LISTENER
    let flag = json!([{"index": 1, "value": 8, "valueTwo": 8, "op": "SCMP_CMP_MASKED_EQ"}]);
    let (out, mark) = on_a_kernel_without(t, "seccomp", flag, true);
    out.exits(1).fails(&["this kernel has no listeners (Linux 5.0)"]);
    assert!(!mark.exists());
}

fn missing_support_to_continue_a_call_is_reported(t: &Test) {
    // SECCOMP_IOCTL_NOTIF_SEND
    let request = json!([{"index": 1, "value": 0xffff_ffffu32, "valueTwo": 0xc018_2101u32, "op": "SCMP_CMP_MASKED_EQ"}]);
    for nnp in [true, false] {
        let (out, mark) = on_a_kernel_without(t, "ioctl", request.clone(), nnp);
        assert_eq!(out.stderr.lines().count(), 1, "{}", out.stderr);
        out.exits(1).fails(&["recording needs Linux 5.5"]);
        assert!(!mark.exists());
    }
}

fn recorder_outlives_the_command_and_ends_with_the_container(t: &Test) {
    let mut c = t.container();
    let share = c.share();
    c.probe("pid say until /shared/go write /shared/gone y pause");
    let running = t.spawn(command(t, &c, &["-o", "/run/it/tmp/none.json"]));
    eventually("it runs", || running.stdout().contains("pid"));
    let id = format!("record-{}", running.pid());
    kill(Pid::from_raw(running.pid()), Signal::SIGKILL).unwrap();
    running.wait().exits(137);
    // The workload continues and is answered.
    fs::write(share.join("go"), "").unwrap();
    eventually("it has written", || share.join("gone").exists());
    t.call(&["delete", "--force", &id]).ok();
    eventually("the recorder has ended", || {
        let dirs = fs::read_dir("/proc").unwrap().flatten();
        let mut names = dirs.filter_map(|d| fs::read_to_string(d.path().join("comm")).ok());
        !names.any(|name| name.starts_with("embrun:[RECORD"))
    });
}
