//! The command line, beside a second reader.
//!
//! It follows Go's `flag` package, and reads `commands.txt` itself.

use embrun::cli::args::{self, Caller};
use embrun::cli::lexer;
use embrun::cli::table::verbs;

/// The table that the parser, the help text and the manual page come from.
const TABLE: &str = include_str!("../../../src/cli/commands.txt");

/// Checks one command line: a word per line.
pub fn judge(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if text.contains('\0') {
        return;
    }
    let text: &'static str = text.to_owned().leak();
    let words: Vec<&'static str> = text.split('\n').take(24).collect();
    let front = Section::global();
    let (is, should) = (lexer::globals(&words), front.read(&words));
    assert_eq!(is.is_ok(), should.is_ok(), "{words:?}: {:?} {:?}", is.err(), should.err());
    let Ok(should) = should else { return };
    let rest = should.args.clone();
    if let Ok((_, found)) = args::globals(&words, &Caller::default()) {
        assert_eq!(found.args, rest, "{words:?}");
        let asks = found.on("help") || found.on("version");
        let result = args::command(found);
        let named = rest.first().is_none_or(|name| *name == "h" || Section::find(name).is_some());
        assert!(result.is_err() || asks || named, "{words:?}: an unknown command is accepted");
    }
    let Some((name, words)) = rest.split_first() else { return };
    let Some(verb) = verbs().find(|verb| verb.name() == *name) else {
        assert!(Section::find(name).is_none(), "{name} is in the table");
        return;
    };
    let section = Section::named(name);
    let (is, should) = (lexer::command(verb, words), section.command(words));
    match (is, should) {
        (Ok(is), Ok(should)) => {
            assert_eq!(is.args, should.args, "{name} {words:?}");
            for flag in &section.flags {
                let values: Vec<&str> =
                    should.flags.iter().filter(|(n, _)| *n == flag.name).map(|(_, v)| *v).collect();
                assert_eq!(is.all(flag.name), values, "--{} of {name} {words:?}", flag.name);
            }
        }
        (Err(_), Err(_)) => {}
        (is, should) => panic!("{name} {words:?}: {is:?}, but {:?}", should.map(|found| found.args)),
    }
}

struct Flag {
    name: &'static str,
    short: Option<&'static str>,
    has_value: bool,
    refused: bool,
}

struct Section {
    greedy: bool,
    least: usize,
    most: usize,
    flags: Vec<Flag>,
}

#[derive(Default)]
struct Found {
    flags: Vec<(&'static str, &'static str)>,
    args: Vec<&'static str>,
}

impl Section {
    fn find(name: &str) -> Option<Section> {
        let mut commands = TABLE.trim_end().split("\n\n").skip(1);
        Section::read_paragraph(name, commands.find(|p| p.split([' ', ':']).next() == Some(name))?)
    }

    /// The options in front of the command.
    fn global() -> Section {
        let text = TABLE.split("\n\n").next();
        text.and_then(|text| Section::read_paragraph("embrun", text)).expect("the first paragraph")
    }

    fn read_paragraph(name: &str, paragraph: &'static str) -> Option<Section> {
        let mut lines = paragraph.lines();
        let head = lines.next()?.split(':').next()?;
        let count = |letter| head.matches(letter).count();
        let least = count('<');
        Some(Section {
            greedy: matches!(name, "embrun" | "exec" | "ps"),
            least,
            most: if head.contains("...") { usize::MAX } else { least + count('[') },
            flags: lines.chain(["-h, --help: print this"]).map(Section::flag).collect(),
        })
    }

    fn named(name: &str) -> Section {
        Section::find(name).unwrap_or_else(|| panic!("{name} is not in the table"))
    }

    fn flag(line: &'static str) -> Flag {
        let (head, text) = line.split_once(": ").unwrap_or((line, ""));
        let words: Vec<&'static str> = head.split([' ', ',']).filter(|word| !word.is_empty()).collect();
        Flag {
            name: words.iter().find_map(|word| word.strip_prefix("--")).expect("a long name"),
            short: words.iter().find_map(|word| word.strip_prefix('-').filter(|w| !w.starts_with('-'))),
            has_value: !words.last().unwrap().starts_with('-'),
            refused: text.starts_with("not supported"),
        }
    }

    /// Go's `FlagSet.parseOne`, with options after arguments.
    fn read(&self, words: &[&'static str]) -> Result<Found, String> {
        let mut found = Found::default();
        let mut at = 0;
        while at < words.len() {
            let word = words[at];
            at += 1;
            if word == "--" {
                break;
            }
            let Some(name) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
                found.args.push(word);
                if self.greedy {
                    break;
                }
                continue;
            };
            let name = name.strip_prefix('-').unwrap_or(name);
            if name.is_empty() || name.starts_with(['-', '=']) {
                return Err(format!("bad syntax: {word}"));
            }
            let (name, mut value) = match name.find('=') {
                Some(end) => (&name[..end], Some(&name[end + 1..])),
                None => (name, None),
            };
            let is = |flag: &&Flag| flag.name == name || flag.short == Some(name);
            let flag = self.flags.iter().find(is).ok_or_else(|| format!("no flag {name}"))?;
            if !flag.has_value {
                value = Some(match value.unwrap_or("true") {
                    "1" | "t" | "T" | "true" | "TRUE" | "True" => "true",
                    "0" | "f" | "F" | "false" | "FALSE" | "False" => "false",
                    other => return Err(format!("no boolean: {other}")),
                });
            } else if value.is_none() {
                value = Some(words.get(at).ok_or("a value is missing")?);
                at += 1;
            }
            found.flags.push((flag.name, value.unwrap()));
        }
        found.args.extend(&words[at..]);
        Ok(found)
    }

    fn command(&self, words: &[&'static str]) -> Result<Found, String> {
        let found = self.read(words)?;
        if found.flags.iter().rfind(|(name, _)| *name == "help").is_some_and(|(_, value)| *value == "true") {
            return Ok(found);
        }
        let refused = |(name, _): &(&str, &str)| self.flags.iter().any(|f| f.name == *name && f.refused);
        if found.flags.iter().any(refused) {
            return Err("not supported".to_owned());
        }
        let n = found.args.len();
        if n < self.least || n > self.most { Err(format!("{n} arguments")) } else { Ok(found) }
    }
}
