//! How the kernel schedules this process, and its input and output.

use std::ffi::{c_int, c_long};

use nix::errno::Errno;

use super::done;

type Result<T> = std::result::Result<T, Errno>;

/// `struct sched_attr` of sched_setattr(2), in its second form (Linux 5.3, 56 bytes).
///
/// The flags `SCHED_FLAG_UTIL_CLAMP_…` need that form. An older kernel takes it too, if what it does not know is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SchedAttr {
    /// Of the structure; filled in by the call.
    pub size: u32,
    /// `SCHED_…`
    pub policy: u32,
    /// `SCHED_FLAG_…`
    pub flags: u64,
    /// Of SCHED_OTHER and SCHED_BATCH.
    pub nice: i32,
    /// Of SCHED_FIFO and SCHED_RR.
    pub priority: u32,
    /// Nanoseconds, of SCHED_DEADLINE.
    pub runtime: u64,
    /// Nanoseconds, of SCHED_DEADLINE.
    pub deadline: u64,
    /// Nanoseconds, of SCHED_DEADLINE.
    pub period: u64,
    /// Of `SCHED_FLAG_UTIL_CLAMP_MIN`; the spec has no value for it.
    pub util_min: u32,
    /// Of `SCHED_FLAG_UTIL_CLAMP_MAX`; the spec has no value for it.
    pub util_max: u32,
}

/// Sets this process' policy and parameters.
pub fn set_scheduler(attr: &SchedAttr) -> Result<()> {
    let attr = SchedAttr { size: size_of::<SchedAttr>() as u32, ..*attr };
    // SAFETY: the kernel reads as many bytes of the structure as its first field says; pid 0 is this process.
    let r = unsafe { libc::syscall(libc::SYS_sched_setattr, 0 as c_long, &raw const attr, 0 as c_long) };
    done(r as c_int)
}

/// Sets the input and output priority of this process' group: the class and the level in it.
pub fn set_io_priority(class: u8, level: u8) -> Result<()> {
    const IOPRIO_WHO_PGRP: c_long = 2;
    let value = c_long::from(class) << 13 | c_long::from(level);
    // SAFETY: ioprio_set with plain integers; 0 is this process' own group.
    let r = unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PGRP, 0 as c_long, value) };
    done(r as c_int)
}
