//! The handle of a test: the runtime, paths for its files, the host's features.

use super::host::Hierarchy;
use super::runner::{patience, short};
use super::{Case, Container, Output};
use std::cell::Cell;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// The directory of all files of a test, on a tmpfs of the test.
pub const HOME: &str = "/run/it";
/// The runtime's `--root`.
pub const STATE: &str = "/run/it/state";
/// The exit status of a test that was skipped.
pub const SKIPPED: i32 = 77;

/// The runtimes that the tests know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Runtime {
    /// The runtime of this repository.
    Embrun,
    /// The reference runtime.
    Runc,
    /// The other reference runtime.
    Crun,
}

/// The handle of a running test.
pub struct Test {
    /// The runtime under test.
    pub runtime: Runtime,
    path: PathBuf,
    rootfs: PathBuf,
    token: String,
    made: Cell<u32>,
}

/// Runs a case inside its cage.
pub fn perform(case: &Case) -> ExitCode {
    let path = runtime_path();
    let runtime = match runtime_name(&path).as_str() {
        "runc" => Runtime::Runc,
        "crun" => Runtime::Crun,
        _ => Runtime::Embrun,
    };
    let var = |name| std::env::var(name).unwrap_or_else(|_| panic!("the runner sets {name}"));
    let test =
        Test { runtime, path, rootfs: var("IT_ROOTFS").into(), token: var("IT_TOKEN"), made: Cell::new(0) };
    let before = descriptors();
    (case.run)(&test);
    assert_eq!(descriptors(), before, "{}: descriptors of the test itself", short(case.name));
    ExitCode::SUCCESS
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// The path of the runtime under test.
///
/// `$RUNTIME` is a path or a name on PATH; the default is the embrun that cargo built.
pub fn runtime_path() -> PathBuf {
    let Some(named) = std::env::var_os("RUNTIME") else { return env!("CARGO_BIN_EXE_embrun").into() };
    let named = PathBuf::from(named);
    if named.components().count() > 1 {
        return named.canonicalize().unwrap_or_else(|e| panic!("RUNTIME={}: {e}", named.display()));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(&named)).find(|p| p.is_file());
    found.unwrap_or_else(|| panic!("RUNTIME={}: not on PATH", named.display()))
}

/// The runtime's name, from the name of its file.
pub fn runtime_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The name of the host in the reports (`IT_HOST`).
pub fn host_label() -> String {
    std::env::var("IT_HOST").unwrap_or_else(|_| "host".into())
}

/// The time limit of a test, before `IT_SLOW` multiplies it.
pub fn deadline_of(name: &str) -> Duration {
    let slow = name.contains("thousand") || name.contains("hundred") || name.contains("engines::");
    Duration::from_secs(if slow { 900 } else { 40 })
}

/// Waits until a condition holds; panics at the deadline.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10) * patience();
    while !holds() {
        assert!(Instant::now() < deadline, "timed out waiting until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The anonymous memory of a process in KiB (Linux 4.14).
pub fn own_memory(pid: i32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("smaps_rollup");
    let line = rollup.lines().find_map(|l| l.strip_prefix("Anonymous:")).expect("anonymous memory");
    line.trim_end_matches("kB").trim().parse().expect("a number")
}

/// Checks that the anonymous memory of a process has not grown since `before`.
///
/// It may touch a page or two for the first time. A leak in each of many repetitions would exceed that.
pub fn has_not_grown(pid: i32, before: u64) {
    let after = own_memory(pid);
    assert!(after <= before + 16, "{before} KB, then {after}");
}

impl Test {
    /// A new container with a copy of the fixture.
    ///
    /// The config is that of `runc spec`, but for the terminal.
    pub fn container(&self) -> Container<'_> {
        Container::new(self, &self.rootfs, self.next())
    }

    /// A number that is unique in this test.
    pub fn next(&self) -> u32 {
        self.made.set(self.made.get() + 1);
        self.made.get()
    }

    /// The name of this test's parent cgroup, unique on the machine.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The path of the runtime.
    pub fn runtime_path(&self) -> &Path {
        &self.path
    }

    /// The root file system of the fixture, shared by all tests: never write to it.
    pub fn rootfs(&self) -> &Path {
        &self.rootfs
    }

    /// Whether all cgroup hierarchies are v2.
    pub fn pure_v2(&self) -> bool {
        Hierarchy::all().iter().all(|h| h.v2)
    }

    /// A path for this test that does not exist yet.
    pub fn path(&self, name: &str) -> PathBuf {
        Path::new(HOME).join("tmp").join(format!("{}-{name}", self.next()))
    }

    /// The command of the runtime with the flags that every call needs.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        command.args(["--root", STATE]).args(args);
        command
    }

    /// Runs the runtime with these arguments.
    #[track_caller]
    pub fn call(&self, args: &[&str]) -> Output {
        self.finish(self.command(args))
    }

    /// Runs a command to its end.
    ///
    /// Its output goes to files, because a container may keep the streams open for longer.
    #[track_caller]
    pub fn finish(&self, command: Command) -> Output {
        self.spawn(command).wait()
    }

    /// Starts a command with its output in files.
    #[track_caller]
    pub fn spawn(&self, mut command: Command) -> Running {
        let shown = show(&command);
        let (out, err) = (self.path("stdout"), self.path("stderr"));
        let file = |p: &Path| File::create(p).expect("a file for the output");
        command.stdout(file(&out)).stderr(file(&err));
        if command.get_envs().all(|(k, _)| k != "IT_STDIN") {
            command.stdin(Stdio::null());
        }
        let child = command.spawn().unwrap_or_else(|e| panic!("{shown}: {e}"));
        Running { command: shown, child, out, err }
    }

    /// Ends the test as skipped, with the missing feature of the host.
    pub fn skip(&self, why: &str) -> ! {
        println!("SKIP: {why}");
        std::process::exit(SKIPPED)
    }

    /// Skips unless the host has this cgroup controller.
    pub fn needs_controller(&self, name: &str) {
        if self.hierarchy(name).is_none() {
            self.skip(&format!("the host has no {name} cgroup controller"));
        }
    }

    /// Skips unless this process has a capability, given by its number.
    pub fn needs_capability(&self, number: u32, name: &str) {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("CapEff:")).unwrap_or("0");
        if u64::from_str_radix(line.trim(), 16).unwrap_or(0) >> number & 1 == 0 {
            self.skip(&format!("this host does not give {name}"));
        }
    }

    /// The hierarchy that has a controller, if any.
    ///
    /// Freezing and device rules are part of v2 itself.
    pub fn hierarchy(&self, controller: &str) -> Option<Hierarchy> {
        let mut all = Hierarchy::all();
        let has = |h: &Hierarchy| h.controllers.iter().any(|c| c == controller);
        let builtin = |h: &Hierarchy| h.v2 && matches!(controller, "freezer" | "devices");
        let at = all.iter().position(has).or_else(|| all.iter().position(builtin))?;
        Some(all.swap_remove(at))
    }
}

