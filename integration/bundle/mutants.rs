//! Thousands of broken configurations: no panic, and each error names its place.
//!
//! `EMBRUN_SEED` repeats a run, and `EMBRUN_MUTANTS` sets the number of mutants per configuration.

use std::env;
use std::time::Instant;

use embrun::bundle::config;
use embrun::bundle::spec::{NamespaceKind, Spec};
use embrun::cgroup::place::layout::Layout;
use embrun::error::Error;
use embrun::facts::HostFacts;
use embrun::json::value::Json;
use embrun::plan::create::{self, CreateRequest};
use embrun::plan::devices;
use embrun::plan::exec::{self, ExecRequest};
use embrun::plan::mounts::{self, MountFacts};
use embrun::plan::validate::validate;

use crate::configs;
use crate::mutate::{Random, mutate};

fn rounds(default: usize) -> usize {
    env::var("EMBRUN_MUTANTS").map_or(default, |s| s.parse().expect("EMBRUN_MUTANTS is a number"))
}

#[test]
fn mutated_documents_are_accepted_or_refused_by_path() {
    let mut random = Random::new();
    let (mut read, mut refused, mut planned) = (0, 0, 0);
    for (name, text) in configs() {
        let sound = Json::parse(&text).unwrap();
        for _ in 0..rounds(3000) {
            let mut mutant = sound.clone();
            for _ in 0..=random.below(3) {
                mutate(&mut mutant, &mut random);
            }
            // A document that parses must also be judged without a panic, and each refusal must name a property.
            match config::spec(&mutant) {
                Ok(spec) => {
                    read += 1;
                    planned += compile_all(&spec);
                    let refused = [
                        validate(&spec),
                        mounts::compile(&spec, &MountFacts::default()).err().unwrap_or_default(),
                        devices::compile(&spec, &[]).err().unwrap_or_default(),
                    ]
                    .concat();
                    for refusal in refused {
                        assert!(!refusal.field.is_empty() && !refusal.what.is_empty(), "{name}: {refusal}");
                        assert_eq!(refusal.to_string().lines().count(), 1, "{name}: {refusal:?}");
                    }
                }
                Err(fault) => {
                    refused += 1;
                    let path = fault.path().to_owned();
                    let text = Error::from(fault).to_string();
                    assert_eq!(text.lines().count(), 1, "{name}: {text}");
                    let is_document = !matches!(mutant, Json::Object(_));
                    assert!(
                        leads_somewhere(&mutant, &path) || is_document,
                        "{name}: {text}: {}",
                        mutant.compact()
                    );
                }
            }
        }
    }
    println!("{read} read, {refused} refused, {planned} plans");
    let least = rounds(3000) / 3;
    assert!(
        read > least && refused > least && planned > least,
        "the mutants are broken too rarely or too often"
    );
}

#[test]
fn mutated_bytes_are_parsed_or_refused_by_line_and_column() {
    let mut random = Random::new();
    for (name, text) in configs() {
        for _ in 0..rounds(1000) {
            let mut bytes = text.clone();
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len().max(1));
                if bytes.is_empty() {
                    break;
                }
                match random.below(4) {
                    0 => bytes[at] = random.below(256) as u8,
                    1 => bytes[at] ^= 1 << random.below(8),
                    2 => drop(bytes.remove(at)),
                    _ => bytes.truncate(at.max(1)),
                }
            }
            let start = Instant::now();
            match Json::parse(&bytes) {
                Ok(json) => drop(config::spec(&json)),
                Err(e) => {
                    let e = e.to_string();
                    assert!(e.contains(" at line ") && e.contains(" column "), "{name}: {e}");
                    assert_eq!(e.lines().count(), 1, "{name}: {e}");
                }
            }
            // This takes milliseconds, but far longer if other processes use the processors.
            assert!(start.elapsed().as_secs() < 20, "{name}: took {:?}", start.elapsed());
        }
    }
}

/// Every plan obeys the order rules, whatever the configuration requests.
fn compile_all(spec: &Spec) -> usize {
    let mut planned = 0;
    let facts = HostFacts {
        capabilities: u64::MAX >> 23,
        cgroups: Layout::parse("30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n", "0::/\n"),
        seccomp: embrun::seccomp::support::support(),
        selinux: true,
        ..HostFacts::default()
    };
    for await_start in [true, false] {
        let request =
            CreateRequest { id: "web", bundle: "/b", rootfs: "/b/r", await_start, ..Default::default() };
        match create::compile(spec, &request, &facts) {
            Ok(plan) => {
                planned += 1;
                assert_eq!(plan.broken(), [""; 0], "{spec:?}\n{plan}");
            }
            Err(refusals) => assert!(!refusals.is_empty(), "{spec:?}"),
        }
    }
    if let Some(process) = &spec.process {
        let request =
            ExecRequest { join: vec![(NamespaceKind::Mount, "/proc/1/ns/mnt")], ..Default::default() };
        if let Ok(plan) = exec::compile(process, spec.linux.seccomp.as_ref(), &request, &facts) {
            assert_eq!(plan.broken(), [""; 0], "{process:?}\n{plan}");
        }
    }
    planned
}

/// Whether the path of a fault leads to a value or to an absent member.
fn leads_somewhere(v: &Json, path: &str) -> bool {
    match (v, path) {
        (_, "") => true,
        (Json::List(items), _) => {
            let Some((index, rest)) = path.strip_prefix('[').and_then(|p| p.split_once(']')) else {
                return false;
            };
            let rest = rest.strip_prefix('.').unwrap_or(rest);
            index
                .parse::<usize>()
                .ok()
                .and_then(|i| items.get(i))
                .is_some_and(|item| leads_somewhere(item, rest))
        }
        (Json::Object(members), _) => {
            let into = |(key, value): &(&str, Json)| {
                path.strip_prefix(*key).is_some_and(|rest| {
                    (rest.is_empty() || rest.starts_with(['.', '[']))
                        && leads_somewhere(value, rest.strip_prefix('.').unwrap_or(rest))
                })
            };
            let is_name = path.chars().all(|c| c.is_ascii_alphanumeric());
            members.iter().any(into) || is_name
        }
        _ => false,
    }
}
