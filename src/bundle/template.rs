//! The configuration that `spec` writes: an unprivileged shell.
//!
//! It has every namespace that needs no preparation. Words in capitals after an `@` in `template.json` depend on the user who
//! will run it.

use crate::packed;
use crate::text::search::cut;

/// The template for root.
///
/// Like runc's, it has a cgroup namespace on a host with only cgroup v2 (`cgroup_namespace`).
pub fn template(cgroup_namespace: bool) -> String {
    fill(
        cgroup_namespace,
        [
            ("@TTY", r#","gid=5""#),
            (
                "@SYS",
                r#"{"destination":"/sys","type":"sysfs","source":"sysfs","options":["nosuid","noexec","nodev","ro"]}"#,
            ),
            ("@USER", r#""resources":{"devices":[{"allow":false,"access":"rwm"}]}"#),
            ("@NETWORK", "network"),
        ],
    )
}

/// The template for another user, who is root inside.
///
/// The network and therefore `/sys` remain the host's, no group but the user's own can own terminals, and cgroups belong to
/// another user.
pub fn rootless(uid: u32, gid: u32, cgroup_namespace: bool) -> String {
    let map = |id| format!(r#"[{{"containerID":0,"hostID":{id},"size":1}}]"#);
    fill(
        cgroup_namespace,
        [
            ("@TTY", ""),
            (
                "@SYS",
                r#"{"destination":"/sys","type":"none","source":"/sys","options":["rbind","nosuid","noexec","nodev","ro"]}"#,
            ),
            ("@USER", &format!(r#""uidMappings":{},"gidMappings":{}"#, map(uid), map(gid))),
            ("@NETWORK", "user"),
        ],
    )
}

fn fill(cgroup_namespace: bool, words: [(&str, &str); 4]) -> String {
    let namespace = if cgroup_namespace { r#",{"type":"cgroup"}"# } else { "" };
    let caps = r#"["CAP_AUDIT_WRITE","CAP_KILL","CAP_NET_BIND_SERVICE"]"#;
    let mut text = packed!("template").to_owned();
    for (word, meaning) in [("@CGROUP", namespace), ("@CAPS", caps)].iter().chain(&words) {
        while let Some((before, after)) = cut(&text, word) {
            text = [before, meaning, after].concat();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::config::spec;
    use crate::bundle::spec::{IdMapping, NamespaceKind, Spec};
    use crate::json::value::Json;
    use crate::plan::validate::validate;

    fn read(text: &str) -> Spec {
        *spec(&Json::parse(text.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn both_templates_are_sound() {
        for template in [template(true), template(false), rootless(1000, 100, true)] {
            let spec = read(&template);
            assert_eq!(validate(&spec), []);
            assert_eq!(spec.process.unwrap().args, ["sh"]);
        }
    }

    #[test]
    fn the_rootless_one_maps_its_user_and_keeps_the_hosts_network() {
        let linux = read(&rootless(1000, 100, false)).linux;
        assert_eq!(linux.uid_mappings, [IdMapping { container_id: 0, host_id: 1000, size: 1 }]);
        assert_eq!(linux.gid_mappings, [IdMapping { container_id: 0, host_id: 100, size: 1 }]);
        assert!(linux.namespace(NamespaceKind::User).is_some());
        assert!(linux.namespace(NamespaceKind::Network).is_none());
        assert!(linux.namespace(NamespaceKind::Cgroup).is_none());
        let both = read(&template(true)).linux;
        assert!(both.namespace(NamespaceKind::Cgroup).is_some());
    }
}
