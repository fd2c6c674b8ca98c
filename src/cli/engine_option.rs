//! Options of engines, for refusals of fields that an engine has written.

use crate::packed;
use crate::plan::validate::Refusal;
use crate::text::Keep;
use crate::text::search::cut;

/// Names the option of the engine that has set the field, which its user knows.
///
/// The options are those of podman and docker. Users of an engine do not see the configuration, so they cannot remove a field.
pub fn named(refusal: Refusal) -> Refusal {
    let options = packed!("options");
    let of = |line: &'static str| line.split_once(' ').filter(|(field, _)| refusal.field.starts_with(field));
    let Some((_, option)) = options.lines().find_map(of) else { return refusal };
    let (before, after) = cut(refusal.what, "remove it").unwrap_or((refusal.what, ""));
    let what = match before.len() == refusal.what.len() {
        true => [before, " (set by ", option, ")"].concat(),
        false => [before, "change ", option, after].concat(),
    };
    Refusal { what: what.keep(), ..refusal }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(field: &'static str, what: &'static str) -> &'static str {
        named(Refusal { field, what }).what
    }

    #[test]
    fn option_of_the_engine_is_named() {
        let what = "cgroup v2 has no such setting; remove it, or boot with cgroup v1";
        let says = "cgroup v2 has no such setting; change --memory-swappiness, or boot with cgroup v1";
        assert_eq!(after("linux.resources.memory.swappiness", what), says);
        let says = "no limit here (set by --memory (Kubernetes: resources.limits))";
        assert_eq!(after("linux.resources.memory.limit", "no limit here"), says);
        let says = "is wrong (set by --volume, --mount or --tmpfs)";
        assert_eq!(after("mounts[3].options", "is wrong"), says);
        assert_eq!(after("hooks.prestart", "is wrong; remove it"), "is wrong; remove it");
    }
}
