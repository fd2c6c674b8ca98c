//! `process`: the properties of the started program.

use crate::cases;
use crate::common::{Case, Test};
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;

pub const CASES: &[Case] = cases![
    args_env_and_cwd_are_as_configured,
    home_comes_from_the_containers_passwd,
    configured_home_is_kept,
    empty_home_is_replaced_from_passwd,
    missing_cwd_is_created,
    cwd_through_an_inherited_descriptor_is_refused,
    args_are_looked_up_on_the_containers_path,
    args_not_found_fail_create_with_the_text_that_engines_match,
    args_are_not_looked_up_in_the_working_directory,
    args_with_a_missing_absolute_path_fail_create,
    args_not_executable_fail_create,
    args_executable_only_by_a_capability_need_that_capability,
    args_naming_a_directory_fail_create,
    rlimits_are_set,
    scheduler_and_io_priority_are_set,
    real_time_scheduler_is_set_or_the_missing_right_is_named,
    contradictory_scheduler_is_refused,
    scheduler_flags_reach_the_kernel,
    scheduler_iso_is_refused_by_the_kernel,
    rlimit_may_exceed_the_hard_limit_with_the_capability,
    oom_score_adj_is_set_or_unchanged,
    program_starts_with_no_signal_blocked_or_ignored,
    descriptors_are_only_the_standard_three,
    payload_leads_its_own_session_and_outlives_the_runtime,
    stdin_stdout_and_stderr_are_the_runtimes,
    closed_standard_streams_do_not_leak_descriptors,
];

fn args_env_and_cwd_are_as_configured(t: &Test) {
    let mut c = t.container();
    c.probe("argv env cwd");
    c.config["process"]["cwd"] = json!("/tmp");
    c.config["process"]["env"] = json!(["PATH=/bin", "A=b=c", "EMPTY="]);
    let seen = c.run().ok().probe();
    assert_eq!(seen["argv"], json!(["probe", "argv", "env", "cwd"]));
    assert_eq!(seen["env"], json!({"PATH": "/bin", "A": "b=c", "EMPTY": "", "HOME": "/root"}));
    assert_eq!(seen["cwd"], "/tmp");
}

fn home_comes_from_the_containers_passwd(t: &Test) {
    let mut c = t.container();
    c.probe("env");
    c.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    assert_eq!(c.run().ok().probe()["env"]["HOME"], "/home/user");
    c.config["process"]["user"] = json!({"uid": 4321, "gid": 4321});
    assert_eq!(c.run().ok().probe()["env"]["HOME"], "/");
}

fn configured_home_is_kept(t: &Test) {
    let mut c = t.container();
    c.probe("env");
    c.config["process"]["env"] = json!(["PATH=/bin", "HOME=/tmp"]);
    assert_eq!(c.run().ok().probe()["env"]["HOME"], "/tmp");
}

fn missing_cwd_is_created(t: &Test) {
    let mut c = t.container();
    c.probe("cwd");
    c.config["process"]["cwd"] = json!("/srv/not/there");
    assert_eq!(c.run().ok().probe()["cwd"], "/srv/not/there");
    assert!(c.rootfs.join("srv/not/there").is_dir());
}

/// CVE-2024-21626: `cwd` must not lead out through a descriptor of the host.
fn cwd_through_an_inherited_descriptor_is_refused(t: &Test) {
    for fd in 3..16 {
        let mut c = t.container();
        c.probe("cwd stat etc/hostname");
        c.config["process"]["cwd"] = json!(format!("/proc/self/fd/{fd}"));
        assert_ne!(c.run().status, 0, "cwd=/proc/self/fd/{fd}");
    }
}

fn args_are_looked_up_on_the_containers_path(t: &Test) {
    let mut c = t.container();
    let tool = c.rootfs.join("usr/bin/tool");
    fs::write(&tool, "#!/bin/sh\necho found by PATH\n").unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    c.args(&["tool"]);
    c.config["process"]["env"] = json!(["PATH=/nowhere:/usr/bin:/bin"]);
    assert_eq!(c.run().ok().stdout, "found by PATH\n");
}

fn args_not_found_fail_create_with_the_text_that_engines_match(t: &Test) {
    let mut c = t.container();
    c.args(&["no-such-tool"]);
    c.create()
        .exits(1)
        .fails(&["executable file not found in $PATH", "executable file `no-such-tool` not found in $PATH"]);
}

fn args_with_a_missing_absolute_path_fail_create(t: &Test) {
    let mut c = t.container();
    c.args(&["/no/such/tool"]);
    c.create().exits(1).fails(&["no such file or directory"]);
}

fn args_not_executable_fail_create(t: &Test) {
    let mut c = t.container();
    c.args(&["/etc/passwd"]);
    c.create().exits(1).fails(&["permission denied"]);
}

fn args_naming_a_directory_fail_create(t: &Test) {
    let mut c = t.container();
    c.args(&["/etc"]);
    c.create().exits(1).fails(&["permission denied", "operation not permitted"]);
}

