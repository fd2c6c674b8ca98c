//! A container's cgroup made by the cgroup file system.

use std::cell::RefCell;
use std::os::fd::AsFd;

use nix::sys::stat::Mode;

use super::handle::{NOT_DELEGATED, no_place};
use super::hierarchy::{Branch, is_halted, open_directory, read, write};
use super::limits::knob::controller_of;
use super::place::location::{Access, Location, Place};
use super::planned_limits::PlannedLimits;
use super::{Cgroup, systemd, walk};
use crate::error::{Context, Errno, Error, Result};
use crate::sys::exact_modes::ExactModes;
use crate::sys::file::{AT_FDCWD, mkdirat, rmdirat};

impl Cgroup {
    /// Makes the container's cgroup where it is planned, ready to be joined: on v2 with the controllers on the way to it
    /// turned on (all of them, beside v1 only those that `limits` need and v1 has not), on v1 with the parent's cpuset.
    ///
    /// What was made is removed again if something fails. Refused are a cgroup that is there already and has processes,
    /// is frozen, or appeared since it was planned.
    pub fn create(location: &Location, limits: &PlannedLimits, access: Access) -> Result<Cgroup> {
        let mut cgroup = Cgroup::on(Vec::new(), access, location.unit.clone());
        if let Some(unit) = &location.unit {
            // Once systemd has put its first process there, it is too late.
            for place in location.places.iter().filter(|p| p.made == 0) {
                cgroup.check_fitness(&Branch::new(place.clone())).map_err(|e| e.context("create cgroup"))?;
            }
            let v2 = location.places.iter().all(Place::is_v2);
            cgroup.placeholder = RefCell::new(Some(systemd::start(unit, &limits.properties, v2)?));
        }
        for place in &location.places {
            match cgroup.make(place, location, limits) {
                Ok(branch) => cgroup.branches.push(branch),
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

    fn make(&mut self, place: &Place, all: &Location, limits: &PlannedLimits) -> Result<Branch> {
        let mut place = place.clone();
        let made = make_directories(&mut place, self.unit.is_some());
        // From here on the branch removes what was made, whatever comes.
        let branch = Branch::new(place);
        let ready = made.and_then(|()| {
            // A scope is new, systemd has seen to that, and has its placeholder in it.
            if branch.place.made == 0 && self.unit.is_none() {
                self.check_fitness(&branch)?;
            }
            if branch.place.is_v2() {
                let wanted = wanted_of_v2(all, limits);
                self.refused = turn_on(&branch.place, &wanted);
            } else if branch.place.has("cpuset") {
                inherit_cpuset(&branch.place)?;
            }
            branch.with(|_| Ok(())).context(|| format!("open {}", branch.place.directory()))?;
            // Also one that is new, below one that is frozen: init would never say a word.
            check_running(&branch)
        });
        if let Err(e) = ready {
            let undone = Cgroup::on(vec![branch], Access::Full, None);
            let _ = undone.remove(std::time::Instant::now());
            return Err(e);
        }
        Ok(branch)
    }

    /// A cgroup that was there before may be used if nothing is in it (OCI spec: "Cgroup fitness check").
    fn check_fitness(&self, branch: &Branch) -> Result<()> {
        let directory = branch.place.directory();
        let pids = branch.with(walk::pids).about(format_args!("read {directory}"))?;
        if !pids.is_empty() {
            let n = pids.len();
            return Err(Error::of(format_args!("container's cgroup is not empty: {n} process(es) found"))
                .hint(format_args!("linux.cgroupsPath: {directory} is in use")));
        }
        check_running(branch)
    }
}

fn check_running(branch: &Branch) -> Result<()> {
    match is_halted(branch) {
        true => Err(Error::new("container's cgroup unexpectedly frozen").hint(branch.place.directory())),
        false => Ok(()),
    }
}

fn is_denied(e: &Error) -> bool {
    matches!(e.errno(), Some(Errno::EACCES | Errno::EPERM | Errno::EROFS | Errno::ENOENT))
}

/// Makes what is missing of the path. Parents may come (another container makes the same) and go (another removes its own)
/// at the same time; the last directory must be made by us if it was to be, or for us by systemd.
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
                // The parents that were made must go again, and the last is not there.
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

/// What of v2's controllers the container needs turned on; `None` is all that there are.
fn wanted_of_v2(all: &Location, limits: &PlannedLimits) -> Option<Vec<&'static str>> {
    if all.places.len() == 1 {
        return None;
    }
    let controllers = limits.all_files().map(|knob| controller_of(knob.file));
    Some(controllers.filter(|c| !all.places.iter().any(|p| p.has(c))).collect())
}

/// Turns controllers on in every directory above the cgroup, and tells which could not be.
fn turn_on(place: &Place, wanted: &Option<Vec<&'static str>>) -> Vec<(String, Error)> {
    let mut refused = Vec::new();
    let mut way = vec![place.mount.clone()];
    way.extend(place.levels().into_iter().map(|(directory, _)| directory));
    for (at, directory) in way.iter().enumerate() {
        let Ok(dir) = open_directory(directory) else { continue };
        // Below one with processes and controllers of threads, and below a threaded one, a new cgroup takes processes only
        // if it is threaded as well (cgroups(7)). Where that fails, joining says so.
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
        // One that cannot be had (cpu with real-time processes, cpuset) must not keep the others away.
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

/// A new v1 cpuset is empty and can hold no process until it has processors and memory nodes: its parent's.
fn inherit_cpuset(place: &Place) -> Result<()> {
    let mut parent = place.mount.clone();
    // Also on the way: a cgroup that somebody else made and left empty has nothing to inherit from.
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
