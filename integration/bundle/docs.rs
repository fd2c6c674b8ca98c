//! docs/spec.md keeps its word: it has every line of the checklist, and each test that it names is there.

use std::fs;
use std::path::{Path, PathBuf};

fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The Rust files below a directory, with their text.
fn sources(dir: &Path, out: &mut Vec<(PathBuf, String)>) {
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

/// The cells of a table's line.
fn cells(line: &str) -> Vec<&str> {
    line.trim_matches('|').split('|').map(str::trim).collect()
}

#[test]
fn the_checklist_is_whole_and_its_tests_exist() {
    let mut all = Vec::new();
    sources(&top().join("src"), &mut all);
    sources(&top().join("integration"), &mut all);
    let exists = |name: &str| {
        let (file, function) = name.rsplit_once("::").unwrap_or_else(|| panic!("{name} is not FILE::TEST"));
        let below = file.replace("::", "/");
        all.iter().any(|(path, text)| {
            let path = path.with_extension("").to_string_lossy().replace("/mod", "").replace("/tests", "");
            path.ends_with(&format!("/{below}")) && text.contains(&format!("fn {function}("))
        })
    };
    let text = fs::read_to_string(top().join("docs/spec.md")).unwrap();
    let mut number = 0;
    for line in text.lines().filter(|l| l.starts_with("| S")) {
        number += 1;
        let [id, _, status, tests] = cells(line)[..] else { panic!("{line}") };
        assert_eq!(id, format!("S{number:03}"));
        assert!(["done", "partly", "read", "no"].contains(&status), "{line}");
        let names: Vec<&str> = tests.split('`').filter(|t| t.contains("::")).collect();
        assert!(status != "done" || !names.is_empty(), "done by what test? {line}");
        for name in names {
            assert!(exists(name), "{id}: no test {name}");
        }
    }
    assert_eq!(number, 140);
}
