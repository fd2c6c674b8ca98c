//! Changes the resources of an existing container.
//!
//! All that is requested, or nothing.

use super::apply::write_all;
use super::hierarchy::Hierarchy;
use super::limits::knob::{Knob, WithoutFile};
use super::limits::{DeviceRule, ResourceField, Resources, Setting};
use super::planned_limits::{CgroupFacts, PlannedLimits};
use super::{Cgroup, systemd};
use crate::error::{Error, Result};
use crate::sys::file::read_text;

impl Cgroup {
    /// Sets the requested values and keeps the others.
    ///
    /// After a failure, earlier writes are undone.
    ///
    /// If there are device rules, they are the whole new list of the container; `before` is the present one. `note` saves the
    /// result; it is called after the files are written and before systemd is informed. It works on a paused container too.
    pub fn update(
        &self,
        resources: &Resources,
        before: &[DeviceRule],
        note: &dyn Fn() -> Result<()>,
    ) -> Result<()> {
        if *resources != Resources::default() {
            self.required()?;
        }
        let resources = self.completed(resources);
        let limits = self.planned(&resources)?;
        self.check(&limits)?;
        let knobs = self.placed(limits.all_files())?;
        self.check_usage(&resources)?;
        let mut undo: Vec<(&Hierarchy, Knob)> =
            knobs.iter().filter_map(|(b, k)| Some((*b, as_it_is(b, k)?))).rev().collect();
        let mut replaced = false;
        let mut act = || {
            write_all(&knobs)?;
            if !resources.devices.is_empty() {
                self.replace_devices(&limits.devices)?;
                replaced = true;
            }
            note()?;
            self.unit.as_ref().map_or(Ok(()), |unit| systemd::update(unit, &limits.properties))
        };
        let Err(e) = act() else { return Ok(()) };
        let before = || self.ground(None).devices(before).and_then(|devices| self.replace_devices(&devices));
        let devices = if replaced { before() } else { Ok(()) };
        // A value that could not be written (a missing device) needs no undoing.
        undo.retain(|(hierarchy, knob)| as_it_is(hierarchy, knob).is_none_or(|now| now.value != knob.value));
        Err(match write_all(&undo).and(devices) {
            Ok(()) => e,
            Err(again) => e.hint(format_args!("and the values from before could not be put back: {again}")),
        })
    }

    /// Plans the limits by the facts of the hierarchies that the cgroup is in.
    pub(super) fn planned(&self, resources: &Resources) -> Result<PlannedLimits> {
        let system = self.unit.as_ref().is_some_and(|unit| !unit.user);
        let drivers = (system && !resources.devices.is_empty()).then(|| read_text("/proc/devices"));
        let drivers = drivers.map(Result::unwrap_or_default);
        let root = self.v2_root();
        let mut ground = CgroupFacts { drivers: drivers.as_deref(), ..self.ground(root.as_deref()) };
        let known = ground.lacks(resources).then(|| read_text("/proc/cgroups").unwrap_or_default());
        ground.known = known.as_deref().unwrap_or_default();
        PlannedLimits::new(resources, &ground)
    }

    /// Completes a value that v2 has in one file and v1 in two by its other half.
    ///
    /// It is a period without a quota, or a total of memory and swap without a limit. systemd needs both quota and period for
    /// a rate.
    fn completed(&self, resources: &Resources) -> Resources {
        let mut resources = resources.clone();
        match self.v1("cpu") {
            Some(v1) if self.unit.is_some() => complete_quota(&mut resources, &|| {
                [v1.read("cpu.cfs_quota_us"), v1.read("cpu.cfs_period_us")]
                    .map(|text| text.unwrap_or_default())
                    .concat()
            }),
            None if self.v2().is_some() => complete_quota(&mut resources, &|| {
                self.v2().and_then(|v2| v2.read("cpu.max").ok()).unwrap_or_default()
            }),
            _ => {}
        }
        let v2 = self.v2().filter(|_| self.v1("memory").is_none());
        if let (Some(v2), Some(1..), None) =
            (v2, resources.number(ResourceField::Swap), resources.number(ResourceField::Limit))
        {
            let limit = v2.read("memory.max").ok().and_then(|text| text.trim_ascii().parse().ok());
            resources.settings.extend(limit.map(|n| Setting { what: ResourceField::Limit, of: "", n }));
        }
        resources
    }

