//! Applies device rules: as v1's lists, or as v2's program.

use std::os::fd::AsFd;

use super::apply::{on, write_all};
use super::hierarchy::Hierarchy;
use super::limits::devices::{self, Whitelist};
use super::limits::{DeviceRule, Resources, device_program};
use super::place::location::Access;
use super::planned_limits::Devices;
use super::{Cgroup, systemd};
use crate::error::{Errno, Error, Result};
use crate::sys::bpf::{self, Instruction};

impl Cgroup {
    /// Applies the rules of a new container.
    pub(super) fn enforce(&self, devices: &Devices) -> Result<()> {
        let optional = self.access != Access::Full;
        match (devices, self.v1("devices"), self.v2()) {
            (Devices::Lists(_, lists), Some(hierarchy), _) => write_all(&on(hierarchy, &lists.knobs())),
            // The v1 hierarchy was planned, and left out since it is not delegated. v2 can still enforce the rules.
            (Devices::Lists(rules, _), None, Some(hierarchy)) => {
                enforced(rules, optional, set_program(hierarchy, &device_program::compile(rules)?))
            }
            (Devices::Program(rules, program), _, Some(hierarchy)) => {
                enforced(rules, optional, set_program(hierarchy, program))
            }
            (Devices::Unenforced, ..) => Ok(()),
            _ if optional => Ok(()),
            _ => Err(self.missing("devices", "", "devices")),
        }
    }

    /// Replaces the rules of a running container by these and the default devices.
    ///
    /// All or nothing. At no moment is a device denied that is allowed before and after. If systemd manages the cgroup, its
    /// unit is updated too.
    pub fn set_devices(&self, rules: &[DeviceRule]) -> Result<()> {
        self.required()?;
        let resources = Resources { devices: rules.to_vec(), ..Resources::default() };
        let limits = self.planned(&resources)?;
        self.replace_devices(&limits.devices)?;
        self.unit.as_ref().map_or(Ok(()), |unit| systemd::update(unit, &limits.properties))
    }

    /// The same without systemd.
    pub(super) fn replace_devices(&self, devices: &Devices) -> Result<()> {
        let (Devices::Lists(_, target), Some(hierarchy)) = (devices, self.v1("devices")) else {
            return self.enforce(devices);
        };
        let text = hierarchy.read("devices.list").map_err(|e| Error::os("read devices.list", e))?;
        let Some(present) = devices::parse_list(&text) else {
            return write_all(&on(hierarchy, &target.knobs()));
        };
        if target.allow {
            return write_all(&on(hierarchy, &target.knobs()));
        }
        let change = |file: &'static str, from: &Whitelist, to: &Whitelist| {
            on(hierarchy, &devices::knobs(file, &devices::beyond(from, to)))
        };
        let more = change("devices.allow", target, &present);
        let less = change("devices.deny", &present, target);
        write_all(&more).and_then(|()| write_all(&less)).inspect_err(|_| {
            let _ = write_all(&change("devices.allow", &present, target));
            let _ = write_all(&change("devices.deny", target, &present));
        })
    }
}

/// The errors of bpf(2) on kernels without it or without device programs.
const LACKS_CALL: Errno = Errno::ENOSYS;
const LACKS_KIND: Errno = Errno::EINVAL;
/// The rules that can be enforced there.
const WITHOUT: &str =
    r#"; without it only {"allow": true, "access": "rwm"}, which denies nothing, is accepted"#;

/// Accepts a program that could not be loaded, if no rule is lost by that.
fn enforced(rules: &[DeviceRule], optional: bool, loaded: Result<()>) -> Result<()> {
    match loaded {
        // A user namespace can neither load programs nor make device nodes.
        Err(e) if optional && e.errno() == Some(Errno::EPERM) => Ok(()),
        // Without eBPF the kernel enforces no device rules.
        Err(e) if devices::deny_nothing(rules) && matches!(e.errno(), Some(LACKS_CALL | LACKS_KIND)) => {
            Ok(())
        }
        done => done,
    }
}

fn set_program(hierarchy: &Hierarchy, program: &[Instruction]) -> Result<()> {
    let load = || {
        let program = bpf::load_device_program(program)?;
        bpf::set_device_program(hierarchy.dir()?, program.as_fd())
    };
    load().map_err(|e| {
        let e = Error::os("linux.resources.devices: load the device program", e);
        match e.errno() {
            Some(LACKS_CALL) => e.hint(format_args!("the kernel has no bpf(2): CONFIG_BPF_SYSCALL{WITHOUT}")),
            Some(LACKS_KIND) => e.hint(format_args!("device rules on cgroup v2 need Linux 4.15 with CONFIG_CGROUP_BPF{WITHOUT}")),
            Some(Errno::EPERM) => {
                e.hint("needs CAP_SYS_ADMIN, or CAP_BPF and CAP_NET_ADMIN, in the initial user namespace, and before Linux 5.11 RLIMIT_MEMLOCK or CAP_SYS_RESOURCE")
            }
            _ => e,
        }
    })
}
