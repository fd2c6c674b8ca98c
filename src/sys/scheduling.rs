//! CPU and I/O scheduling of this process.

use std::ffi::{c_int, c_long};

use nix::errno::Errno;

use super::done;

type Result<T> = std::result::Result<T, Errno>;

/// `struct sched_attr` of sched_setattr(2), second version (Linux 5.3).
///
/// It has 56 bytes, and `SCHED_FLAG_UTIL_CLAMP_…` needs it. Older kernels accept it too if the fields that they do
/// not know are zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SchedAttr {
    /// The size of the structure, set by [`set_scheduler`].
    pub size: u32,
    /// The policy, `SCHED_…`.
    pub policy: u32,
    /// The flags, `SCHED_FLAG_…`.
    pub flags: u64,
    /// The nice value for SCHED_OTHER and SCHED_BATCH.
    pub nice: i32,
    /// The priority for SCHED_FIFO and SCHED_RR.
    pub priority: u32,
    /// The runtime for SCHED_DEADLINE, in nanoseconds.
    pub runtime: u64,
    /// The deadline for SCHED_DEADLINE, in nanoseconds.
    pub deadline: u64,
    /// The period for SCHED_DEADLINE, in nanoseconds.
    pub period: u64,
    /// The value for `SCHED_FLAG_UTIL_CLAMP_MIN`, which the spec cannot set.
    pub util_min: u32,
    /// The value for `SCHED_FLAG_UTIL_CLAMP_MAX`, which the spec cannot set.
    pub util_max: u32,
}

/// Sets the policy and parameters of a process, or of this one (0).
pub fn set_scheduler(pid: i32, attr: &SchedAttr) -> Result<()> {
    let attr = SchedAttr { size: size_of::<SchedAttr>() as u32, ..*attr };
    // SAFETY: the kernel reads as many bytes as the first field says; the rest are plain integers.
    let r =
        unsafe { libc::syscall(libc::SYS_sched_setattr, c_long::from(pid), &raw const attr, 0 as c_long) };
    done(r as c_int)
}

/// Sets the I/O priority (class and level) of this process's group.
pub fn set_io_priority(class: u8, level: u8) -> Result<()> {
    const IOPRIO_WHO_PGRP: c_long = 2;
    let value = c_long::from(class) << 13 | c_long::from(level);
    // SAFETY: ioprio_set with plain integers; 0 is this process's own group.
    let r = unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PGRP, 0 as c_long, value) };
    done(r as c_int)
}
