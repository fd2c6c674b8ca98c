//! From words to flags and arguments, in every dialect that engines speak.
//!
//! The grammar is that of Go's `flag` package, which runc's callers were written for: `--name value`, `--name=value`, the
//! same with one dash, switches also as `--name=true`; `--` ends the options. As in runc, options may follow the
//! arguments, but for commands whose arguments are somebody else's command line (`exec`, `ps`): theirs end at the first.

use super::table::{Fate, Flag, GLOBAL, HELP, Takes, Verb};
use crate::error::{Error, Result};

/// The flags and arguments found, in order.
#[derive(Debug, Default)]
pub struct Words {
    flags: Vec<(&'static str, String)>,
    /// What is not a flag.
    pub args: Vec<String>,
}

impl Words {
    /// The last value given to a flag.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.flags.iter().rev().find(|(n, _)| *n == name).map(|(_, v)| v.as_str())
    }

    /// All values given to a flag.
    pub fn all(&self, name: &str) -> Vec<String> {
        self.flags.iter().filter(|(n, _)| *n == name).map(|(_, v)| v.clone()).collect()
    }

    /// Whether a switch is on.
    pub fn on(&self, name: &str) -> bool {
        self.text(name) == Some("true")
    }
}

/// Reads the flags before the command; what is left begins with the command.
pub fn globals(words: impl Iterator<Item = String>) -> Result<Words> {
    lex(words, GLOBAL, true)
}

/// Reads the flags and arguments of a command and checks their number.
pub fn command(verb: &'static Verb, words: impl Iterator<Item = String>) -> Result<Words> {
    let found = lex(words, verb.flags, verb.greedy)?;
    if found.on(HELP.name) {
        return Ok(found);
    }
    for flag in verb.flags {
        if let (Fate::Unsupported(why), Some(value)) = (flag.fate, found.text(flag.name)) {
            if flag.takes != Takes::Nothing || value == "true" {
                return Err(unsupported(&format!("{}: --{}", verb.name, flag.name), why));
            }
        }
    }
    let (name, n) = (verb.name, found.args.len());
    let wrong = |how: &str, n: usize| Err(Error::new(format!("\"{name}\" requires {how} {n} argument(s)")));
    match (verb.min, verb.max) {
        (min, max) if min == max && n != min => wrong("exactly", min),
        (min, _) if n < min => wrong("a minimum of", min),
        (_, max) if n > max => wrong("a maximum of", max),
        _ => Ok(found),
    }
}

/// The error for what is parsed but not performed.
pub fn unsupported(what: &str, why: &str) -> Error {
    let error = Error::new(format!("{what} is not supported"));
    if why.is_empty() { error } else { error.hint(why) }
}

fn lex(mut words: impl Iterator<Item = String>, flags: &'static [Flag], greedy: bool) -> Result<Words> {
    let mut found = Words::default();
    while let Some(word) = words.next() {
        let dashes = word.len() - word.trim_start_matches('-').len();
        if word == "--" {
            break;
        }
        if dashes == 0 || word == "-" {
            found.args.push(word);
            if greedy {
                break;
            }
            continue;
        }
        let (name, given) = match word.get(dashes..).unwrap_or("").split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word.trim_start_matches('-'), None),
        };
        if name.is_empty() || dashes > 2 {
            return Err(Error::new(format!("bad flag syntax: {word}")));
        }
        let flag = flag_named(flags, name)
            .ok_or_else(|| Error::new(format!("flag provided but not defined: -{name}")))?;
        let value = match (flag.takes, given) {
            (Takes::Nothing, given) => switch(name, given.as_deref().unwrap_or("true"))?,
            (_, Some(value)) => value,
            (_, None) => {
                words.next().ok_or_else(|| Error::new(format!("flag needs an argument: -{name}")))?
            }
        };
        found.flags.push((flag.name, value));
    }
    found.args.extend(words);
    Ok(found)
}

fn flag_named(flags: &'static [Flag], name: &str) -> Option<&'static Flag> {
    const HELP_FLAG: &[Flag] = &[HELP];
    let is = |f: &&Flag| f.name == name || f.short.is_some_and(|c| name.strip_prefix(c) == Some(""));
    flags.iter().find(is).or_else(|| HELP_FLAG.iter().find(is))
}

/// The spellings of Go's `strconv.ParseBool`.
fn switch(name: &str, value: &str) -> Result<String> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok("true".into()),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok("false".into()),
        _ => Err(Error::new(format!("invalid boolean value {value:?} for -{name}"))),
    }
}