fn rlimits_are_set(t: &Test) {
    let mut c = t.container();
    c.probe("rlimits");
    c.config["process"]["rlimits"] = json!([
        {"type": "RLIMIT_NOFILE", "soft": 111, "hard": 222},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 4096},
        {"type": "RLIMIT_STACK", "soft": 1048576, "hard": 2097152},
    ]);
    let seen = c.run().ok().probe();
    assert_eq!(seen["rlimits"]["Max open files"], json!(["111", "222"]));
    assert_eq!(seen["rlimits"]["Max core file size"], json!(["0", "4096"]));
    assert_eq!(seen["rlimits"]["Max stack size"], json!(["1048576", "2097152"]));
}

fn rlimit_may_exceed_the_hard_limit_with_the_capability(t: &Test) {
    t.needs_capability(24, "CAP_SYS_RESOURCE");
    let mut c = t.container();
    c.probe("rlimits");
    c.config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 1048570, "hard": 1048570}]);
    assert_eq!(c.run().ok().probe()["rlimits"]["Max open files"], json!(["1048570", "1048570"]));
}

fn oom_score_adj_is_set_or_unchanged(t: &Test) {
    let mut c = t.container();
    c.probe("oom");
    let own: i64 = fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim().parse().unwrap();
    assert_eq!(c.run().ok().probe()["oom"], own);
    c.config["process"]["oomScoreAdj"] = json!(own + 100);
    assert_eq!(c.run().ok().probe()["oom"], own + 100);
}

fn program_starts_with_no_signal_blocked_or_ignored(t: &Test) {
    let mut c = t.container();
    // Use busybox's grep, because Rust's startup ignores SIGPIPE.
    c.args(&["grep", "^Sig[BI]", "/proc/self/status"]);
    let seen = c.run().ok().stdout;
    let masks: Vec<u64> = seen.lines().map(|l| u64::from_str_radix(l[7..].trim(), 16).unwrap()).collect();
    // The higher bits are the real-time signals, two of which C libraries reserve.
    assert!(masks.iter().all(|m| m & 0x7fff_ffff == 0), "{seen}");
}

fn descriptors_are_only_the_standard_three(t: &Test) {
    let mut c = t.container();
    c.probe("fds");
    let seen = c.run().ok().probe();
    let fds: Vec<&String> = seen["fds"].as_object().unwrap().keys().collect();
    assert_eq!(fds, ["0", "1", "2"]);
}

fn payload_leads_its_own_session_and_outlives_the_runtime(t: &Test) {
    let mut c = t.container();
    c.probe("pid session pdeathsig dumpable");
    let seen = c.run().ok().probe();
    assert_eq!(seen["pid"], 1);
    assert_eq!(seen["session"], json!({"sid": 1, "pgid": 1}));
    assert_eq!(seen["pdeathsig"], 0);
    assert_eq!(seen["dumpable"], 1);
}

fn stdin_stdout_and_stderr_are_the_runtimes(t: &Test) {
    let mut c = t.container();
    c.probe("stdin print out complain err");
    c.write();
    let script = format!(
        "echo typed | {} --root /run/it/state run --bundle {} {}",
        t.runtime_path().display(),
        c.bundle.display(),
        c.id
    );
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &script]);
    let out = t.finish(shell).ok();
    assert_eq!(out.probe().text("stdin"), "typed");
    assert!(out.stdout.starts_with("out\n") && out.stderr == "err\n");
}

/// A runtime without standard streams must not pass other descriptors instead.
fn closed_standard_streams_do_not_leak_descriptors(t: &Test) {
    let mut c = t.container();
    let shared = c.share();
    c.args(&[
        "sh",
        "-c",
        "ls -l /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 > /shared/fds 2>/shared/err; true",
    ]);
    c.write();
    let script = format!(
        "exec {} --root /run/it/state run --bundle {} {} <&- >&- 2>&-",
        t.runtime_path().display(),
        c.bundle.display(),
        c.id
    );
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &script]);
    t.finish(shell).ok();
    let seen = fs::read_to_string(shared.join("fds")).unwrap();
    for line in seen.lines() {
        let target = line.rsplit(" -> ").next().unwrap();
        assert!(target.starts_with("/dev/null") || target.starts_with("/shared/"), "{line}");
    }
}

