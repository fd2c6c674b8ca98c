//! Checks the layout of the sources: imports, names of types, and lengths.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::docs::{sources, top};

/// The rooms from top to bottom. A room imports only from rooms below it.
const ROOMS: &[&str] = &[
    "cli",
    "run",
    "state",
    "rootfs",
    "plan",
    "facts",
    "bundle",
    "seccomp",
    "cgroup",
    "cgroup/systemd",
    "cgroup/limits",
    "cgroup/place",
    "trace",
    "log",
    "json",
    "sort",
    "sys",
    "packed",
    "text",
    "error",
];

/// Imports that lead upwards: file, room and reason.
const UPWARDS: &[(&str, &str, &str)] =
    &[("error.rs", "sys", "the texts of error numbers are a table of the kernel's")];

/// Names that several types have: the reason.
const SHARED_NAMES: &[(&str, &str)] = &[("Result", "each room abbreviates its own result, as std::io does")];

/// The most lines of a file.
const LONGEST_FILE: usize = 450;
/// The most lines of a function, with its signature.
const LONGEST_FUNCTION: usize = 60;
const LONGEST_FIRST_LINE: usize = 80;
/// Generated files may be longer.
const GENERATED: &[&str] = &["src/seccomp/syscalls/table.rs"];

/// A source file without comments, and without the tests at its end.
struct Source {
    path: String,
    code: String,
}

fn is_test(path: &str) -> bool {
    path.ends_with("tests.rs") || path.contains("/tests/")
}

/// The services of the example gateway.
const SERVICES: &str = "rootfs-fixtures/gateway/services/src";

fn read(directory: &str) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    sources(&top().join(directory), &mut files);
    assert!(files.len() > 100 || directory != "src", "{}", files.len());
    files
}

fn relative(path: &Path, base: &str) -> String {
    path.strip_prefix(top().join(base)).unwrap().to_string_lossy().into_owned()
}

fn code() -> Vec<Source> {
    let uncommented = |line: &str| line.split_once("//").map_or(line, |(code, _)| code).to_owned();
    let all = read("src").into_iter().map(|(path, text)| {
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let text = text.split("#[cfg(test)]\npub(crate) mod tests {").next().unwrap();
        let code = text.lines().map(uncommented).collect::<Vec<_>>().join("\n");
        Source { path: relative(&path, "src"), code }
    });
    all.filter(|source| !is_test(&source.path)).collect()
}

/// The room of a file or a module, by its path; none for the root of the crate.
fn room(path: &str) -> Option<usize> {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let fits =
        |room: &str| path.strip_prefix(room).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    (0..ROOMS.len()).filter(|i| fits(ROOMS[*i])).max_by_key(|i| ROOMS[*i].len())
}

/// The module paths after a keyword, one for each name in braces.
fn paths_after(code: &str, keyword: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices(keyword) {
        // `pub(in crate::cgroup)` is no import.
        if code[..at].ends_with("(in ") {
            continue;
        }
        let rest = &code[at + keyword.len()..];
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').unwrap_or(rest.len());
        let base = rest[..end].trim_end_matches(':').replace("::", "/");
        match rest[end..].strip_prefix('{') {
            None => found.push(base),
            Some(list) => {
                let list = list.split('}').next().unwrap();
                let names = list.split(',').map(|name| name.trim().replace("::", "/"));
                found.extend(names.map(|name| format!("{base}/{name}").trim_matches('/').to_owned()));
            }
        }
    }
    found
}

#[test]
fn imports_lead_downwards() {
    let mut wrong = Vec::new();
    let mut used = vec![false; UPWARDS.len()];
    let mut imports = 0;
    for Source { path, code } in code() {
        let Some(own) = room(&path) else { continue };
        let parent = path.trim_end_matches("/mod.rs").trim_end_matches(".rs").rsplit_once('/');
        let mut found = paths_after(code.as_str(), "crate::");
        if let Some((parent, _)) = parent {
            found.extend(paths_after(&code, "use super::").iter().map(|p| format!("{parent}/{p}")));
        }
        for import in found {
            let Some(to) = room(&import) else { continue };
            imports += 1;
            // A room within another one is a part of it: its parent may be imported from anywhere below.
            if to >= own {
                continue;
            }
            match UPWARDS.iter().position(|(file, room, _)| *file == path && import.starts_with(room)) {
                Some(i) => used[i] = true,
                None => wrong.push(format!("{path} imports {import}")),
            }
        }
    }
    assert!(imports > 900, "{imports}");
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(used.iter().all(|used| *used), "an exception is not needed any more: {used:?}");
}

