//! The memory of commands: a gateway has little, and others write configurations.

use crate::cases;
use crate::common::{Case, Container, Test};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::process::Command;

pub const CASES: &[Case] = cases![
    one_long_annotation_needs_bounded_memory,
    many_annotations_need_bounded_memory,
    many_escaped_annotations_need_bounded_memory,
    many_variables_need_bounded_memory,
    many_repeated_variables_need_bounded_memory,
    many_arguments_need_bounded_memory,
    many_mounts_need_bounded_memory,
    many_hooks_need_bounded_memory,
    many_masked_paths_need_bounded_memory,
    many_system_calls_need_bounded_memory,
    many_filter_rules_need_bounded_memory,
    ignored_values_need_bounded_memory,
    ignored_objects_need_bounded_memory,
    list_needs_the_memory_of_one_container,
];

/// The limit for a command's memory, as a multiple of the configuration's size.
///
/// The memory that it needs for a small configuration comes on top.
const TIMES: u64 = 6;
/// The difference between two runs of one command, in KiB.
const NOISE: u64 = 256;

/// The peak memory of the runtime or a child that it waited for, in KiB.
#[track_caller]
fn peak(t: &Test, args: &[&str]) -> u64 {
    // A program inherits the peak of the process that starts it, and the probe is small.
    let mut command = Command::new(t.rootfs().join("bin/probe"));
    let runtime = t.command(args);
    command.args(["peak", &(runtime.get_args().len() + 1).to_string()]);
    command.arg(runtime.get_program()).args(runtime.get_args());
    let probed = t.finish(command).ok().probe();
    probed.result("peak 0").as_u64().unwrap()
}

