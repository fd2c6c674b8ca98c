//! The handle on a container's cgroup in every hierarchy, and what hinders its use.

use std::cell::RefCell;
use std::os::fd::{AsFd, BorrowedFd};

use super::hierarchy::Hierarchy;
use super::place::location::{Access, Location};
use super::place::unit::Unit;
use super::systemd::Placeholder;
use crate::error::{Errno, Error, Result};
use crate::sys::descriptor::close_for_good;

/// A handle on the container's cgroup in every hierarchy.
pub struct Cgroup {
    pub(super) hierarchies: Vec<Hierarchy>,
    /// The controllers that v2 did not provide, and why.
    pub(super) refused: Vec<(String, Error)>,
    /// The reason for which a hierarchy that was not delegated was left out.
    pub(super) denied: Option<Error>,
    pub(super) access: Access,
    pub(super) unit: Option<Unit>,
    pub(super) placeholder: RefCell<Option<Placeholder>>,
    /// The process whose cgroup is joined if this one takes no processes or is gone.
    pub(super) beside: Option<i32>,
}

impl Cgroup {
    pub(super) fn on(hierarchies: Vec<Hierarchy>, access: Access, unit: Option<Unit>) -> Cgroup {
        Cgroup {
            hierarchies,
            refused: Vec::new(),
            denied: None,
            access,
            unit,
            placeholder: RefCell::new(None),
            beside: None,
        }
    }

    /// A handle on a recorded cgroup. It is not accessed and may be gone.
    pub fn adopt(location: &Location) -> Cgroup {
        let hierarchies = location.places.iter().cloned().map(Hierarchy::new).collect();
        Cgroup::on(hierarchies, Access::Full, location.unit.clone())
    }

    /// Fails without any hierarchy.
    ///
    /// Mounting one now would not give the container a cgroup.
    pub(super) fn required(&self) -> Result<()> {
        match self.hierarchies.is_empty() {
            true => Err(Error::new("the container has no cgroup").hint("it was created without one")),
            false => Ok(()),
        }
    }

    /// For the state record.
    pub fn location(&self) -> Location {
        Location {
            places: self.hierarchies.iter().map(|b| b.place.clone()).collect(),
            unit: self.unit.clone(),
        }
    }

    /// Closes its descriptors in a clone that needs the numbers for other files.
    pub fn close_in_clone(&self) {
        self.hierarchies.iter().filter_map(|b| b.dir.get()).for_each(|dir| close_for_good(dir.as_fd()));
    }

    /// The v2 directory for `CLONE_INTO_CGROUP`; [`Cgroup::join_v1`] does the rest.
    pub fn v2_dir(&self) -> Option<BorrowedFd<'_>> {
        self.v2().and_then(|b| b.dir().ok())
    }

    /// From now on only the container's own processes keep the scope alive.
    pub fn let_go(&self) {
        drop(self.placeholder.take());
    }

    pub(super) fn v2(&self) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|b| b.place.is_v2())
    }

    pub(super) fn v1(&self, controller: &str) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|b| b.place.has(controller))
    }

    /// Whether the file exists in the v2 cgroup.
    pub(super) fn v2_has_file(&self, file: &str) -> bool {
        self.v2().is_some_and(|b| b.has_file(file))
    }
}

pub(super) const NOT_DELEGATED: &str = "it is not delegated to this user: start it in a cgroup that is, use --cgroup-manager systemd, \
     or leave linux.cgroupsPath and linux.resources out";

pub(super) const NO_INTERNAL_PROCESSES: &str = "cgroup v2 allows no processes in a cgroup that has children with controllers (cgroups(7): no internal processes); \
     choose another linux.cgroupsPath, or move the processes into a child of their own";

const THREADED: &str = "a cgroup above has processes itself or is threaded, and below it cgroup v2 has only threaded cgroups, without memory, \
     io and hugetlb (cgroups(7): threaded mode); choose another linux.cgroupsPath, or move those processes into a child of their own";

/// Adds the reason why v2 takes no process, or no controller, there.
pub(super) fn no_place(e: Error) -> Error {
    match e.errno() {
        Some(Errno::EBUSY) => e.hint(NO_INTERNAL_PROCESSES),
        Some(Errno::EOPNOTSUPP) => e.hint(THREADED),
        _ => e,
    }
}
