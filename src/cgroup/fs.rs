//! A container's cgroup by the cgroup file system: made, adopted from the state record, joined.

use std::cell::{OnceCell, RefCell};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, fstatfs};
use nix::unistd::Pid;

use super::location::{Location, Place};
use super::resources::Resources;
use super::systemd::{self, Placeholder};
use super::unit::Unit;
use super::{Controller, walk};
use crate::error::{Context, Errno, Error, Result};
use crate::sys::exact_modes::ExactModes;
use crate::sys::file::{AT_FDCWD, mkdirat, open, openat, read_all, rmdirat};
use crate::sys::process::{close_for_good, most_open_files};

/// A handle on the container's cgroup in every hierarchy.
pub struct Cgroup {
    pub(super) branches: Vec<Branch>,
    /// Controllers that v2 did not give us, and why.
    pub(super) refused: Vec<(String, Error)>,
    /// Why a hierarchy was left out that was not delegated.
    pub(super) denied: Option<Error>,
    pub(super) access: Access,
    pub(super) unit: Option<Unit>,
    placeholder: RefCell<Option<Placeholder>>,
    /// Whose cgroup is joined where this one takes no processes or is gone.
    pub(super) beside: Option<i32>,
}

/// The cgroup in one hierarchy.
pub(super) struct Branch {
    pub(super) place: Place,
    dir: OnceCell<OwnedFd>,
}

/// What the runtime may do to cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everything: what fails is an error.
    Full,
    /// What was delegated to an ordinary user, who cannot set device rules.
    Delegated {
        /// The cgroup was asked for by its path. Else a hierarchy where it cannot be made is left out, as in runc, and is
        /// missed only if a resource needs it.
        asked: bool,
    },
}

impl Branch {
    pub(super) fn new(place: Place) -> Branch {
        Branch { place, dir: OnceCell::new() }
    }

    /// The cgroup's directory, opened and checked to be one of cgroupfs; it stays open.
    pub(super) fn dir(&self) -> std::result::Result<BorrowedFd<'_>, Errno> {
        if self.dir.get().is_none() {
            let _ = self.dir.set(self.opened()?);
        }
        Ok(self.dir.get().expect("was just opened").as_fd())
    }

    fn opened(&self) -> std::result::Result<OwnedFd, Errno> {
        self.check(open_directory(&self.place.directory())?)
    }

    fn check(&self, opened: OwnedFd) -> std::result::Result<OwnedFd, Errno> {
        let magic = fstatfs(&opened)?.filesystem_type();
        let expected = if self.place.is_v2() { CGROUP2_SUPER_MAGIC } else { CGROUP_SUPER_MAGIC };
        if magic == expected { Ok(opened) } else { Err(Errno::ENOENT) }
    }

    /// Uses the directory. Where few files may be open, one of v1 does not stay open: there are a dozen hierarchies.
    fn with<T>(
        &self,
        act: impl FnOnce(BorrowedFd<'_>) -> std::result::Result<T, Errno>,
    ) -> std::result::Result<T, Errno> {
        if self.stays_open() { act(self.dir()?) } else { act(self.opened()?.as_fd()) }
    }

    fn stays_open(&self) -> bool {
        self.dir.get().is_some() || self.place.is_v2() || most_open_files() >= PLENTY
    }

    /// Opens a file of it, of a directory that does not stay open by its whole path: that is one descriptor.
    fn file(&self, file: &str, flags: OFlag) -> std::result::Result<OwnedFd, Errno> {
        if self.stays_open() {
            return openat(self.dir()?, file, flags);
        }
        let opened = open(&*format!("{}/{file}", self.place.directory()), flags | OFlag::O_NOFOLLOW)?;
        self.check(opened)
    }

    pub(super) fn read(&self, file: &str) -> std::result::Result<String, Errno> {
        text(self.file(file, OFlag::O_RDONLY)?)
    }

    pub(super) fn write(&self, file: &str, value: &str) -> std::result::Result<(), Errno> {
        nix::unistd::write(self.open(file)?, value.as_bytes()).map(drop)
    }

    /// Opens a file to be written, perhaps more than once.
    pub(super) fn open(&self, file: &str) -> std::result::Result<OwnedFd, Errno> {
        self.file(file, OFlag::O_WRONLY)
    }

    fn has_file(&self, file: &str) -> bool {
        self.file(file, OFlag::O_PATH).is_ok()
    }
}

