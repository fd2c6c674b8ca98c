//! The configurations of the gateway roles (`seccomp-profiles/`), packed: what they share is there once.

use super::json::Json;
use crate::error::{Error, Quoted, Result};

/// Written by `seccomp-profiles/roles`, which says how it is read.
static PACKED: &str = include_str!("../../seccomp-profiles/roles.txt");

/// The whole config.json of a role.
pub fn role(name: &str) -> Result<Json> {
    let plain = PACKED.replace(' ', r#"",""#);
    let mut lines = plain.lines().filter_map(|line| line.split_once('|'));
    let mut text = lines.next().map(|(_, text)| text.to_owned()).unwrap_or_default();
    let (mut known, mut all) = (false, Vec::new());
    for (word, meaning) in lines {
        if word.starts_with(|c: char| c.is_ascii_uppercase()) {
            text = text.replace(&format!("@{word}"), meaning);
            continue;
        }
        all.push(word);
        if word == name {
            known = true;
            for (i, value) in meaning.split('|').enumerate() {
                text = text.replace(&format!("@{}", i + 1), value);
            }
        }
    }
    if !known {
        return Err(Error::new(format!(
            "unknown role {name}: there are {}",
            all.join(", "),
            name = Quoted(name)
        )));
    }
    Json::parse(text.replace("@ROLE", name).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::config::spec;
    use crate::bundle::load::read_file;
    use crate::plan::validate::validate;

    #[test]
    fn each_role_is_its_template_with_its_profile() {
        let read = |file: &str| {
            let path = format!("{}/seccomp-profiles/{file}", env!("CARGO_MANIFEST_DIR"));
            Json::parse(&read_file(path.as_ref()).unwrap()).unwrap()
        };
        let mut roles = 0;
        for line in PACKED.lines().skip(1).filter(|l| l.starts_with(|c: char| c.is_ascii_lowercase())) {
            let name = line.split('|').next().unwrap();
            let config = role(name).unwrap();
            let profile = config.get("linux").and_then(|l| l.get("seccomp")).unwrap();
            assert_eq!(profile.compact(), read(&format!("{name}.json")).compact(), "{name}");
            let bare = config.compact().replace(&format!(r#","seccomp":{}"#, profile.compact()), "");
            assert_eq!(bare, read(&format!("{name}.config.json")).compact(), "{name}");
            assert_eq!(validate(&spec(&config).unwrap()), [], "{name}");
            roles += 1;
        }
        assert_eq!(roles, 5);
        assert!(PACKED.len() < 6144, "{} bytes go into the binary", PACKED.len());
    }

    #[test]
    fn no_other_role_is_known() {
        for name in ["", "FILES", "gardener"] {
            let e = role(name).unwrap_err().to_string();
            assert!(e.contains("unknown role") && e.contains("there are data-collector, "), "{e}");
        }
    }
}
