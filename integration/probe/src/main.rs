//! probe, the payload of the tests: answers questions and performs acts.
//!
//! The words of its command line are processed in order. It prints one JSON object:
//! `{"pid":1,"cwd":"/","acts":[["write","/x","EROFS"]]}`.
//!
//! Questions take no argument (see [`ask`]). Acts take arguments (see [`act`]) and append
//! `[act, argument…, result]` to `acts`; the result is `ok`, a value or the symbol of the errno. `say`
//! prints the answers so far as one line and starts a new object. The next word may block, and the
//! reader of the pipe knows that the probe got there.

mod act;
mod ask;
mod crowd;
mod json;
mod notify;
mod process;
mod stare;

use std::io::Write;

/// The remaining words and the answers so far.
pub struct Probe {
    words: std::vec::IntoIter<String>,
    answers: Vec<(String, String)>,
    acts: Vec<String>,
}

impl Probe {
    /// The next word, as an argument of the act `of`.
    pub fn argument(&mut self, of: &str) -> String {
        self.words.next().unwrap_or_else(|| fail(&format!("{of}: an argument is missing")))
    }

    /// The next word as a number.
    pub fn number(&mut self, of: &str) -> i64 {
        let word = self.argument(of);
        let parsed = match word.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok().map(|n| n as i64),
            None => word.parse().ok(),
        };
        parsed.unwrap_or_else(|| fail(&format!("{of}: {word:?} is no number")))
    }

    /// Records the result of an act.
    pub fn note(&mut self, act: &[&str], result: String) {
        self.acts.push(json::list(act.iter().map(json::text).chain([result])));
    }

    /// Prints the answers so far as one line.
    pub fn say(&mut self) {
        let mut fields = std::mem::take(&mut self.answers);
        if !self.acts.is_empty() {
            fields.push(("acts".into(), json::list(std::mem::take(&mut self.acts))));
        }
        if fields.is_empty() {
            return;
        }
        let mut line = json::object(fields);
        line.push('\n');
        let mut out = std::io::stdout();
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }
}

/// Reports a misuse of the probe, which is a bug of the test.
///
/// It exits with a status that no test expects.
pub fn fail(why: &str) -> ! {
    eprintln!("probe: {why}");
    std::process::exit(125)
}

fn main() {
    let words: Vec<String> = std::env::args_os().skip(1).map(|w| w.to_string_lossy().into_owned()).collect();
    let mut probe = Probe { words: words.into_iter(), answers: Vec::new(), acts: Vec::new() };
    while let Some(word) = probe.words.next() {
        if word == "say" {
            probe.say();
        } else if let Some(answer) = ask::ask(&word) {
            probe.answers.push((word, answer));
        } else {
            act::act(&word, &mut probe);
        }
    }
    probe.say();
}
