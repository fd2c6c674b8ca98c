//! `linux.sysctl`: the kernel parameters that a container may set, and their files.

use crate::bundle::spec::{Namespace, NamespaceKind};
use crate::text::names::position;
use crate::text::{Keep, Text};

/// The file of a parameter below `/proc/sys`, or the reason for its refusal.
///
/// Only parameters of the container's own namespaces may be set: the others are the host's (runc's rule). The key becomes a
/// path, so it must not lead elsewhere (CVE-2022-0811).
pub fn path(key: &str, namespaces: &[Namespace]) -> Result<Text, Text> {
    let path = normal(key).ok_or("is not the name of a kernel parameter")?;
    let kind = owner(path)?;
    let own = namespaces.iter().any(|n| n.kind == kind);
    if own { Ok(path) } else { Err(format!("needs a {kind} namespace of the container's own").keep()) }
}

/// The parameters of the IPC namespace (ipc_namespaces(7)).
const IPC: Text = "auto_msgmni msg_next_id msgmax msgmnb msgmni sem sem_next_id shm_rmid_forced shmall \
    shmmax shmmni";

/// The kind of namespace that a parameter belongs to, or why it is refused.
pub fn owner(path: &str) -> Result<NamespaceKind, &'static str> {
    let (top, rest) = path.split_once('/').unwrap_or((path, ""));
    match top {
        "net" => Ok(NamespaceKind::Network),
        "user" => Ok(NamespaceKind::User),
        "fs" if rest.starts_with("mqueue/") => Ok(NamespaceKind::Ipc),
        "kernel" if position(IPC, rest).is_some() || rest == "shm_next_id" => Ok(NamespaceKind::Ipc),
        "kernel" if rest == "domainname" => Ok(NamespaceKind::Uts),
        "kernel" if rest == "hostname" => Err("is what the hostname property sets"),
        _ => Err("is not in a namespace: it would change the host"),
    }
}

/// sysctl(8)'s two spellings as a path.
///
/// The separator that comes first separates, and the other one stands for it in names: `net.ipv4.conf.eth0/100.forwarding` is
/// `net/ipv4/conf/eth0.100/forwarding`.
fn normal(key: &str) -> Option<Text> {
    let mut path = key.as_bytes().to_vec();
    if path.iter().find(|b| b"./".contains(b)) == Some(&b'.') {
        for b in &mut path {
            *b = match *b {
                b'.' => b'/',
                b'/' => b'.',
                other => other,
            };
        }
    }
    let in_set = |b: u8| b.is_ascii_alphanumeric() || b"_-.:@+/".contains(&b);
    let name = |part: &str| !part.is_empty() && part != "." && part != "..";
    let path = String::from_utf8(path).ok()?;
    (path.contains('/') && path.bytes().all(in_set) && path.split('/').all(name)).then(|| path.keep())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(kinds: &[NamespaceKind]) -> Vec<Namespace> {
        kinds.iter().map(|kind| Namespace { kind: *kind, path: None }).collect()
    }

    #[test]
    fn each_parameter_needs_its_namespace() {
        use NamespaceKind::{Ipc, Network, User, Uts};
        for (key, file, kind) in [
            ("net.ipv4.ip_forward", "net/ipv4/ip_forward", Network),
            ("net/ipv4/ip_forward", "net/ipv4/ip_forward", Network),
            ("net.ipv4.conf.eth0/100.forwarding", "net/ipv4/conf/eth0.100/forwarding", Network),
            ("net/ipv4/conf/eth0.100/forwarding", "net/ipv4/conf/eth0.100/forwarding", Network),
            ("kernel.sem", "kernel/sem", Ipc),
            ("kernel.shm_rmid_forced", "kernel/shm_rmid_forced", Ipc),
            ("fs.mqueue.msg_max", "fs/mqueue/msg_max", Ipc),
            ("kernel.domainname", "kernel/domainname", Uts),
            ("user.max_pid_namespaces", "user/max_pid_namespaces", User),
        ] {
            assert_eq!(path(key, &own(&[kind])).as_deref(), Ok(file));
            let says = path(key, &own(&[NamespaceKind::Mount])).unwrap_err();
            assert_eq!(says, format!("needs a {} namespace of the container's own", kind.name()));
        }
    }

    #[test]
    fn the_hosts_parameters_and_other_paths_are_refused() {
        use NamespaceKind::{Ipc, Mount, Network, Pid, User, Uts};
        let all = own(&[User, Pid, Network, Mount, Ipc, Uts]);
        for key in [
            "kernel.core_pattern",
            "kernel.hostname",
            "kernel.semantics",
            "vm.swappiness",
            "fs.file-max",
            "fs.mqueue",
            "",
            "net",
            "net.",
            "net..ipv4",
            "/net/ipv4/ip_forward",
            "net/../kernel/core_pattern",
            "net.ipv4/../../kernel/core_pattern",
            "net/./ipv4",
            "kernel/../../sysrq-trigger",
            "net.ipv4.ip_forward\nx",
            "net ipv4",
        ] {
            assert!(path(key, &all).is_err(), "{key:?}");
        }
    }
}
