//! `exec`: the properties of the process, from options or from a file.

use crate::cases;
use crate::common::{Case, Test};
use crate::exec::up;
use serde_json::json;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

pub const CASES: &[Case] = cases![
    flags_set_args_env_cwd_and_user,
    flags_set_groups_and_capabilities,
    no_new_privs_comes_from_the_flag_or_the_config,
    flags_after_the_id_belong_to_the_command,
    non_utf8_arguments_and_environment_are_kept,
    process_file_sets_every_field,
    process_file_sets_oom_score_adj_and_umask,
    non_numeric_user_is_refused,
    process_file_may_be_a_pipe,
    inheritable_cap_becomes_ambient_for_a_non_root_user,
    unsupported_process_fields_are_refused,
    scheduler_that_a_clone_resets_is_set,
];

fn flags_set_args_env_cwd_and_user(t: &Test) {
    let c = up(t);
    let flags = ["--env", "A=1", "--env", "B=2", "--cwd", "/tmp", "--user", "1000:1001"];
    let seen = c.exec_with(&flags, &["probe", "env", "cwd", "ids", "caps", "argv"]).ok().probe();
    assert_eq!((&seen["env"]["A"], &seen["env"]["B"]), (&json!("1"), &json!("2")));
    assert_eq!(seen["env"]["PATH"], "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    assert_eq!(seen["cwd"], "/tmp");
    assert_eq!((&seen["ids"]["uid"][0], &seen["ids"]["gid"][0]), (&json!(1000), &json!(1001)));
    assert_eq!(seen["caps"]["CapEff"], "0000000000000000");
    assert_eq!(seen["argv"][0], "probe");
    c.remove();
}

fn flags_set_groups_and_capabilities(t: &Test) {
    let c = up(t);
    let flags = ["--additional-gids", "7", "--additional-gids", "8", "--cap", "CAP_NET_RAW"];
    let seen = c.exec_with(&flags, &["probe", "ids", "caps"]).ok().probe();
    let groups = seen["ids"]["groups"].as_array().unwrap();
    assert!(groups.contains(&json!(7)) && groups.contains(&json!(8)), "{groups:?}");
    let effective = u64::from_str_radix(seen["caps"]["CapEff"].as_str().unwrap(), 16).unwrap();
    assert_ne!(effective & 1 << 13, 0, "{effective:x}");
    assert_eq!(seen["caps"]["CapInh"], "0000000000000000");
    c.remove();
}

fn no_new_privs_comes_from_the_flag_or_the_config(t: &Test) {
    let mut c = t.container();
    c.probe("pause");
    c.config["process"]["noNewPrivileges"] = json!(false);
    c.up();
    assert_eq!(c.exec(&["probe", "nnp"]).ok().probe()["nnp"], 0);
    assert_eq!(c.exec_with(&["--no-new-privs"], &["probe", "nnp"]).ok().probe()["nnp"], 1);
    c.remove();
}

fn flags_after_the_id_belong_to_the_command(t: &Test) {
    let c = up(t);
    let seen = c.exec(&["echo", "--env", "-t", "--help"]).ok();
    assert_eq!(seen.stdout, "--env -t --help\n");
    c.remove();
}

fn non_utf8_arguments_and_environment_are_kept(t: &Test) {
    let mut c = t.container();
    c.config["root"]["readonly"] = json!(false);
    c.probe("pause");
    c.up();
    // Latin-1, a truncated character, and a character that is used internally for such bytes.
    let odd: &[u8] = b"caf\xe9 \xe2\x82 \xc3\xa9 \xf4\x8f\xbf\xbf.";
    let odd = OsStr::from_bytes(odd);
    let exec = |flags: &[&OsStr], args: &[&OsStr]| {
        let mut command = t.command(&["exec"]);
        command.args(flags).arg(&c.id).args(args);
        t.finish(command)
    };
    let word = |w: &'static str| OsStr::new(w);
    fs::write(c.rootfs.join("tmp").join(odd), "found").unwrap();
    let cat = exec(&[], &[word("cat"), OsStr::from_bytes(&[b"/tmp/", odd.as_bytes()].concat())]);
    assert_eq!(cat.ok().stdout, "found");
    let pair = [b"ODD=", odd.as_bytes()].concat();
    let script = "printf %s \"$ODD\" > /tmp/value; printf %s \"$1\" >> /tmp/value";
    let args = [word("sh"), word("-c"), word(script), word("sh"), odd];
    exec(&[word("--env"), OsStr::from_bytes(&pair)], &args).ok();
    assert_eq!(fs::read(c.rootfs.join("tmp/value")).unwrap(), [odd.as_bytes(), odd.as_bytes()].concat());

    // Then the program itself by its path and on PATH, a PATH with such bytes, and a missing program.
    let bin = c.rootfs.join("tmp").join(OsStr::from_bytes(b"bin\xff"));
    fs::create_dir(&bin).unwrap();
    fs::write(bin.join(odd), "#!/bin/sh\necho runs\n").unwrap();
    fs::set_permissions(bin.join(odd), fs::Permissions::from_mode(0o755)).unwrap();
    let path = [b"/tmp/bin\xff/", odd.as_bytes()].concat();
    assert_eq!(exec(&[], &[OsStr::from_bytes(&path)]).ok().stdout, "runs\n");
    let path = [word("--env"), OsStr::from_bytes(b"PATH=/tmp/bin\xff:/bin")];
    assert_eq!(exec(&path, &[odd]).ok().stdout, "runs\n");
    for (name, says) in [
        (
            &b"/no/\xffsuch"[..],
            r#"exec: "/no/\xffsuch": stat /no/\xffsuch: no such file or directory (ENOENT)"#,
        ),
        (b"no\xffsuch", r#"exec: "no\xffsuch": executable file not found in $PATH"#),
    ] {
        let log = t.path("log");
        let mut command = t.command(&["--log", log.to_str().unwrap(), "--log-format", "json", "exec", &c.id]);
        command.arg(OsStr::from_bytes(name));
        t.finish(command).exits(255).fails(&[says]);
        let line: serde_json::Value = serde_json::from_str(&fs::read_to_string(&log).unwrap()).unwrap();
        assert!(line["msg"].as_str().unwrap().contains(says), "{line}");
    }
    c.remove();
}

fn process_file_sets_every_field(t: &Test) {
    let c = up(t);
    let file = t.path("process.json");
    let process = json!({
        "args": ["probe", "env", "cwd", "ids", "rlimits", "nnp", "caps"],
        "env": ["PATH=/bin", "X=y"], "cwd": "/tmp",
        "user": {"uid": 1000, "gid": 1000, "additionalGids": [9]},
        "rlimits": [{"type": "RLIMIT_CORE", "soft": 33, "hard": 44}],
        "noNewPrivileges": true,
        "capabilities": {"bounding": ["CAP_KILL"], "permitted": [], "effective": [], "inheritable": []},
    });
    fs::write(&file, process.to_string()).unwrap();
    let seen = c.call(&["exec", "--process", file.to_str().unwrap()]).ok().probe();
    assert_eq!((&seen["env"]["X"], &seen["cwd"]), (&json!("y"), &json!("/tmp")));
    assert_eq!(seen["ids"]["uid"], json!([1000, 1000, 1000]));
    assert!(seen["ids"]["groups"].as_array().unwrap().contains(&json!(9)));
    assert_eq!(seen["rlimits"]["Max core file size"], json!(["33", "44"]));
    assert_eq!(seen["nnp"], 1);
    assert_eq!(seen["caps"]["CapBnd"], format!("{:016x}", 1 << 5));
    c.remove();
}

fn process_file_sets_oom_score_adj_and_umask(t: &Test) {
    let c = up(t);
    let file = t.path("process.json");
    let process = json!({
        "args": ["probe", "oom", "umask"], "env": ["PATH=/bin"], "cwd": "/",
        "user": {"uid": 0, "gid": 0, "umask": 0o77}, "oomScoreAdj": 500,
    });
    fs::write(&file, process.to_string()).unwrap();
    let seen = c.call(&["exec", "--process", file.to_str().unwrap()]).ok().probe();
    assert_eq!((&seen["oom"], &seen["umask"]), (&json!(500), &json!(0o77)));
    c.remove();
}

/// The highest number is refused too: system calls read it as "no change".
///
/// The process would stay root.
fn non_numeric_user_is_refused(t: &Test) {
    let c = up(t);
    for (user, ids) in [("1", [1, 0]), ("1:2", [1, 2])] {
        let seen = c.exec_with(&["--user", user], &["probe", "ids"]).ok().probe();
        assert_eq!([&seen["ids"]["uid"][0], &seen["ids"]["gid"][0]], ids, "{user}");
    }
    let users = [
        "nobody",
        ":5",
        "-1",
        "+7",
        "4294967295",
        "4294967296",
        "1:",
        "1:x",
        "1 ",
        "1 2",
        "",
        "7:4294967295",
    ];
    let groups = ["staff", "-1", "+7", "4294967295", "4294967296", ""];
    let flags = users.map(|u| ("--user", u)).into_iter().chain(groups.map(|g| ("--additional-gids", g)));
    for (flag, value) in flags {
        let refused = c.exec_with(&[flag, value], &["probe", "ids"]).exits(255).fails(&[flag]);
        assert_eq!(refused.stdout, "", "{flag} {value:?}: the program has run");
    }
    c.remove();
}

fn unsupported_process_fields_are_refused(t: &Test) {
    let c = up(t);
    let file = t.path("process.json");
    for (key, value) in [
        ("apparmorProfile", json!("some")),
        ("selinuxLabel", json!("system_u:object_r:some_t:s0")),
        ("execCPUAffinity", json!({"final": "3-"})),
        ("scheduler", json!({"policy": "SCHED_FIFO"})),
    ] {
        let process = json!({"args": ["true"], "cwd": "/", "user": {"uid": 0, "gid": 0}, key: value});
        fs::write(&file, process.to_string()).unwrap();
        t.call(&["exec", "--process", file.to_str().unwrap(), &c.id])
            .exits(255)
            .fails(&[&format!("process.{key}")]);
    }
    c.remove();
}

fn process_file_may_be_a_pipe(t: &Test) {
    let c = up(t);
    let process =
        json!({"args": ["probe", "pid"], "cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["PATH=/bin"]});
    let command = t.command(&["exec", "--process", "/proc/self/fd/0", &c.id]);
    let mut shell = Command::new("sh");
    // The content arrives late, so exec must wait for it.
    shell.args(["-c", r#"(sleep 0.2; printf '%s' "$0") | "$@""#]).arg(process.to_string());
    shell.arg(command.get_program()).args(command.get_args());
    assert!(t.finish(shell).ok().probe()["pid"].as_i64().unwrap() > 1);
    c.remove();
}

fn inheritable_cap_becomes_ambient_for_a_non_root_user(t: &Test) {
    let mut c = t.container();
    c.config["process"]["capabilities"]["inheritable"] = json!(["CAP_CHOWN"]);
    c.config["process"]["capabilities"]["bounding"] = json!(["CAP_CHOWN", "CAP_KILL"]);
    c.probe("pause");
    c.up();
    let seen = c
        .exec_with(&["--user", "5", "--cap", "CAP_CHOWN", "--cap", "CAP_KILL"], &["probe", "caps"])
        .ok()
        .probe();
    assert_eq!(
        (&seen["caps"]["CapAmb"], &seen["caps"]["CapEff"]),
        (&json!("0000000000000001"), &json!("0000000000000001"))
    );
    c.remove();
}

/// An exec clones once more to enter the pid namespace; a deadline process cannot.
fn scheduler_that_a_clone_resets_is_set(t: &Test) {
    t.needs_capability(23, "CAP_SYS_NICE");
    let c = up(t);
    let deadline =
        json!({"policy": "SCHED_DEADLINE", "runtime": 42_000, "deadline": 100_000, "period": 1_000_000});
    let mut reset = deadline.clone();
    reset["flags"] = json!(["SCHED_FLAG_RESET_ON_FORK"]);
    let batch = json!({"policy": "SCHED_BATCH", "nice": 3, "flags": ["SCHED_FLAG_RESET_ON_FORK"]});
    // sched_getscheduler(2) adds a bit for the flag.
    for (scheduler, policy) in [(batch, 3 | 1 << 30), (reset, 6 | 1 << 30), (deadline, 6)] {
        let process = json!({"args": ["probe", "scheduling"], "cwd": "/", "scheduler": scheduler,
            "user": {"uid": 1000, "gid": 1000}, "env": ["PATH=/bin:/usr/bin"]});
        let file = t.path("process.json");
        fs::write(&file, process.to_string()).unwrap();
        let out = c.exec_with(&["--process", file.to_str().unwrap()], &[]);
        if out.status != 0 && policy & 7 == 6 {
            // The processors of the cgroup are not all, or their time is taken.
            out.fails(&["sched_setattr"]);
            continue;
        }
        assert_eq!(out.ok().probe()["scheduling"]["policy"], policy, "{process}");
    }
    c.remove();
}