/// A running command.
pub struct Running {
    command: String,
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Running {
    /// The pid of the command.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// The path of the file with its standard output.
    pub fn output_path(&self) -> PathBuf {
        self.out.clone()
    }

    /// The output so far.
    pub fn stdout(&self) -> String {
        read(&self.out)
    }

    /// Waits for the end, at most half of the test's time.
    #[track_caller]
    pub fn wait(mut self) -> Output {
        let deadline = Instant::now() + Duration::from_secs(20) * patience();
        let status = loop {
            match self.child.try_wait().expect("wait") {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    println!("+ {}\n(no end)\n{}{}", self.command, read(&self.out), read(&self.err));
                    panic!("{} did not end in time", self.command);
                }
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        use std::os::unix::process::ExitStatusExt;
        let status = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        let (stdout, stderr) = (read(&self.out), read(&self.err));
        println!("+ {}\n  in {}, status {status}", self.command, std::env::current_dir().unwrap().display());
        print!("{}{}", framed("stdout", &stdout), framed("stderr", &stderr));
        Output { command: self.command, status, stdout, stderr }
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

fn framed(name: &str, text: &str) -> String {
    text.lines().map(|l| format!("  {name}: {l}\n")).collect()
}

fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let quote = |w: &std::ffi::OsStr| {
        let w = w.to_string_lossy();
        let plain = !w.is_empty() && w.chars().all(|c| c.is_ascii_alphanumeric() || "-_./=:,+%@".contains(c));
        if plain { w.into_owned() } else { format!("'{}'", w.replace('\'', r"'\''")) }
    };
    words.map(quote).collect::<Vec<_>>().join(" ")
}
