//! `linux.resources` as files of cgroup v1 (kernel: admin-guide/cgroup-v1).

use super::knob::{Controller, Knob, WithoutFile};
use super::{ResourceField, Resources, Setting};
use crate::error::{Error, Result};
use crate::text::Keep;

/// The writes to a cgroup in the hierarchy of this controller.
///
/// The kernel may refuse an order with EINVAL because of the present values (a limit above the memory+swap limit); a second pass
/// succeeds.
pub fn knobs(of: Controller, r: &Resources) -> Result<Vec<Knob>> {
    let mut knobs = Vec::new();
    if of == Controller::Memory {
        check_swap(r)?;
    }
    for s in r.of(of) {
        let member = s.what.member();
        let mut knob = Knob::new(member.field(), member.v1(), s.value());
        match s.what {
            ResourceField::Pids => knob = pids(s),
            ResourceField::Hugepages => {
                knobs.extend(hugepages(s, member.v1()));
                continue;
            }
            // Linux 5.0 replaced CFQ by BFQ, which has other files for the same weights and none for leaf weights.
            ResourceField::Weight => knob.missing = WithoutFile::Use("blkio.bfq.weight", knob.value),
            ResourceField::DeviceWeight => {
                knob.missing = WithoutFile::Use("blkio.bfq.weight_device", knob.value)
            }
            _ => {}
        }
        knobs.push(knob);
    }
    // Like runc: memory.limit -1 also lifts memory.memsw, if swap is accounted.
    if of == Controller::Memory
        && r.number(ResourceField::Limit) == Some(-1)
        && r.number(ResourceField::Swap).is_none()
    {
        let mut knob = Knob::new("memory.limit", "memory.memsw.limit_in_bytes", "-1".to_owned());
        knob.missing = WithoutFile::Skips;
        knobs.push(knob);
    }
    Ok(knobs)
}

/// Refuses a memory+swap limit below the memory limit.
///
/// The kernel refuses it in any order of the writes. It rounds both down to pages, which have at most 64 KiB.
fn check_swap(r: &Resources) -> Result<()> {
    const LARGEST_PAGE: i64 = 64 << 10;
    match (r.number(ResourceField::Swap), r.number(ResourceField::Limit)) {
        (Some(both @ 0..), Some(limit)) if limit < 0 || both / LARGEST_PAGE < limit / LARGEST_PAGE => {
            Err(below_limit(both, limit))
        }
        _ => Ok(()),
    }
}

pub(super) fn below_limit(both: i64, limit: i64) -> Error {
    let limit = if limit < 0 { "unlimited".to_owned() } else { limit.to_string() };
    Error::of(format_args!(
        "linux.resources.memory.swap: {both} is memory and swap together, and less than memory.limit, {limit}"
    ))
}

/// The write to `pids.max`, where 0 becomes 1.
///
/// Both mean the same to a container, because the limit never refuses its first process; but with 0 it refuses
/// `CLONE_INTO_CGROUP`.
pub(in crate::cgroup) fn pids(s: &Setting) -> Knob {
    let most = if s.n < 0 { "max".to_owned() } else { s.n.max(1).to_string() };
    Knob::new("pids.limit", "pids.max", most)
}

/// The limits of page faults and of reservations, like runc.
///
/// Pages that are faulted in without a reservation count only for the first limit. Linux before 5.7 has no other.
pub(in crate::cgroup) fn hugepages(s: &Setting, suffix: &str) -> [Knob; 2] {
    ["", "rsvd."].map(|kind| {
        let file = format!("hugetlb.{}.{kind}{suffix}", s.of).keep();
        let missing = if kind.is_empty() { WithoutFile::Fails } else { WithoutFile::Skips };
        Knob { missing, ..Knob::new("hugepageLimits", file, s.digits()) }
    })
}
