//! A container's cgroup made by the cgroup file system.

use std::cell::RefCell;
use std::os::fd::AsFd;

use nix::sys::stat::Mode;

use super::handle::{NOT_DELEGATED, no_place};
use super::hierarchy::{Hierarchy, is_halted, is_held, open_directory, read, write};
use super::limits::knob::controller_of;
use super::place::location::{Access, Location, Place};
use super::planned_limits::PlannedLimits;
use super::{Cgroup, systemd, walk};
use crate::error::{Context, Errno, Error, Result};
use crate::sys::exact_modes::ExactModes;
use crate::sys::file::{AT_FDCWD, mkdirat, rmdirat};

impl Cgroup {
    /// Makes the container's cgroup at its planned place, ready to be joined.
    ///
    /// On v2 the controllers are enabled on the way to it: all of them or, beside v1, only those that `limits` needs and v1
    /// lacks. On v1 the parent's cpuset is copied. If something fails, all that was made is removed again. A cgroup is refused
    /// if it exists and has processes, is frozen, or appeared since it was planned.
    pub fn create(location: &Location, limits: &PlannedLimits, access: Access) -> Result<Cgroup> {
        let mut cgroup = Cgroup::on(Vec::new(), access, location.unit.clone());
        if let Some(unit) = &location.unit {
            // Once systemd has put its first process there, it is too late.
            for place in location.places.iter().filter(|p| p.made == 0) {
                cgroup
                    .check_fitness(&Hierarchy::new(place.clone()))
                    .map_err(|e| e.context("create cgroup"))?;
            }
            let v2 = location.places.iter().all(Place::is_v2);
            cgroup.placeholder = RefCell::new(Some(systemd::start(unit, &limits.properties, v2)?));
        }
        for place in &location.places {
            match cgroup.make(place, location, limits) {
                Ok(hierarchy) => cgroup.hierarchies.push(hierarchy),
                Err(e) if access == Access::Delegated { asked: false } && is_denied(&e) => {
                    cgroup.denied = Some(e)
                }
                Err(e) => {
                    let _ = cgroup.remove(std::time::Instant::now());
                    let e = e.context("create cgroup");
                    return Err(if access == Access::Full || !is_denied(&e) {
                        e
                    } else {
                        e.hint(NOT_DELEGATED)
                    });
                }
            }
        }
        Ok(cgroup)
    }

    fn make(&mut self, place: &Place, all: &Location, limits: &PlannedLimits) -> Result<Hierarchy> {
        let mut place = place.clone();
        let made = make_directories(&mut place, self.unit.is_some());
        // From here on the directories that were made are removed after any failure.
        let hierarchy = Hierarchy::new(place);
        let ready = made.and_then(|()| {
            // A scope is new, which systemd ensures, and holds its placeholder.
            if hierarchy.place.made == 0 && self.unit.is_none() {
                self.check_fitness(&hierarchy)?;
            }
            if hierarchy.place.is_v2() {
                let wanted = wanted_of_v2(all, limits);
                self.refused = turn_on(&hierarchy.place, &wanted);
            } else if hierarchy.place.has("cpuset") {
                inherit_cpuset(&hierarchy.place)?;
            }
            hierarchy.with(|_| Ok(())).context(|| format!("open {}", hierarchy.place.directory()))?;
            // A new one may be below a frozen one: init would never answer. On v2 a new cgroup's own cgroup.freeze is always 0.
            let is_new = hierarchy.place.is_v2() && hierarchy.place.made > 0 && self.unit.is_none();
            check_running(&hierarchy, if is_new { is_held } else { is_halted })
        });
        if let Err(e) = ready {
            let undone = Cgroup::on(vec![hierarchy], Access::Full, None);
            let _ = undone.remove(std::time::Instant::now());
            return Err(e);
        }
        Ok(hierarchy)
    }

    /// Accepts an existing cgroup if it is empty and not frozen.
    ///
    /// The spec calls it a fitness check.
    fn check_fitness(&self, hierarchy: &Hierarchy) -> Result<()> {
        let directory = hierarchy.place.directory();
        let pids = hierarchy.with(walk::pids).about(format_args!("read {directory}"))?;
        if !pids.is_empty() {
            let n = pids.len();
            return Err(Error::of(format_args!("container's cgroup is not empty: {n} process(es) found"))
                .hint(format_args!("linux.cgroupsPath: {directory} is in use")));
        }
        check_running(hierarchy, is_halted)
    }
}

fn check_running(hierarchy: &Hierarchy, halted: fn(&Hierarchy) -> bool) -> Result<()> {
    match halted(hierarchy) {
        true => Err(Error::new("container's cgroup unexpectedly frozen").hint(hierarchy.place.directory())),
        false => Ok(()),
    }
}

fn is_denied(e: &Error) -> bool {
    matches!(e.errno(), Some(Errno::EACCES | Errno::EPERM | Errno::EROFS | Errno::ENOENT))
}

