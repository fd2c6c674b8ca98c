//! Suggests the command or option that a misspelt word may have meant.

use super::table::{Verb, global, verbs};
use crate::error::{Error, Quoted};

/// The beginning of the error for an unknown option, as Go prints it.
pub const UNDEFINED: &str = "flag provided but not defined: -";

/// The error for an unknown command.
pub fn command(word: &str) -> Error {
    let error = Error::of(format_args!("unknown command {}", Quoted(word)));
    match nearest(word, &mut verbs().filter(|verb| verb.line().shown()).map(Verb::name)) {
        Some(name) => error.hint(format_args!("did you mean {name}?")),
        None => error.hint("embrun --help lists the commands"),
    }
}

/// The error for an unknown option of a command.
pub fn flag(verb: Verb, word: &str) -> Error {
    let error = Error::of(format_args!("{UNDEFINED}{word}"));
    let named = |flag: super::table::Flag| flag.line.shown().then_some(flag.name);
    if let Some(name) = nearest(word, &mut verb.flags().filter_map(named)) {
        return error.hint(format_args!("did you mean --{name}?"));
    }
    let elsewhere = verb.name() != "embrun" && global().flags().any(|flag| flag.name == word);
    error.hint(if elsewhere {
        "a global option: it must precede the command"
    } else {
        "--help lists the options"
    })
}

/// The name that takes the fewest changes: one, or two in a longer name.
fn nearest(word: &str, names: &mut dyn Iterator<Item = &'static str>) -> Option<&'static str> {
    let mut near = None;
    for name in names {
        if is_near(word.as_bytes(), name.as_bytes(), 1) && name.len() > 2 {
            return Some(name);
        }
        if near.is_none() && name.len() > 4 && is_near(word.as_bytes(), name.as_bytes(), 2) {
            near = Some(name);
        }
    }
    near
}

/// Whether so many added, missing or other letters make one out of the other.
fn is_near(a: &[u8], b: &[u8], changes: usize) -> bool {
    let ([x, rest @ ..], [y, others @ ..]) = (a, b) else { return a.len() + b.len() <= changes };
    if x == y {
        return is_near(rest, others, changes);
    }
    changes > 0
        && (is_near(rest, b, changes - 1)
            || is_near(a, others, changes - 1)
            || is_near(rest, others, changes - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_suggested() {
        for (word, meant) in [
            ("creat", "create"),
            ("strat", "start"),
            ("delte", "delete"),
            ("lst", "list"),
            ("rub", "run"),
            ("uptade", "update"),
            ("seccmop", "seccomp"),
        ] {
            let error = command(word).to_string();
            assert_eq!(error, format!("unknown command \"{word}\" (did you mean {meant}?)"));
        }
        // Unlike anything, unsupported, or too short.
        for word in ["bogus", "checkpont", "", "p", "stop", "rm"] {
            let error = command(word).to_string();
            assert!(error.ends_with("(embrun --help lists the commands)"), "{error}");
        }
        assert!(command(&"x".repeat(100_000)).to_string().len() > 100_000);
    }

    #[test]
    fn options_are_suggested() {
        let of = |name: &str| verbs().find(|verb| verb.name() == name).unwrap();
        for (verb, word, hint) in [
            (of("create"), "bundel", "did you mean --bundle?"),
            (of("run"), "detatch", "did you mean --detach?"),
            (of("exec"), "additional-gid", "did you mean --additional-gids?"),
            (of("delete"), "frce", "did you mean --force?"),
            (global(), "sytemd-cgroup", "did you mean --systemd-cgroup?"),
            (global(), "bundle", "--help lists the options"),
            (of("list"), "root", "a global option: it must precede the command"),
            // Hidden and unsupported ones are not suggested.
            (of("update"), "l3-cache-schem", "--help lists the options"),
            (of("kill"), "9", "--help lists the options"),
        ] {
            assert_eq!(flag(verb, word).to_string(), format!("{UNDEFINED}{word} ({hint})"));
        }
    }
}
