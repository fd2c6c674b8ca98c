//! The configurations of the gateway roles (`seccomp-profiles/`).

use crate::error::{Error, Quoted, Result};
use crate::packed;
use crate::text::Text;

/// The complete config.json of a role, on one line.
pub fn role(name: &str) -> Result<Text> {
    let mut roles = Vec::new();
    for (role, config) in roles_and_configs() {
        if role == name {
            return Ok(config);
        }
        roles.push(role);
    }
    let known = roles.join(", ");
    Err(Error::of(format_args!("unknown role {}: there are {known}", Quoted(name))))
}

fn roles_and_configs() -> impl Iterator<Item = (&'static str, Text)> {
    packed!("roles").lines().filter_map(|line| line.split_once(' '))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::config::spec;
    use crate::bundle::load::read_file;
    use crate::json::value::Json;
    use crate::plan::validate::validate;

    #[test]
    fn each_role_is_its_template_with_its_profile() {
        let read = |file: &str| {
            let path = format!("{}/seccomp-profiles/{file}", env!("CARGO_MANIFEST_DIR"));
            Json::parse(&read_file(path.as_ref()).unwrap()).unwrap()
        };
        let mut roles = 0;
        for (name, _) in roles_and_configs() {
            let config = Json::parse(role(name).unwrap().as_bytes()).unwrap();
            let profile = config.get("linux").and_then(|l| l.get("seccomp")).unwrap();
            assert_eq!(profile.compact(), read(&format!("{name}.json")).compact(), "{name}");
            let bare = config.compact().replace(&format!(r#","seccomp":{}"#, profile.compact()), "");
            assert_eq!(bare, read(&format!("{name}.config.json")).compact(), "{name}");
            assert_eq!(validate(&spec(&config).unwrap()), [], "{name}");
            roles += 1;
        }
        assert_eq!(roles, 5);
    }

    #[test]
    fn no_other_role_is_known() {
        for name in ["", "FILES", "gardener"] {
            let e = role(name).unwrap_err().to_string();
            assert!(e.contains("unknown role") && e.contains("there are data-collector, "), "{e}");
        }
    }
}