/// Makes the missing directories of the path.
///
/// Parents may appear (another container makes the same) and vanish (another removes its own) at the same time. The last
/// directory must be made by us, or by systemd, if the plan says so.
fn make_directories(place: &mut Place, by_systemd: bool) -> Result<()> {
    let planned = std::mem::take(&mut place.made);
    if planned == 0 {
        return Ok(());
    }
    let levels = place.levels();
    let mode = Mode::from_bits_truncate(0o755);
    let _exact = ExactModes::begin();
    let mut at = levels.len() - (planned as usize).min(levels.len());
    let mut retries = 3;
    while let Some((directory, _)) = levels.get(at) {
        let last = at + 1 == levels.len();
        match mkdirat(AT_FDCWD, &**directory, mode) {
            Ok(()) => {
                place.made += 1;
                at += 1;
            }
            Err(Errno::EEXIST) if !last => {
                place.made = 0;
                at += 1;
            }
            Err(Errno::EEXIST) if by_systemd => {
                place.made = 1;
                at += 1;
            }
            Err(Errno::EEXIST) => {
                place.made = 0;
                return Err(Error::of(format_args!("{directory} appeared meanwhile"))
                    .hint("is another container using it?"));
            }
            Err(Errno::ENOENT) if at > 0 && retries > 0 => {
                retries -= 1;
                place.made = 0;
                at -= 1;
            }
            Err(e) => {
                // The parents that were made must go again; the last directory does not exist.
                for (parent, _) in levels[..at].iter().rev().take(place.made as usize) {
                    let _ = rmdirat(AT_FDCWD, &**parent);
                }
                place.made = 0;
                let e = Error::os(format_args!("mkdir {directory}"), e);
                return Err(match e.errno() {
                    Some(Errno::EROFS) => {
                        let mount = &place.mount;
                        e.hint(format_args!("mount -o remount,rw {mount}"))
                    }
                    Some(Errno::EAGAIN) => {
                        e.hint("cgroup.max.descendants or cgroup.max.depth of a parent is reached")
                    }
                    _ => e,
                });
            }
        }
    }
    Ok(())
}

/// The v2 controllers that the container needs enabled; `None` means all.
fn wanted_of_v2(all: &Location, limits: &PlannedLimits) -> Option<Vec<&'static str>> {
    if all.places.len() == 1 {
        return None;
    }
    let controllers = limits.all_files().map(|knob| controller_of(knob.file));
    Some(controllers.filter(|c| !all.places.iter().any(|p| p.has(c))).collect())
}

/// Enables controllers in every directory above the cgroup.
///
/// Returns those that failed.
fn turn_on(place: &Place, wanted: &Option<Vec<&'static str>>) -> Vec<(String, Error)> {
    let mut refused = Vec::new();
    let mut way = vec![place.mount.clone()];
    way.extend(place.levels().into_iter().map(|(directory, _)| directory));
    for (at, directory) in way.iter().enumerate() {
        let Ok(dir) = open_directory(directory) else { continue };
        // Below a cgroup with processes and threaded controllers, and below a threaded one, a new cgroup takes processes only
        // if it is threaded too (cgroups(7)). If that fails, joining reports it.
        if read(dir.as_fd(), "cgroup.type").is_ok_and(|kind| kind.trim_ascii() == "domain invalid") {
            let _ = write(dir.as_fd(), "cgroup.type", "threaded");
        }
        if at + 1 == way.len() {
            break;
        }
        let (Ok(there), Ok(on)) =
            (read(dir.as_fd(), "cgroup.controllers"), read(dir.as_fd(), "cgroup.subtree_control"))
        else {
            continue;
        };
        let is_wanted = |c: &&str| wanted.as_ref().is_none_or(|w| w.contains(c));
        let off = |c: &&str| !on.split_ascii_whitespace().any(|o| o == *c);
        let missing: Vec<&str> = there.split_ascii_whitespace().filter(is_wanted).filter(off).collect();
        let plus = |c: &&str| format!("+{c}");
        if missing.is_empty() {
            continue;
        }
        let together = missing.iter().map(plus).collect::<Vec<_>>().join(" ");
        if write(dir.as_fd(), "cgroup.subtree_control", &together).is_ok() {
            continue;
        }
        // A controller that cannot be enabled (cpu with real-time processes, cpuset) must not block the others.
        for controller in missing {
            if let Err(e) = write(dir.as_fd(), "cgroup.subtree_control", &plus(&controller)) {
                let e =
                    Error::os(format_args!("write +{controller} to {directory}/cgroup.subtree_control"), e);
                refused.push((controller.to_owned(), no_place(e)));
            }
        }
    }
    refused
}

/// Copies the parent's processors and memory nodes: a new v1 cpuset has none.
fn inherit_cpuset(place: &Place) -> Result<()> {
    let mut parent = place.mount.clone();
    // Also on the way: an empty cpuset that another program made has nothing to inherit.
    for (directory, _) in place.levels() {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let inherit = || {
                let dir = open_directory(&directory)?;
                if read(dir.as_fd(), file)?.trim_ascii().is_empty() {
                    let value = read(open_directory(&parent)?.as_fd(), file)?;
                    write(dir.as_fd(), file, value.trim_ascii())?;
                }
                Ok::<(), Errno>(())
            };
            inherit().map_err(|e| Error::os(format_args!("inherit {file} of {parent}"), e))?;
        }
        parent = directory;
    }
    Ok(())
}
