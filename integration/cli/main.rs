//! The program as engines and people call it, without a container. Needs no root.
//!
//! The tests check stdout, stderr, the log and the exit status.

mod log;
mod misuse;
mod output;
mod spec;
mod state;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory for one test, removed with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("embrun-cli-{}-{n}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        Scratch(dir)
    }

    /// With a state root, because `list` fails if the given one does not exist.
    fn with_root() -> Scratch {
        let s = Scratch::new();
        std::fs::create_dir(s.path("root")).unwrap();
        s
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// The program with the test's own state root.
    fn embrun(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_embrun"));
        command.args(["--root", &self.path("root")]).args(args).stdin(Stdio::null());
        command
    }

    #[track_caller]
    fn call(&self, args: &[&str]) -> Said {
        said(self.embrun(args))
    }

    /// Runs a line of shell in which `$E` is the program with its state root.
    #[track_caller]
    fn shell(&self, line: &str) -> Said {
        let mut command = Command::new("sh");
        let program = format!("{} --root {}", env!("CARGO_BIN_EXE_embrun"), self.path("root"));
        command.args(["-c", line]).env("E", program).current_dir(&self.0);
        said(command)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// The result of a call.
#[derive(Debug)]
struct Said {
    status: i32,
    stdout: String,
    stderr: String,
}

impl Said {
    /// Requires failure with this one line on stderr.
    #[track_caller]
    fn fails(&self, line: &str) -> &Said {
        assert_eq!(
            (self.status, self.stderr.as_str()),
            (1, format!("embrun: error: {line}\n").as_str()),
            "{self:?}"
        );
        self
    }

    /// Requires success and an empty stderr.
    #[track_caller]
    fn ok(&self) -> &str {
        assert_eq!((self.status, self.stderr.as_str()), (0, ""), "{self:?}");
        &self.stdout
    }
}

#[track_caller]
fn said(mut command: Command) -> Said {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let status = output.status.code().unwrap_or_else(|| panic!("{command:?}: {}", output.status));
    Said { status, stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.as_ref().display()))
}
