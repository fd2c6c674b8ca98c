//! Bytes of `config.json` to a spec and its plan, beside serde_json.

use embrun::bundle::config;
use embrun::error::Error;
use embrun::json::pairs::Pairs;
use embrun::json::value::Json;
use serde_core::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::heap::limited;
use crate::plans;

/// Checks one document.
pub fn judge(input: &[u8]) {
    let ours = Json::parse(input);
    let theirs = serde_json::from_slice::<Strict>(input);
    let shown = || String::from_utf8_lossy(input).into_owned();
    match (&ours, &theirs) {
        (Ok(_), Ok(_)) | (Err(_), Err(_)) => {}
        // We keep a number as text, so it may exceed a float.
        (Ok(_), Err(e)) if e.to_string().starts_with("number out of range") => {}
        (Ok(_), Err(e)) => panic!("accepted, but serde_json: {e}: {}", shown()),
        (Err(e), Ok(_)) => panic!("serde_json accepts it, but: {e}: {}", shown()),
    }
    let text = input.to_vec().leak();
    let read = limited(text.len(), 64, || config::parse(text));
    let again = ours.ok().map(|json| config::spec(&json).map_err(|fault| Error::from(fault).to_string()));
    match (read, again) {
        (Ok(spec), Some(Ok(same))) => {
            assert_eq!(spec, same, "{}", shown());
            let mut spec = spec;
            plans::judge(&spec);
            // The stored form of annotations contains NULs.
            spec.annotations = Pairs::default();
            assert!(!has_nul(&format!("{spec:?}")), "a NUL is accepted: {}", shown());
        }
        (Ok(_), other) => panic!("read as bytes, but not as a document: {other:?}: {}", shown()),
        (Err(e), Some(Ok(_))) => panic!("read as a document, but not as bytes: {e}: {}", shown()),
        (Err(e), _) => assert_eq!(e.to_string().lines().count(), 1, "{e}"),
    }
}

/// Whether a debug text has an escaped NUL.
fn has_nul(text: &str) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'\\' && bytes.next() == Some(b'0') {
            return true;
        }
    }
    false
}

/// Any document without duplicate keys, and nothing after it.
#[derive(Debug)]
struct Strict;

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Strict, D::Error> {
        d.deserialize_any(Strict)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Strict;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a document")
    }

    fn visit_unit<E>(self) -> Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_str<E>(self, _: &str) -> Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Strict, A::Error> {
        while items.next_element::<Strict>()?.is_some() {}
        Ok(Strict)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Strict, A::Error> {
        let mut keys = std::collections::HashSet::new();
        while let Some((key, _)) = members.next_entry::<Key, Strict>()? {
            if !keys.insert(key.0) {
                return Err(de::Error::custom("duplicate key"));
            }
        }
        Ok(Strict)
    }
}

#[derive(PartialEq, Eq, Hash)]
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Key, D::Error> {
        String::deserialize(d).map(Key)
    }
}
