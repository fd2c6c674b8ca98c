//! The host's part in making a user namespace, and init's way to the host's files.
//!
//! The host opens a file below `/proc/PID/root`, so on a mount of init's own mount namespace, which alone init may bind. It
//! has the host's rights over directories, and init gets one descriptor that leads nowhere else. The files are those of the
//! plan, so a process that speaks in init's place gets no others; after the pivot their paths lead into the container.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{self, MsgFlags};
use nix::sys::stat::SFlag;
use nix::unistd::Pid;

use super::wire::{Channel, MessageKind};
use super::{id_helper, namespace};
use crate::bundle::spec::{IdMapping, NamespaceKind, Rlimit};
use crate::error::{Context, Error, Lossy, Result};
use crate::plan::Launch;
use crate::plan::user_namespace::{IdMaps, host_id, map_text};
use crate::rootfs::helper::by_a_helper;
use crate::rootfs::host_files::HostFiles;
use crate::rootfs::procfs::ProcFs;
use crate::rootfs::root::RootDir;
use crate::state::locked::Locked;
use crate::sys::descriptor::{self, adopt, receive_fd, send_fd};
use crate::sys::file::{chown, fstat, kind, open, read_text};
use crate::sys::{credentials, process};
use crate::text::{List, Text};

/// Init must not allocate for an error, and the host only passes it on.
type Outcome<T> = std::result::Result<T, Errno>;

/// Writes the maps of a process that is alone in a new user namespace.
///
/// Errors name the owner's property.
pub(super) fn map(slot: &mut Option<Locked>, pid: Pid, maps: &IdMaps, owner: &str) -> Result<()> {
    each(maps, owner, &mut |file, map, helper| match helper {
        Some(helper) => id_helper::run(slot, helper, pid, map),
        None => write_of(pid, file, map_text(map).as_bytes()),
    })
}

/// Denies setgroups(2) in the user namespace of a process.
pub(super) fn deny_groups(pid: Pid) -> Result<()> {
    write_of(pid, "setgroups", b"deny")
}

/// Checks that the user namespace of a process has these maps.
pub(super) fn check(pid: Pid, maps: &IdMaps) -> Result<()> {
    each(maps, "linux", &mut |file, map, _| {
        let there = read_map(pid, file)?;
        // The kernel may have sorted them.
        if map.is_empty() || there.len() == map.len() && map.iter().all(|range| there.contains(range)) {
            return Ok(());
        }
        Err(Error::new("the joined user namespace has another map (leave it out to take that)"))
    })
}

/// An act on one of the maps: its file, its ranges, and the program that writes it.
type OnMap<'a> = &'a mut dyn FnMut(&str, List<IdMapping>, Option<Text>) -> Result<()>;

fn each(maps: &IdMaps, owner: &str, act: OnMap<'_>) -> Result<()> {
    act("uid_map", maps.uids, maps.uid_helper).about(format_args!("{owner}.uidMappings"))?;
    act("gid_map", maps.gids, maps.gid_helper).about(format_args!("{owner}.gidMappings"))
}

/// Writes a file of a process, in one call as the kernel requires.
pub(super) fn write_of(pid: Pid, name: &str, text: &[u8]) -> Result<()> {
    let path = format!("/proc/{pid}/{name}");
    let file = open(&*path, OFlag::O_WRONLY).about(format_args!("open {path}"))?;
    match nix::unistd::write(&file, text) {
        Ok(_) => Ok(()),
        Err(e) => {
            let error = Error::os(format_args!("write {path}"), e);
            Err(match e {
                Errno::EPERM => {
                    error.hint("needs CAP_SETUID and CAP_SETGID, and ids of the host that exist here")
                }
                Errno::EINVAL => {
                    error.hint("ranges must not overlap, and before Linux 4.15 there are at most 5")
                }
                _ => error,
            })
        }
    }
}

