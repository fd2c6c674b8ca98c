//! The configuration that `spec` writes: a shell with few rights, in every namespace that needs no preparation.

use super::json::Json;
use crate::error::Result;

/// Words in capitals after an `@` differ by who will run it.
const TEMPLATE: &str = r#"{
"ociVersion":"1.0.2",
"process":{"terminal":true,"user":{"uid":0,"gid":0},"args":["sh"],
 "env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","TERM=xterm"],"cwd":"/",
 "capabilities":{"bounding":@CAPS,"effective":@CAPS,"permitted":@CAPS},
 "rlimits":[{"type":"RLIMIT_NOFILE","hard":1024,"soft":1024}],"noNewPrivileges":true},
"root":{"path":"rootfs","readonly":true},
"hostname":"embrun",
"mounts":[
 {"destination":"/proc","type":"proc","source":"proc"},
 {"destination":"/dev","type":"tmpfs","source":"tmpfs","options":["nosuid","strictatime","mode=755","size=65536k"]},
 {"destination":"/dev/pts","type":"devpts","source":"devpts",
  "options":["nosuid","noexec","newinstance","ptmxmode=0666","mode=0620"@TTY]},
 {"destination":"/dev/shm","type":"tmpfs","source":"shm","options":["nosuid","noexec","nodev","mode=1777","size=65536k"]},
 {"destination":"/dev/mqueue","type":"mqueue","source":"mqueue","options":["nosuid","noexec","nodev"]},
 @SYS,
 {"destination":"/sys/fs/cgroup","type":"cgroup","source":"cgroup","options":["nosuid","noexec","nodev","relatime","ro"]}],
"linux":{@USER,
 "namespaces":[{"type":"pid"},{"type":"@NETWORK"},{"type":"ipc"},{"type":"uts"},{"type":"mount"}@CGROUP],
 "maskedPaths":["/proc/acpi","/proc/asound","/proc/kcore","/proc/keys","/proc/latency_stats","/proc/timer_list",
  "/proc/timer_stats","/proc/sched_debug","/sys/firmware","/proc/scsi"],
 "readonlyPaths":["/proc/bus","/proc/fs","/proc/irq","/proc/sys","/proc/sysrq-trigger"]}
}"#;

/// The template for root. With `cgroup_namespace` it has one, as runc's has where all cgroups are v2's.
pub fn template(cgroup_namespace: bool) -> Result<Json> {
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

/// The template for a user who is not root, and root inside: the network stays the host's, and with it `/sys`; no group
/// but the user's own is there to own terminals; cgroups are somebody else's.
pub fn rootless(uid: u32, gid: u32, cgroup_namespace: bool) -> Result<Json> {
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

fn fill(cgroup_namespace: bool, words: [(&str, &str); 4]) -> Result<Json> {
    let namespace = if cgroup_namespace { r#",{"type":"cgroup"}"# } else { "" };
    let text = TEMPLATE.replace("@CGROUP", namespace);
    let text = text.replace("@CAPS", r#"["CAP_AUDIT_WRITE","CAP_KILL","CAP_NET_BIND_SERVICE"]"#);
    let text = words.iter().fold(text, |text, (word, meaning)| text.replace(word, meaning));
    Json::parse(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::config::spec;
    use crate::bundle::spec::{IdMapping, NamespaceKind};
    use crate::plan::validate::validate;

    #[test]
    fn both_templates_are_sound() {
        for template in [template(true), template(false), rootless(1000, 100, true)] {
            let spec = spec(&template.unwrap()).unwrap();
            assert_eq!(validate(&spec), []);
            assert_eq!(spec.process.unwrap().args, ["sh"]);
        }
    }

    #[test]
    fn the_rootless_one_maps_its_user_and_keeps_the_hosts_network() {
        let linux = spec(&rootless(1000, 100, false).unwrap()).unwrap().linux;
        assert_eq!(linux.uid_mappings, [IdMapping { container_id: 0, host_id: 1000, size: 1 }]);
        assert_eq!(linux.gid_mappings, [IdMapping { container_id: 0, host_id: 100, size: 1 }]);
        assert!(linux.namespace(NamespaceKind::User).is_some());
        assert!(linux.namespace(NamespaceKind::Network).is_none());
        assert!(linux.namespace(NamespaceKind::Cgroup).is_none());
        let both = spec(&template(true).unwrap()).unwrap().linux;
        assert!(both.namespace(NamespaceKind::Cgroup).is_some());
    }
}
