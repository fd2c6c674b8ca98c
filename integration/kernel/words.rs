//! Words that runc's test suite and scripts read: debug lines, starts of errors.

use crate::cases;
use crate::common::{Case, Container, Test};
use serde_json::json;
use std::fs;
use std::process::Command;

pub const CASES: &[Case] = cases![
    debug_lines_of_runc_are_logged_in_both_formats,
    debug_lines_name_the_first_processors_and_the_filter_flags,
    errors_on_stderr_have_their_level,
    failed_mount_has_runcs_words_in_front,
    list_of_a_missing_root_fails_if_the_caller_named_it,
    keys_of_the_config_match_in_any_case,
    path_can_be_masked_twice,
    denied_access_may_end_with_the_letter_a,
];

fn has_all(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "no {word:?} in {said}");
    }
}

/// The options of `run` for a log in a format, and the log's file.
fn logged(c: &Container<'_>, command: &[&str], format: &str) -> String {
    let log = c.test.path("log");
    let options = ["--debug", "--log", log.to_str().unwrap(), "--log-format", format];
    let out = c.test.call(&[&options, command].concat()).ok();
    assert!(!out.stderr.contains("debug"), "{}", out.stderr);
    let said = fs::read_to_string(&log).unwrap();
    fs::remove_file(log).unwrap();
    said
}

fn debug_lines_of_runc_are_logged_in_both_formats(t: &Test) {
    const CLONED: [&str; 2] = ["nsexec container setup", "child process in init()"];
    let mut c = t.container();
    c.probe("say").write();
    let bundle = c.bundle.to_str().unwrap();
    let run = ["run", "--bundle", bundle, &c.id];
    for (format, level) in [("text", "level=debug msg=\""), ("json", r#""level":"debug""#)] {
        let said = logged(&c, &run, format);
        has_all(&said, &CLONED);
        has_all(&said, &[level, "init: closing the pipe to signal completion"]);
    }
    // Without a file, stderr is the log.
    let out = t.call(&[&["--debug"], &run[..]].concat()).ok();
    has_all(&out.stderr, &["level=debug msg=\"", "init: closing the pipe to signal completion"]);
    c.probe("pause").up();
    for format in ["text", "json"] {
        let said = logged(&c, &["exec", &c.id, "probe", "say"], format);
        has_all(&said, &CLONED);
        has_all(&said, &["setns_init: about to exec"]);
    }
    c.remove();
}

fn debug_lines_name_the_first_processors_and_the_filter_flags(t: &Test) {
    let mut c = t.container();
    c.config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "syscalls": [{"names": ["mount"], "action": "SCMP_ACT_ERRNO"}]});
    c.config["process"]["execCPUAffinity"] = json!({"initial": "0"});
    c.probe("pause").up();
    let out = t.call(&["--debug", "exec", &c.id, "probe", "say"]).ok();
    has_all(&out.stderr, &["nsexec: affinity: 0x1\"", "msg=\"seccomp filter flags: 2\""]);
    has_all(&out.stderr, &["msg=\"runc exeseal: using /proc/self/exe clone\""]);
    c.remove();
}

fn errors_on_stderr_have_their_level(t: &Test) {
    let no = ["start", "no-such-container"];
    let plain = t.call(&no).exits(1);
    let debug = t.call(&[&["--debug"], &no[..]].concat()).exits(1);
    assert!(debug.stderr.contains("level=error msg=\""), "{}", debug.stderr);
    let either = ["error: ", "level=error "];
    assert!(either.iter().any(|word| plain.stderr.contains(word)), "{}", plain.stderr);
}

fn failed_mount_has_runcs_words_in_front(t: &Test) {
    let mut c = t.container();
    c.mount("/mnt", "bind", "/no/such/source", &["bind"]);
    let failed = c.probe("say").run().exits(1);
    let words =
        "runc run failed: unable to start container process: error during container init: error mounting";
    has_all(&failed.stderr, &[words, "/no/such/source", "no such file or directory"]);
}

fn list_of_a_missing_root_fails_if_the_caller_named_it(t: &Test) {
    let missing = t.path("missing");
    let list = |args: &[&str]| {
        let mut command = Command::new(t.runtime_path());
        command.args(args);
        t.finish(command)
    };
    list(&["--root", missing.to_str().unwrap(), "list"])
        .exits(1)
        .fails(&["missing: no such file or directory"]);
    assert!(!missing.exists());
    // The default is in an empty /run.
    list(&["list", "--quiet"]).ok();
}

fn keys_of_the_config_match_in_any_case(t: &Test) {
    let mut c = t.container();
    let process = c.config["process"].take();
    c.config.as_object_mut().unwrap().remove("process");
    c.config["Process"] = process;
    c.config["HOSTNAME"] = json!("any-case");
    c.config.as_object_mut().unwrap().remove("hostname");
    c.config["Process"]["ARGS"] = json!(["cat", "/proc/sys/kernel/hostname"]);
    c.config["Process"].as_object_mut().unwrap().remove("args");
    assert_eq!(c.run().ok().stdout, "any-case\n");
}

fn path_can_be_masked_twice(t: &Test) {
    let mut c = t.container();
    fs::create_dir_all(c.rootfs.join("dir/deep")).unwrap();
    fs::write(c.rootfs.join("dir/deep/file"), "hidden").unwrap();
    fs::write(c.rootfs.join("file"), "hidden").unwrap();
    let twice = ["/dir", "/dir", "/file", "/file", "/dir/deep", "/dir/../dir"];
    c.config["linux"]["maskedPaths"] = json!(twice);
    c.args(&["sh", "-c", "cat /file; ls -A /dir"]);
    assert_eq!(c.run().ok().stdout, "");
}

/// runc's own tests deny `rwa`.
fn denied_access_may_end_with_the_letter_a(t: &Test) {
    t.needs_controller("devices");
    let mut c = t.container();
    let deny = |access| json!({"allow": false, "type": "c", "major": 10, "minor": 229, "access": access});
    let all = json!({"allow": true, "access": "rwm"});
    c.config["linux"]["resources"] = json!({"devices": [all, deny("rwa")]});
    c.config["linux"]["devices"] = json!([{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}]);
    c.args(&["sh", "-c", "(exec < /dev/fuse) || echo refused"]);
    assert_eq!(c.run().ok().stdout, "refused\n");
}
