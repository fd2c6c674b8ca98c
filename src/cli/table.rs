//! The command line as data: all commands and options as in `commands.txt`.
//!
//! The global options and each command are a paragraph. A line is printed as it is, `-e, --env KEY=VALUE...: set this
//! variable`, and the lexer looks options up in it: a word after the names means that a value follows, and dots that it may be
//! repeated. Two kinds of lines are not printed. A line without a text is hidden: it serves old callers. A line whose text
//! begins with [`REFUSED`] is parsed but not supported, so that it is refused and never silently dropped; the rest of the text
//! is the reason.
//!
//! [`super::args`] gives the options their types.

use crate::packed;
use crate::sys::once::Once;
use crate::text::search::{cut, has};

/// The beginning of the text of an unsupported option.
const REFUSED: &str = "not supported";

/// A line of the table.
#[derive(Clone, Copy)]
pub struct Line {
    /// The text before the colon: the names and their values.
    pub head: &'static str,
    /// One line of help; empty if it is hidden.
    pub text: &'static str,
}

/// An option of a command, or of all of them.
#[derive(Clone, Copy)]
pub struct Flag {
    /// Its name, without dashes.
    pub name: &'static str,
    /// Its one-letter name, or empty.
    pub short: &'static str,
    /// Its value; empty for a switch, which takes none, or `=true`, `=false`.
    pub value: &'static str,
    /// The line it was read from.
    pub line: Line,
}

/// A command: its line, with the lines of its options below.
///
/// The line has the required `<arguments>` and the optional `[arguments]`.
#[derive(Clone, Copy, Debug)]
pub struct Verb(&'static str);

impl Line {
    fn read(line: &'static str) -> Line {
        let (head, text) = cut(line, ": ").unwrap_or((line, ""));
        Line { head, text }
    }

    /// Whether the help texts have it.
    pub fn shown(self) -> bool {
        !self.text.is_empty() && self.refused().is_none()
    }

    /// The reason why it is not supported ("" for no further reason); `None` if it is.
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
    /// The method's name.
    pub fn name(self) -> &'static str {
        let head = self.line().head;
        head.split(' ').next().unwrap_or(head)
    }

    /// Its name and arguments.
    pub fn line(self) -> Line {
        Line::read(self.0.lines().next().unwrap_or(""))
    }

    /// Its options.
    pub fn flags(self) -> impl Iterator<Item = Flag> {
        self.0.lines().skip(1).chain([HELP]).map(Flag::read)
    }

    /// The least and the greatest number of arguments.
    pub fn arguments(self) -> (usize, usize) {
        let head = self.line().head;
        let count = |byte| head.bytes().filter(|b| *b == byte).count();
        let min = count(b'<');
        (min, if has(head, "...") { usize::MAX } else { min + count(b'[') })
    }

    /// Its options end at the first argument: the rest is another command line.
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
