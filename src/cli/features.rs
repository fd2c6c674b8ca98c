//! `features`: the abilities of this build, wherever it runs (features.md).
//!
//! Engines read it once at start: CRI-O refuses a runtime without versions; containerd and CRI-O look for "rro" among the
//! mount options. Only supported features are listed.

use super::{SPEC_VERSION, print};
use crate::bundle::config::memory_policy;
use crate::bundle::spec::HookKind;
use crate::error::Result;
use crate::json::value::{Json, add_name};
use crate::plan::options;
use crate::plan::process::capability_names;
use crate::seccomp::support::support;
use crate::seccomp::{arch, policy};

/// Prints the document.
pub fn run() -> Result<()> {
    print(&(document()?.pretty(4) + "\n"))
}

fn document() -> Result<Json> {
    let capabilities: Vec<String> = capability_names().collect();
    let text = format!(
        r#"{{
            "ociVersionMin": "1.0.0",
            "ociVersionMax": "{SPEC_VERSION}",
            "hooks": [{hooks}],
            "mountOptions": [{options}],
            "linux": {{
                "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
                "capabilities": [{capabilities}],
                "cgroup": {{"v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true}},
                "seccomp": {{
                    "enabled": true,
                    "actions": [{actions}],
                    "operators": [{operators}],
                    "archs": [{archs}],
                    "knownFlags": [{flags}],
                    "supportedFlags": [{supported}]
                }},
                "apparmor": {{"enabled": true}},
                "selinux": {{"enabled": true}},
                "intelRdt": {{"enabled": true, "schemata": true, "monitoring": true}},
                "mountExtensions": {{"idmap": {{"enabled": true}}}},
                "memoryPolicy": {{"modes": [{modes}], "flags": [{policy_flags}]}},
                "netDevices": {{"enabled": true}}
            }},
            "annotations": {{"org.embrun.version": "{version}"}},
            "potentiallyUnsafeConfigAnnotations": ["org.systemd.property."]
        }}"#,
        hooks = quoted(&mut HookKind::NAMES.iter().copied()),
        options = quoted(&mut options::names()),
        capabilities = quoted(&mut capabilities.iter().map(String::as_str)),
        actions = quoted(&mut policy::ACTIONS.names()),
        operators = quoted(&mut policy::OPERATORS.names()),
        archs = quoted(&mut arch::ALL.names()),
        modes = quoted(&mut memory_policy::MODES.names()),
        policy_flags = quoted(&mut memory_policy::FLAGS.names()),
        flags = flags(u32::MAX),
        // Only this depends on the host (features-linux.md).
        supported = flags(support().flags),
        version = env!("CARGO_PKG_VERSION"),
    );
    Json::parse(text.as_bytes())
}

/// The filter flags that a policy can name.
fn flags(among: u32) -> String {
    quoted(&mut policy::FLAGS.pairs().filter(|(_, flag)| among & flag != 0).map(|(name, _)| name))
}

/// Plain names as the members of a list.
fn quoted(names: &mut dyn Iterator<Item = &str>) -> String {
    let mut out = String::new();
    for name in names {
        add_name(&mut out, name);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at<'a>(json: &'a Json, path: &str) -> &'a Json {
        path.split('.').fold(json, |json, key| json.get(key).unwrap_or_else(|| panic!("{path}")))
    }

    #[test]
    fn engines_find_what_they_look_for() {
        let document = document().unwrap();
        let has =
            |path: &str, name: &str| matches!(at(&document, path), Json::List(l) if l.contains(&name.into()));
        assert_eq!(at(&document, "ociVersionMin"), &Json::str("1.0.0"));
        assert_eq!(at(&document, "ociVersionMax"), &Json::str(SPEC_VERSION));
        assert!(has("mountOptions", "rro") && has("mountOptions", "tmpcopyup"));
        assert!(has("linux.namespaces", "pid") && has("linux.capabilities", "CAP_CHECKPOINT_RESTORE"));
        assert!(has("linux.seccomp.archs", "SCMP_ARCH_ARM"));
        for path in [
            "linux.apparmor.enabled",
            "linux.selinux.enabled",
            "linux.cgroup.systemdUser",
            "linux.intelRdt.enabled",
            "linux.intelRdt.schemata",
            "linux.intelRdt.monitoring",
        ] {
            assert_eq!(at(&document, path), &Json::Bool(true), "{path}");
        }
        assert!(has("linux.memoryPolicy.modes", "MPOL_BIND"));
        assert_eq!(at(&document, "linux.netDevices.enabled"), &Json::Bool(true));
        assert!(has("linux.memoryPolicy.flags", "MPOL_F_STATIC_NODES"));
        // Engines must not pass this on from strangers: it sets properties of the container's systemd unit.
        assert_eq!(
            at(&document, "potentiallyUnsafeConfigAnnotations"),
            &Json::strs(["org.systemd.property."])
        );
    }

    #[test]
    fn flags_that_this_kernel_lacks_are_known_and_not_supported() {
        assert_eq!(flags(policy::LOG | policy::NEW_LISTENER), r#""SECCOMP_FILTER_FLAG_LOG""#);
        assert_eq!(flags(0), "");
        let document = document().unwrap();
        let list = |name: &str| match at(&document, &format!("linux.seccomp.{name}")) {
            Json::List(names) => names.len() as u32,
            _ => panic!("{name}"),
        };
        let all = policy::FLAGS.values.iter().fold(0, |all, flag| all | flag);
        assert_eq!(list("knownFlags"), all.count_ones());
        assert_eq!(list("supportedFlags"), (support().flags & all).count_ones());
    }

    #[test]
    fn what_is_refused_is_not_boasted_of() {
        let document = document().unwrap();
        let text = document.compact();
        assert!(!text.contains("checkpoint"));
        assert_eq!(at(&document, "linux.mountExtensions.idmap.enabled"), &Json::Bool(true));
    }
}