fn scheduler_and_io_priority_are_set(t: &Test) {
    let mut c = t.container();
    c.probe("scheduling");
    let plain = c.run().ok().probe()["scheduling"].clone();
    assert_eq!(plain["policy"], 0);
    c.config["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 7});
    c.config["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 6});
    let seen = c.run().ok().probe();
    assert_eq!(seen["scheduling"], json!({"policy": 3, "priority": 0, "nice": 7, "io": [2, 6]}));
    c.config["process"]["scheduler"] = json!({"policy": "SCHED_IDLE"});
    c.config["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_IDLE"});
    let seen = c.run().ok().probe();
    // This policy has no nice value, so it stays unchanged.
    let nice = &plain["nice"];
    assert_eq!(seen["scheduling"], json!({"policy": 5, "priority": 0, "nice": nice, "io": [3, 0]}));
}

fn real_time_scheduler_is_set_or_the_missing_right_is_named(t: &Test) {
    t.needs_capability(23, "CAP_SYS_NICE");
    let mut c = t.container();
    c.probe("scheduling");
    c.config["process"]["scheduler"] = json!({"policy": "SCHED_RR", "priority": 3});
    let output = c.run();
    if output.status == 0 {
        assert_eq!(output.probe()["scheduling"]["policy"], 2);
        assert_eq!(output.probe()["scheduling"]["priority"], 3);
    } else {
        output.fails(&["sched_setattr", "cpu.realtimeRuntime"]);
    }
}

/// The kernel's answer to these flags, with a structure that has their values.
#[allow(unsafe_code)]
fn sched_setattr(flags: u64) -> Result<(), nix::Error> {
    let attr: [u64; 7] = [56, flags, 0, 0, 0, 0, 0];
    // SAFETY: 56 bytes, as the first word says; 0 is this thread.
    let r = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, attr.as_ptr(), 0) };
    nix::Error::result(r).map(drop)
}

fn scheduler_flags_reach_the_kernel(t: &Test) {
    for (flags, names) in [
        (0x01, json!(["SCHED_FLAG_RESET_ON_FORK"])),
        (0x20, json!(["SCHED_FLAG_UTIL_CLAMP_MIN"])),
        (0x40, json!(["SCHED_FLAG_UTIL_CLAMP_MAX"])),
        (0x61, json!(["SCHED_FLAG_UTIL_CLAMP_MIN", "SCHED_FLAG_UTIL_CLAMP_MAX", "SCHED_FLAG_RESET_ON_FORK"])),
    ] {
        let mut c = t.container();
        c.config["process"]["scheduler"] = json!({"policy": "SCHED_OTHER", "flags": names});
        let expected = std::thread::spawn(move || sched_setattr(flags)).join().unwrap();
        let out = c.probe("scheduling").run();
        match expected {
            // sched_getscheduler(2) adds a bit for the first of the flags.
            Ok(()) => assert_eq!(out.ok().probe()["scheduling"]["policy"], (flags & 1) << 30, "{names}"),
            Err(nix::Error::EOPNOTSUPP) => {
                out.exits(1).fails(&["(EOPNOTSUPP) (SCHED_FLAG_UTIL_CLAMP_… needs CONFIG_UCLAMP_TASK)"]);
            }
            Err(e) => panic!("{names}: {e}"),
        }
    }
}

fn scheduler_iso_is_refused_by_the_kernel(t: &Test) {
    let mut c = t.container();
    c.config["process"]["scheduler"] = json!({"policy": "SCHED_ISO"});
    c.create().exits(1).fails(&[
        "sched_setattr",
        "invalid argument (EINVAL)",
        "Linux does not have SCHED_ISO",
    ]);
}

fn contradictory_scheduler_is_refused(t: &Test) {
    let mut c = t.container();
    for (scheduler, field) in [
        (json!({"policy": "SCHED_FIFO"}), "process.scheduler.priority"),
        (json!({"policy": "SCHED_OTHER", "priority": 1}), "process.scheduler.priority"),
        (json!({"policy": "SCHED_OTHER", "nice": 20}), "process.scheduler.nice"),
        (json!({"policy": "SCHED_OTHER", "period": 1}), "process.scheduler.period"),
        (json!({"policy": "SCHED_SOON"}), "process.scheduler.policy"),
    ] {
        c.config["process"]["scheduler"] = scheduler;
        c.create().exits(1).fails(&[field]);
    }
}

fn empty_home_is_replaced_from_passwd(t: &Test) {
    let mut c = t.container();
    c.config["process"]["env"] = json!(["HOME=", "PATH=/bin"]);
    c.args(&["cat", "/proc/self/environ"]);
    let out = c.run().ok().stdout.clone();
    let mut env: Vec<&str> = out.split_terminator('\0').collect();
    env.sort_unstable();
    assert_eq!(env, ["HOME=/root", "PATH=/bin"]);
}

fn args_executable_only_by_a_capability_need_that_capability(t: &Test) {
    let mut c = t.container();
    let program = c.rootfs.join("true");
    fs::copy(c.rootfs.join("bin/busybox"), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o744)).unwrap();
    c.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    c.args(&["/true"]);
    c.create().exits(1).fails(&["permission denied"]);
    c.capabilities(&["CAP_DAC_OVERRIDE"]);
    c.run().ok();
}

fn args_are_not_looked_up_in_the_working_directory(t: &Test) {
    let mut c = t.container();
    c.config["process"]["cwd"] = json!("/bin");
    c.args(&["true"]);
    let said = ["not found in $PATH", "cannot run executable found relative to current directory"];
    for env in [json!([]), json!(["PATH="]), json!(["PATH=:/nowhere"]), json!(["PATH=/nowhere:"])] {
        c.config["process"]["env"] = env;
        c.run().fails(&said);
    }
}
