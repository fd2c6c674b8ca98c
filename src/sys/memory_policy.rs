//! The NUMA memory policy of this process.

use std::ffi::{c_int, c_long, c_ulong};

use nix::errno::Errno;

use super::done;

/// The number of memory nodes in a mask, the most that a kernel can have.
const NODES: usize = 1024;
const WORD: usize = c_ulong::BITS as usize;

/// Sets the policy (set_mempolicy(2)).
///
/// `mode` includes the flags; the number of each node is below 1024.
pub fn set_memory_policy(mode: u32, nodes: &[u32]) -> Result<(), Errno> {
    let mut mask: [c_ulong; NODES / WORD] = [0; NODES / WORD];
    for node in nodes {
        let node = *node as usize;
        *mask.get_mut(node / WORD).ok_or(Errno::EINVAL)? |= 1 << (node % WORD);
    }
    // set_mempolicy(2) reads one bit less than the given number. A mask without a node may be null.
    let (mask, bits) = if nodes.is_empty() { (std::ptr::null(), 0) } else { (mask.as_ptr(), NODES + 1) };
    // SAFETY: the mask has that many bits, or is null.
    let r = unsafe { libc::syscall(libc::SYS_set_mempolicy, mode as c_long, mask, bits as c_ulong) };
    done(r as c_int)
}
