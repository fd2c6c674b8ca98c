//! The outermost process: selects the tests and runs each in a cage.
//!
//! It prints the results in the form of cargo's own test runner.

use super::{Case, cage, known, test};
use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The outcome of a test.
enum Verdict {
    Passed,
    Skipped(String),
    /// It failed, as the table in `known` expects for this runtime.
    Differs(&'static str),
    Failed,
}

struct Options {
    filters: Vec<String>,
    skips: Vec<String>,
    exact: bool,
    list: bool,
    on_demand: bool,
    show: bool,
    threads: usize,
}

/// Runs the selected cases; `on_demand` ones need `--ignored` or their full name.
pub fn run(cases: &[&[Case]], on_demand: &[&[Case]]) -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let all = || cases.iter().chain(on_demand).copied().flatten();
    match args.first().map(String::as_str) {
        Some("--cage") => return cage::enter(&args[1]),
        Some("--inside") => {
            let case = all().find(|c| short(c.name) == args[1]).expect("the runner passes a known name");
            return test::perform(case);
        }
        _ => {}
    }
    let options = options(&args);
    let chosen: Vec<&Case> = if options.on_demand {
        on_demand.iter().copied().flatten().filter(|c| options.wants(c)).collect()
    } else {
        cases.iter().copied().flatten().filter(|c| options.wants(c)).collect()
    };
    if options.list {
        chosen.iter().for_each(|c| println!("{}: test", short(c.name)));
        return ExitCode::SUCCESS;
    }
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!("the kernel tests create real containers and need root");
        return ExitCode::FAILURE;
    }
    perform(&chosen, &options)
}

/// The name of a test without the crate.
pub fn short(name: &str) -> &str {
    name.split_once("::").map_or(name, |(_, rest)| rest)
}

fn options(args: &[String]) -> Options {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let mut o = Options {
        filters: Vec::new(),
        skips: Vec::new(),
        exact: false,
        list: false,
        on_demand: false,
        show: false,
        threads: std::env::var("RUST_TEST_THREADS").ok().and_then(|n| n.parse().ok()).unwrap_or(cores),
    };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let (flag, mut value) = match arg.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_string())),
            None => (arg.as_str(), None),
        };
        let mut needs = || value.take().or_else(|| args.next().cloned()).unwrap_or_default();
        match flag {
            "--exact" => o.exact = true,
            "--list" => o.list = true,
            "--ignored" => o.on_demand = true,
            "--nocapture" | "--no-capture" | "--show-output" => o.show = true,
            "--skip" => o.skips.push(needs()),
            "--test-threads" => o.threads = needs().parse().unwrap_or(1),
            // Accepted and ignored, for callers that expect cargo's own runner.
            "--format" | "--color" | "-Z" => drop(needs()),
            flag if flag.starts_with('-') => {}
            _ => o.filters.push(arg.clone()),
        }
    }
    o
}

impl Options {
    fn wants(&self, case: &Case) -> bool {
        let name = short(case.name);
        let hit = |f: &String| if self.exact { name == f } else { name.contains(f.as_str()) };
        (self.filters.is_empty() || self.filters.iter().any(hit)) && !self.skips.iter().any(hit)
    }
}

/// The factor for every deadline: emulated and loaded hosts are slow (`IT_SLOW=5`).
pub fn patience() -> u32 {
    std::env::var("IT_SLOW").ok().and_then(|n| n.parse().ok()).unwrap_or(1).max(1)
}

/// The number of repetitions of a randomised test: fewer on a slow host.
pub fn rounds(full: u32) -> u32 {
    full / patience()
}

fn perform(chosen: &[&Case], options: &Options) -> ExitCode {
    let start = Instant::now();
    let setup = Setup::new();
    println!("\nrunning {} tests with {}", chosen.len(), setup.runtime.display());
    let queue: Mutex<VecDeque<&Case>> = Mutex::new(chosen.iter().copied().collect());
    let verdicts = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..options.threads.max(1) {
            scope.spawn(|| {
                while let Some(case) = { queue.lock().unwrap().pop_front() } {
                    let began = Instant::now();
                    let (verdict, trace) = setup.one(case);
                    report(case, &verdict, &trace, began.elapsed(), options.show);
                    verdicts.lock().unwrap().push((short(case.name), verdict));
                }
            });
        }
    });
    close(verdicts.into_inner().unwrap(), start.elapsed())
}

fn report(case: &Case, verdict: &Verdict, trace: &str, took: Duration, show: bool) {
    let name = short(case.name);
    let what = match verdict {
        Verdict::Passed => "ok".into(),
        Verdict::Skipped(why) => format!("ignored, {why}"),
        Verdict::Differs(why) => format!("ignored, differs: {why}"),
        Verdict::Failed => format!("FAILED\n---- {name} ----\n{trace}----"),
    };
    let trace = if show && !matches!(verdict, Verdict::Failed) { trace } else { "" };
    println!("{trace}test {name} ... {what} <{:.2}s>", took.as_secs_f32());
}

