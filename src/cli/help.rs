//! Help texts, printed from the table.

use std::fmt::Write as _;

use super::args::runtime_name;
use super::table::{Line, Verb, global, verbs};
use crate::sys::entry::arguments;

/// The help text of the program, or of one command, in the form of runc's.
///
/// runc's tests read its first two lines. It names the program as it was called, if that is another runtime's name.
pub fn text(verb: Option<Verb>) -> String {
    let called = arguments().next().and_then(|name| name.to_str().ok()).unwrap_or("");
    let program = runtime_name(called);
    let shown = verb.unwrap_or_else(global);
    let (line, name) = (shown.line(), shown.name());
    if line.refused().is_some() {
        return format!("NAME:\n   {program} {name} - {}\n", line.text);
    }
    let arguments = &line.head[name.len()..];
    let mut out = String::new();
    let _ = match verb {
        None => writeln!(out, "NAME:\n   {program} - {}\n\nUSAGE:\n   {program}{arguments}", line.text),
        Some(_) => writeln!(
            out,
            "NAME:\n   {program} {name} - {}\n\nUSAGE:\n   {program} {name} [options]{arguments}",
            line.text
        ),
    };
    if verb.is_none() {
        out.push_str("\nCOMMANDS:\n");
        for verb in verbs() {
            list(&mut out, 11, Line { head: verb.name(), ..verb.line() });
        }
    }
    out.push_str(if verb.is_none() { "\nGLOBAL OPTIONS:\n" } else { "\nOPTIONS:\n" });
    for flag in shown.flags() {
        list(&mut out, 29, flag.line);
    }
    out
}

fn list(out: &mut String, width: usize, line: Line) {
    if line.shown() {
        let _ = writeln!(out, "  {:<width$} {}", line.head, line.text);
    }
}
