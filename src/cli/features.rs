//! `features`: what this runtime can do, by what it was built with and not by where it runs (features.md).
//!
//! Engines read it once at start: CRI-O refuses one without versions; containerd and CRI-O look for "rro" among the mount
//! options. Only what is performed is in it.

use super::{SPEC_VERSION, print};
use crate::bundle::json::Json;
use crate::bundle::spec::HookKind;
use crate::error::Result;
use crate::plan::options;
use crate::plan::process::capability_names;
use crate::seccomp::{arch, policy};

/// Prints the document.
pub fn run() -> Result<()> {
    print(&(document().pretty(4) + "\n"))
}

fn document() -> Json {
    Json::fields([
        ("ociVersionMin", "1.0.0".into()),
        ("ociVersionMax", SPEC_VERSION.into()),
        ("hooks", Json::strs(HookKind::NAMES)),
        ("mountOptions", Json::strs(options::names().filter(|name| !name.ends_with("idmap")))),
        ("linux", linux()),
        ("annotations", Json::fields([("org.embrun.version", env!("CARGO_PKG_VERSION").into())])),
        ("potentiallyUnsafeConfigAnnotations", Json::List(Vec::new())),
    ])
}

fn linux() -> Json {
    let off = || Json::fields([("enabled", false.into())]);
    let namespaces = ["cgroup", "ipc", "mount", "network", "pid", "uts"];
    let cgroup = ["v1", "v2", "systemd", "systemdUser", "rdma"];
    Json::fields([
        ("namespaces", Json::strs(namespaces)),
        ("capabilities", Json::strs(capability_names())),
        ("cgroup", Json::object(cgroup.map(|name| (name, true.into())))),
        ("seccomp", seccomp()),
        ("apparmor", off()),
        ("selinux", off()),
        ("intelRdt", off()),
        ("mountExtensions", Json::fields([("idmap", off())])),
        ("netDevices", off()),
    ])
}

fn seccomp() -> Json {
    let flags = || Json::strs(policy::FLAGS.iter().map(|(_, name)| *name));
    Json::fields([
        ("enabled", true.into()),
        ("actions", Json::strs(policy::ACTIONS.iter().map(|(_, name)| *name))),
        ("operators", Json::strs(policy::OPERATORS.iter().map(|(_, name)| *name))),
        ("archs", Json::strs(arch::ALL.iter().map(|(_, name)| *name))),
        ("knownFlags", flags()),
        ("supportedFlags", flags()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at<'a>(json: &'a Json, path: &str) -> &'a Json {
        path.split('.').fold(json, |json, key| json.get(key).unwrap_or_else(|| panic!("{path}")))
    }

    #[test]
    fn engines_find_what_they_look_for() {
        let document = document();
        let has =
            |path: &str, name: &str| matches!(at(&document, path), Json::List(l) if l.contains(&name.into()));
        assert_eq!(at(&document, "ociVersionMin"), &Json::str("1.0.0"));
        assert_eq!(at(&document, "ociVersionMax"), &Json::str(SPEC_VERSION));
        assert!(has("mountOptions", "rro") && has("mountOptions", "tmpcopyup"));
        assert!(has("linux.namespaces", "pid") && has("linux.capabilities", "CAP_CHECKPOINT_RESTORE"));
        assert!(has("linux.seccomp.archs", "SCMP_ARCH_ARM"));
    }

    #[test]
    fn what_is_refused_is_not_boasted_of() {
        let document = document();
        let text = document.compact();
        for name in ["idmap\"]", "\"user\"", "checkpoint"] {
            assert!(!text.contains(name), "{name}");
        }
        for path in ["apparmor", "selinux", "intelRdt", "netDevices", "mountExtensions.idmap"] {
            assert_eq!(at(&document, &format!("linux.{path}.enabled")), &Json::Bool(false), "{path}");
        }
    }
}
