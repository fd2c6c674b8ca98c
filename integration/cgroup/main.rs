//! The cgroup module on the kernel of this host: v1, hybrid or v2. Needs root.
//!
//! Every test creates its own cgroups below the caller's and removes them, even if it fails.

mod devices;
mod hostile;
mod lifecycle;
mod limits;
mod observe;
mod peers;
mod systemd;
mod systemd_user;
mod update;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use embrun::bundle::spec::{Linux, Spec};
use embrun::cgroup::Cgroup;
use embrun::cgroup::limits::{Resources, resources};
use embrun::cgroup::place::layout::{Layout, MountedHierarchy};
use embrun::cgroup::place::location::{Access, Location};
use embrun::cgroup::place::path::CgroupPath;
use embrun::cgroup::planned::CgroupManager;
use embrun::cgroup::planned_limits::{CgroupFacts, PlannedLimits};
use embrun::facts::HostFacts;
use embrun::json::value::Json;
use nix::unistd::Pid;

/// A cgroup for one test, removed at the end.
struct Own {
    cgroup: Cgroup,
    location: Location,
}

impl Own {
    fn new(name: &str) -> Own {
        Own::with(name, &Resources::default())
    }

    fn with(name: &str, resources: &Resources) -> Own {
        let location = plan(name);
        let cgroup = Cgroup::create(&location, &limits(resources).unwrap(), Access::Full).unwrap();
        let own = Own { cgroup, location };
        set(&own.cgroup, resources).unwrap();
        own
    }

    fn update(&self, resources: &Resources) -> embrun::error::Result<()> {
        self.cgroup.update(resources, &[], &|| Ok(()))
    }

    /// Moves a shell into the cgroup, in every hierarchy.
    fn put(&self, shell: &Shell) {
        for place in &self.location.places {
            std::fs::write(place.directory() + "/cgroup.procs", shell.pid().to_string()).unwrap();
        }
    }

    /// The directory in the hierarchy of a v1 controller, or else in v2.
    fn directory(&self, v1: &str) -> String {
        let places = &self.location.places;
        places.iter().find(|p| p.has(v1)).or(places.iter().find(|p| p.is_v2())).unwrap().directory()
    }

    /// The content of a controller's file, by its v1 name if v1 has the controller.
    fn read(&self, controller: &str, v1: &str, v2: &str) -> String {
        let file = if on_v1(controller) { v1 } else { v2 };
        let path = format!("{}/{file}", self.directory(controller));
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}")).trim().to_owned()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let cgroup = Cgroup::adopt(&self.location);
        let done = cgroup.kill(soon()).and_then(|()| cgroup.remove(soon()));
        if let (Err(e), false) = (done, std::thread::panicking()) {
            panic!("left behind: {e}");
        }
    }
}

/// The planned limits for these resources on this host.
fn limits(resources: &Resources) -> embrun::error::Result<PlannedLimits> {
    let linux = Linux { resources: resources.clone(), ..Linux::default() };
    let spec = Spec { linux, ..Spec::default() };
    PlannedLimits::new(resources, &HostFacts::of_host(&spec, None, CgroupManager::Cgroupfs)?.cgroup_facts())
}

/// Sets all limits of a cgroup, as a creation does in two steps.
fn set(cgroup: &Cgroup, resources: &Resources) -> embrun::error::Result<()> {
    let limits = limits(resources)?;
    cgroup.limit(&limits)?;
    cgroup.limit_memory(&limits)
}

fn plan(name: &str) -> Location {
    assert!(nix::unistd::geteuid().is_root(), "these tests need root");
    let id = format!("embrun-test-{}-{name}", std::process::id());
    Location::plan(&Layout::discover().unwrap(), &CgroupPath::new(None, &id).unwrap())
}

/// Whether any cgroups are mounted; prints the skip if not.
fn mounted() -> bool {
    let there = !Layout::discover().unwrap().hierarchies.is_empty();
    if !there {
        eprintln!("SKIPPED: no cgroups are mounted on this host");
    }
    there
}

/// The factor for deadlines: emulated hosts are slow (`IT_SLOW=5`).
fn patience() -> u32 {
    std::env::var("IT_SLOW").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10) * patience()
}

fn on_v1(controller: &str) -> bool {
    Layout::discover().unwrap().hierarchies.iter().any(|t| t.has(controller))
}

/// Whether the host has this controller.
fn is_there(controller: &str, v2: &str) -> bool {
    let layout = Layout::discover().unwrap();
    let in_v2 = |hierarchy: &MountedHierarchy| {
        let on =
            std::fs::read_to_string(format!("{}/cgroup.controllers", hierarchy.mount)).unwrap_or_default();
        on.split_whitespace().any(|c| c == v2)
    };
    layout.hierarchies.iter().any(|t| t.has(controller)) || layout.v2().is_some_and(in_v2)
}

/// Whether the host has this controller; prints the skip if not.
fn has(controller: &str, v2: &str) -> bool {
    let there = is_there(controller, v2);
    if !there {
        eprintln!("SKIPPED: there is no {controller} controller on this host");
    }
    there
}

fn read(text: &str) -> Resources {
    resources(&Json::parse(text.as_bytes()).unwrap()).unwrap()
}

/// A shell that runs commands line by line and is killed at the end.
struct Shell(Child, BufReader<std::process::ChildStdout>);

impl Shell {
    fn new() -> Shell {
        let mut child = Command::new("sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Shell(child, out)
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.0.id() as i32)
    }

    fn tell(&mut self, line: &str) {
        writeln!(self.0.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Whether the command succeeds.
    fn ask(&mut self, command: &str) -> bool {
        self.tell(&format!("if {command}; then echo yes; else echo no; fi"));
        let mut answer = String::new();
        self.1.read_line(&mut answer).unwrap();
        answer == "yes\n"
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
