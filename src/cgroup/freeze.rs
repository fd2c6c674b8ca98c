//! Pausing, by v2's `cgroup.freeze` (Linux 5.2) or v1's freezer.
//!
//! On v2 processes can be killed while they are frozen, and freezing never stops half-way.

use std::time::{Duration, Instant};

use super::hierarchy::{Hierarchy, is_frozen, is_halted, wait_for_event};
use super::place::location::Location;
use super::{Cgroup, walk};
use crate::error::{Errno, Error, Result};
use crate::sys::clock;

/// Whether a recorded cgroup is paused or was left half-way. A removed one is not.
pub fn is_paused(location: &Location) -> bool {
    location.places.iter().any(is_frozen)
}

impl Cgroup {
    /// Whether the container is paused or was left half-way. A removed cgroup is not.
    pub fn frozen(&self) -> bool {
        self.hierarchies.iter().any(|hierarchy| is_frozen(&hierarchy.place))
    }

    /// Whether no process in it can run, because of its own freezer or one above.
    pub fn is_halted(&self) -> bool {
        self.hierarchies.iter().any(is_halted)
    }

    /// Freezes every process of the cgroup, or thaws them again and returns the reason.
    pub fn freeze(&self, deadline: Instant) -> Result<()> {
        let done = match self.freezer()? {
            (hierarchy, true) => freeze_v2(hierarchy, deadline),
            (hierarchy, false) => freeze_v1(hierarchy, deadline),
        };
        match done {
            Ok(true) => Ok(()),
            Ok(false) => {
                self.thaw()?;
                Err(Error::new("freeze: the processes did not stop in time")
                    .hint("is one of them in an uninterruptible wait?"))
            }
            Err(e) => {
                let _ = self.thaw();
                Err(Error::os("freeze", e))
            }
        }
    }

    /// Thaws the processes. Does not wait: the kernel wakes them at once.
    pub fn thaw(&self) -> Result<()> {
        let mut thawed = Err(Errno::ENOENT);
        for hierarchy in &self.hierarchies {
            let (file, value) = match hierarchy.place.is_v2() {
                true => ("cgroup.freeze", "0"),
                false if hierarchy.place.has("freezer") => ("freezer.state", "THAWED"),
                false => continue,
            };
            match hierarchy.write(file, value) {
                Err(Errno::ENOENT) => {}
                other => thawed = other,
            }
        }
        thawed.map_err(|e| Error::os("thaw", e))
    }

    /// Thaws processes that are about to die, also in cgroups that the payload made.
    ///
    /// v1 lets no frozen process die. Children come before parents: a process that is frozen from above cannot freeze others
    /// again.
    pub(super) fn thaw_all(&self, deadline: Instant) {
        if let Some(dir) = self.v1("freezer").and_then(|b| b.dir().ok()) {
            let _ = walk::write_below(dir, "freezer.state", "THAWED", deadline);
        }
        let _ = self.thaw();
    }

    /// The hierarchy with the freezer, and whether it is v2.
    fn freezer(&self) -> Result<(&Hierarchy, bool)> {
        self.required()?;
        if self.v2_has_file("cgroup.freeze") {
            return Ok((self.v2().expect("has a file"), true));
        }
        let hierarchy = self.v1("freezer").ok_or_else(|| {
            Error::new("freeze: there is no freezer").hint(
                "it needs cgroup v2 of Linux 5.2, or v1: mount -t cgroup -o freezer freezer /sys/fs/cgroup/freezer (CONFIG_CGROUP_FREEZER)",
            )
        })?;
        Ok((hierarchy, false))
    }
}

fn freeze_v2(hierarchy: &Hierarchy, deadline: Instant) -> std::result::Result<bool, Errno> {
    hierarchy.write("cgroup.freeze", "1")?;
    wait_for_event(hierarchy.dir()?, "frozen 1", deadline)
}

/// Freezes by v1, which may stay FREEZING if a process forks or executes.
///
/// v1 stops processes only where they can be stopped at that moment. So it is asked again, and now and then thawed to let them
/// get on.
fn freeze_v1(hierarchy: &Hierarchy, deadline: Instant) -> std::result::Result<bool, Errno> {
    for round in 1u32.. {
        hierarchy.write("freezer.state", "FROZEN")?;
        if hierarchy.read("freezer.state")?.trim_ascii() == "FROZEN" {
            return Ok(true);
        }
        if clock::is_past(deadline) {
            break;
        }
        if round % 50 == 0 {
            hierarchy.write("freezer.state", "THAWED")?;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(false)
}
