//! The cgroup as a systemd scope (org.freedesktop.systemd1(5)).
//!
//! systemd makes it, keeps its properties, and is informed of its end. Below it we use the cgroup file system directly, which
//! `Delegate=yes` permits.

pub(super) mod dbus;
pub(super) mod properties;
mod unified;
mod wire;

use std::time::{Duration, Instant};

use nix::unistd::Pid;

use super::place::unit::{Property, PropertyValue, Unit};
use crate::error::{Context, Error, Quoted, Result};
use crate::sys::clock;
use crate::sys::file::is_dir;
use crate::sys::process::{self, Cloned};
use crate::text::search::has;
use dbus::{Connection, Method};
use wire::{BodyReader, Writer};

/// The time limit for a systemd job.
const PATIENCE: Duration = Duration::from_secs(30);

const fn manager(member: &'static str, signature: &'static str) -> Method {
    Method {
        destination: "org.freedesktop.systemd1",
        path: "/org/freedesktop/systemd1",
        interface: "org.freedesktop.systemd1.Manager",
        member,
        signature,
    }
}

const GET: Method = Method { interface: "org.freedesktop.DBus.Properties", ..manager("Get", "ss") };

const ADD_MATCH: Method = Method {
    destination: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
    member: "AddMatch",
    signature: "s",
};

/// Connects to the manager's private socket, or else to the bus.
///
/// The private socket works without a bus daemon.
fn connect(user: bool) -> Result<Connection> {
    let directory = if user {
        crate::sys::entry::variable("XDG_RUNTIME_DIR").ok_or_else(|| {
            Error::new("XDG_RUNTIME_DIR is not set, so the user's systemd cannot be found")
                .hint("use --cgroup-manager cgroupfs")
        })?
    } else {
        "/run"
    };
    if let Ok(connection) = Connection::open(&format!("{directory}/systemd/private"), false, PATIENCE) {
        return Ok(connection);
    }
    let bus = if user { "bus" } else { "dbus/system_bus_socket" };
    let mut connection = Connection::open(&format!("{directory}/{bus}"), true, PATIENCE)?;
    let mut rule = Writer::default();
    rule.str("type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'");
    connection.call(&ADD_MATCH, rule)?;
    connection.call(&manager("Subscribe", ""), Writer::default())?;
    Ok(connection)
}

/// Makes one call over a new connection.
fn ask(user: bool, method: &Method, body: Writer) -> Result<BodyReader> {
    connect(user)?.call(method, body)
}

/// Calls with properties; without the late ones if this systemd lacks them.
fn tell(
    connection: &mut Connection,
    method: &Method,
    properties: &[&Property],
    body: &dyn Fn(&[&Property]) -> Writer,
) -> Result<BodyReader> {
    connection.call(method, body(properties)).or_else(|e| {
        match properties::known_of_old(properties, &e.to_string()) {
            Some(known) => connection.call(method, body(&known)),
            None => Err(e),
        }
    })
}

/// Whether systemd runs this machine (sd_booted(3)).
fn is_running() -> bool {
    is_dir("/run/systemd/system")
}

/// The cgroup of the system's or the user's systemd; its slices are below.
pub fn own_cgroup(user: bool) -> Result<String> {
    if !is_running() {
        return Err(Error::new("systemd not running on this host, cannot use systemd cgroups manager")
            .hint("use --cgroup-manager cgroupfs"));
    }
    let mut question = Writer::default();
    question.str("org.freedesktop.systemd1.Manager");
    question.str("ControlGroup");
    let answer = ask(user, &GET, question).at("systemd")?.variant_str();
    answer.ok_or_else(|| Error::new("systemd: its own cgroup is not known"))
}

/// A process that keeps a scope alive until init joins: systemd requires one.
pub(in crate::cgroup) struct Placeholder(Pid);

impl Placeholder {
    fn new() -> Result<Placeholder> {
        match process::clone(0, None).at("clone")? {
            Cloned::Parent { pid, .. } => Ok(Placeholder(pid)),
            Cloned::Child => {
                let parent = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL);
                while parent.is_ok() && nix::unistd::getppid() != Pid::from_raw(1) {
                    nix::unistd::pause();
                }
                process::exit(0)
            }
        }
    }
}

