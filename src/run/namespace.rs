//! Namespaces to join, opened and verified.

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::OFlag;

use crate::bundle::spec::{Namespace, NamespaceKind};
use crate::error::{Context, Error, Result, engine};
use crate::rootfs::{is_own_root, open_directory};
use crate::state::record::ProcessMark;
use crate::sys::{self, file};
use crate::text::{Keep, Text};

/// A kind and a path, as a plan has them.
pub type Join = (NamespaceKind, Text);

// This error does not name the namespace.
fn check((kind, path): &Join) -> Result<OwnedFd> {
    let fd = file::open(*path, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?;
    // Linux before 4.11 cannot report the kind; setns(2) still refuses the wrong one.
    match sys::namespace::kind_of(&fd) {
        Ok(flag) if flag == kind.clone_flag() => Ok(fd),
        Ok(flag) => {
            Err(Error::of(format_args!("is a {} namespace, not a {kind} one", NamespaceKind::names_of(flag))))
        }
        Err(Errno::ENOTTY) if is_nsfs(&fd)? => Ok(fd),
        Err(_) => Err(Error::new("is not a namespace")),
    }
}

pub(super) fn is_nsfs(fd: &OwnedFd) -> std::result::Result<bool, Errno> {
    const NSFS: i64 = 0x6e73_6673;
    Ok(nix::sys::statfs::fstatfs(fd)?.filesystem_type().0 as i64 == NSFS)
}

/// Opens a namespace by its path and checks its kind; the error names it.
pub fn open(join: &Join) -> Result<OwnedFd> {
    check(join).context(|| named(join))
}

/// Its name in errors.
pub fn named((kind, path): &Join) -> String {
    format!("{kind} namespace {path}")
}

/// The runtime's own.
pub fn own(kind: NamespaceKind) -> Result<OwnedFd> {
    open(&(kind, format!("/proc/self/ns/{}", kind.proc_name()).keep()))
}

/// Whether a namespace is the host's: the runtime's own, or that of pid 1.
pub fn is_hosts(kind: NamespaceKind, fd: &OwnedFd) -> Result<bool> {
    let same = |a: file::FileStat, b: file::FileStat| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino);
    let this = file::fstat(fd)?;
    // A user who may not look at pid 1 cannot join its namespaces either.
    let first = file::stat(&*format!("/proc/1/ns/{}", kind.proc_name()));
    Ok(same(file::fstat(own(kind)?)?, this) || first.is_ok_and(|first| same(first, this)))
}

/// Opens namespaces of one process, and checks that it lived throughout.
///
/// Otherwise its pid may have been reused, and these would be a stranger's namespaces, or the host's. `users` is the inode of
/// the container's user namespace if it is known.
pub fn open_all_of(joins: &[Join], owner: &ProcessMark, users: Option<u64>) -> Result<Vec<OwnedFd>> {
    let mut fds = Vec::with_capacity(joins.len());
    for join in joins {
        let fd = open(join)?;
        fds.push(match users.filter(|_| join.0 == NamespaceKind::User) {
            Some(inode) => with_inode(fd, inode).at("find the container's user namespace")?,
            None => fd,
        });
    }
    // A process that lives now has had its pid since it started.
    if owner.lives() { Ok(fds) } else { Err(Error::new(engine::NOT_RUNNING)) }
}

/// The user namespace with this inode: the given one, or one that it was made in.
///
/// Init may have made user namespaces inside of the container's. Linux before 4.9 does not tell where.
fn with_inode(mut users: OwnedFd, inode: u64) -> std::result::Result<OwnedFd, Errno> {
    while file::fstat(&users)?.st_ino as u64 != inode {
        users = match sys::namespace::parent(&users) {
            Err(Errno::ENOTTY) => break,
            parent => parent?,
        };
    }
    Ok(users)
}

/// Opens the root of a container's init, which has the runtime's mount namespace.
///
/// Without CAP_SYS_CHROOT no process of the container can change it.
pub fn open_root(link: Text) -> Result<OwnedFd> {
    let root = open_directory(link).at(link)?;
    if is_own_root(&root)? { Err(Error::new("the container's root is the runtime's own")) } else { Ok(root) }
}

