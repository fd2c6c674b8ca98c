//! `list`: the containers of the state root.
//!
//! Damaged files of one cause a warning and do not hide the others. A missing state root is an error if the caller names it, as
//! in runc: a typo must not look like "no containers". The default one appears with the first container.

use std::cell::RefCell;
use std::fmt::Write as _;

use super::command::{Format, Globals};
use super::print;
use crate::error::{Context, Errno, Result};
use crate::json::value::Json;
use crate::log;
use crate::state::observe::{Facts, status};
use crate::state::public_state;
use crate::state::store::Store;
use crate::sys::entry::{STDOUT, write_all};
use crate::sys::file::read_text;
use crate::sys::heap::{lasting, scratch};

/// Prints the list.
///
/// The memory for a container is given back before the next; a table keeps its rows, because it needs their widths.
pub fn run(globals: &Globals, format: Format, quiet: bool) -> Result<()> {
    let list = RefCell::new(Listing { format, quiet, ..Listing::default() });
    if let Some(store) = Store::open(globals.root)? {
        for id in store.ids()? {
            scratch(&|| list.borrow_mut().add(&store, id)).at("write to stdout")?;
        }
    } else if globals.is_root_given {
        return Err(Errno::ENOENT).about(format_args!("list: open {}", globals.root));
    }
    list.into_inner().end()
}

/// Deleted since the directory was read.
const GONE: &str = crate::error::engine::NOT_EXIST;

/// The list so far. It is kept outside of the memory for one container.
#[derive(Default)]
struct Listing {
    format: Format,
    quiet: bool,
    rows: Vec<[String; 6]>,
    /// The part that is not printed yet.
    text: String,
    /// Whether an element of the JSON list precedes.
    more: bool,
    /// The last owner that was looked up.
    owner: Option<(u32, String)>,
}

/// Print when this much has come together.
const PIECE: usize = 16 << 10;

impl Listing {
    /// Adds a container; damage causes a warning.
    fn add(&mut self, store: &Store, id: &str) -> std::result::Result<(), Errno> {
        match self.state(store, id) {
            Ok(None) => Ok(()),
            Ok(Some(_)) if self.quiet => self.put(&[id, "\n"]),
            Ok(Some(state)) if self.format == Format::Table => {
                lasting(|| self.rows.push(COLUMNS.map(|column| text(&state, column))));
                Ok(())
            }
            Ok(Some(state)) => {
                let before = if std::mem::replace(&mut self.more, true) { "," } else { "[" };
                self.put(&[before, &state.compact()])
            }
            Err(e) if e.is(GONE) => Ok(()),
            Err(e) => {
                log::warn(&e.context(id).to_string());
                Ok(())
            }
        }
    }

    fn state(&mut self, store: &Store, id: &str) -> Result<Option<Json>> {
        let entry = store.entry(id)?;
        if self.quiet && entry.is_intact() {
            return Ok(Some(Json::Null));
        }
        let Some(record) = entry.record()? else { return Ok(None) };
        if self.quiet {
            return Ok(Some(Json::Null));
        }
        let status = status(&record, &Facts::read(&record, &entry)?);
        let uid = entry.owner()?;
        if self.owner.as_ref().is_none_or(|(known, _)| *known != uid) {
            self.owner = Some((uid, lasting(|| user_name(uid))));
        }
        let owner = self.owner.as_ref().map_or("", |(_, name)| name);
        Ok(Some(public_state(&record, status, owner)))
    }

    fn put(&mut self, pieces: &[&str]) -> std::result::Result<(), Errno> {
        lasting(|| pieces.iter().for_each(|piece| self.text += piece));
        if self.text.len() < PIECE {
            return Ok(());
        }
        write_all(STDOUT, self.text.as_bytes())?;
        self.text.clear();
        Ok(())
    }

    fn end(mut self) -> Result<()> {
        match (self.quiet, self.format) {
            (true, _) => {}
            (false, Format::Table) => self.text = table(&self.rows),
            // Go encodes an empty slice as null, and engines decode that.
            (false, Format::Json) => self.text += if self.more { "]\n" } else { "null\n" },
        }
        print(&self.text)
    }
}

fn text(state: &Json, key: &str) -> String {
    match state.get(key) {
        Some(Json::Str(s)) => (*s).to_owned(),
        Some(other) => other.compact(),
        None => String::new(),
    }
}

const COLUMNS: [&str; 6] = ["id", "pid", "status", "bundle", "created", "owner"];

/// Columns at least 12 characters wide with 3 between them, as in runc's table.
fn table(rows: &[[String; 6]]) -> String {
    let longest = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let mut widths = [0, 1, 2, 3, 4, 5].map(|column| longest(column).max(9) + 3);
    // Nothing follows the last column.
    widths[5] = 0;
    let mut out = String::new();
    for row in std::iter::once(&COLUMNS.map(str::to_ascii_uppercase)).chain(rows) {
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(out, "{cell:width$}");
        }
        out.push('\n');
    }
    out
}

/// The name of a user in /etc/passwd, or `#UID`.
fn user_name(uid: u32) -> String {
    let passwd = read_text("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    });
    name.map_or_else(|| format!("#{uid}"), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::observe::Status;
    use crate::state::record::tests::sample;

    #[test]
    fn the_table_is_laid_out_as_runcs() {
        assert_eq!(table(&[]), "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n");
        let state = public_state(&sample(), Status::Running, "root");
        let text = table(&[COLUMNS.map(|column| text(&state, column))]);
        let row = text.lines().nth(1).unwrap();
        assert_eq!(row, "web         12          running     /b/ü\"\\      2024-01-01T00:00:00.5Z   root");
    }

    #[test]
    fn owners_have_names_or_numbers() {
        assert_eq!(user_name(0), "root");
        assert_eq!(user_name(4_294_967_000), "#4294967000");
    }
}
