//! Help texts, printed from the table.

use std::fmt::Write as _;

use super::table::{Flag, GLOBAL, HELP, Line, VERBS, Verb, flags};

/// The help text of the whole, or of one command.
pub fn text(verb: Option<&Verb>) -> String {
    let mut out = String::new();
    match verb {
        None => {
            out.push_str("embrun: a small OCI runtime, compatible with runc\n\n");
            out.push_str("usage: embrun [global options] command [options] [arguments]\n\ncommands:\n");
            for verb in VERBS {
                list(&mut out, 11, Line { head: verb.name(), ..verb.line() });
            }
            out.push_str("\nglobal options:\n");
            options(&mut out, GLOBAL);
        }
        Some(verb) => {
            let (name, line) = (verb.name(), verb.line());
            let usage = &line.head[name.len()..];
            let _ = writeln!(out, "embrun {name}: {}\n\nusage: embrun {name} [options]{usage}", line.text);
            out.push_str("\noptions:\n");
            options(&mut out, verb.flags);
        }
    }
    out
}

fn options(out: &mut String, texts: &'static [&'static str]) {
    for flag in flags(texts).chain([Flag::read(HELP)]) {
        list(out, 29, flag.line);
    }
}

fn list(out: &mut String, width: usize, line: Line) {
    if line.shown() {
        let _ = writeln!(out, "  {:<width$} {}", line.head, line.text);
    }
}
