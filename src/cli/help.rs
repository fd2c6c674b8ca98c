//! Help texts, written from the table.

use std::fmt::Write as _;

use super::table::{Fate, Flag, GLOBAL, HELP, Takes, VERBS, Verb};

/// The help text of the whole, or of one command.
pub fn text(verb: Option<&Verb>) -> String {
    let mut out = String::new();
    match verb {
        None => {
            out.push_str("embrun: a small OCI runtime, compatible with runc\n\n");
            out.push_str("usage: embrun [global options] command [options] [arguments]\n\ncommands:\n");
            for v in VERBS.iter().filter(|v| v.fate == Fate::Performed) {
                let _ = writeln!(out, "  {:<11} {}", v.name, v.about);
            }
            out.push_str("\nglobal options:\n");
            list(&mut out, GLOBAL);
        }
        Some(v) => {
            let _ = writeln!(out, "embrun {}: {}\n", v.name, v.about);
            let _ = writeln!(out, "usage: embrun {} [options] {}\n\noptions:", v.name, v.usage);
            list(&mut out, v.flags);
            list(&mut out, &[HELP]);
        }
    }
    out
}

fn list(out: &mut String, flags: &[Flag]) {
    for f in flags.iter().filter(|f| !f.hidden && !matches!(f.fate, Fate::Unsupported(_))) {
        let mut name = format!("--{}", f.name);
        if let Some(c) = f.short {
            let _ = write!(name, ", -{c}");
        }
        if f.takes != Takes::Nothing {
            name.push_str(" VALUE");
        }
        let again = if f.takes == Takes::Each { "; may be given again" } else { "" };
        let _ = writeln!(out, "  {name:<29} {}{again}", f.help);
    }
}
