//! Broken configurations by the thousand: none is a panic, and each error says where the fault is.
//!
//! `EMBRUN_SEED` repeats a run, `EMBRUN_MUTANTS` sets how many mutants each configuration gets.

use std::env;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use embrun::bundle::config;
use embrun::bundle::json::Json;
use embrun::error::Error;
use embrun::plan::devices;
use embrun::plan::mounts::{self, MountFacts};
use embrun::plan::validate::validate;

use crate::configs;

/// xorshift64*: enough to choose with.
struct Random(u64);

impl Random {
    /// From the seed in the environment or the clock; a failing test prints the seed.
    fn new() -> Random {
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let seed =
            env::var("EMBRUN_SEED").map_or_else(|_| clock(), |s| s.parse().expect("EMBRUN_SEED is a number"));
        println!("EMBRUN_SEED={seed}");
        Random(seed | 1)
    }

    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }
}

fn rounds(default: usize) -> usize {
    env::var("EMBRUN_MUTANTS").map_or(default, |s| s.parse().expect("EMBRUN_MUTANTS is a number"))
}

#[test]
fn a_mutated_document_is_read_or_refused_by_path() {
    let mut random = Random::new();
    let (mut read, mut refused) = (0, 0);
    for (name, text) in configs() {
        let sound = Json::parse(&text).unwrap();
        for _ in 0..rounds(3000) {
            let mut mutant = sound.clone();
            for _ in 0..=random.below(3) {
                mutate(&mut mutant, &mut random);
            }
            // What is read must also be judged without a panic, and each refusal is of a property.
            match config::spec(&mutant) {
                Ok(spec) => {
                    read += 1;
                    let refused = [
                        validate(&spec),
                        mounts::compile(&spec, &MountFacts::default()).err().unwrap_or_default(),
                        devices::compile(&spec).err().unwrap_or_default(),
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
    println!("{read} read, {refused} refused");
    assert!(
        read > 1000 && refused > 1000,
        "the mutants are too mild or too wild: {read} read, {refused} refused"
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
            assert!(start.elapsed().as_secs() < 1, "{name}: took {:?}", start.elapsed());
        }
    }
}

/// Whether the path of a fault names something of the document: a value in it, or a member that an object lacks.
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
            let into = |(key, value): &(String, Json)| {
                path.strip_prefix(key.as_str()).is_some_and(|rest| {
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

/// Breaks one value somewhere in the document.
fn mutate(root: &mut Json, random: &mut Random) {
    let count = count(root);
    let chosen = pick(root, &mut random.below(count)).expect("a value in range");
    match (random.below(6), &mut *chosen) {
        (0, Json::Object(members)) if !members.is_empty() => {
            drop(members.remove(random.below(members.len())))
        }
        (1, Json::Object(members)) if !members.is_empty() => {
            let i = random.below(members.len());
            members[i].0 = strange_text(random);
        }
        (0, Json::List(items)) if !items.is_empty() => drop(items.remove(random.below(items.len()))),
        (1 | 2, Json::List(items)) if !items.is_empty() => {
            let copy = items[random.below(items.len())].clone();
            items.push(copy);
        }
        (0 | 1, Json::Str(s)) => s.push_str(&strange_text(random)),
        (0 | 1, Json::Int(n)) => *n += random.below(5) as i128 - 2,
        _ => *chosen = strange(random),
    }
}

fn strange(random: &mut Random) -> Json {
    match random.below(8) {
        0 => Json::Null,
        1 => Json::Bool(random.below(2) == 0),
        2 => Json::Fraction("1.5".to_owned()),
        3 => Json::List(vec![strange_number(random)]),
        4 => Json::List(vec![]),
        5 => Json::object([(strange_text(random), strange_number(random))]),
        6 => Json::str(strange_text(random)),
        _ => strange_number(random),
    }
}

fn strange_number(random: &mut Random) -> Json {
    const NUMBERS: [i128; 10] =
        [0, 1, -1, 8, 4095, 1 << 31, u32::MAX as i128, 1 << 32, i64::MIN as i128, u64::MAX as i128];
    Json::Int(NUMBERS[random.below(NUMBERS.len())])
}

fn strange_text(random: &mut Random) -> String {
    const TEXTS: [&str; 9] = ["", "\0", "a\nb", "/", "..", "=", "é\u{202e}", "type", "[0]"];
    TEXTS[random.below(TEXTS.len())].to_owned()
}

fn count(v: &Json) -> usize {
    1 + match v {
        Json::List(items) => items.iter().map(count).sum(),
        Json::Object(members) => members.iter().map(|(_, v)| count(v)).sum(),
        _ => 0,
    }
}

/// The value that comes `left` values after this one in the order of the document.
fn pick<'a>(v: &'a mut Json, left: &mut usize) -> Option<&'a mut Json> {
    if *left == 0 {
        return Some(v);
    }
    *left -= 1;
    match v {
        Json::List(items) => items.iter_mut().find_map(|item| pick(item, left)),
        Json::Object(members) => members.iter_mut().find_map(|(_, item)| pick(item, left)),
        _ => None,
    }
}
