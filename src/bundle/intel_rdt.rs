//! `linux.intelRdt` (config-linux.md, "Intel RDT").

use crate::json::read::Read;
use crate::json::slot::{Slot, Texts, Value, any, may};
use crate::text::{List, Text};

/// The class of service of the processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IntelRdt {
    /// `closID`
    pub class: Option<Text>,
    /// `l3CacheSchema`
    pub l3: Option<Text>,
    /// `memBwSchema`
    pub bandwidth: Option<Text>,
    /// `schemata`
    pub schemata: List<Text>,
    /// `enableMonitoring`
    pub monitoring: bool,
}

impl Slot for IntelRdt {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        v.object(&mut [
            may("closID", &mut self.class),
            may("l3CacheSchema", &mut self.l3),
            may("memBwSchema", &mut self.bandwidth),
            may("schemata", &mut Texts(&mut self.schemata, any)),
            may("enableMonitoring", &mut self.monitoring),
        ])
    }
}
