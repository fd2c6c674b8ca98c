//! `list`: the containers below `--root`. One whose files are damaged is warned of and does not hide the others.

use super::args::{Format, Globals};
use super::print;
use crate::bundle::json::Json;
use crate::error::Result;
use crate::log;
use crate::state::observe::{Facts, status};
use crate::state::public_state;
use crate::state::store::Store;

/// Prints the list.
pub fn run(globals: &Globals, format: Format, quiet: bool) -> Result<()> {
    let states = match Store::open(&globals.root)? {
        Some(store) => states(&store)?,
        None => Vec::new(),
    };
    if quiet {
        return print(&states.iter().map(|s| text(s, "id") + "\n").collect::<String>());
    }
    match format {
        Format::Table => print(&table(&states)),
        // What an empty slice is in Go, and what engines decode for it.
        Format::Json if states.is_empty() => print("null\n"),
        Format::Json => print(&(Json::List(states).compact() + "\n")),
    }
}

fn states(store: &Store) -> Result<Vec<Json>> {
    let mut states = Vec::new();
    for id in store.ids()? {
        match state(store, &id) {
            Ok(state) => states.extend(state),
            Err(e) => log::warn(&e.context(&id).to_string()),
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
        Some(Json::Str(s)) => s.clone(),
        Some(other) => other.compact(),
        None => String::new(),
    }
}

/// Columns at least 12 characters wide with 3 between them, as runc's table has them.
fn table(states: &[Json]) -> String {
    const COLUMNS: [&str; 6] = ["id", "pid", "status", "bundle", "created", "owner"];
    let mut rows = vec![COLUMNS.map(str::to_uppercase)];
    rows.extend(states.iter().map(|s| COLUMNS.map(|column| text(s, column))));
    let longest = |column: usize| rows.iter().map(|r| r[column].chars().count()).max().unwrap_or(0);
    let widths = [0, 1, 2, 3, 4, 5].map(|column| (longest(column) + 3).max(12));
    let mut out = String::new();
    for row in &rows {
        let (last, first) = (&row[5], &row[..5]);
        for (cell, width) in first.iter().zip(widths) {
            out.push_str(cell);
            out.extend(std::iter::repeat_n(' ', width - cell.chars().count()));
        }
        out.push_str(last);
        out.push('\n');
    }
    out
}

/// The name of a user in /etc/passwd, or `#UID`.
fn user_name(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
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
