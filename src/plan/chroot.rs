//! A container without a mount namespace, whose root is entered by chroot(2).
//!
//! It shares the runtime's mount table, and what its caller has mounted below the root is there. A mount that embrun made would
//! be one of the host and could stay there, so everything that needs a mount is refused.
//!
//! The kernel lets no process that has changed its root make a user namespace. It may still join one whose owner it is, by a
//! pidfd or through a namespace that belongs to it, and has CAP_SYS_CHROOT there; so it must see no process of others, and share
//! no other namespace of theirs. CAP_DAC_READ_SEARCH opens a directory above the root by its handle (open_by_handle_at(2)).

use super::validate::{Refusal, refuse};
use crate::bundle::spec::{NamespaceKind, Process, Spec};

/// Whether the container has the runtime's mount namespace.
pub(super) fn is_asked(spec: &Spec) -> bool {
    spec.linux.namespace(NamespaceKind::Mount).is_none()
}

/// Refuses what cannot be had without a mount namespace.
pub(super) fn validate(spec: &Spec, out: &mut Vec<Refusal>) {
    let linux = &spec.linux;
    for (field, there) in [
        ("root.readonly", spec.root.readonly),
        ("mounts", !spec.mounts.is_empty()),
        ("linux.rootfsPropagation", linux.rootfs_propagation.is_some()),
        ("linux.maskedPaths", !linux.masked_paths.is_empty()),
        ("linux.readonlyPaths", !linux.readonly_paths.is_empty()),
        ("linux.mountLabel", linux.mount_label.is_some()),
        ("linux.namespaces: type \"user\"", linux.namespace(NamespaceKind::User).is_some()),
        ("linux.namespaces: a path", linux.namespaces.iter().any(|n| n.path.is_some())),
    ] {
        if there {
            let what = "needs a mount namespace (add {\"type\": \"mount\"} to linux.namespaces)";
            refuse(out, format_args!("{field}"), format_args!("{what}"));
        }
    }
    if linux.namespace(NamespaceKind::Pid).is_none() {
        let what = format_args!("a container without a mount namespace needs a new pid namespace");
        refuse(out, format_args!("linux.namespaces"), what);
    }
    if let Some(p) = &spec.process {
        of_process(p, out);
    }
}

/// Refuses the capabilities that lead out of the root or change the host's mounts.
pub(super) fn of_process(p: &Process, out: &mut Vec<Refusal>) {
    let caps = &p.capabilities;
    let sets = [caps.bounding, caps.permitted, caps.effective, caps.inheritable, caps.ambient];
    let leads_out = |name: &&str| matches!(*name, "CAP_SYS_CHROOT" | "CAP_SYS_ADMIN" | "CAP_DAC_READ_SEARCH");
    if let Some(name) = sets.iter().find_map(|set| set.iter().copied().find(|name| leads_out(name))) {
        let what = format_args!("{name} leads to the host without a mount namespace; remove it");
        refuse(out, format_args!("process.capabilities"), what);
    }
}