#[test]
fn one_name_means_one_type() {
    let mut files: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for Source { path, code } in code() {
        for line in code.lines() {
            let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub"));
            let kind = words.next().unwrap_or_default();
            // An indented `type` belongs to a trait.
            if !["struct", "enum", "trait", "type", "union"].contains(&kind) || line.starts_with("    type") {
                continue;
            }
            let name = words.next().unwrap_or_default();
            let end = name.find(|c: char| !c.is_alphanumeric()).unwrap_or(name.len());
            files.entry(name[..end].to_owned()).or_default().push(path.clone());
        }
    }
    assert!(files.len() > 200, "{}", files.len());
    files.retain(|name, files| files.len() > 1 && SHARED_NAMES.iter().all(|(shared, _)| shared != name));
    assert!(files.is_empty(), "{files:#?}");
}

/// The name of the function that begins on a line. A type `fn(u32)` has none.
fn function(code: &str) -> Option<&str> {
    let (before, after) = code.split_once("fn ")?;
    let qualifier = |word: &str| {
        ["const", "unsafe", "extern", "\"C\""].contains(&word)
            || word.starts_with("pub")
            || word.ends_with(')')
    };
    before.split_whitespace().all(qualifier).then(|| after.split(['(', '<']).next())?
}

#[test]
fn files_and_functions_are_short() {
    let mut long = Vec::new();
    let mut functions = 0;
    for (path, text) in ["src", "integration", SERVICES].into_iter().flat_map(read) {
        let path = relative(&path, "");
        let lines: Vec<&str> = text.lines().collect();
        if lines.len() > LONGEST_FILE && !GENERATED.contains(&path.as_str()) {
            long.push(format!("{path}: {} lines", lines.len()));
        }
        for (first, line) in lines.iter().enumerate() {
            let code = line.trim_start();
            let Some(name) = function(code) else { continue };
            // A declaration, or a function on one line.
            if code.ends_with([';', '}']) {
                continue;
            }
            functions += 1;
            let end = format!("{}}}", &line[..line.len() - code.len()]);
            let length = lines[first..].iter().position(|line| *line == end).expect(line) + 1;
            if length > LONGEST_FUNCTION {
                long.push(format!("{path}: {name} has {length} lines"));
            }
        }
    }
    assert!(functions > 3000, "{functions}");
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn doc_comments_begin_with_a_short_line() {
    let mut long = Vec::new();
    for (path, text) in ["src", "integration", SERVICES].into_iter().flat_map(read) {
        let mut inside = false;
        for (number, line) in text.lines().enumerate() {
            let doc = line.trim_start().strip_prefix("///").or(line.strip_prefix("//!"));
            let first = doc.filter(|_| !inside).map_or("", str::trim);
            if first.chars().count() > LONGEST_FIRST_LINE {
                long.push(format!("{}:{}: {first}", relative(&path, ""), number + 1));
            }
            inside = doc.is_some();
        }
    }
    assert!(long.is_empty(), "{long:#?}");
}

/// The standard library's search for a text would add 1.7 KB to the program.
#[test]
fn texts_are_searched_with_sys_search() {
    const SEARCHES: [&str; 7] = [
        ".contains(\"",
        ".find(\"",
        ".split(\"",
        ".split_once(\"",
        ".rsplit_once(\"",
        ".replace(",
        ".replacen(",
    ];
    let mut bad = Vec::new();
    for Source { path, code } in code() {
        let found = SEARCHES
            .iter()
            .filter(|search| code.contains(**search))
            .map(|search| format!("{path}: {search}"));
        bad.extend(found);
    }
    assert!(bad.is_empty(), "use cut and has of text::search:\n{}", bad.join("\n"));
}
