//! What a test is given: the runtime, places of its own, and what the host has.

use super::host::Hierarchy;
use super::runner::{patience, short};
use super::{Case, Container, Output};
use std::cell::Cell;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Everything of a test lies below this, on a tmpfs of its own.
pub const HOME: &str = "/run/it";
/// The runtime's `--root`.
pub const STATE: &str = "/run/it/state";
/// The exit status of a test that was skipped.
pub const SKIPPED: i32 = 77;

/// The runtimes that the tests know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Runtime {
    /// Ours.
    Embrun,
    /// The reference.
    Runc,
    /// The other reference.
    Crun,
}

/// The handle of a running test.
pub struct Test {
    /// Which runtime is under test.
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
    let var = |name| std::env::var(name).unwrap_or_else(|_| panic!("{name} is given by the runner"));
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

/// The runtime under test: `$RUNTIME` as a path or a name on PATH, else the embrun that cargo built.
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

/// The runtime's name, by its file.
pub fn runtime_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What the host calls itself in the reports (`IT_HOST`).
pub fn host_label() -> String {
    std::env::var("IT_HOST").unwrap_or_else(|_| "host".into())
}

/// How long a test may take, before the host's slowness multiplies it.
pub fn deadline_of(name: &str) -> Duration {
    let slow = name.contains("thousand") || name.contains("hundred") || name.starts_with("engines::");
    Duration::from_secs(if slow { 900 } else { 40 })
}

/// Waits until something holds, or fails.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10) * patience();
    while !holds() {
        assert!(Instant::now() < deadline, "it never came to be that {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The KiB of a process that no file stands behind (Linux 4.14).
pub fn own_memory(pid: i32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("smaps_rollup");
    let line = rollup.lines().find_map(|l| l.strip_prefix("Anonymous:")).expect("anonymous memory");
    line.trim_end_matches("kB").trim().parse().expect("a number")
}

/// That a process has no more of its own memory than `before`, but for a page or two that it may have touched for the first
/// time; each thing that took some would be more by now.
pub fn has_not_grown(pid: i32, before: u64) {
    let after = own_memory(pid);
    assert!(after <= before + 16, "{before} KB, then {after}");
}

impl Test {
    /// A new container over a fresh copy of the fixture, with the config that `runc spec` writes but for the terminal.
    pub fn container(&self) -> Container<'_> {
        Container::new(self, &self.rootfs, self.next())
    }

    /// A number that is new in this test.
    pub fn next(&self) -> u32 {
        self.made.set(self.made.get() + 1);
        self.made.get()
    }

    /// The name of this test's own parent cgroup, unique on the machine.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The path of the runtime.
    pub fn runtime_path(&self) -> &Path {
        &self.path
    }

    /// The fixture's root file system, which all tests share: it is not to be written to.
    pub fn rootfs(&self) -> &Path {
        &self.rootfs
    }

    /// Whether the v2 tree is all there is.
    pub fn pure_v2(&self) -> bool {
        Hierarchy::all().iter().all(|h| h.v2)
    }

    /// A path of this test's own that is not there yet.
    pub fn path(&self, name: &str) -> PathBuf {
        Path::new(HOME).join("tmp").join(format!("{}-{name}", self.next()))
    }

    /// The runtime with the flags that every call has.
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

    /// Runs a command to its end. Its output goes through files: a container may keep it open for longer.
    #[track_caller]
    pub fn finish(&self, command: Command) -> Output {
        self.spawn(command).wait()
    }

    /// Starts a command whose output goes to files.
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

    /// Ends the test here, saying what the host lacks.
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

    /// Skips unless this process holds a capability, by its number.
    pub fn needs_capability(&self, number: u32, name: &str) {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("CapEff:")).unwrap_or("0");
        if u64::from_str_radix(line.trim(), 16).unwrap_or(0) >> number & 1 == 0 {
            self.skip(&format!("this host does not give {name}"));
        }
    }

    /// The hierarchy that has a controller, if any. Freezing and device rules are part of v2 itself.
    pub fn hierarchy(&self, controller: &str) -> Option<Hierarchy> {
        let mut all = Hierarchy::all();
        let has = |h: &Hierarchy| h.controllers.iter().any(|c| c == controller);
        let builtin = |h: &Hierarchy| h.v2 && matches!(controller, "freezer" | "devices");
        let at = all.iter().position(has).or_else(|| all.iter().position(builtin))?;
        Some(all.swap_remove(at))
    }
}

/// A command under way.
pub struct Running {
    command: String,
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Running {
    /// Its pid.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// The file that its standard output goes to.
    pub fn output_path(&self) -> PathBuf {
        self.out.clone()
    }

    /// What it has printed so far.
    pub fn stdout(&self) -> String {
        read(&self.out)
    }

    /// Waits for its end, at most half of the test's time.
    #[track_caller]
    pub fn wait(mut self) -> Output {
        let deadline = Instant::now() + Duration::from_secs(20) * patience();
        let status = loop {
            match self.child.try_wait().expect("wait") {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    println!("+ {}\n(no end)\n{}{}", self.command, read(&self.out), read(&self.err));
                    panic!("{} does not end", self.command);
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