/// Prints the summary and checks the skips against the limit (`IT_SKIPS`).
fn close(verdicts: Vec<(&str, Verdict)>, took: Duration) -> ExitCode {
    let count = |f: fn(&Verdict) -> bool| verdicts.iter().filter(|(_, v)| f(v)).count();
    let (passed, failed) = (count(|v| matches!(v, Verdict::Passed)), count(|v| matches!(v, Verdict::Failed)));
    let skipped = count(|v| matches!(v, Verdict::Skipped(_)));
    let differ = count(|v| matches!(v, Verdict::Differs(_)));
    if failed > 0 {
        println!("\nfailures:");
        verdicts.iter().filter(|(_, v)| matches!(v, Verdict::Failed)).for_each(|(n, _)| println!("    {n}"));
    }
    let budget = std::env::var("IT_SKIPS").ok().and_then(|n| n.parse::<usize>().ok());
    let over = budget.is_some_and(|b| skipped > b);
    let (host, runtime) = (test::host_label(), test::runtime_path());
    let runtime = runtime.file_name().unwrap_or_default().to_string_lossy().into_owned();
    print!("\n{runtime} on {host}: {skipped} skipped");
    println!("{}, {differ} listed differences", budget.map_or(String::new(), |b| format!(" (budget {b})")));
    if over {
        println!("more tests were skipped than integration/skips allows: see the reasons above");
    }
    let result = if failed > 0 || over { "FAILED" } else { "ok" };
    println!(
        "test result: {result}. {passed} passed; {failed} failed; {} ignored; 0 measured; 0 filtered out; \
         finished in {:.2}s\n",
        skipped + differ,
        took.as_secs_f32()
    );
    if failed > 0 || over { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The environment that is the same for every test.
struct Setup {
    runtime: PathBuf,
    rootfs: PathBuf,
}

impl Setup {
    fn new() -> Setup {
        let rootfs = std::env::var_os("IT_ROOTFS").map_or_else(build_rootfs, PathBuf::from);
        Setup { runtime: test::runtime_path(), rootfs }
    }

    /// Runs one test in a cage until it ends or its deadline passes.
    fn one(&self, case: &Case) -> (Verdict, String) {
        let name = short(case.name);
        let known = known::reason(name, &test::runtime_name(&self.runtime));
        if known == Some(known::OURS) {
            return (Verdict::Differs(known::OURS), String::new());
        }
        let token = format!("it-{}-{}", std::process::id(), name.replace("::", "-"));
        let limit =
            if known.is_some() { Duration::from_secs(10) } else { test::deadline_of(name) } * patience();
        let trace = std::env::temp_dir().join(format!("{token}.trace"));
        let out = File::create(&trace).expect("a file for the trace in TMPDIR");
        let mut child = Command::new("unshare")
            .args(["--fork", "--pid", "--mount", "--mount-proc", "--kill-child=KILL", "--"])
            .arg(std::env::current_exe().expect("our own path"))
            .args(["--cage", name])
            .env("IT_TOKEN", &token)
            .env("IT_ROOTFS", &self.rootfs)
            .env("RUNTIME", &self.runtime)
            .stdin(Stdio::null())
            .stdout(out.try_clone().expect("dup"))
            .stderr(out)
            .spawn()
            .expect("unshare of util-linux");
        let began = Instant::now();
        let status = loop {
            match child.try_wait().expect("wait") {
                Some(status) => break status.code(),
                None if began.elapsed() > limit => {
                    let _ = child.kill();
                    let _ = child.wait();
                    break None;
                }
                None => std::thread::sleep(Duration::from_millis(3)),
            }
        };
        cage::sweep_cgroups(&token);
        let mut text = String::from_utf8_lossy(&std::fs::read(&trace).unwrap_or_default()).into_owned();
        let _ = std::fs::remove_file(&trace);
        let verdict = match (status, known) {
            (Some(0), _) => Verdict::Passed,
            (Some(test::SKIPPED), _) => Verdict::Skipped(skip_reason(&text)),
            (_, Some(why)) => Verdict::Differs(why),
            (None, _) => {
                text.push_str(&format!("no end after {} s: killed\n", limit.as_secs()));
                Verdict::Failed
            }
            _ => Verdict::Failed,
        };
        (verdict, text)
    }
}

fn skip_reason(trace: &str) -> String {
    trace.lines().rev().find_map(|l| l.strip_prefix("SKIP: ")).unwrap_or("no reason given").into()
}

fn build_rootfs() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("rootfs-fixtures/build.sh");
    let out = Command::new(&script).stderr(Stdio::inherit()).output().expect("rootfs-fixtures/build.sh");
    assert!(out.status.success(), "{} failed", script.display());
    PathBuf::from(String::from_utf8_lossy(&out.stdout).trim())
}