/// The peak memory of a process so far, in KiB.
fn peak_of(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Every command that reads a configuration or the state, with its peak memory.
fn every_command(c: &Container<'_>) -> Vec<(&'static str, u64)> {
    let t = c.test;
    let bundle = c.bundle.to_str().unwrap();
    let file = t.path("pid");
    let create = ["create", "--bundle", bundle, "--pid-file", file.to_str().unwrap(), &c.id];
    let mut peaks = vec![("create", peak(t, &create))];
    peaks.push(("init", peak_of(std::fs::read_to_string(&file).unwrap().parse().unwrap())));
    peaks.push(("state", peak(t, &["state", &c.id])));
    peaks.push(("start", peak(t, &["start", &c.id])));
    peaks.push(("exec", peak(t, &["exec", &c.id, "true"])));
    peaks.push(("list", peak(t, &["list", "--format", "json"])));
    peaks.push(("update", peak(t, &["update", "--pids-limit", "1000", &c.id])));
    peaks.push(("kill", peak(t, &["kill", &c.id, "KILL"])));
    peaks.push(("delete", peak(t, &["delete", "--force", &c.id])));
    peaks
}

/// Writes the container's config with one member replaced by this text.
fn write(c: &Container<'_>, pointer: &str, text: &str) -> u64 {
    let mut config = c.config.clone();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    config.pointer_mut(parent).unwrap()[key] = json!("@HERE");
    let whole = config.to_string().replacen("\"@HERE\"", text, 1);
    std::fs::write(c.bundle.join("config.json"), &whole).unwrap();
    whole.len() as u64 / 1024
}

/// Checks that each command needs little more than six times the text's size.
///
/// The container's config has the text at `pointer`.
fn within_bounds(t: &Test, args: &[&str], pointer: &str, text: &str) {
    t.needs_controller("pids");
    let mut c = t.container();
    c.args(&["sleep", "1000"]);
    c.write();
    let small = every_command(&c);
    let size = write(&c, pointer, text);
    let mut failed = String::new();
    let mut compare = |command: &str, small: u64, large: u64| {
        println!(
            "{command}: {large} KiB for {size} KiB, {small} KiB for a small config: {:.1} times",
            (large.saturating_sub(small)) as f64 / size as f64
        );
        if large > small + TIMES * size + NOISE {
            let _ = writeln!(
                failed,
                "{command}: {large} KiB for a config of {size} KiB ({small} for a small one)"
            );
        }
    };
    for ((command, small), (_, large)) in small.iter().zip(every_command(&c)) {
        compare(command, *small, large);
    }
    c.args(args);
    let bundle = c.bundle.to_str().unwrap();
    c.write();
    let small = peak(t, &["run", "--bundle", bundle, &c.id]);
    write(&c, pointer, text);
    compare("run", small, peak(t, &["run", "--bundle", bundle, &c.id]));
    assert!(failed.is_empty(), "{failed}");
}

/// This many items, separated by commas.
fn items(count: usize, item: impl Fn(usize) -> String) -> String {
    (0..count).map(item).collect::<Vec<_>>().join(",")
}

/// The items of a list of the small config, followed by these.
fn and_more(t: &Test, pointer: &str, more: &str) -> String {
    let c = t.container();
    let Some(Value::Array(first)) = c.config.pointer(pointer) else { panic!("{pointer} is no list") };
    let first: Vec<String> = first.iter().map(Value::to_string).collect();
    format!("[{},{more}]", first.join(","))
}

fn one_long_annotation_needs_bounded_memory(t: &Test) {
    within_bounds(t, &["true"], "/annotations", &format!(r#"{{"a":"{}"}}"#, "x".repeat(1 << 20)));
}

fn many_annotations_need_bounded_memory(t: &Test) {
    within_bounds(
        t,
        &["true"],
        "/annotations",
        &format!("{{{}}}", items(200_000, |i| format!(r#""{i:x}":"v{i}""#))),
    );
}

fn many_escaped_annotations_need_bounded_memory(t: &Test) {
    let text = items(50_000, |i| format!(r#""\u0041\n{i}":"\"\\\u00e9\t{i}""#));
    within_bounds(t, &["true"], "/annotations", &format!("{{{text}}}"));
    within_bounds(t, &["true"], "/annotations", &format!(r#"{{"a":"{}"}}"#, r"\n".repeat(1 << 20)));
}

fn many_variables_need_bounded_memory(t: &Test) {
    let text = items(120_000, |i| format!(r#""V{i}=1""#));
    within_bounds(t, &["true"], "/process/env", &and_more(t, "/process/env", &text));
}

fn many_repeated_variables_need_bounded_memory(t: &Test) {
    let text = items(60_000, |i| format!(r#""V{}={i}""#, i / 2));
    within_bounds(t, &["true"], "/process/env", &and_more(t, "/process/env", &text));
}

fn many_arguments_need_bounded_memory(t: &Test) {
    // The program sleeps long enough for every command, and `run` waits for it.
    let text = items(120_000, |i| format!(r#""a{i}""#));
    within_bounds(t, &["true"], "/process/args", &format!(r#"["sh","-c","sleep 10",{text}]"#));
}

fn many_mounts_need_bounded_memory(t: &Test) {
    let one = |i| {
        format!(
            r#"{{"destination":"/tmp/m{i}","type":"tmpfs","source":"tmpfs","options":["nosuid","size=4k"]}}"#
        )
    };
    let tmp = r#"{"destination":"/tmp","type":"tmpfs","source":"tmpfs"}"#;
    let text = format!("{tmp},{}", items(2000, one));
    within_bounds(t, &["true"], "/mounts", &and_more(t, "/mounts", &text));
}

fn many_hooks_need_bounded_memory(t: &Test) {
    // The state is 256 KiB, and each hook gets it.
    let mut c = t.container();
    c.config["annotations"] = json!({"a": "x".repeat(256 << 10)});
    let hooks = items(12, |_| r#"{"path":"/bin/true","args":["true","a"],"env":["A=b"]}"#.into());
    c.args(&["sleep", "1000"]);
    let bundle = c.bundle.to_str().unwrap();
    c.write();
    let small = peak(t, &["run", "--bundle", bundle, "--detach", &c.id]);
    c.remove();
    for kind in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
        c.config["hooks"] = serde_json::from_str(&format!(r#"{{"{kind}":[{hooks}]}}"#)).unwrap();
        c.write();
        let run = peak(t, &["run", "--bundle", bundle, "--detach", &c.id]);
        let init = peak_of(c.pid());
        let delete = peak(t, &["delete", "--force", &c.id]);
        println!("{kind}: run {run} KiB, init {init} KiB, delete {delete} KiB; without hooks {small} KiB");
        let most = small + TIMES * 256;
        assert!(run < most && delete < most, "{kind}");
    }
}

fn many_masked_paths_need_bounded_memory(t: &Test) {
    let text = items(100_000, |i| format!(r#""/no/{i}""#));
    within_bounds(t, &["true"], "/linux/maskedPaths", &format!("[{text}]"));
    within_bounds(t, &["true"], "/linux/readonlyPaths", &format!("[{text}]"));
}

fn many_system_calls_need_bounded_memory(t: &Test) {
    let text =
        items(300_000, |i| format!(r#""{}""#, ["mkdir", "reboot", "kexec_load", "no_such_call"][i % 4]));
    let filter = format!(
        r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{{"names":[{text}],"action":"SCMP_ACT_ERRNO"}}]}}"#
    );
    within_bounds(t, &["true"], "/linux/seccomp", &filter);
}

fn many_filter_rules_need_bounded_memory(t: &Test) {
    let rules = items(50_000, |i| {
        format!(r#"{{"names":["{}"],"action":"SCMP_ACT_ERRNO"}}"#, ["mkdir", "reboot", "no_such_call"][i % 3])
    });
    let filter = format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{rules}]}}"#);
    within_bounds(t, &["true"], "/linux/seccomp", &filter);
}

fn ignored_values_need_bounded_memory(t: &Test) {
    within_bounds(t, &["true"], "/x", &format!("[{}]", items(1 << 20, |_| "1".into())));
    within_bounds(t, &["true"], "/linux/x", &format!("[{}]", items(1 << 20, |_| "{}".into())));
    let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    within_bounds(t, &["true"], "/x", &format!("[{}]", items(10_000, |_| nested(120))));
}

fn ignored_objects_need_bounded_memory(t: &Test) {
    within_bounds(t, &["true"], "/x", &format!("{{{}}}", items(200_000, |i| format!(r#""{i:x}":{i}"#))));
}

fn list_needs_the_memory_of_one_container(t: &Test) {
    let list = |format| ["list", "--format", format];
    let mut all = Vec::new();
    let mut peaks = Vec::new();
    for n in 1..=6 {
        let mut c = t.container();
        c.args(&["sleep", "1000"]);
        c.config["annotations"] = json!({"a": "x".repeat(1 << 18)});
        c.create().ok();
        all.push(c);
        if n == 1 || n == 6 {
            peaks.push(["json", "table"].map(|format| peak(t, &list(format))));
        }
    }
    let listed: Value = serde_json::from_str(&t.call(&list("json")).ok().stdout).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 6);
    all.iter().for_each(Container::remove);
    println!("one and six: {peaks:?} KiB");
    for (one, six) in peaks[0].iter().zip(peaks[1]) {
        // Both have the noise; five more containers would need five times 256 KiB.
        assert!(six <= one + 2 * NOISE, "{peaks:?}");
    }
}