    /// v1 refuses a limit below the usage by itself.
    ///
    /// V2 would kill processes until it fits.
    fn check_usage(&self, resources: &Resources) -> Result<()> {
        let unified = resources.unified.iter().rev().find(|(file, _)| *file == "memory.max");
        let limit = match unified {
            Some((_, text)) => text.trim_ascii().parse().ok(),
            None => resources.number(ResourceField::Limit),
        };
        let (Some(1), Some(v2)) = (resources.number(ResourceField::CheckBeforeUpdate), self.v2()) else {
            return Ok(());
        };
        let usage = v2.read("memory.current").ok().and_then(|text| text.trim_ascii().parse::<i64>().ok());
        let Some(usage) = usage.filter(|_| self.v1("memory").is_none()) else { return Ok(()) };
        let swap = resources.number(ResourceField::Swap);
        for (field, what, limit) in [("swap", "memory+swap", swap), ("limit", "memory", limit)] {
            if let Some(limit @ 0..) = limit.filter(|limit| *limit < usage) {
                // runc's words.
                let e = format_args!(
                    "linux.resources.memory.{field}: rejecting {what} limit {limit} < usage {usage}"
                );
                return Err(Error::of(e).hint("memory.checkBeforeUpdate is set"));
            }
        }
        Ok(())
    }
}

/// The half of quota and period that is not requested, from the text that has both.
fn complete_quota(resources: &mut Resources, text: &dyn Fn() -> String) {
    let half = match [ResourceField::Quota, ResourceField::Period].map(|what| resources.number(what)) {
        [Some(_), None] => ResourceField::Period,
        [None, Some(_)] => ResourceField::Quota,
        _ => return,
    };
    let text = text();
    let mut words =
        text.split_ascii_whitespace().map(|word| if word == "max" { Some(-1) } else { word.parse().ok() });
    if let Some(n) = words.nth(usize::from(half == ResourceField::Period)).flatten() {
        resources.settings.push(Setting { what: half, of: "", n });
    }
}

/// The write that restores the file's present content.
fn as_it_is(hierarchy: &Hierarchy, knob: &Knob) -> Option<Knob> {
    let (mut file, mut value) = (knob.file, knob.value);
    let text = match (hierarchy.read(file), knob.missing) {
        (Ok(text), _) => text,
        (Err(_), WithoutFile::Use(other, same)) => {
            (file, value) = (other, same);
            hierarchy.read(file).ok()?
        }
        (Err(_), _) => return None,
    };
    Some(Knob::new(knob.field, file, restore(file, &text, value)?))
}

/// The text that undoes the write of `value` into `file`, which now has `text`.
///
/// `None` for a file that takes commands, not values.
fn restore(file: &str, text: &str, value: &str) -> Option<String> {
    // Files by device, interface or name: a line for each, the key first.
    let of_nothing = match file {
        "io.max" => "rbps=max wbps=max riops=max wiops=max",
        "io.bfq.weight" | "io.weight" if value.contains(':') => "default",
        "rdma.max" => "hca_handle=max hca_object=max",
        "net_prio.ifpriomap" => "0",
        f if f.starts_with("blkio.throttle.") || f.ends_with("weight_device") => "0",
        _ => return plain(file, text),
    };
    let key = value.split(' ').next()?;
    let line = text.lines().find(|l| l.split(' ').next() == Some(key));
    Some(line.map_or_else(|| format!("{key} {of_nothing}"), str::to_owned))
}

