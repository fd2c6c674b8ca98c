//! Help texts, printed from the table.

use std::fmt::Write as _;

use super::table::{Line, Verb, global, verbs};

/// The help text of the program, or of one command.
pub fn text(verb: Option<Verb>) -> String {
    let mut out = String::new();
    match verb {
        None => {
            let line = global().line();
            let _ = writeln!(out, "embrun: {}\n\nusage: {}\n\ncommands:", line.text, line.head);
            for verb in verbs() {
                list(&mut out, 11, Line { head: verb.name(), ..verb.line() });
            }
            out.push_str("\nglobal options:\n");
        }
        Some(verb) => {
            let (name, line) = (verb.name(), verb.line());
            let usage = &line.head[name.len()..];
            let _ = writeln!(
                out,
                "embrun {name}: {}\n\nusage: embrun {name} [options]{usage}\n\noptions:",
                line.text
            );
        }
    }
    for flag in verb.unwrap_or_else(global).flags() {
        list(&mut out, 29, flag.line);
    }
    out
}

fn list(out: &mut String, width: usize, line: Line) {
    if line.shown() {
        let _ = writeln!(out, "  {:<width$} {}", line.head, line.text);
    }
}
