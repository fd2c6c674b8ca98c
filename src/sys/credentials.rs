//! Capabilities and ids of this thread.

use std::ffi::{c_int, c_ulong};

use nix::errno::Errno;

use super::done;
use crate::error::Context as _;

type Result<T> = std::result::Result<T, Errno>;

/// `_LINUX_CAPABILITY_VERSION_3`: 64-bit sets in two words (Linux 2.6.26).
const VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: c_int,
}

/// The sets of capget(2) and capset(2), as 64-bit masks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapSets {
    /// The effective set.
    pub effective: u64,
    /// The permitted set.
    pub permitted: u64,
    /// The inheritable set.
    pub inheritable: u64,
}

/// Reads this process's sets.
pub fn capget() -> Result<CapSets> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut words = [[0u32; 3]; 2];
    // SAFETY: version 3 writes two records of three words.
    Errno::result(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, words.as_mut_ptr()) })?;
    let set = |i: usize| u64::from(words[0][i]) | u64::from(words[1][i]) << 32;
    Ok(CapSets { effective: set(0), permitted: set(1), inheritable: set(2) })
}

/// Replaces this process's sets; allocates nothing.
pub fn capset(sets: CapSets) -> Result<()> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let half = |shift: u32| {
        [
            (sets.effective >> shift) as u32,
            (sets.permitted >> shift) as u32,
            (sets.inheritable >> shift) as u32,
        ]
    };
    let words = [half(0), half(32)];
    // SAFETY: version 3 reads two records of three words.
    done(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, words.as_ptr()) } as c_int)
}

/// Drops every capability that is not in `keep` from the bounding set.
pub fn drop_bounding(keep: u64) -> Result<()> {
    for cap in (0..64).filter(|cap| keep & 1 << cap == 0) {
        // SAFETY: prctl with plain integers.
        match done(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, cap as c_ulong, 0, 0, 0) }) {
            Ok(()) => {}
            // The kernel has no more capabilities.
            Err(Errno::EINVAL) => break,
            // Without CAP_SETPCAP the call fails even if the set lacks the capability already, or if the kernel does not know it,
            // because the kernel checks CAP_SETPCAP first.
            Err(Errno::EPERM) if is_bounding(cap) <= 0 => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// 1 if the bounding set has a capability, 0 if not, -1 for an unknown one.
fn is_bounding(cap: u32) -> c_int {
    // SAFETY: prctl with plain integers.
    unsafe { libc::prctl(libc::PR_CAPBSET_READ, cap as c_ulong, 0, 0, 0) }
}

/// Reads the bounding set, and the set of all capabilities that the kernel knows.
pub fn bounding() -> (u64, u64) {
    // The list ends at the first number that the kernel does not know.
    let known = (0..64).map(|cap| (cap, is_bounding(cap))).take_while(|(_, answer)| *answer >= 0);
    known.fold((0, 0), |(set, all), (cap, answer)| (set | (answer as u64) << cap, all | 1 << cap))
}

/// Replaces the ambient set.
/// Kernels before 4.3 have none and return EINVAL, which is fine for an empty set.
pub fn set_ambient(caps: u64) -> Result<()> {
    const CLEAR_ALL: c_ulong = 4;
    const RAISE: c_ulong = 2;
    let ambient = |act: c_ulong, cap: c_ulong| {
        // SAFETY: prctl with plain integers.
        done(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, act, cap, 0 as c_ulong, 0 as c_ulong) })
    };
    match ambient(CLEAR_ALL, 0) {
        Err(Errno::EINVAL) if caps == 0 => return Ok(()),
        other => other?,
    }
    (0..64).filter(|cap| caps & 1 << cap != 0).try_for_each(|cap| ambient(RAISE, cap))
}

/// Keeps the permitted set across the next change of user ids.
pub fn keep_capabilities(keep: bool) -> Result<()> {
    // SAFETY: prctl with plain integers.
    done(unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, c_ulong::from(keep), 0, 0, 0) })
}

/// Sets the supplementary groups of this thread.
///
/// The process has no other threads, and the C library's function would signal every thread, which takes 2 KB of code.
pub fn set_groups(groups: &[u32]) -> Result<()> {
    // SAFETY: pointer and length of one slice.
    done(unsafe { libc::syscall(SETGROUPS, groups.len(), groups.as_ptr()) } as c_int)
}

/// Sets the supplementary groups, then all group ids, then all user ids.
///
/// Without a list the groups stay.
/// It uses system calls that act on this thread only, as [`set_groups`] does.
pub fn set_ids(uid: u32, gid: u32, groups: Option<&[u32]>) -> crate::error::Result<()> {
    if let Some(groups) = groups {
        set_groups(groups).at("setgroups")?;
    }
    // SAFETY: plain integers.
    done(unsafe { libc::syscall(SETRESGID, gid, gid, gid) } as c_int).at("setresgid")?;
    // SAFETY: plain integers.
    done(unsafe { libc::syscall(SETRESUID, uid, uid, uid) } as c_int).at("setresuid")
}

// On 32-bit ARM and x86 the calls without 32 in their name use 16-bit ids.
#[cfg(any(target_arch = "arm", target_arch = "x86"))]
const SETGROUPS: libc::c_long = libc::SYS_setgroups32;
#[cfg(any(target_arch = "arm", target_arch = "x86"))]
const SETRESGID: libc::c_long = libc::SYS_setresgid32;
#[cfg(any(target_arch = "arm", target_arch = "x86"))]
const SETRESUID: libc::c_long = libc::SYS_setresuid32;
#[cfg(not(any(target_arch = "arm", target_arch = "x86")))]
const SETGROUPS: libc::c_long = libc::SYS_setgroups;
#[cfg(not(any(target_arch = "arm", target_arch = "x86")))]
const SETRESGID: libc::c_long = libc::SYS_setresgid;
#[cfg(not(any(target_arch = "arm", target_arch = "x86")))]
const SETRESUID: libc::c_long = libc::SYS_setresuid;