fn plain(file: &str, text: &str) -> Option<String> {
    match file {
        "io.bfq.weight" | "io.weight" => {
            let default = text.lines().find_map(|l| l.strip_prefix("default ")).unwrap_or(text);
            Some(default.trim_ascii().to_owned())
        }
        "memory.oom_control" => {
            text.lines().find_map(|l| l.strip_prefix("oom_kill_disable ")).map(str::to_owned)
        }
        "cgroup.kill" | "memory.reclaim" => None,
        // An unset value (cpuset of v2) is written as an empty line.
        _ => Some(if text.trim_ascii().is_empty() { "\n".to_owned() } else { text.trim_ascii().to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quota_and_period_are_completed() {
        let of = |quota, period| {
            let settings = [(ResourceField::Period, period), (ResourceField::Quota, quota)].into_iter();
            let settings = settings.filter_map(|(what, n)| Some(Setting { what, of: "", n: n? }));
            Resources { settings: settings.collect(), ..Resources::default() }
        };
        for (asked, text, both) in [
            ((Some(100_000), None), "50000 200000\n", (Some(100_000), Some(200_000))),
            ((None, Some(50_000)), "50000 200000\n", (Some(50_000), Some(50_000))),
            ((None, Some(50_000)), "50000\n200000\n", (Some(50_000), Some(50_000))),
            ((Some(50_000), Some(100_000)), "1 2\n", (Some(50_000), Some(100_000))),
            ((None, Some(50_000)), "max 100000\n", (Some(-1), Some(50_000))),
            ((None, Some(50_000)), "-1\n100000\n", (Some(-1), Some(50_000))),
            ((Some(-1), None), "50000 200000\n", (Some(-1), Some(200_000))),
            ((None, None), "50000 200000\n", (None, None)),
            ((Some(7000), None), "", (Some(7000), None)),
        ] {
            let mut resources = of(asked.0, asked.1);
            complete_quota(&mut resources, &|| text.to_owned());
            let now = (resources.number(ResourceField::Quota), resources.number(ResourceField::Period));
            assert_eq!(now, both, "{asked:?} over {text:?}");
        }
    }

    #[test]
    fn every_kind_of_file_can_be_put_back() {
        for (file, text, written, back) in [
            ("pids.max", "max\n", "5", "max"),
            ("cpu.max", "max 100000\n", "5000 10000", "max 100000"),
            ("cpuset.cpus", "\n", "0", "\n"),
            ("memory.memsw.limit_in_bytes", "9223372036854771712\n", "5", "9223372036854771712"),
            ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n", "1", "0"),
            (
                "io.max",
                "8:0 rbps=1 wbps=max riops=max wiops=max\n",
                "8:0 rbps=5",
                "8:0 rbps=1 wbps=max riops=max wiops=max",
            ),
            (
                "io.max",
                "8:0 rbps=1 wbps=max riops=max wiops=max\n",
                "8:16 rbps=5",
                "8:16 rbps=max wbps=max riops=max wiops=max",
            ),
            ("io.weight", "default 100\n8:0 50\n", "7", "100"),
            ("io.weight", "default 100\n8:0 50\n", "8:0 7", "8:0 50"),
            ("io.bfq.weight", "default 100\n", "8:0 7", "8:0 default"),
            ("blkio.throttle.read_bps_device", "8:0 100\n8:16 7\n", "8:16 1", "8:16 7"),
            ("blkio.throttle.read_bps_device", "", "8:16 1", "8:16 0"),
            ("blkio.bfq.weight_device", "", "8:16 1", "8:16 0"),
            (
                "rdma.max",
                "m hca_handle=2 hca_object=max\n",
                "m hca_handle=9",
                "m hca_handle=2 hca_object=max",
            ),
            ("net_prio.ifpriomap", "lo 0\neth0 4\n", "eth0 5", "eth0 4"),
        ] {
            assert_eq!(restore(file, text, written).as_deref(), Some(back), "{file} after {written}");
        }
        assert_eq!(restore("cgroup.kill", "", "1"), None);
    }
}
