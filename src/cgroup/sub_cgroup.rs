//! Cgroups that a container made below its own, for one more process to join.

use super::Cgroup;
use super::hierarchy::Hierarchy;
use super::place::layout::Layout;
use super::place::location::Place;
use crate::error::{Context, Errno, Error, Result};

impl Cgroup {
    /// The existing cgroups that `exec --cgroup` names.
    ///
    /// Each is `PATH` below the container's own in every hierarchy, or `CONTROLLER[,CONTROLLER]:PATH` in those of v1
    /// controllers, as often as needed; the other hierarchies keep the container's own. Errors name the argument, in runc's
    /// words: a path that leads out, a controller that v1 lacks here, a hierarchy that is named twice, a path without
    /// controllers beside others, a missing cgroup.
    pub fn inner(mut self, wanted: &[&str]) -> Result<Cgroup> {
        if !wanted.is_empty() {
            self.required().at("--cgroup")?;
        }
        let mut named = vec![false; self.hierarchies.len()];
        for arg in wanted {
            let refuse =
                |why: String| Err(Error::of(format_args!("invalid --cgroup argument: {arg} ({why})")));
            let (controllers, path) = match arg.split_once(':') {
                Some((controllers, path)) => (Some(controllers), path),
                None if wanted.len() > 1 => return refuse("missing <controller>: prefix".into()),
                None => (None, *arg),
            };
            let names: Vec<&str> = path.split('/').filter(|n| !n.is_empty() && *n != ".").collect();
            if path.contains(':') || names.contains(&"..") {
                return Err(Error::of(format_args!(
                    "invalid --cgroup argument: {arg}: bad sub cgroup path: {path} is not a sub cgroup path"
                )));
            }
            let mut here = vec![controllers.is_none(); self.hierarchies.len()];
            for controller in controllers.into_iter().flat_map(|c| c.split(',')) {
                match self.hierarchies.iter().position(|b| b.place.has(controller)) {
                    Some(at) => here[at] = true,
                    None => return refuse(format!("unknown controller {controller}: v1 has it not here")),
                }
            }
            for (at, hierarchy) in self.hierarchies.iter_mut().enumerate().filter(|(at, _)| here[*at]) {
                if std::mem::replace(&mut named[at], true) {
                    return refuse(format!("names the hierarchy {} again", hierarchy.place.mount));
                }
                let mut place = hierarchy.place.clone();
                for name in &names {
                    place.path = format!("{}/{name}", place.path);
                }
                *hierarchy = Hierarchy::new(place);
                let e = hierarchy
                    .dir()
                    .context(|| format!("adding pid to {}/cgroup.procs", hierarchy.place.directory()));
                e.about(format_args!("--cgroup {arg}"))?;
            }
        }
        Ok(self)
    }

    /// Falls back to the cgroup of one of its processes.
    ///
    /// It is needed if the container's own takes no processes because controllers are enabled below it (v2), or if it is gone.
    pub fn or_beside(mut self, init: i32) -> Cgroup {
        self.beside = Some(init);
        self
    }

    /// Moves a process into that fallback, after the own cgroup has answered `refused`.
    ///
    /// While the own cgroup exists, the fallback must be below it. Otherwise it may be anywhere, as in runc: an exec joins
    /// init's cgroup; but not the root cgroup, which has no limits.
    pub(super) fn join_beside(
        &self,
        own: &Hierarchy,
        pid: &str,
        refused: Errno,
    ) -> std::result::Result<(), Errno> {
        let gone = matches!(refused, Errno::ENOENT | Errno::ENODEV);
        let full = own.place.is_v2() && matches!(refused, Errno::EBUSY | Errno::EOPNOTSUPP);
        let layout = self.beside.filter(|_| gone || full).and_then(|init| Layout::of(&init.to_string()).ok());
        let mut hierarchies = layout.unwrap_or_default().hierarchies.into_iter();
        let Some(hierarchy) = hierarchies.find(|hierarchy| hierarchy.mount == own.place.mount) else {
            return Err(refused);
        };
        let inner = hierarchy.own.strip_prefix(&own.place.path).is_some_and(|rest| rest.starts_with('/'));
        if hierarchy.own == "/" || !(gone || inner) {
            return Err(refused);
        }
        Hierarchy::new(Place { path: hierarchy.own, ..own.place.clone() }).write("cgroup.procs", pid)
    }
}
