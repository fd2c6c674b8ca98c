//! Checks that docs/differences.md has the lists of known differences.
//!
//! `BLESS=1` writes them.

use std::collections::BTreeMap;
use std::fs;

use super::docs::top;
use super::known::{OURS, TABLE};

/// The tests by reason, as rows of a table.
fn rows(by_reason: &BTreeMap<String, Vec<String>>, separator: &str) -> String {
    by_reason.iter().map(|(why, tests)| format!("| {why} | {} |\n", tests.join(separator))).collect()
}

/// What runc fails, except what only embrun guarantees.
fn of_runc() -> String {
    let mut by_reason = BTreeMap::<String, Vec<String>>::new();
    let mut ours = BTreeMap::<&str, Vec<&str>>::new();
    for (test, _, why) in TABLE.iter().filter(|(_, runtime, _)| *runtime == "runc") {
        if *why == OURS {
            let (file, name) = test.split_once("::").unwrap();
            ours.entry(file).or_default().push(name);
        } else {
            by_reason.entry(why.to_string()).or_default().push(format!("`{test}`"));
        }
    }
    let ours = ours.iter().map(|(file, names)| {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        (file.to_string(), names)
    });
    format!(
        "| runc | test |\n|---|---|\n{}\nembrun alone guarantees these:\n\n| file | test |\n|---|---|\n{}",
        rows(&by_reason, ", "),
        rows(&ours.collect(), ", ")
    )
}

/// What embrun fails in the suites of others.
fn of_suites() -> String {
    let mut text = String::new();
    for (file, suite) in [
        ("runc", "runc's bats"),
        ("runc-v2", "runc's bats with cgroup v2"),
        ("crun", "crun's Python tests"),
        ("tools", "runtime-tools"),
    ] {
        let list = fs::read_to_string(top().join("integration/conformance/known").join(file)).unwrap();
        let mut by_reason = BTreeMap::<String, Vec<String>>::new();
        for line in list.lines().filter(|line| !line.trim().is_empty() && !line.starts_with("##")) {
            let (test, why) = line.split_once("##").unwrap_or_else(|| panic!("{file}: no reason: {line}"));
            let test = test.trim().replace('|', "\\|");
            by_reason.entry(why.trim().replace('|', "\\|")).or_default().push(format!("`{test}`"));
        }
        let end = if text.is_empty() { "" } else { "\n" };
        text += &format!("{end}| {suite}: reason | test |\n|---|---|\n{}", rows(&by_reason, "<br>"));
    }
    text
}

#[test]
fn differences_are_up_to_date() {
    let path = top().join("docs/differences.md");
    let old = fs::read_to_string(&path).unwrap();
    let mut new = old.clone();
    for (name, text) in [("known.rs", of_runc()), ("conformance", of_suites())] {
        let start = new.find(&format!("<!-- {name}: ")).expect(name);
        let start = start + new[start..].find('\n').unwrap() + 1;
        let end = start + new[start..].find("<!-- end -->").expect(name);
        new.replace_range(start..end, &format!("\n{text}\n"));
    }
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &new).unwrap();
    } else {
        assert!(new == old, "docs/differences.md is old: BLESS=1 cargo test --test bundle differences");
    }
}
