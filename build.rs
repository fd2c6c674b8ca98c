//! Packs the texts of which a command needs one or none: the help, the configurations that `spec` writes, the names of
//! system calls and errnos. In the program they take half of their bytes or less; `src/packed.rs` describes the form and undoes it.

#![allow(clippy::disallowed_methods)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The roles of `seccomp-profiles`.
const ROLES: [&str; 5] =
    ["data-collector", "data-processor", "uplink", "device-controller", "firmware-updater"];

/// The shortest repetition that is worth its two bytes, and the longest that can be written.
const LENGTHS: std::ops::RangeInclusive<usize> = 3..=3 + 15 + 255;

fn main() {
    pack("commands", &read("src/cli/commands.txt"));
    pack("options", &read("src/cli/options.txt"));
    pack("template", &compact(&read("src/bundle/template.json")));
    pack("roles", &ROLES.map(role).concat());
    pack("errnos", &read("src/sys/errno.txt"));
    pack("syscalls", &syscalls(&read("src/seccomp/syscalls/table.rs")));
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=COMMIT={}", commit().unwrap_or("unknown".into()));
}

/// The commit that is built, for `--version`.
///
/// `git archive` writes it into the file. A debug build has none, so that a commit does not cause one.
fn commit() -> Option<String> {
    let archived = read("src/commit.txt");
    if !archived.starts_with('$') {
        return Some(archived.trim().into());
    }
    let top = env::var("CARGO_MANIFEST_DIR").ok()?;
    // An unpacked archive may lie in the repository of an image builder.
    if env::var("PROFILE").ok()? != "release" || !Path::new(&top).join(".git").exists() {
        return None;
    }
    let git = |words: &[&str]| {
        let output = Command::new("git").args(["-C", &top]).args(words).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let log = git(&["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"])?;
    println!("cargo::rerun-if-changed={log}");
    git(&["rev-parse", "HEAD"])
}

fn read(path: &str) -> String {
    println!("cargo::rerun-if-changed={path}");
    let path = Path::new(&env::var("CARGO_MANIFEST_DIR").unwrap()).join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A line: the role, a blank, its whole config.json with its seccomp profile.
fn role(name: &str) -> String {
    let config = compact(&read(&format!("seccomp-profiles/{name}.config.json")));
    let profile = compact(&read(&format!("seccomp-profiles/{name}.json")));
    let open = config.strip_suffix("}}").unwrap_or_else(|| panic!("{name}: linux is not the last member"));
    format!("{name} {open},\"seccomp\":{profile}}}}}\n")
}

/// JSON without what is between its tokens.
fn compact(json: &str) -> String {
    assert!(!json.contains('\\'), "an escaped quote would be taken for one");
    let is_text = |i: usize| i % 2 == 1;
    json.split('"')
        .enumerate()
        .map(|(i, part)| if is_text(i) { part.to_owned() } else { part.split_whitespace().collect() })
        .collect::<Vec<String>>()
        .join("\"")
}

/// The first word of each line of the table, which is a name in quotes.
fn syscalls(table: &str) -> String {
    table
        .lines()
        .filter_map(|line| line.trim().strip_prefix('"')?.split('"').next())
        .map(|n| n.to_owned() + "\n")
        .collect()
}

/// Writes `name` to where the crate includes it from.
fn pack(name: &str, text: &str) {
    assert!(text.is_ascii() && u16::try_from(text.len()).is_ok(), "{name}");
    let text = text.as_bytes();
    let ways = ways(text);
    let mut out = (text.len() as u16).to_le_bytes().to_vec();
    let mut at = 0;
    while at < text.len() {
        let (length, back) = ways[at];
        match back {
            0 => out.push(text[at]),
            _ => out.extend(repetition(length, back)),
        }
        at += length;
    }
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").unwrap());
    fs::write(out_dir.join(name), out).unwrap();
}

/// What stands for `length` bytes again from `back` bytes ago.
fn repetition(length: usize, back: usize) -> Vec<u8> {
    let more = length - LENGTHS.start();
    let far = back >> 8 >= 7;
    let mut out = vec![0x80 | (more.min(15) as u8) << 3 | if far { 7 } else { (back >> 8) as u8 }];
    if more >= 15 {
        out.push((more - 15) as u8);
    }
    if far {
        out.push((back >> 8) as u8);
    }
    out.push(back as u8);
    out
}

/// For each place how many bytes to write next, and from how far back (0: one new byte), so that the whole is shortest.
fn ways(text: &[u8]) -> Vec<(usize, usize)> {
    let mut places: HashMap<&[u8], Vec<usize>> = HashMap::new();
    for (at, start) in text.windows(*LENGTHS.start()).enumerate() {
        places.entry(start).or_default().push(at);
    }
    let mut ways = vec![(1, 0); text.len()];
    let mut costs = vec![0; text.len() + 1];
    for at in (0..text.len()).rev() {
        costs[at] = costs[at + 1] + 1;
        let mut known = LENGTHS.start() - 1;
        let same_start = text.get(at..at + LENGTHS.start()).map_or(&[][..], |start| &places[start]);
        for before in same_start.iter().rev().skip_while(|before| **before >= at) {
            let same = text[at..].iter().zip(&text[*before..]).take_while(|(a, b)| a == b).count();
            // A nearer place never costs more, so only what is longer is of use.
            for length in known + 1..=same.min(*LENGTHS.end()) {
                let cost = costs[at + length] + repetition(length, at - before).len();
                if cost < costs[at] {
                    (costs[at], ways[at]) = (cost, (length, at - before));
                }
                known = length;
            }
        }
    }
    ways
}
