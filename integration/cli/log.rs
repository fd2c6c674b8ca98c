//! `--log` and `--log-format`, which containerd's shim and podman read.

use std::os::unix::fs::PermissionsExt as _;

use crate::{Scratch, read};

#[test]
fn error_is_written_to_the_log_and_stderr() {
    let s = Scratch::new();
    let log = s.path("log.json");
    for _ in 0..2 {
        s.call(&["--log", &log, "--log-format", "json", "state", "web"])
            .fails("state web: container does not exist");
    }
    let text = read(&log);
    assert_eq!(text.lines().count(), 2);
    for line in text.lines() {
        let json: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(json["level"], "error");
        assert_eq!(json["msg"], "state web: container does not exist");
        let time = json["time"].as_str().unwrap();
        assert_eq!((time.len(), &time[10..11], &time[19..]), (20, "T", "Z"), "{time}");
        assert_eq!(json.as_object().unwrap().len(), 3);
    }
    let mode = std::fs::metadata(&log).unwrap().permissions().mode();
    assert_eq!(mode & 0o777 & !0o022, 0o644 & !0o022);
}

#[test]
fn text_log_is_formatted_like_logrus() {
    let s = Scratch::new();
    let log = s.path("log");
    s.call(&["--log", &log, "kill", "web", "TERM"]).fails("kill web: container does not exist");
    let text = read(&log);
    assert!(
        text.starts_with("time=\"20")
            && text.ends_with("level=error msg=\"kill web: container does not exist\"\n")
    );
}

#[test]
fn misuse_is_logged() {
    let s = Scratch::new();
    let log = s.path("log.json");
    let said = s.call(&["--log", &log, "--log-format=json", "start", "--bogus", "web"]);
    said.fails("flag provided but not defined: -bogus (--help lists the options)");
    let json: serde_json::Value = serde_json::from_str(&read(&log)).unwrap();
    assert_eq!(json["msg"], "flag provided but not defined: -bogus (--help lists the options)");
}

#[test]
fn success_writes_no_line() {
    let s = Scratch::with_root();
    let log = s.path("log.json");
    s.call(&["--log", &log, "--log-format", "json", "list"]).ok();
    assert_eq!(read(&log), "");
}

/// crun uses these names for logs that are not files.
#[test]
fn other_log_targets_create_no_file() {
    let s = Scratch::new();
    for log in ["journald:web", "syslog:web"] {
        s.shell(&format!("$E --log={log} state web")).fails("state web: container does not exist");
    }
    assert_eq!(std::fs::read_dir(&s.0).unwrap().count(), 0);
}

#[test]
fn unopenable_log_is_named() {
    let s = Scratch::new();
    let log = s.path("nowhere/log");
    let line = format!("open log file {log}: no such file or directory (ENOENT)");
    s.call(&["--log", &log, "list"]).fails(&line);
}

#[test]
fn unwritable_log_does_not_hide_the_error() {
    let s = Scratch::new();
    let says = "state web: container does not exist";
    s.call(&["--log", "/dev/full", "state", "web"]).fails(says);
    // Ignoring SIGXFSZ turns the file size limit into an error of write(2).
    s.shell("ulimit -f 0; $E --log log state web").fails(says);
}

/// The user of an engine knows its options, not the configuration.
#[test]
fn refusal_names_the_engines_option_if_there_is_a_log() {
    let s = Scratch::new();
    std::fs::create_dir_all(s.path("b/rootfs")).unwrap();
    let config = r#"{"ociVersion":"1.0.2","process":{"args":["x"],"cwd":"/","user":{"uid":0,"gid":0}},"root":{"path":"rootfs"},
        "linux":{"namespaces":[{"type":"mount"}]},
        "mounts":[{"destination":"/a","source":"/","options":["bind","noexce"]}]}"#;
    std::fs::write(s.path("b/config.json"), config).unwrap();
    let (bundle, log) = (s.path("b"), s.path("log"));
    let create = ["create", "--bundle", &bundle, "web"];
    let end = |option: &str| {
        let by_hand = "create web: mounts[0].options: \"noexce\" is no option of a bind mount; ";
        format!("{by_hand}{option}")
    };
    s.call(&create).fails(&end("remove it"));
    let by_engine = [&["--log", &log][..], &create].concat();
    s.call(&by_engine).fails(&end("change --volume, --mount or --tmpfs"));
    let by_conmon = ["create", "--bundle", &bundle, "--pid-file", &s.path("pid"), "web"];
    s.call(&by_conmon).fails(&end("change --volume, --mount or --tmpfs"));
}

#[test]
fn trace_has_the_steps_of_the_command() {
    let s = Scratch::new();
    let trace = s.path("trace");
    s.call(&["--trace", &trace, "state", "web"]).fails("state web: container does not exist");
    s.call(&["--trace", &trace, "features"]).ok();
    let text = read(&trace);
    let steps: Vec<&str> = text.lines().map(|line| line.split_once('\t').unwrap().1).collect();
    let [begin, end] = ["host\tread the command line", "host\tend"];
    assert_eq!(steps, [begin, end, begin, end]);
    let times = text.lines().map(|line| line.split_once('\t').unwrap().0.parse::<u64>().unwrap());
    assert!(times.max().unwrap() < 60_000_000, "{text}");
    let missing = s.path("no/trace");
    let error = format!("--trace {missing}: no such file or directory (ENOENT)");
    s.call(&["--trace", &missing, "features"]).fails(&error);
    // An empty path means no trace, as for the log.
    s.call(&["--trace=", "features"]).ok();
}
