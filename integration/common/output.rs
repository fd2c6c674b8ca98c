//! The result of a command.

use serde_json::Value;

/// The exit status and the output of a command.
pub struct Output {
    /// The command, quoted for a shell.
    pub command: String,
    /// The exit status, or 128 plus the number of the signal.
    pub status: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Output {
    /// Requires success.
    #[track_caller]
    pub fn ok(self) -> Output {
        self.exits(0)
    }

    /// Requires this exit status.
    #[track_caller]
    pub fn exits(self, status: i32) -> Output {
        assert_eq!(self.status, status, "exit status of {}", self.command);
        self
    }

    /// Requires failure and one of these words in the output.
    #[track_caller]
    pub fn fails(self, words: &[&str]) -> Output {
        assert_ne!(self.status, 0, "{} should have failed", self.command);
        let said = self.stderr.to_lowercase();
        assert!(
            words.iter().any(|w| said.contains(&w.to_lowercase())),
            "none of {words:?} in {:?}",
            self.stderr
        );
        self
    }

    /// The answers of the probe: the last line that is JSON.
    #[track_caller]
    pub fn probe(&self) -> Probed {
        Probed::last(&self.stdout).unwrap_or_else(|| panic!("the probe did not answer in {:?}", self.stdout))
    }

    /// The whole standard output as one JSON value.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e} in {:?}", self.stdout))
    }
}

/// One line of answers of the probe.
pub struct Probed(Value);

impl Probed {
    /// The last line of `text` that is a JSON object.
    pub fn last(text: &str) -> Option<Probed> {
        text.lines()
            .rev()
            .find_map(|l| serde_json::from_str(l.trim()).ok().filter(Value::is_object))
            .map(Probed)
    }

    /// The result of an act, by its name and first arguments: `result("write /x")`.
    #[track_caller]
    pub fn result(&self, act: &str) -> &Value {
        let words: Vec<&str> = act.split(' ').collect();
        let acts = self.0["acts"].as_array().unwrap_or_else(|| panic!("no acts in {}", self.0));
        let hit = |a: &&Value| words.iter().enumerate().all(|(i, w)| a[i] == *w);
        let done = acts.iter().find(hit).unwrap_or_else(|| panic!("no act {act:?} in {}", self.0));
        &done[done.as_array().map_or(0, Vec::len) - 1]
    }

    /// The text of a `read` or `readlink` act, or its errno.
    #[track_caller]
    pub fn text(&self, act: &str) -> &str {
        let result = self.result(act);
        result["text"].as_str().or(result["link"].as_str()).or(result.as_str()).expect("a text or an errno")
    }

    /// The topmost mount at `path`.
    #[track_caller]
    pub fn mount(&self, path: &str) -> &Value {
        self.mounts(path)
            .last()
            .copied()
            .unwrap_or_else(|| panic!("nothing is mounted at {path} in {}", self.0["mounts"]))
    }

    /// All mounts at `path`.
    pub fn mounts(&self, path: &str) -> Vec<&Value> {
        self.0["mounts"].as_array().into_iter().flatten().filter(|m| m["at"] == path).collect()
    }
}

impl std::ops::Deref for Probed {
    type Target = Value;
    fn deref(&self) -> &Value {
        &self.0
    }
}
