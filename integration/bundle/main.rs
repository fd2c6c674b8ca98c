//! `config.json` as a whole, without root: valid and broken configurations.

mod defences;
mod differences;
mod docs;
mod json;
#[path = "../common/known.rs"]
#[allow(dead_code)]
mod known;
mod layout;
mod load;
mod manual;
mod mutants;
#[path = "../mutate.rs"]
mod mutate;
mod oracle;
mod written;
mod written_rooms;

use std::fs;
use std::path::PathBuf;

/// The configurations of `integration/configs`, by name.
///
/// `runc-spec*` and `crun-spec` are the templates that these programs write. `docker`, `podman` and
/// `containerd-cri` have the form that these engines write. `gateway` uses the fields that they leave
/// out, and `resources` every limit and every seccomp action. `nulls` has `null` and `""` wherever Go's
/// encoders write them for "not set", and `least` has only the required fields.
fn configs() -> Vec<(String, Vec<u8>)> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("integration/configs");
    let mut all: Vec<(String, Vec<u8>)> = fs::read_dir(&dir)
        .unwrap_or_else(|e| panic!("{}: {e}", dir.display()))
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap()))
        .collect();
    all.sort();
    assert!(all.len() >= 9, "configurations are missing from {}", dir.display());
    all
}
