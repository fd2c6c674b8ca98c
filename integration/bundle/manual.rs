//! The manual pages and completions, which are generated from the table of options.
//!
//! They are compared with the table as the parser reads it. bash completes for real; zsh, fish and mandoc are
//! used if they are installed.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use embrun::cli::table::{Flag, Verb, global, verbs};

use super::docs::top;

/// The generated files, removed at the end.
struct Generated(PathBuf);

impl Drop for Generated {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Generated {
    fn new(test: &str) -> Generated {
        let dir = std::env::temp_dir().join(format!("embrun-manual-{test}-{}", std::process::id()));
        let made = Command::new(top().join("cross/manual/generate.sh")).arg(&dir).output().unwrap();
        assert!(made.status.success() && made.stderr.is_empty(), "{made:?}");
        Generated(dir)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// The output of a script whose `$1` is a completion; none without the shell.
    fn shell(&self, shell: &str, file: &str, script: &str) -> Option<String> {
        let file = self.0.join(file);
        let done =
            Command::new(shell).args(["-c", script, file.to_str().unwrap()]).arg(&file).output().ok()?;
        assert!(done.status.success() && done.stderr.is_empty(), "{shell}: {done:?}");
        Some(String::from_utf8(done.stdout).unwrap())
    }
}

/// The commands that the help text shows; the program itself has an empty name.
fn shown() -> Vec<(&'static str, Verb)> {
    let commands = verbs().filter(|verb| verb.line().shown()).map(|verb| (verb.name(), verb));
    [("", global())].into_iter().chain(commands).collect()
}

fn flags(verb: Verb) -> impl Iterator<Item = Flag> {
    verb.flags().filter(|flag| flag.line.shown())
}

/// Whether the line has these words.
fn has(text: &str, start: &str, words: &[&str]) -> bool {
    text.lines()
        .any(|line| line.starts_with(start) && words.iter().all(|word| line.split(' ').any(|w| w == *word)))
}

#[test]
fn each_command_and_option_is_in_its_page() {
    let made = Generated::new("pages");
    let program = made.read("embrun.8");
    for (name, verb) in shown() {
        let page = match name {
            "" => program.clone(),
            _ => made.read(&format!("embrun-{name}.8")),
        };
        assert!(name.is_empty() || program.contains(&format!(".BR embrun\\-{name} (8)\n")), "{name}");
        for flag in flags(verb) {
            let long = format!("\\-\\-{}", flag.name.replace('-', "\\-"));
            let options = page.split_once("OPTIONS\n").unwrap().1;
            let named = |line: &str| line.starts_with(".B") && line.trim_end_matches('"').contains(&long);
            let mut after = options.lines().skip_while(|line| !named(line));
            assert!(after.next().is_some(), "{name}: {} is not in its page", flag.name);
            let text = after.next().unwrap().replace("\\-", "-").replace("\\(aq", "'");
            let (_, rest) = flag.line.text.split_at(1);
            assert!(text.contains(rest), "{name} --{}: {text}", flag.name);
        }
    }
    let pages = fs::read_dir(&made.0)
        .unwrap()
        .filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|e| e == "8"));
    assert_eq!(pages.count(), shown().len(), "a page without a command");
}

#[test]
fn pages_are_valid() {
    let made = Generated::new("valid");
    let pages: Vec<PathBuf> = fs::read_dir(&made.0)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "8"))
        .collect();
    if let Ok(lint) = Command::new("mandoc").args(["-Tlint", "-Wwarning"]).args(&pages).output() {
        assert!(lint.status.success(), "{}", String::from_utf8_lossy(&lint.stdout));
    }
    for page in &pages {
        let man = Command::new("man").args(["--warnings", "-l"]).arg(page).stdin(Stdio::null()).output();
        let Ok(man) = man else { return };
        assert!(man.stderr.is_empty(), "{}: {}", page.display(), String::from_utf8_lossy(&man.stderr));
    }
}

