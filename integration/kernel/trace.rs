//! `--trace`: each step of a launch with its process and its time.

use crate::cases;
use crate::common::{Case, Container, Test};
use crate::user_namespaces::mapped;
use embrun::bundle::config;
use embrun::cgroup::planned::CgroupManager;
use embrun::facts::HostFacts;
use embrun::plan::create::{CreatePlan, CreateRequest, compile};
use serde_json::json;
use std::fs;
use std::path::Path;

pub const CASES: &[Case] = cases![
    every_step_of_a_run_appears_once_and_in_order,
    steps_after_a_filter_without_the_clock_have_no_time,
    steps_in_a_time_namespace_have_no_time,
    create_start_and_exec_append_their_steps,
    failed_step_is_the_last_of_its_process,
    trace_that_cannot_be_written_does_not_stop_the_container,
];

/// One line: the time, the process and the step.
#[derive(Debug, Clone, PartialEq)]
struct Line {
    time: Option<u64>,
    process: String,
    step: String,
}

fn lines(text: &str) -> Vec<Line> {
    let read = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let [time, process, step] = fields[..] else { panic!("{line:?}") };
        let time = if time == "-" { None } else { Some(time.parse().expect(line)) };
        Line { time, process: process.into(), step: step.into() }
    };
    text.lines().map(read).collect()
}

fn of<'a>(lines: &'a [Line], process: &str) -> Vec<&'a str> {
    lines.iter().filter(|line| line.process == process).map(|line| line.step.as_str()).collect()
}

/// Runs a command with `--trace` and returns the lines that it appends.
fn appended(t: &Test, file: &Path, args: &[&str]) -> Vec<Line> {
    let before = fs::read_to_string(file).unwrap_or_default();
    t.call(&[&["--trace", file.to_str().unwrap()], args].concat()).ok();
    lines(fs::read_to_string(file).unwrap().strip_prefix(&before).unwrap())
}

fn traced(t: &Test, args: &[&str]) -> Vec<Line> {
    appended(t, &t.path("trace"), args)
}

fn run<'a>(c: &'a Container<'_>) -> [&'a str; 5] {
    // The name of a new keyring is random.
    ["run", "--no-new-keyring", "--bundle", c.bundle.to_str().unwrap(), &c.id]
}

/// The plan of that command, which embrun's library compiles here once more.
fn plan(c: &Container<'_>) -> Box<CreatePlan> {
    let spec = config::parse(fs::read(c.bundle.join("config.json")).unwrap().leak()).unwrap();
    let facts = HostFacts::of_host(&spec, spec.linux.seccomp.as_ref(), CgroupManager::Cgroupfs).unwrap();
    let (id, rootfs) = (c.id.clone().leak(), c.rootfs.to_str().unwrap().to_owned().leak());
    compile(&spec, &CreateRequest { id, rootfs, ..CreateRequest::default() }, &facts).unwrap()
}

fn every_step_of_a_run_appears_once_and_in_order(t: &Test) {
    let mut c = t.container();
    c.args(&["true"]).write();
    let seen = traced(t, &run(&c));
    let plan = plan(&c);
    let init: Vec<String> = plan.launch.init.iter().map(ToString::to_string).collect();
    assert!(init.len() > 30);
    assert_eq!(of(&seen, "init"), init);
    let fixed = |steps: &[&str]| steps.iter().map(ToString::to_string).collect::<Vec<_>>();
    let host = [
        fixed(&["read the command line", "read the bundle", "look at the host", "compile the plan"]),
        fixed(&["reserve the id", "make the cgroup"]),
        plan.prepare.iter().map(ToString::to_string).collect(),
        fixed(&["clone init"]),
        plan.host.iter().map(ToString::to_string).collect(),
        fixed(&["wait for the program to end", "delete the container", "end"]),
    ];
    assert_eq!(of(&seen, "host"), host.concat());
    assert_eq!(seen.len(), init.len() + host.concat().len());
    for process in ["host", "init"] {
        let times: Vec<u64> =
            seen.iter().filter(|line| line.process == process).map(|line| line.time.unwrap()).collect();
        assert!(times.is_sorted(), "{process}: {times:?}");
    }
    // Init begins after the clone, and its program before the host has seen it.
    let time = |step: &str| seen.iter().find(|line| line.step == step).unwrap().time.unwrap();
    assert!(time("clone init") <= time("die with the host process"), "{seen:#?}");
    assert!(time("exec") <= time("wait for the program to end"), "{seen:#?}");
}

