//! Checks docs/security.md, and the changes that remove its defences.

use std::collections::BTreeMap;
use std::fs;

use super::docs::{Tests, cells, named, sources, top};

/// A change of one file; the old lines are without their indentation.
struct Change {
    file: String,
    function: Option<String>,
    old: Vec<String>,
}

/// A defence that `run.py` removes.
struct Removal {
    row: String,
    /// `FILE::TEST`
    test: String,
    changes: Vec<Change>,
}

/// The changes in all files `integration/defences/*.txt`.
fn removals() -> Vec<Removal> {
    let mut all: Vec<Removal> = Vec::new();
    for entry in fs::read_dir(top().join("integration/defences")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "txt") {
            continue;
        }
        for line in fs::read_to_string(&path).unwrap().lines() {
            let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
            let words: Vec<&str> = rest.split(' ').collect();
            match mark {
                "==" => {
                    let [row, _, test] = words[..] else { panic!("{line}") };
                    let test = test.replace("::tests::", "::");
                    all.push(Removal { row: row.into(), test, changes: Vec::new() });
                }
                "@" => {
                    let function = words.get(1).map(|f| (*f).to_owned());
                    let changes = &mut all.last_mut().unwrap().changes;
                    changes.push(Change { file: words[0].into(), function, old: Vec::new() });
                }
                "-" => {
                    let change = all.last_mut().unwrap().changes.last_mut().unwrap();
                    change.old.push(rest.trim().to_owned());
                }
                "+" | "#" | "" => {}
                _ => panic!("{}: {line}", path.display()),
            }
        }
    }
    all
}

/// How often the old lines are in the file, or in its function.
fn places(change: &Change) -> usize {
    let text =
        fs::read_to_string(top().join(&change.file)).unwrap_or_else(|e| panic!("{}: {e}", change.file));
    let lines: Vec<&str> = text.lines().collect();
    let mut within = 0..lines.len();
    if let Some(function) = &change.function {
        let head =
            |l: &&str| l.contains(&format!("fn {function}(")) || l.contains(&format!("fn {function}<"));
        let starts: Vec<usize> = (0..lines.len()).filter(|i| head(&lines[*i])).collect();
        assert_eq!(starts.len(), 1, "{}: functions {function}", change.file);
        let depth = |line: &str| line.len() - line.trim_start().len();
        let rest = lines.iter().enumerate().skip(starts[0] + 1);
        let ends = rest.into_iter().find(|(_, l)| l.trim() == "}" && depth(l) == depth(lines[starts[0]]));
        within = starts[0]..ends.unwrap().0;
    }
    let bare: Vec<&str> = lines[within].iter().map(|l| l.trim()).collect();
    bare.windows(change.old.len()).filter(|w| w.iter().eq(change.old.iter())).count()
}

/// The files of a cell, each with the functions that follow it.
fn functions(cell: &str) -> Vec<(&str, Vec<&str>)> {
    let mut all: Vec<(&str, Vec<&str>)> = Vec::new();
    for code in cell.split('`').skip(1).step_by(2) {
        let is_name = code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if code.starts_with("src/") {
            all.push((code, Vec::new()));
        } else if let Some((_, names)) = all.last_mut().filter(|_| is_name) {
            names.push(code);
        }
    }
    all
}

#[test]
fn every_defence_has_existing_functions_registered_tests_and_a_change() {
    let tests = Tests::read();
    let page = fs::read_to_string(top().join("docs/security.md")).unwrap();
    let mut rows = BTreeMap::new();
    for line in page.lines().filter(|l| l.starts_with("| ") && !l.starts_with("| row")) {
        let [row, mechanism, defence, shown] = cells(line)[..] else { panic!("{line}") };
        assert!(!mechanism.is_empty(), "{row}");
        let files = functions(defence);
        assert!(!files.is_empty(), "{row}: no file");
        for (file, names) in files {
            let text = fs::read_to_string(top().join(file)).unwrap_or_else(|e| panic!("{row}: {file}: {e}"));
            for name in names {
                let here = |end: char| text.contains(&format!("fn {name}{end}"));
                assert!(here('(') || here('<'), "{row}: {file} has no function {name}");
            }
        }
        assert!(rows.insert(row, named(shown)).is_none(), "{row} is there twice");
    }
    assert!(rows.len() >= 50, "{} rows", rows.len());
    for test in named(&page) {
        assert!(tests.is_registered(test), "no test {test}");
    }
    let removals = removals();
    for removal in &removals {
        let shown = rows.get(&*removal.row).unwrap_or_else(|| panic!("no row {}", removal.row));
        let names = |t: &&str| t.ends_with(&*removal.test) || removal.test.ends_with(*t);
        assert!(shown.iter().any(names), "{}: the page does not name {}", removal.row, removal.test);
        assert!(!removal.changes.is_empty(), "{}: nothing is changed", removal.row);
        for change in &removal.changes {
            assert_eq!(places(change), 1, "{} {}: places of {:?}", removal.row, change.file, change.old);
        }
    }
    let without: Vec<_> = rows.keys().filter(|row| !removals.iter().any(|r| r.row == ***row)).collect();
    assert_eq!(without, [&""; 0], "no change removes the defence");
}

/// The calls in `src/rootfs` whose path the kernel resolves as it is.
///
/// They get `/`, `.`, a path of the host from before the pivot, or the only name in a directory that is open. A path of the
/// container goes through `RootDir`.
const BY_PATH: [(&str, &str, usize); 19] = [
    ("detached.rs", "open", 1),
    ("detached.rs", "mount", 1),
    ("foreign_proc.rs", "mount", 3),
    ("foreign_proc.rs", "umount2", 1),
    ("foreign_proc.rs", "chdir", 2),
    ("foreign_proc.rs", "chroot", 2),
    ("idmapped.rs", "open", 5),
    ("idmapped.rs", "mount", 2),
    ("mod.rs", "open", 2),
    ("mod.rs", "stat", 1),
    ("mod.rs", "mount", 1),
    ("pivot.rs", "open", 2),
    ("pivot.rs", "mount", 5),
    ("pivot.rs", "umount2", 2),
    ("pivot.rs", "chdir", 1),
    ("pivot.rs", "chroot", 1),
    ("pivot.rs", "canonical", 1),
    ("procfs.rs", "open", 1),
    ("root.rs", "open", 1),
];

#[test]
fn calls_that_take_a_path_in_rootfs_are_known() {
    let mut found = Vec::new();
    let mut files = Vec::new();
    sources(&top().join("src/rootfs"), &mut files);
    files.sort();
    for (path, text) in &files {
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let code: String = code.lines().filter(|l| !l.trim_start().starts_with("//")).collect();
        for call in ["open", "stat", "mount", "umount2", "chdir", "chroot", "canonical"] {
            let is_call = |(at, _): &(usize, &str)| {
                let before = code[..*at].chars().next_back().unwrap_or(' ');
                !before.is_alphanumeric() && !"_.:".contains(before) && !code[..*at].ends_with("fn ")
            };
            let count = code.match_indices(&format!("{call}(")).filter(is_call).count();
            if count > 0 {
                let name = path.file_name().unwrap().to_str().unwrap();
                found.push((name.to_owned(), call, count));
            }
        }
    }
    let known: Vec<_> = BY_PATH.iter().map(|(file, call, n)| ((*file).to_owned(), *call, *n)).collect();
    assert_eq!(found, known, "a new call needs a reason: no path of the container may reach it");
}