impl Drop for Placeholder {
    fn drop(&mut self) {
        // It is our own child and only we wait for it, so its pid cannot have been reused.
        let _ = process::kill(self.0, libc::SIGKILL);
        // It may die late: v1's freezer holds it in a frozen cgroup.
        for _ in 0..500 {
            if !matches!(process::wait(self.0, false), Ok(None)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Starts the scope, and waits until systemd reports that it exists.
pub(in crate::cgroup) fn start(unit: &Unit, limits: &[Property], v2: bool) -> Result<Placeholder> {
    let placeholder = Placeholder::new()?;
    let mut properties = Vec::new();
    for (name, value) in [
        ("Description", PropertyValue::Str(format!("embrun container {}", unit.name))),
        ("Slice", PropertyValue::Str(unit.slice.clone())),
        ("PIDs", PropertyValue::U32s(vec![placeholder.0.as_raw() as u32])),
        // The unit is collected after its end, even a failed one, so nobody has to reset it.
        ("CollectMode", PropertyValue::Str("inactive-or-failed".to_owned())),
        ("MemoryAccounting", PropertyValue::Bool(true)),
        ("CPUAccounting", PropertyValue::Bool(true)),
        ("TasksAccounting", PropertyValue::Bool(true)),
        (if v2 { "IOAccounting" } else { "BlockIOAccounting" }, PropertyValue::Bool(true)),
        ("Delegate", PropertyValue::Bool(true)),
        ("DefaultDependencies", PropertyValue::Bool(false)),
    ] {
        properties.push((name.to_owned(), value));
    }
    let properties: Vec<&Property> = properties.iter().chain(limits).chain(unit.properties).collect();

    let body = |properties: &[&Property]| {
        let mut body = Writer::default();
        body.str(&unit.name);
        body.str("replace");
        body.properties(properties);
        body.nothing();
        body
    };
    let started = connect(unit.user).and_then(|mut connection| {
        let method = manager("StartTransientUnit", "ssa(sv)a(sa(sv))");
        let job = tell(&mut connection, &method, &properties, &body)?.str().unwrap_or_default();
        finish(&mut connection, &job)
    });
    started.map_err(|e| {
        let e = e.context(format_args!("start systemd unit {}", unit.name));
        match unit.properties.first() {
            Some(_) => {
                e.hint("annotations org.systemd.property.* must have the types that systemd has for them")
            }
            None => e,
        }
    })?;
    Ok(placeholder)
}

/// Waits until a job has ended.
fn finish(connection: &mut Connection, job: &str) -> Result<()> {
    loop {
        // The arguments of JobRemoved: id, job, unit, result.
        let mut signal = connection.signal("JobRemoved")?;
        let (_, of, _, result) = (signal.u32(), signal.str(), signal.str(), signal.str());
        if of.as_deref() != Some(job) {
            continue;
        }
        return match result.as_deref() {
            Some("done") => Ok(()),
            other => Err(Error::of(format_args!("the job ended as {}", Quoted(other.unwrap_or_default())))
                .hint("see journalctl -u and systemctl status of the unit")),
        };
    }
}

/// Asks systemd to move a process into the scope.
///
/// A user may not move a process out of another session's cgroup, but the user's manager asks the system's manager to do it.
pub(in crate::cgroup) fn attach(unit: &Unit, pid: Pid) -> Result<()> {
    let mut body = Writer::default();
    body.str(&unit.name);
    body.str("");
    body.u32s(&[pid.as_raw() as u32]);
    ask(unit.user, &manager("AttachProcessesToUnit", "ssau"), body)
        .map(drop)
        .map_err(|e| e.context(format_args!("move process {pid} into systemd unit {}", unit.name)))
}

/// Ends the scope and waits until systemd has forgotten it.
///
/// A missing scope is no error. We do not wait for the job's end: a scope without processes ends by itself, and then no signal
/// reports it.
pub(in crate::cgroup) fn stop(unit: &Unit, deadline: Instant) -> Result<()> {
    if !is_running() {
        return Ok(());
    }
    let stop = || {
        let mut connection = connect(unit.user)?;
        let mut pause = Duration::from_millis(2);
        loop {
            let mut body = Writer::default();
            body.str(&unit.name);
            body.str("replace");
            match connection.call(&manager("StopUnit", "ss"), body) {
                Err(e) if has(&e.to_string(), "NoSuchUnit") => return Ok(()),
                Err(e) => return Err(e),
                Ok(_) if clock::is_past(deadline) => {
                    return Err(Error::new("it does not end").hint("systemctl status shows its processes"));
                }
                Ok(_) => std::thread::sleep(pause),
            }
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    };
    stop().map_err(|e: Error| e.context(format_args!("stop systemd unit {}", unit.name)))
}

/// Informs systemd of changed limits.
pub(in crate::cgroup) fn update(unit: &Unit, limits: &[Property]) -> Result<()> {
    let properties: Vec<&Property> = limits.iter().collect();
    if properties.is_empty() {
        return Ok(());
    }
    let body = |properties: &[&Property]| {
        let mut body = Writer::default();
        body.str(&unit.name);
        // `runtime` is true: the change lasts no longer than the unit.
        body.bool(true);
        body.properties(properties);
        body
    };
    connect(unit.user)
        .and_then(|mut c| tell(&mut c, &manager("SetUnitProperties", "sba(sv)"), &properties, &body))
        .map(drop)
        .map_err(|e| e.context(format_args!("set properties of systemd unit {}", unit.name)))
}
