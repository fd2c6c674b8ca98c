//! The command line as data: every command and option as the help texts say it, in `commands.txt`.
//!
//! The global options and each command are a paragraph. A line is what a person reads, `-e, --env KEY=VALUE...: set this variable`, and what the lexer looks options up in: a
//! word behind the names means that a value follows, with dots that it may be given again. Two kinds of lines are not
//! printed. One without a text is hidden: it is there for old callers. One whose text begins with [`REFUSED`] is parsed
//! but not performed, so that it is refused and never silently dropped; what follows is the reason.
//!
//! The typed options are read from what the lexer made of the words ([`super::args`]).

use crate::packed;
use crate::sys::once::Once;
use crate::sys::search::{cut, has};

/// The text of what is not performed begins with it.
const REFUSED: &str = "not supported";

/// A line of the table.
#[derive(Clone, Copy)]
pub struct Line {
    /// What is before the colon: the names, and what follows them.
    pub head: &'static str,
    /// One line of help; empty for what is hidden.
    pub text: &'static str,
}

/// An option of a command, or of all of them.
#[derive(Clone, Copy)]
pub struct Flag {
    /// Its name, without dashes.
    pub name: &'static str,
    /// Its one-letter name, or empty.
    pub short: &'static str,
    /// What value follows; empty for a switch, which has none, or `=true`, `=false`.
    pub value: &'static str,
    /// The line it was read from.
    pub line: Line,
}

/// A command: a line as that of an option, with the `<arguments>` it needs and the `[arguments]` it takes, and its options
/// in lines below.
#[derive(Clone, Copy, Debug)]
pub struct Verb(&'static str);

impl Line {
    fn read(line: &'static str) -> Line {
        let (head, text) = line.split_once(':').unwrap_or((line, ""));
        Line { head, text: text.trim_start_matches(' ') }
    }

    /// Whether the help texts have it.
    pub fn shown(self) -> bool {
        !self.text.is_empty() && self.refused().is_none()
    }

    /// Why it is not performed, if it is not ("" for no reason beyond that).
    pub fn refused(self) -> Option<&'static str> {
        self.text.strip_prefix(REFUSED).map(|why| why.trim_start_matches([',', ' ']))
    }
}

impl Flag {
    /// Reads a line such as `-b, --bundle DIR: the bundle's directory`.
    pub fn read(line: &'static str) -> Flag {
        let mut flag = Flag { name: "", short: "", value: "", line: Line::read(line) };
        for word in flag.line.head.split(' ') {
            match word.strip_prefix('-') {
                Some(rest) => match rest.strip_prefix('-') {
                    Some(name) => flag.name = name,
                    None => flag.short = rest.trim_end_matches(','),
                },
                None => flag.value = word,
            }
        }
        flag
    }
}

impl Verb {
    /// Its name.
    pub fn name(self) -> &'static str {
        let head = self.line().head;
        head.split(' ').next().unwrap_or(head)
    }

    /// What it is and what follows it.
    pub fn line(self) -> Line {
        Line::read(self.0.lines().next().unwrap_or(""))
    }

    /// Its options.
    pub fn flags(self) -> impl Iterator<Item = Flag> {
        self.0.lines().skip(1).chain([HELP]).map(Flag::read)
    }

    /// How many arguments it needs, and how many it takes at most.
    pub fn arguments(self) -> (usize, usize) {
        let head = self.line().head;
        let count = |byte| head.bytes().filter(|b| *b == byte).count();
        let min = count(b'<');
        (min, if has(head, "...") { usize::MAX } else { min + count(b'[') })
    }

    /// Its options end at the first argument: what follows is somebody else's command line.
    pub fn is_greedy(self) -> bool {
        matches!(self.name(), "embrun" | "exec" | "ps")
    }
}

/// Every command has it.
const HELP: &str = "-h, --help: print this";

/// The program itself, whose options are those before the command.
pub fn global() -> Verb {
    sections().next().unwrap_or(Verb(""))
}

/// The commands, by name.
pub fn verbs() -> impl Iterator<Item = Verb> {
    sections().skip(1)
}

fn sections() -> impl Iterator<Item = Verb> {
    static TEXT: Once<&str> = Once::empty();
    let mut rest = Some(*TEXT.get(|| packed!("commands")));
    std::iter::from_fn(move || {
        let text = rest?;
        let (verb, after) = cut(text, "\n\n").unzip();
        rest = after;
        Some(Verb(verb.unwrap_or(text)))
    })
}
