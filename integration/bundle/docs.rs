//! Checks the tables of docs/spec.md and SECURITY.md.
//!
//! Every entry of the checklist is there, and every test that they name exists.

use std::fs;
use std::path::{Path, PathBuf};

pub fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The Rust files below a directory, with their text.
pub fn sources(dir: &Path, out: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            out.push((path, text));
        }
    }
}

/// The cells of a table row.
pub fn cells(line: &str) -> Vec<&str> {
    line.trim_matches('|').split('|').map(str::trim).collect()
}

/// The tests of this repository, to be found by the names in the documents.
pub struct Tests(Vec<(PathBuf, String)>);

impl Tests {
    pub fn read() -> Tests {
        let mut all = Vec::new();
        sources(&top().join("src"), &mut all);
        sources(&top().join("integration"), &mut all);
        Tests(all)
    }

    /// Whether that file has a function of that name: `FILE::TEST`.
    fn exists(&self, name: &str) -> bool {
        self.file_of(name).is_some()
    }

    /// Whether it is also run: by its attribute, or in a list of cases.
    pub fn is_registered(&self, name: &str) -> bool {
        let function = name.rsplit("::").next().unwrap_or_default();
        self.file_of(name).is_some_and(|text| {
            let before = text.split(&format!("fn {function}(")).next().unwrap_or_default();
            before.trim_end().ends_with("#[test]")
                || text.split("cases![").skip(1).any(|list| {
                    let list = list.split(']').next().unwrap_or_default();
                    list.split(',').any(|case| case.trim() == function)
                })
        })
    }

    fn file_of(&self, name: &str) -> Option<&str> {
        let (file, function) = name.rsplit_once("::").unwrap_or_else(|| panic!("{name} is not FILE::TEST"));
        let below = file.replace("::", "/");
        let here = |(path, text): &&(PathBuf, String)| {
            let path = path.with_extension("").to_string_lossy().replace("/mod", "").replace("/tests", "");
            path.ends_with(&format!("/{below}")) && text.contains(&format!("fn {function}("))
        };
        self.0.iter().find(here).map(|(_, text)| &**text)
    }
}

/// The tests that a cell names.
pub fn named(cell: &str) -> Vec<&str> {
    cell.split('`').filter(|t| t.contains("::")).collect()
}

#[test]
fn spec_checklist_is_complete_and_its_tests_exist() {
    let tests = Tests::read();
    let text = fs::read_to_string(top().join("docs/spec.md")).unwrap();
    let mut number = 0;
    let mut counts = [("done", 0), ("partly", 0), ("read", 0), ("no", 0)];
    for line in text.lines().filter(|l| l.starts_with("| S")) {
        number += 1;
        let [id, _, status, shown] = cells(line)[..] else { panic!("{line}") };
        assert_eq!(id, format!("S{number:03}"));
        counts.iter_mut().find(|(name, _)| *name == status).unwrap_or_else(|| panic!("{line}")).1 += 1;
        let names = named(shown);
        assert!(status != "done" || !names.is_empty(), "done, but no test is named: {line}");
        for name in names {
            assert!(tests.exists(name), "{id}: no test {name}");
        }
    }
    assert_eq!(number, 140);
    let [(_, done), (_, partly), (_, read), (_, no)] = counts;
    let readme = fs::read_to_string(top().join("README.md")).unwrap();
    let partly = if partly == 0 { String::new() } else { format!(" {partly} are done in part,") };
    let says = format!("\n{done} are done,{partly} {} are not supported.\n", read + no);
    assert!(readme.contains(&says), "README.md does not say {says:?}");
}

#[test]
fn every_listed_defence_names_existing_files_and_tests() {
    let tests = Tests::read();
    let text = fs::read_to_string(top().join("SECURITY.md")).unwrap();
    let (_, table) = text.split_once("\n| mechanism | defence | test |\n|---|---|---|\n").unwrap();
    let rows: Vec<&str> = table.lines().take_while(|l| l.starts_with('|')).collect();
    for row in &rows {
        let [mechanism, defence, shown] = cells(row)[..] else { panic!("{row}") };
        let files: Vec<&str> = defence.split('`').filter(|t| t.starts_with("src/")).collect();
        assert!(!files.is_empty(), "no file: {mechanism}");
        for file in files {
            assert!(top().join(file).is_file(), "no file {file}: {mechanism}");
        }
        let names = named(shown);
        assert!(!names.is_empty(), "no test: {mechanism}");
        for name in names {
            assert!(tests.exists(name), "no test {name}: {mechanism}");
        }
    }
    assert!(rows.len() >= 15, "{} rows", rows.len());
    // Promises and limits may name tests too.
    for name in named(&text) {
        assert!(tests.exists(name), "no test {name}");
    }
}
