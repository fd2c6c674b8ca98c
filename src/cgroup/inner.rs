//! Cgroups that a container made below its own, for one more process to be put into.

use super::fs::{Branch, Cgroup};
use super::layout::Layout;
use crate::error::{Context, Errno, Error, Result};

impl Cgroup {
    /// The cgroups that `exec --cgroup` names, which must be there: `PATH` below the container's own in every hierarchy, or
    /// `CONTROLLER[,CONTROLLER]:PATH` in those of v1 controllers, as often as needed; the rest is the container's own.
    ///
    /// Errors name the argument, in the words of runc: a path that leads out, a controller that v1 has not here, one
    /// hierarchy named twice, a path without its controllers beside others, a cgroup that is not there.
    pub fn inner(mut self, wanted: &[&str]) -> Result<Cgroup> {
        if !wanted.is_empty() {
            self.required().at("--cgroup")?;
        }
        let mut named = vec![false; self.branches.len()];
        for arg in wanted {
            let refuse = |why: String| Err(Error::new(format!("invalid --cgroup argument: {arg} ({why})")));
            let (controllers, path) = match arg.split_once(':') {
                Some((controllers, path)) => (Some(controllers), path),
                None if wanted.len() > 1 => return refuse("missing <controller>: prefix".into()),
                None => (None, *arg),
            };
            let names: Vec<&str> = path.split('/').filter(|n| !n.is_empty() && *n != ".").collect();
            if path.contains(':') || names.contains(&"..") {
                return refuse("is not a sub cgroup path".into());
            }
            let mut here = vec![controllers.is_none(); self.branches.len()];
            for controller in controllers.into_iter().flat_map(|c| c.split(',')) {
                match self.branches.iter().position(|b| b.place.has(controller)) {
                    Some(at) => here[at] = true,
                    None => return refuse(format!("unknown controller {controller}: v1 has it not here")),
                }
            }
            for (at, branch) in self.branches.iter_mut().enumerate().filter(|(at, _)| here[*at]) {
                if std::mem::replace(&mut named[at], true) {
                    return refuse(format!("names the hierarchy {} again", branch.place.mount));
                }
                let mut place = branch.place.clone();
                for name in &names {
                    place.path = format!("{}/{name}", place.path);
                }
                *branch = Branch::new(place);
                let e = branch.dir().context(|| format!("open {}", branch.place.directory()));
                e.about(format_args!("--cgroup {arg}"))?;
            }
        }
        Ok(self)
    }

    /// Where on v2 the container's own cgroup takes no processes because there are controllers below it, the cgroup of this
    /// process of its takes them.
    pub fn or_beside(mut self, init: i32) -> Cgroup {
        self.beside = Some(init);
        self
    }

    /// Moves a process into the cgroup of v2 that [`Cgroup::or_beside`] tells of.
    pub(super) fn join_beside(&self, own: &Branch, pid: &str) -> std::result::Result<(), Errno> {
        let tree = self.beside.and_then(|init| Layout::of(&init.to_string()).ok()?.v2().cloned());
        // Below the container's own, or it is none of our business.
        let inner =
            |own: &Branch, path: &str| path.strip_prefix(&own.place.path)?.starts_with('/').then_some(());
        let mut place = own.place.clone();
        match tree.filter(|t| t.mount == place.mount && inner(own, &t.own).is_some()) {
            Some(tree) => place.path = tree.own,
            None => return Err(Errno::EBUSY),
        }
        Branch::new(place).write("cgroup.procs", pid)
    }
}