fn read_map(pid: Pid, name: &str) -> Result<Vec<IdMapping>> {
    Ok(ranges(&read_text(&format!("/proc/{pid}/{name}"))?))
}

/// The ranges of a text of `/proc/PID/uid_map`; malformed lines are ignored.
pub fn ranges(text: &str) -> Vec<IdMapping> {
    let range = |line: &str| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(IdMapping { container_id: next()?, host_id: next()?, size: next()? })
    };
    text.lines().filter_map(range).collect()
}

/// The host's id of a user of a process's user namespace.
pub(super) fn host_uid(pid: Pid, inside: u32) -> Result<u32> {
    let map = read_map(pid, "uid_map")?;
    host_id(&map, inside).ok_or_else(|| {
        Error::of(format_args!("process.user.uid: {inside} is not mapped in the user namespace"))
    })
}

/// Adds the fix to the error of a write to `oom_score_adj`.
fn cannot_lower(e: Error) -> Error {
    match e.errno() {
        Some(Errno::EACCES) => {
            e.hint("process.oomScoreAdj: it is lowered only with CAP_SYS_RESOURCE on the host")
        }
        _ => e,
    }
}

/// Writes `oom_score_adj` of a process.
pub(super) fn set_oom_score(pid: Pid, score: i32) -> Result<()> {
    write_of(pid, "oom_score_adj", score.to_string().as_bytes()).map_err(cannot_lower)
}

/// Writes it of this process.
pub(super) fn set_own_score(procfs: &ProcFs, score: i32) -> Result<()> {
    procfs.write_self("oom_score_adj", score.to_string().as_bytes()).map_err(cannot_lower)
}

/// Sets the resource limits of a process.
pub(super) fn limit(pid: Pid, limits: &[Rlimit]) -> Result<()> {
    limits.iter().try_for_each(|l| {
        let set = process::set_rlimit_of(pid, l.resource, l.soft, l.hard).map(drop);
        set.context(|| format!("prlimit {l}")).map_err(|e| match e.errno() {
            Some(Errno::EPERM) => {
                e.hint("process.rlimits: a hard limit is raised only with CAP_SYS_RESOURCE on the host")
            }
            _ => e,
        })
    })
}

/// Gives the pipes among the standard streams to a user inside.
///
/// The container inherits them. A terminal stays with its owner, as in runc: it is the caller's.
pub(super) fn give_pipes(pid: Pid, inside: u32) -> Result<()> {
    let pipe = |fd: &_| fstat(fd).is_ok_and(|stat| kind(&stat) == SFlag::S_IFIFO);
    for fd in (0..3).filter_map(descriptor::inherited).filter(pipe) {
        chown(fd, host_uid(pid, inside)?).at("chown a standard stream")?;
    }
    Ok(())
}

/// The root directory in init's mount namespace.
pub(super) fn root_of(pid: Pid) -> Outcome<RootDir> {
    open(&*format!("/proc/{pid}/root"), OFlag::O_PATH | OFlag::O_DIRECTORY).map(RootDir::new)
}

/// Opens a file of the host for init, and hands it over.
///
/// A helper does it where the kernel has to ask a file system, whose server may not answer.
pub(super) fn open_for(pid: Pid, path: &CStr, channel: &Channel) -> Result<()> {
    let root = root_of(pid)?;
    match root.open_cached(path) {
        Ok(file) => Ok(channel.hand(Ok(file))?),
        Err(_) => by_a_helper(&|| channel.hand(open_in(&root, path))).about(format_args!("{}", Lossy(path))),
    }
}

fn open_in(root: &RootDir, path: &CStr) -> Outcome<OwnedFd> {
    match root.open(path) {
        // A magic link of procfs, such as /proc/PID/ns/net. The namespace behind it is on no mount of a mount namespace.
        Err(Errno::ELOOP) => {
            let file = open(path, OFlag::O_PATH)?;
            if namespace::is_nsfs(&file)? { Ok(file) } else { Err(Errno::ELOOP) }
        }
        other => other,
    }
}