/// The namespaces of a container's init that differ from this process's.
///
/// Only kinds that the container was created with count, in the order of [`NamespaceKind::ALL`]: init could otherwise hide
/// from an exec behind a user namespace that it made later. A process that ends meanwhile is noticed when they are opened
/// ([`open_all_of`]).
pub fn recorded(pid: i32, with: &[Namespace]) -> Result<Vec<Join>> {
    let inode = |path: &str| file::stat(path).map(|s| (s.st_dev, s.st_ino));
    let mut out = Vec::new();
    for kind in NamespaceKind::ALL.into_iter().filter(|kind| with.iter().any(|n| n.kind == *kind)) {
        let theirs = format!("/proc/{pid}/ns/{}", kind.proc_name());
        match (inode(&theirs), inode(&format!("/proc/self/ns/{}", kind.proc_name()))) {
            (Ok(a), Ok(b)) if a == b => {}
            // This kernel lacks the kind.
            (Err(Errno::ENOENT), Err(_)) => {}
            (Ok(_), _) => out.push((kind, theirs.keep())),
            (Err(e), _) => return Err(Error::os(theirs, e)),
        }
    }
    Ok(out)
}

/// The error of a call that makes the namespaces of these flags.
pub(super) fn not_made(call: &str, errno: Errno, flags: u64) -> Error {
    let e = Error::os(call, errno);
    match errno {
        Errno::EINVAL => match absent(flags) {
            absent if absent.is_empty() => e,
            absent => {
                e.hint(format_args!("the kernel lacks namespaces that linux.namespaces asks for: {absent}"))
            }
        },
        Errno::ENOSPC => e.hint("a limit on namespaces is reached: user.max_*_namespaces"),
        Errno::EPERM => e.hint("needs CAP_SYS_ADMIN"),
        _ => e,
    }
}

/// The kinds that this kernel lacks, each with the option that adds it.
fn absent(flags: u64) -> String {
    let mut absent = String::new();
    for kind in NamespaceKind::ALL {
        let name = kind.proc_name();
        if flags & kind.clone_flag() != 0 && file::stat(&*format!("/proc/self/ns/{name}")).is_err() {
            let option = match kind {
                NamespaceKind::Cgroup => "CGROUPS".to_owned(),
                _ => format!("{}_NS", name.to_ascii_uppercase()),
            };
            absent += &format!("{}{kind} (CONFIG_{option})", if absent.is_empty() { "" } else { ", " });
        }
    }
    absent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_what_it_is() {
        let ours = own(NamespaceKind::Network).unwrap();
        assert!(is_hosts(NamespaceKind::Network, &ours).unwrap());
        assert!(!is_hosts(NamespaceKind::Ipc, &ours).unwrap());
        let wrong = open(&(NamespaceKind::Network, "/proc/self/ns/uts")).unwrap_err().to_string();
        assert_eq!(wrong, "network namespace /proc/self/ns/uts: is a uts namespace, not a network one");
        let none = open(&(NamespaceKind::Ipc, "/dev/null")).unwrap_err().to_string();
        assert_eq!(none, "ipc namespace /dev/null: is not a namespace");
        assert!(open(&(NamespaceKind::Ipc, "/nowhere")).unwrap_err().to_string().contains("ENOENT"));
    }

    #[test]
    fn this_process_has_no_foreign_namespaces() {
        let all = NamespaceKind::ALL.map(|kind| Namespace { kind, path: None });
        assert_eq!(recorded(std::process::id() as i32, &all).unwrap(), []);
    }

    #[test]
    fn namespaces_of_a_pid_that_is_used_again_are_not_joined() {
        let joins = [(NamespaceKind::Uts, "/proc/self/ns/uts")];
        let me = ProcessMark::of(std::process::id() as i32).unwrap();
        assert_eq!(open_all_of(&joins, &me, None).unwrap().len(), 1);
        let before_me = ProcessMark { start: me.start - 1, ..me };
        assert_eq!(open_all_of(&joins, &before_me, None).unwrap_err().to_string(), engine::NOT_RUNNING);
        // Even if there is nothing to join: the stranger may be in the host's namespaces.
        assert!(open_all_of(&[], &before_me, None).is_err());
    }

    #[test]
    fn flags_have_names() {
        assert_eq!(
            NamespaceKind::names_of(NamespaceKind::Pid.clone_flag() | NamespaceKind::Uts.clone_flag()),
            "pid, uts"
        );
    }
}