#[test]
fn each_command_and_option_is_in_each_completion() {
    let made = Generated::new("completions");
    let (bash, zsh, fish) = (made.read("embrun.bash"), made.read("_embrun"), made.read("embrun.fish"));
    for (name, verb) in shown() {
        assert!(
            name.is_empty() || zsh.contains(&format!("'{name}:")) && zsh.contains(&format!("\t{name})\n"))
        );
        assert!(name.is_empty() || fish.contains(&format!("-a {name} -d ")), "{name}");
        let part = |text: &str, start: &str| {
            text.split_once(start)
                .unwrap_or_else(|| panic!("{start}"))
                .1
                .split(";;")
                .next()
                .unwrap()
                .to_owned()
        };
        let in_bash = part(&bash, &format!("\n\t'{name}') echo "));
        let in_zsh =
            part(&zsh, &if name.is_empty() { "\t_arguments -C".to_owned() } else { format!("\t{name})\n") });
        let at = if name.is_empty() { "\"\"" } else { name };
        for flag in flags(verb) {
            let long = format!("--{}", flag.name);
            assert!(in_bash.split([' ', '\'']).any(|word| word == long), "bash: {name} {long}: {in_bash}");
            assert!(
                in_zsh.contains(&format!("{long}[")) || in_zsh.contains(&format!(",{long}}}")),
                "zsh: {name} {long}"
            );
            let words = ["-l", flag.name];
            assert!(
                has(&fish, &format!("complete -c embrun -n '__embrun_at {at}' "), &words),
                "fish: {name} {long}"
            );
        }
    }
}

/// Command lines, and some of the words that complete the last one.
const LINES: &[(&[&str], &[&str])] = &[
    (&[""], &["create", "update"]),
    (&["pa"], &["pause"]),
    (&["--log-format", ""], &["json", "text"]),
    (&["--root", "/x", "start", ""], &["other"]),
    (&["start", ""], &["web", "worker"]),
    (&["start", "web", ""], &[]),
    (&["create", "--pid"], &["--pid-file", "--pidfd-socket"]),
    (&["create", "--bundle", "/us"], &["/usr"]),
    (&["device", ""], &["add", "remove"]),
    (&["device", "add", "wo"], &["worker"]),
    (&["spec", "--role", "up"], &["uplink"]),
    (&["help", "st"], &["start", "state"]),
    (&["exec", "web", "--f"], &[]),
];

/// A program in place of embrun that lists containers.
const CONTAINERS: &str =
    "embrun() { [ \"$1\" != --root ] || { echo other; return; }; printf 'web\\nworker\\n'; }\n";

#[test]
fn bash_completes_command_lines() {
    let made = Generated::new("bash");
    for (line, expected) in LINES {
        let words = line.join("' '");
        let script = format!(
            "{CONTAINERS} . \"$1\"; COMP_WORDS=(embrun '{words}'); COMP_CWORD={}; _embrun; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            line.len()
        );
        let out = made.shell("bash", "embrun.bash", &script).expect("bash");
        let found: Vec<&str> = out.lines().filter(|line| !line.is_empty()).collect();
        assert!(expected.iter().all(|word| found.contains(word)), "{line:?}: {found:?}");
        assert!(!expected.is_empty() || found.is_empty(), "{line:?}: {found:?}");
    }
    // bash gives `--log-format=j` as three words.
    let script =
        ". \"$1\"; COMP_WORDS=(embrun --log-format = j); COMP_CWORD=3; _embrun; echo ${COMPREPLY[@]}";
    assert_eq!(made.shell("bash", "embrun.bash", script).unwrap(), "json\n");
}

#[test]
fn fish_completes_command_lines() {
    let made = Generated::new("fish");
    for (line, expected) in LINES {
        let script = format!(
            "function embrun; if test \"$argv[1]\" = --root; echo other; else; printf 'web\\nworker\\n'; end; end; source $argv[1]; complete -C 'embrun {}'",
            line.join(" ")
        );
        let Some(out) = made.shell("fish", "embrun.fish", &script) else { return };
        let found: Vec<&str> =
            out.lines().map(|line| line.split('\t').next().unwrap().trim_end_matches('/')).collect();
        assert!(expected.iter().all(|word| found.contains(word)), "{line:?}: {found:?}");
        assert!(!expected.is_empty() || found.is_empty(), "{line:?}: {found:?}");
    }
}

#[test]
fn zsh_reads_its_completion() {
    let made = Generated::new("zsh");
    // Outside of a completion _arguments only complains, so this shows that the file is valid and defines its functions.
    let script = "compdef() { }; functions[load]=\"${$(<$1)%_embrun*}\"; load; whence -w _embrun _embrun_ids _embrun_commands";
    let Some(out) = made.shell("zsh", "_embrun", script) else { return };
    assert_eq!(out.matches(": function").count(), 3, "{out}");
}
