//! `linux.memoryPolicy` (config-linux.md, "Memory policy").

use crate::bundle::spec::MemoryPolicy;
use crate::json::read::Read;
use crate::json::slot::{Each, Slot, Value, Word, may, must};
use crate::names;
use crate::text::names::NameTable;

/// include/uapi/linux/mempolicy.h
pub static MODES: NameTable<u32> = names! {
    "MPOL_DEFAULT" => MemoryPolicy::DEFAULT,
    "MPOL_PREFERRED" => MemoryPolicy::PREFERRED,
    "MPOL_BIND" => MemoryPolicy::BIND,
    "MPOL_INTERLEAVE" => 3,
    "MPOL_LOCAL" => MemoryPolicy::LOCAL,
    // Linux 5.15
    "MPOL_PREFERRED_MANY" => MemoryPolicy::PREFERRED_MANY,
    // Linux 6.9
    "MPOL_WEIGHTED_INTERLEAVE" => 6,
};

/// include/uapi/linux/mempolicy.h
pub static FLAGS: NameTable<u32> = names! {
    // Linux 5.12
    "MPOL_F_NUMA_BALANCING" => MemoryPolicy::NUMA_BALANCING,
    "MPOL_F_RELATIVE_NODES" => MemoryPolicy::RELATIVE_NODES,
    "MPOL_F_STATIC_NODES" => MemoryPolicy::STATIC_NODES,
};

impl Slot for MemoryPolicy {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        v.object(&mut [
            must("mode", &mut Word(&mut self.mode, &MODES)),
            may("nodes", &mut self.nodes),
            may(
                "flags",
                &mut Each(&mut |v| {
                    v.each(&mut Each(&mut |v| {
                        let mut flag = 0;
                        Word(&mut flag, &FLAGS).fill(v)?;
                        self.flags |= flag;
                        Ok(())
                    }))
                }),
            ),
        ])
    }
}
