//! Compares our reader of JSON with serde_json, on damaged configurations.

use std::fmt;

use embrun::json::value::Json;
use serde_core::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::configs;
use crate::mutate::Random;

/// A small document with every kind of token.
const SMALL: &str = r#"{"a":[1,-2.5e+3,0,"x\"\\\/\b\n\u00e9\ud83d\ude00é€",{}],"b":{"c":true,"d":[ ],"":null},"e":18446744073709551615}"#;

/// Pieces that damage inserts.
const PIECES: [&[u8]; 32] = [
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"0",
    b"-",
    b".",
    b"e",
    b"E+",
    b"1",
    b" ",
    b"\n",
    b"\0",
    b"\x1f",
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\\u",
    b"\\ud800",
    b"\\udc00",
    b"d83d",
    b"\\x",
    b"true",
    b"nul",
    b"\"a\":",
    b"/",
    b"\xef\xbb\xbf",
    b"18446744073709551616",
];

#[test]
fn damaged_documents_read_as_in_serde_json() {
    let mut random = Random::new();
    let real = configs();
    let (mut taken, mut refused) = (0, 0);
    for round in 0..30_000 {
        // Real configurations are large, so they take fewer rounds.
        let mut text = match round % 50 {
            0 => real[random.below(real.len())].1.clone(),
            _ => SMALL.into(),
        };
        for _ in 0..random.below(4) {
            damage(&mut text, &mut random);
        }
        match compare(&text) {
            true => taken += 1,
            false => refused += 1,
        }
    }
    assert!(taken > 3_000 && refused > 3_000, "{taken} are taken, {refused} refused");
}

#[test]
fn every_beginning_of_a_document_reads_as_in_serde_json() {
    for text in [SMALL.as_bytes(), &configs()[0].1] {
        let whole = (0..=text.len()).filter(|end| compare(&text[..*end])).count();
        assert!(whole > 0, "no beginning is a document");
    }
}

fn damage(text: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(text.len() + 1);
    let end = (at + random.below(4)).min(text.len());
    match random.below(4) {
        0 => drop(text.drain(at..end)),
        1 => drop(text.splice(at..end, PIECES[random.below(PIECES.len())].iter().copied())),
        2 => drop(text.splice(at..at, text[at..end].to_vec())),
        _ => {
            let piece = PIECES[random.below(PIECES.len())];
            drop(text.splice(at..at, piece.iter().copied()));
        }
    }
}

/// Compares both results, and returns whether the document is valid.
fn compare(text: &[u8]) -> bool {
    let ours = Json::parse(text).map_err(|e| e.to_string());
    let theirs = serde_json::from_slice::<Theirs>(text).map_err(|e| e.to_string());
    let shown = String::from_utf8_lossy(text);
    match (&ours, &theirs) {
        (Ok(ours), Ok(theirs)) => assert!(same(ours, &theirs.0), "{shown}\n{ours:?}\n{theirs:?}"),
        // We keep a number as text, so it may exceed a float.
        (_, Err(theirs)) if theirs.starts_with("number out of range") => (),
        // We name the column of the wrong digit or byte, serde_json a place near it.
        (Err(ours), Err(theirs)) if ours.starts_with("invalid escape") => {
            assert!(
                ["invalid escape", "EOF while parsing a string"].iter().any(|e| theirs.starts_with(e)),
                "{shown}"
            );
        }
        // serde_json names the place behind the byte after the key, which may be the end of the line.
        (Err(ours), Err(theirs))
            if ours.starts_with("invalid unicode")
                || ours.starts_with("duplicate key") && theirs.ends_with("column 0") =>
        {
            assert_eq!(ours.split(" at ").next(), theirs.split(" at ").next(), "{shown}");
        }
        (ours, theirs) => assert_eq!(ours.as_ref().err(), theirs.as_ref().err(), "{shown}"),
    }
    ours.is_ok()
}

fn same(ours: &Json, theirs: &Json) -> bool {
    match (ours, theirs) {
        (Json::Number(ours), Json::Number(theirs)) => {
            let value = |text: &str| text.parse::<f64>().unwrap();
            let is_integer = ours.parse::<u64>().is_ok() || ours.parse::<i64>().is_ok() && *ours != "-0";
            // serde_json rounds the last digit of a float.
            ours == theirs
                || !is_integer
                    && (value(ours) - value(theirs)).abs() <= value(ours).abs() * 4.0 * f64::EPSILON
        }
        (Json::List(ours), Json::List(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| same(ours, theirs))
        }
        (Json::Object(ours), Json::Object(theirs)) => {
            ours.len() == theirs.len()
                && ours
                    .iter()
                    .zip(theirs)
                    .all(|(ours, theirs)| ours.0 == theirs.0 && same(&ours.1, &theirs.1))
        }
        _ => ours == theirs,
    }
}

/// A document as serde_json reads it; a key that an object has twice is an error.
#[derive(Debug)]
struct Theirs(Json);

impl<'de> Deserialize<'de> for Theirs {
    fn deserialize<D: Deserializer<'de>>(document: D) -> Result<Theirs, D::Error> {
        document.deserialize_any(Tree).map(Theirs)
    }
}

struct Tree;

impl<'de> Visitor<'de> for Tree {
    type Value = Json;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Json, E> {
        Ok(Json::Bool(flag))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(Json::digits(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(Json::digits(number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json, E> {
        Ok(Json::digits(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::str(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut all = Vec::new();
        while let Some(Theirs(item)) = items.next_element()? {
            all.push(item);
        }
        Ok(Json::List(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let mut all: Vec<(&'static str, Json)> = Vec::new();
        while let Some(Theirs(Json::Str(key))) = members.next_key()? {
            if all.iter().any(|(known, _)| *known == key) {
                return Err(A::Error::custom(format_args!("duplicate key {}", embrun::error::Quoted(key))));
            }
            let Theirs(value) = members.next_value()?;
            all.push((key, value));
        }
        Ok(Json::Object(all))
    }
}
