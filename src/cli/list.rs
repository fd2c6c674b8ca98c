//! `list`: the containers of the state root.
//!
//! Damaged files of one cause a warning and do not hide the others.

use std::fmt::Write as _;

use super::command::{Format, Globals};
use super::print;
use crate::error::Result;
use crate::json::value::Json;
use crate::log;
use crate::state::observe::{Facts, status};
use crate::state::public_state;
use crate::state::store::Store;
use crate::sys::file::read_text;

/// Prints the list.
pub fn run(globals: &Globals, format: Format, quiet: bool) -> Result<()> {
    let states = match Store::open(globals.root)? {
        Some(store) => states(&store)?,
        None => Vec::new(),
    };
    if quiet {
        let mut ids = String::new();
        for state in &states {
            ids += &text(state, "id");
            ids.push('\n');
        }
        return print(&ids);
    }
    match format {
        Format::Table => print(&table(&states)),
        // Go encodes an empty slice as null, and engines decode that.
        Format::Json if states.is_empty() => print("null\n"),
        Format::Json => print(&(Json::List(states).compact() + "\n")),
    }
}

fn states(store: &Store) -> Result<Vec<Json>> {
    let mut states = Vec::new();
    for id in store.ids()? {
        match state(store, id) {
            Ok(Some(state)) => states.push(state),
            Ok(None) => {}
            Err(e) => log::warn(&e.context(id).to_string()),
        }
    }
    Ok(states)
}

fn state(store: &Store, id: &str) -> Result<Option<Json>> {
    let Some(entry) = store.entry(id).map(Some).or_else(|e| if e.is(GONE) { Ok(None) } else { Err(e) })?
    else {
        return Ok(None);
    };
    let Some(record) = entry.record()? else { return Ok(None) };
    let status = status(&record, &Facts::read(&record, &entry)?);
    Ok(Some(public_state(&record, status, &user_name(entry.owner()?))))
}

/// Deleted since the directory was read.
const GONE: &str = crate::error::engine::NOT_EXIST;

fn text(state: &Json, key: &str) -> String {
    match state.get(key) {
        Some(Json::Str(s)) => (*s).to_owned(),
        Some(other) => other.compact(),
        None => String::new(),
    }
}

/// Columns at least 12 characters wide with 3 between them, as in runc's table.
fn table(states: &[Json]) -> String {
    const COLUMNS: [&str; 6] = ["id", "pid", "status", "bundle", "created", "owner"];
    let longest = |column| states.iter().map(|s| text(s, column).chars().count()).max().unwrap_or(0);
    let mut widths = COLUMNS.map(|column| longest(column).max(9) + 3);
    // Nothing follows the last column.
    widths[5] = 0;
    let mut out = String::new();
    let mut row = |cell: &dyn Fn(&str) -> String| {
        for (column, width) in COLUMNS.iter().zip(widths) {
            let _ = write!(out, "{:width$}", cell(column));
        }
        out.push('\n');
    };
    row(&str::to_ascii_uppercase);
    states.iter().for_each(|state| row(&|column| text(state, column)));
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
        let text = table(&[state]);
        let row = text.lines().nth(1).unwrap();
        assert_eq!(row, "web         12          running     /b/ü\"\\      2024-01-01T00:00:00.5Z   root");
    }

    #[test]
    fn owners_have_names_or_numbers() {
        assert_eq!(user_name(0), "root");
        assert_eq!(user_name(4_294_967_000), "#4294967000");
    }
}
