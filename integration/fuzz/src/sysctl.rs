//! Keys of `linux.sysctl` to files below `/proc/sys`.

use embrun::bundle::spec::{Namespace, NamespaceKind};
use embrun::plan::sysctl;

/// Checks one key, with one kind of namespace and with all.
pub fn judge(input: &[u8]) {
    let Some((&with, key)) = input.split_first() else { return };
    let Ok(key) = std::str::from_utf8(key) else { return };
    let one = NamespaceKind::ALL[usize::from(with) % 8];
    let namespaces = |kinds: &[NamespaceKind]| -> Vec<Namespace> {
        kinds.iter().map(|kind| Namespace { kind: *kind, path: None }).collect()
    };
    let all = sysctl::path(key, &namespaces(&NamespaceKind::ALL));
    assert_eq!(all.ok(), reference(key).map(|(path, _)| path).as_deref(), "{key:?}");
    let some = sysctl::path(key, &namespaces(&[one]));
    let wanted = reference(key).filter(|(_, kind)| *kind == one).map(|(path, _)| path);
    assert_eq!(some.ok(), wanted.as_deref(), "{key:?} with {one}");
    if let Ok(path) = all {
        let parts: Vec<&str> = path.split('/').collect();
        assert!(parts.len() > 1 && parts.iter().all(|part| !matches!(*part, "" | "." | "..")), "{path:?}");
        // A path is a key, too, unless a name in it has the first dot.
        if !path.split('/').next().unwrap_or("").contains('.') {
            assert_eq!(sysctl::path(path, &namespaces(&NamespaceKind::ALL)), Ok(path), "{key:?}");
        }
    }
}

/// sysctl(8)'s spellings, and the parameters that namespaces(7) lists.
fn reference(key: &str) -> Option<(String, NamespaceKind)> {
    let dotted = match (key.find('.'), key.find('/')) {
        (Some(dot), Some(slash)) => dot < slash,
        (dot, _) => dot.is_some(),
    };
    let mut path = String::new();
    for c in key.chars() {
        path.push(match c {
            '.' if dotted => '/',
            '/' if dotted => '.',
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' | ':' | '@' | '+' | '.' | '/' => c,
            _ => return None,
        });
    }
    let parts: Vec<&str> = path.split('/').collect();
    if parts.len() < 2 || parts.iter().any(|part| part.is_empty() || *part == "." || *part == "..") {
        return None;
    }
    let ipc = |name: &str| {
        matches!(name, "sem" | "auto_msgmni" | "shm_rmid_forced" | "msgmax" | "msgmnb" | "msgmni")
            || matches!(name, "msg_next_id" | "sem_next_id" | "shm_next_id" | "shmall" | "shmmax" | "shmmni")
    };
    let kind = match parts[..] {
        ["net", ..] => NamespaceKind::Network,
        ["user", ..] => NamespaceKind::User,
        ["fs", "mqueue", _, ..] => NamespaceKind::Ipc,
        ["kernel", "domainname"] => NamespaceKind::Uts,
        ["kernel", name] if ipc(name) => NamespaceKind::Ipc,
        _ => return None,
    };
    Some((path, kind))
}