/// Init's way to the files of the plan, if it needs one.
pub(super) fn host_files(launch: &Launch, channel: &Channel) -> Result<Option<HostFiles>> {
    if launch.opens.is_empty() {
        return Ok(None);
    }
    let (opens, channel) = (launch.opens, channel.duplicate()?);
    Ok(Some(HostFiles::new(move |wanted| {
        let index = opens.iter().position(wanted).ok_or(Errno::EACCES)?;
        channel.open(index as u32)
    })))
}

/// The conversation about files.
impl Channel {
    /// The same conversation once more, for an owner of its own.
    pub fn duplicate(&self) -> Outcome<Channel> {
        let copy = nix::fcntl::fcntl(self.as_fd(), nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(3))?;
        Ok(Channel::Socket(adopt(copy)))
    }

    /// Asks the host for a file by its number in the plan.
    pub fn open(&self, number: u32) -> Outcome<OwnedFd> {
        self.say(MessageKind::Open, 0, number, "")?;
        let mut errno = [0; 4];
        match receive_fd(self.as_fd(), &mut errno)? {
            (_, Some(file)) => Ok(file),
            (0, None) => Err(Errno::EPIPE),
            // The kernel drops a received descriptor if no number is free.
            (_, None) if errno == [0; 4] => Err(Errno::EMFILE),
            (_, None) => Err(Errno::from_raw(i32::from_ne_bytes(errno))),
        }
    }

    /// Answers the question for a file.
    pub fn hand(&self, file: Outcome<OwnedFd>) -> Outcome<()> {
        let errno = |e: Errno| (e as i32).to_ne_bytes();
        match file {
            Ok(file) => send_fd(self.as_fd(), &[0; 4], file.as_fd(), 0).map(drop),
            Err(e) => socket::send(self.as_fd().as_raw_fd(), &errno(e), MsgFlags::MSG_NOSIGNAL).map(drop),
        }
    }
}

/// Makes namespaces. The user namespace is made first and owns the others.
pub(super) fn make(flags: u64) -> Result<()> {
    unshare(CloneFlags::from_bits_retain(flags as i32)).map_err(|e| namespace::not_made("unshare", e, flags))
}

/// Joins a namespace.
///
/// Groups of the host end before a user namespace is joined, which may deny setgroups(2). A caller who may not give them up here
/// keeps them there, and could use them anyway.
pub(super) fn join(namespace: &OwnedFd, kind: NamespaceKind, inside: bool) -> Result<()> {
    if kind == NamespaceKind::User {
        let _ = credentials::set_groups(&[]);
    }
    setns(namespace, CloneFlags::from_bits_retain(kind.clone_flag() as i32)).map_err(|e| {
        let error = Error::os("setns", e);
        match e {
            Errno::EPERM if inside => error.hint("the container's user namespace must own it"),
            _ => error,
        }
    })
}

/// Becomes root of the user namespace.
pub(super) fn become_root(groups_denied: bool, dumpable: bool) -> Result<()> {
    credentials::set_ids(0, 0, groups(groups_denied, &[])?)?;
    // The change of ids sets it to fs.suid_dumpable.
    set_dumpable(dumpable).map(drop)
}

/// Lets other processes of this user look into this one, or not.
pub(super) fn set_dumpable(dumpable: bool) -> Result<bool> {
    nix::sys::prctl::set_dumpable(dumpable).at("PR_SET_DUMPABLE").map(|()| dumpable)
}

/// The groups to set: none where that is denied, and then none may be asked for.
pub(super) fn groups(denied: bool, wanted: List<u32>) -> Result<Option<List<u32>>> {
    match (denied, wanted) {
        (false, _) => Ok(Some(wanted)),
        (true, []) => Ok(None),
        (true, _) => {
            Err(Error::new("process.user.additionalGids: setgroups is denied in this user namespace")
                .hint("map more than one group, with newgidmap"))
        }
    }
}
