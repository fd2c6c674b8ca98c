//! From words to flags and arguments, in the dialects of all engines.
//!
//! The grammar is that of Go's `flag` package, which runc's callers expect: `--name value`, `--name=value`, the same with one
//! dash, and switches also as `--name=true`; `--` ends the options. As in runc, options may follow the arguments, except in
//! commands whose arguments are another command line (`exec`, `ps`): their options end at the first argument.

use std::fmt::Display;

use super::table::{Flag, Verb, global};
use super::typo;
use crate::error::{Error, Quoted, Result};
use crate::text::is_utf8;

/// The flags and arguments found, in order.
///
/// Words are kept for the life of the process, as the kernel keeps argv.
#[derive(Debug, Default)]
pub struct Words {
    flags: Vec<(&'static str, &'static str)>,
    /// The words that are no flags.
    pub args: Vec<&'static str>,
}

impl Words {
    /// The last value given to a flag.
    pub fn text(&self, name: &str) -> Option<&'static str> {
        self.flags.iter().rfind(|(n, _)| *n == name).map(|(_, value)| *value)
    }

    /// All values given to a flag.
    pub fn all(&self, name: &str) -> Vec<&'static str> {
        self.flags.iter().filter(|(n, _)| *n == name).map(|(_, value)| *value).collect()
    }

    /// Whether a switch is on.
    pub fn on(&self, name: &str) -> bool {
        self.text(name) == Some("true")
    }
}

/// Reads the flags before the command; the rest begins with the command.
pub fn globals(words: &[&'static str]) -> Result<Words> {
    lex(words, global())
}

/// Reads the flags and arguments of a command and checks their number.
pub fn command(verb: Verb, words: &[&'static str]) -> Result<Words> {
    let found = lex(words, verb)?;
    if found.on("help") {
        return Ok(found);
    }
    for (name, _) in &found.flags {
        if let Some(why) = flag_named(verb, name).and_then(|flag| flag.line.refused()) {
            return Err(unsupported(format_args!("{}: --{name}", verb.name()), why));
        }
    }
    // So are its arguments.
    let ours = found.args.len().min(if verb.name() == "exec" { 1 } else { usize::MAX });
    if let Some(word) = found.args[..ours].iter().find(|word| !is_utf8(word)) {
        return Err(Error::of(format_args!("argument {} is not UTF-8", Quoted(word))));
    }
    let (given, (min, max)) = (found.args.len(), verb.arguments());
    let (how, n) = match () {
        () if min == max && given != min => ("exactly", min),
        () if given < min => ("a minimum of", min),
        () if given > max => ("a maximum of", max),
        () => return Ok(found),
    };
    Err(Error::of(format_args!("\"{}\" requires {how} {n} argument(s)", verb.name())))
}

/// The error for a flag that is parsed but not supported.
pub fn unsupported(what: impl Display, why: &str) -> Error {
    let error = Error::of(format_args!("{what} is not supported"));
    if why.is_empty() { error } else { error.hint(why) }
}

fn lex(words: &[&'static str], verb: Verb) -> Result<Words> {
    let mut found = Words::default();
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        let name = word.trim_start_matches('-');
        let dashes = word.len() - name.len();
        if word == "--" {
            break;
        }
        if dashes == 0 || word == "-" {
            found.args.push(word);
            if verb.is_greedy() {
                break;
            }
            continue;
        }
        let (name, given) = name.split_once('=').map_or((name, None), |(name, value)| (name, Some(value)));
        if name.is_empty() || dashes > 2 {
            return Err(Error::of(format_args!("bad flag syntax: {word}")));
        }
        let flag = flag_named(verb, name).ok_or_else(|| typo::flag(verb, name))?;
        let value = match given {
            None if flag.value.is_empty() => "true",
            Some(value) if flag.value.is_empty() => {
                let on = boolean(value).ok_or_else(|| {
                    Error::of(format_args!("invalid boolean value {} for -{name}", Quoted(value)))
                })?;
                if on { "true" } else { "false" }
            }
            Some(value) => value,
            None => words.next().ok_or_else(|| Error::of(format_args!("flag needs an argument: -{name}")))?,
        };
        // The program's environment is passed on byte by byte.
        if flag.name != "env" && !is_utf8(value) {
            return Err(Error::of(format_args!("--{}: {} is not UTF-8", flag.name, Quoted(value))));
        }
        found.flags.push((flag.name, value));
    }
    found.args.extend(words);
    Ok(found)
}

fn flag_named(verb: Verb, name: &str) -> Option<Flag> {
    verb.flags().find(|flag| flag.name == name || flag.short == name)
}

/// The spellings of Go's `strconv.ParseBool`.
pub fn boolean(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
