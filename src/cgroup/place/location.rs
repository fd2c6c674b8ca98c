//! The place of a container's cgroup, as the state record stores it.
//!
//! It suffices to find and remove the cgroup without reading the host's layout again, even if the layout has changed.

use super::layout::{Layout, MountedHierarchy};
use super::path::CgroupPath;
use super::unit::Unit;
use crate::json::read::Read;
use crate::json::slot::{Each, Later, Slot, Value, may};
use crate::json::value::Json;
use crate::sys::file::stat;
use crate::text::{List, Text};

/// The container's cgroup in one hierarchy.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// The mount point of the hierarchy.
    pub mount: String,
    /// The cgroup's path below the mount, starting with `/`.
    pub path: String,
    /// The controllers of a v1 hierarchy (`name=…` for a named one); empty for v2.
    pub controllers: Vec<String>,
    /// The number of directories at the path's end that we make; 0 if it existed.
    pub made: u32,
}

impl Place {
    /// Whether it is the unified hierarchy.
    pub fn is_v2(&self) -> bool {
        self.controllers.is_empty()
    }

    /// Whether it is a v1 hierarchy with this controller.
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|c| c == controller)
    }

    /// The cgroup's directory.
    pub fn directory(&self) -> String {
        format!("{}{}", self.mount.trim_end_matches('/'), self.path)
    }

    /// The directories from the mount down to the cgroup, and whether we make each.
    pub(in crate::cgroup) fn levels(&self) -> Vec<(String, bool)> {
        let directory = self.directory();
        let first = directory.len() - self.path.len();
        let ends = directory.bytes().enumerate().skip(first + 1).filter(|(_, b)| *b == b'/').map(|(i, _)| i);
        let mut levels: Vec<(String, bool)> = ends.map(|end| (directory[..end].to_owned(), false)).collect();
        levels.push((directory, false));
        for level in levels.iter_mut().rev().take(self.made as usize) {
            level.1 = true;
        }
        levels
    }
}

/// The container's cgroup in every hierarchy; empty on a host without cgroups.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Location {
    /// Those of v1 in the order of the layout, then that of v2.
    pub places: Vec<Place>,
    /// The systemd scope, if systemd manages the cgroup.
    pub unit: Option<Unit>,
}

/// Reads the entries of the state record: places, and the unit if there is one.
impl Slot for Location {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        v.each(&mut Each(&mut |v| self.entry(v)))
    }
}

impl Location {
    /// Plans the cgroup of this path, so that it is recorded before it is made.
    pub fn plan(layout: &Layout, path: &CgroupPath) -> Location {
        let place = |hierarchy: &MountedHierarchy| {
            let mut place = Place {
                mount: hierarchy.mount.clone(),
                path: path.within(hierarchy),
                controllers: hierarchy.controllers.clone(),
                made: 0,
            };
            let missing = |level: &&(String, bool)| stat(&*level.0).is_err();
            place.made = place.levels().iter().rev().take_while(missing).count() as u32;
            place
        };
        Location { places: layout.hierarchies.iter().map(place).collect(), unit: None }
    }

    /// The entries for the state record.
    pub fn to_json(&self) -> Json {
        let mut entries = Vec::new();
        for p in &self.places {
            entries.push(Json::fields([
                ("mount", Json::str(p.mount.as_str())),
                ("path", Json::str(p.path.as_str())),
                ("controllers", Json::strs(p.controllers.iter().map(String::as_str))),
                ("made", Json::from(p.made)),
            ]));
        }
        if let Some(u) = &self.unit {
            entries.push(Json::fields([
                ("unit", Json::str(u.name.as_str())),
                ("slice", Json::str(u.slice.as_str())),
                ("user", Json::from(u.user)),
            ]));
        }
        Json::List(entries)
    }

    fn entry(&mut self, v: Value<'_>) -> Read<()> {
        let (mut unit, mut controllers) = (None::<Text>, List::<Text>::default());
        let [mut slice, mut mount, mut path] = ["slice", "mount", "path"].map(Later::<Text>::new);
        let (mut user, mut made) = (Later::<bool>::new("user"), Later::<u32>::new("made"));
        v.object(&mut [
            may("unit", &mut unit),
            slice.field(),
            user.field(),
            mount.field(),
            path.field(),
            may("controllers", &mut controllers),
            made.field(),
        ])?;
        match unit {
            Some(name) => {
                self.unit = Some(Unit {
                    name: name.to_owned(),
                    slice: slice.required()?.to_owned(),
                    user: user.required()?,
                    properties: &[],
                });
            }
            None => self.places.push(Place {
                mount: mount.required()?.to_owned(),
                path: path.required()?.to_owned(),
                controllers: controllers.iter().map(|c| c.to_string()).collect(),
                made: made.required()?,
            }),
        }
        Ok(())
    }

    /// runc's `cgroup_paths` of state.json: directories by controller.
    ///
    /// The key of v2 is empty.
    pub fn cgroup_paths(&self) -> Vec<(String, String)> {
        let mut paths = Vec::new();
        for place in &self.places {
            let directory = place.directory();
            paths.extend(place.controllers.iter().map(|c| (c.clone(), directory.clone())));
            if place.is_v2() {
                paths.push((String::new(), directory));
            }
        }
        paths
    }
}

/// The runtime's rights over cgroups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// All rights: every failure is an error.
    #[default]
    Full,
    /// No rights: the container gets no cgroup, and its device rules are not enforced.
    None,
    /// A subtree was delegated to an ordinary user, who cannot set device rules.
    Delegated {
        /// The config names the cgroup's path.
        ///
        /// Otherwise, like in runc, a hierarchy where it cannot be made is left out. That is an error only if a resource needs
        /// the hierarchy.
        asked: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::document;

    fn place(mount: &str, path: &str, made: u32) -> Place {
        Place {
            mount: mount.into(),
            path: path.into(),
            controllers: vec!["cpu".into(), "cpuacct".into()],
            made,
        }
    }

    #[test]
    fn levels_are_from_the_mount_to_the_cgroup() {
        let levels = |p: Place| {
            p.levels()
                .iter()
                .map(|(d, ours)| format!("{d}{}", if *ours { "*" } else { "" }))
                .collect::<Vec<_>>()
        };
        assert_eq!(levels(place("/c/cpu", "/a/b/x", 2)), ["/c/cpu/a", "/c/cpu/a/b*", "/c/cpu/a/b/x*"]);
        assert_eq!(levels(place("/c", "/x", 0)), ["/c/x"]);
        assert_eq!(levels(place("/", "/x", 1)), ["/x*"], "mounted on the root");
    }

    #[test]
    fn survives_the_state_record() {
        let unit =
            Some(Unit { name: "x.scope".into(), slice: "a.slice".into(), user: true, properties: &[] });
        let location = Location {
            unit,
            places: vec![place("/c/cpu", "/a/x", 1), Place { controllers: vec![], ..place("/u", "/x", 2) }],
        };
        for location in [&location, &Location::default()] {
            let mut read = Location::default();
            document::read_value(&location.to_json(), &mut read).unwrap();
            assert_eq!(&read, location);
        }
        let paths: Vec<(String, String)> = [("cpu", "/c/cpu/a/x"), ("cpuacct", "/c/cpu/a/x"), ("", "/u/x")]
            .map(|(c, d)| (c.into(), d.into()))
            .into();
        assert_eq!(location.cgroup_paths(), paths);
    }
}
