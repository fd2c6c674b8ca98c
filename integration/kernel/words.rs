//! Words that runc's test suite and scripts read: debug lines, starts of errors.

use crate::cases;
use crate::common::{Case, Container, Test};
use serde_json::json;
use std::fs;

pub const CASES: &[Case] = cases![
    debug_lines_of_runc_are_logged_in_both_formats,
    debug_lines_name_the_first_processors_and_the_filter_flags,
    errors_on_stderr_have_their_level,
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