/// From how many open files on a dozen more do no harm.
const PLENTY: u64 = 64;

fn open_directory(path: &str) -> std::result::Result<OwnedFd, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    open(path, flags)
}

/// A file of a cgroup, as text.
pub(super) fn read(dir: BorrowedFd<'_>, file: &str) -> std::result::Result<String, Errno> {
    text(openat(dir, file, OFlag::O_RDONLY)?)
}

fn text(file: OwnedFd) -> std::result::Result<String, Errno> {
    Ok(String::from_utf8_lossy(&read_all(&file, usize::MAX)?).into_owned())
}

/// Writes a file of a cgroup: at once, the kernel takes each write for a command.
pub(super) fn write(dir: BorrowedFd<'_>, file: &str, value: &str) -> std::result::Result<(), Errno> {
    let fd = openat(dir, file, OFlag::O_WRONLY)?;
    nix::unistd::write(&fd, value.as_bytes()).map(drop)
}

impl Cgroup {
    /// Makes the container's cgroup where it is planned, ready to be joined: on v2 with the controllers on the way to it
    /// turned on (all of them, beside v1 only those that `resources` needs and v1 has not), on v1 with the parent's cpuset.
    ///
    /// What was made is removed again if something fails. Refused are a cgroup that is there already and has processes,
    /// is frozen, or appeared since it was planned.
    pub fn create(location: &Location, resources: &Resources, access: Access) -> Result<Cgroup> {
        let mut cgroup = Cgroup::on(Vec::new(), access, location.unit.clone());
        if let Some(unit) = &location.unit {
            // Once systemd has put its first process there, it is too late.
            for place in location.places.iter().filter(|p| p.made == 0) {
                cgroup.check_fitness(&Branch::new(place.clone())).map_err(|e| e.context("create cgroup"))?;
            }
            let v2 = location.places.iter().all(Place::is_v2);
            cgroup.placeholder = RefCell::new(Some(systemd::start(unit, resources, v2)?));
        }
        for place in &location.places {
            match cgroup.make(place, location, resources) {
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

    fn on(branches: Vec<Branch>, access: Access, unit: Option<Unit>) -> Cgroup {
        Cgroup {
            branches,
            refused: Vec::new(),
            denied: None,
            access,
            unit,
            placeholder: RefCell::new(None),
            beside: None,
        }
    }

    /// The handle on a cgroup that the state record knows. Looks at nothing: the cgroup may be gone.
    pub fn adopt(location: &Location) -> Cgroup {
        let branches = location.places.iter().cloned().map(Branch::new).collect();
        Cgroup::on(branches, Access::Full, location.unit.clone())
    }

    /// Demands that there is one at all: mounting something now would not give the container one.
    pub(super) fn required(&self) -> Result<()> {
        match self.branches.is_empty() {
            true => Err(Error::new("the container has no cgroup").hint("it was created without one")),
            false => Ok(()),
        }
    }

    /// For the state record.
    pub fn location(&self) -> Location {
        Location { places: self.branches.iter().map(|b| b.place.clone()).collect(), unit: self.unit.clone() }
    }

    /// In a clone of the process that makes the container: it needs its descriptors for other things.
    pub fn close_in_clone(&self) {
        self.branches.iter().filter_map(|b| b.dir.get()).for_each(|dir| close_for_good(dir.as_fd()));
    }

    /// The v2 directory, for a clone straight into it (`CLONE_INTO_CGROUP`); [`Cgroup::join`] does the rest.
    pub fn v2_dir(&self) -> Option<BorrowedFd<'_>> {
        self.v2().and_then(|b| b.dir().ok())
    }

    /// Moves a process into the cgroup, in every hierarchy, or in all of v1's if it was cloned into v2's already.
    ///
    /// On v1 each write waits for a grace period of the kernel; a hierarchy with joined controllers is one write.
    pub fn join(&self, pid: Pid, in_v2: bool) -> Result<()> {
        let left = self.branches.iter().filter(|b| !(in_v2 && b.place.is_v2()));
        left.into_iter().try_for_each(|branch| self.join_branch(branch, pid))?;
        self.let_go();
        Ok(())
    }

    /// The same for v2 alone: what joins v1's by itself is missing there only.
    pub fn join_v2(&self, pid: Pid, in_v2: bool) -> Result<()> {
        let left = self.v2().filter(|_| !in_v2);
        left.map_or(Ok(()), |branch| self.join_branch(branch, pid))
    }

    /// Moves the calling process into the cgroup in every hierarchy of v1.
    ///
    /// Before Linux 6.6 a new process that sleeps, and that another moves into the cgroup of a busy container, may not run for
    /// ages: it keeps the virtual time of the queue that it leaves (vruntime_normalized in kernel/sched/fair.c takes one that
    /// was never charged for new). One that runs has its time taken relative to both queues.
    pub fn join_v1(&self) -> Result<()> {
        let own = self.branches.iter().filter(|b| !b.place.is_v2());
        own.into_iter().try_for_each(|branch| {
            let joined = branch.write("cgroup.procs", "0").or_else(|e| self.join_beside(branch, "0", e));
            joined.map_err(|e| unjoined(branch, e))
        })
    }

    fn join_branch(&self, branch: &Branch, pid: Pid) -> Result<()> {
        let text = pid.to_string();
        let joined = match (branch.write("cgroup.procs", &text), &self.unit) {
            (Err(Errno::EACCES | Errno::EPERM), Some(unit)) => systemd::attach(unit, pid).map(Ok)?,
            (done, _) => done.or_else(|e| self.join_beside(branch, &text, e)),
        };
        joined.map_err(|e| unjoined(branch, e))
    }

    /// The container's own processes keep the scope alive from now on, or nothing does.
    pub(super) fn let_go(&self) {
        drop(self.placeholder.take());
    }

    pub(super) fn is_v2_only(&self) -> bool {
        self.branches.iter().all(|b| b.place.is_v2())
    }

    pub(super) fn v2(&self) -> Option<&Branch> {
        self.branches.iter().find(|b| b.place.is_v2())
    }

    pub(super) fn v1(&self, controller: &str) -> Option<&Branch> {
        self.branches.iter().find(|b| b.place.has(controller))
    }

    fn make(&mut self, place: &Place, all: &Location, resources: &Resources) -> Result<Branch> {
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
                let wanted = wanted_of_v2(all, resources);
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
    match super::freeze::is_halted(branch) {
        true => Err(Error::new("container's cgroup unexpectedly frozen").hint(branch.place.directory())),
        false => Ok(()),
    }
}

pub(super) const NOT_DELEGATED: &str = "it is not delegated to this user: start it in a cgroup that is, use --cgroup-manager systemd, \
     or leave linux.cgroupsPath and linux.resources out";

pub(super) const NO_INTERNAL_PROCESSES: &str = "cgroup v2 allows no processes in a cgroup that has children with controllers (cgroups(7): no internal processes); \
     choose another linux.cgroupsPath, or move the processes into a child of their own";

const THREADED: &str = "a cgroup above has processes itself or is threaded, and below it cgroup v2 has only threaded cgroups, without memory, \
     io and hugetlb (cgroups(7): threaded mode); choose another linux.cgroupsPath, or move those processes into a child of their own";

fn unjoined(branch: &Branch, e: Errno) -> Error {
    let e = Error::os(format_args!("join cgroup {}", branch.place.directory()), e);
    match e.errno() {
        Some(Errno::ENOSPC) => e.hint("cpuset.cpus or cpuset.mems is empty"),
        _ => no_place(e),
    }
}

/// With the reason why v2 takes no process, or no controller, there.
fn no_place(e: Error) -> Error {
    match e.errno() {
        Some(Errno::EBUSY) => e.hint(NO_INTERNAL_PROCESSES),
        Some(Errno::EOPNOTSUPP) => e.hint(THREADED),
        _ => e,
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
fn wanted_of_v2(all: &Location, resources: &Resources) -> Option<Vec<&'static str>> {
    if all.places.len() == 1 {
        return None;
    }
    let mut wanted = Vec::new();
    for c in Controller::ALL {
        let (v1, v2, _) = c.names();
        if c.is_asked(resources) && !v2.is_empty() && !all.places.iter().any(|p| p.has(v1)) {
            wanted.push(v2);
        }
    }
    for (file, _) in &resources.unified {
        let controller = file.split('.').next().unwrap_or_default();
        let v1 = Controller::of_v2(controller).map_or(controller, Controller::v1);
        if !all.places.iter().any(|p| p.has(v1)) {
            wanted.push(controller);
        }
    }
    Some(wanted)
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

impl Cgroup {
    /// The file is in the cgroup of v2.
    pub(super) fn v2_has_file(&self, file: &str) -> bool {
        self.v2().is_some_and(|b| b.has_file(file))
    }
}