fn steps_after_a_filter_without_the_clock_have_no_time(t: &Test) {
    for (denied, timed) in [("clock_gettime", false), ("sethostname", true)] {
        let mut c = t.container();
        let names: &[&str] = if timed { &[denied] } else { &[denied, "clock_gettime64"] };
        c.config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": names, "action": "SCMP_ACT_KILL_PROCESS"}]});
        // Without no_new_privs the filter precedes the privileges.
        c.config["process"]["noNewPrivileges"] = json!(false);
        c.args(&["true"]).write();
        let seen = traced(t, &run(&c));
        let init: Vec<Line> = seen.into_iter().filter(|line| line.process == "init").collect();
        let filter = init.iter().position(|line| line.step == "load the seccomp filter").unwrap();
        assert!(init[..=filter].iter().all(|line| line.time.is_some()), "{init:#?}");
        let after = &init[filter + 1..];
        assert!(after.len() > 5 && after.last().unwrap().step == "exec", "{init:#?}");
        assert!(after.iter().all(|line| line.time.is_some() == timed), "{denied}: {init:#?}");
    }
}

fn steps_in_a_time_namespace_have_no_time(t: &Test) {
    if !Path::new("/proc/self/ns/time").exists() {
        t.skip("the kernel has no time namespaces");
    }
    for is_mapped in [false, true] {
        let mut c = if is_mapped { mapped(t) } else { t.container() };
        c.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "time"}));
        c.config["linux"]["timeOffsets"] = json!({"monotonic": {"secs": 86400}});
        c.args(&["sleep", "1000"]).write();
        let create = traced(t, &["create", "--bundle", c.bundle.to_str().unwrap(), &c.id]);
        t.call(&["start", &c.id]).ok();
        let exec = traced(t, &["exec", &c.id, "true"]);
        for (seen, last) in [(create, "await start"), (exec, "exec")] {
            let (host, clone): (Vec<Line>, Vec<Line>) =
                seen.into_iter().partition(|line| line.process == "host");
            let end = host.last().unwrap().time;
            let timed = clone.iter().take_while(|line| line.time.is_some()).count();
            assert!(timed > 0 && clone[..timed].iter().all(|line| line.time <= end), "{clone:#?}");
            assert!(clone[timed - 1].step.contains("time namespace"), "{clone:#?}");
            assert!(clone[timed..].iter().all(|line| line.time.is_none()), "{clone:#?}");
            assert_eq!(clone.last().unwrap().step, last);
        }
        t.call(&["delete", "--force", &c.id]).ok();
    }
}

fn create_start_and_exec_append_their_steps(t: &Test) {
    let mut c = t.container();
    c.args(&["sleep", "1000"]).write();
    let file = t.path("trace");
    let append = |args: &[&str]| appended(t, &file, args);
    let create = append(&["create", "--bundle", c.bundle.to_str().unwrap(), &c.id]);
    assert_eq!(of(&create, "init").last(), Some(&"await start"));
    assert_eq!(of(&create, "host").last(), Some(&"end"));
    let start = append(&["start", &c.id]);
    assert_eq!(
        of(&start, "host"),
        ["read the command line", "find the container", "call init", "await exec", "end"]
    );
    assert_eq!(start.len(), 5, "{start:#?}");
    let exec = append(&["exec", &c.id, "true"]);
    let (stage, process) = (of(&exec, "stage"), of(&exec, "exec"));
    assert_eq!(stage.last(), Some(&"enter the pid namespace"), "{exec:#?}");
    assert!(stage.contains(&"join the mount namespace") && process.last() == Some(&"exec"), "{exec:#?}");
    assert!(exec.iter().all(|line| line.time.is_some()) && of(&exec, "init").is_empty(), "{exec:#?}");
    assert_eq!(of(&append(&["delete", "--force", &c.id]), "host"), ["read the command line", "end"]);
}

fn failed_step_is_the_last_of_its_process(t: &Test) {
    let mut c = t.container();
    c.mount("/data", "bind", "/nowhere", &["bind"]).args(&["true"]).write();
    let file = t.path("trace");
    let out = t.call(&[&["--trace", file.to_str().unwrap()], &run(&c)[..]].concat());
    out.exits(1).fails(&["/nowhere"]);
    let seen = lines(&fs::read_to_string(file).unwrap());
    let last = of(&seen, "init").last().copied().unwrap();
    assert!(last.contains("/nowhere") && last.contains("/data"), "{seen:#?}");
    assert_eq!(of(&seen, "host").last(), Some(&"end"));
}

fn trace_that_cannot_be_written_does_not_stop_the_container(t: &Test) {
    let mut c = t.container();
    c.args(&["true"]).write();
    t.call(&[&["--trace", "/dev/full"], &run(&c)[..]].concat()).ok();
    // It is refused before anything is made.
    for (path, reason) in [("/nowhere/trace", "ENOENT"), ("/", "EISDIR")] {
        let out = t.call(&[&["--trace", path], &run(&c)[..]].concat());
        out.exits(1).fails(&[&format!("--trace {path}"), reason]);
        assert!(t.call(&["state", &c.id]).status != 0);
    }
}
