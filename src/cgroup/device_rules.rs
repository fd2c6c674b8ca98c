//! Device rules put into force: v1's lists, or v2's program.

use std::os::fd::AsFd;

use super::apply::{on, write_all};
use super::hierarchy::Branch;
use super::limits::devices::{self, Whitelist};
use super::limits::{DeviceRule, Resources, device_program};
use super::place::location::Access;
use super::{Cgroup, systemd};
use crate::error::{Errno, Error, Result};
use crate::sys::bpf;

impl Cgroup {
    /// The rules of a new container, and the default devices.
    pub(super) fn allow_devices(&self, rules: &[DeviceRule]) -> Result<()> {
        let all = devices::complete(rules);
        if let Some(branch) = self.v1("devices") {
            return write_all(&on(branch, &devices::v1(&all)?.knobs()));
        }
        match self.v2() {
            Some(branch) => match set_program(branch, &all) {
                // A user namespace can neither load programs nor make device nodes.
                Err(e) if self.access != Access::Full && e.errno() == Some(Errno::EPERM) => Ok(()),
                // A kernel without programs holds nobody back.
                Err(e)
                    if devices::deny_nothing(&all) && matches!(e.errno(), Some(LACKS_CALL | LACKS_KIND)) =>
                {
                    Ok(())
                }
                done => done,
            },
            None if rules.is_empty() || self.access != Access::Full => Ok(()),
            None => Err(self.missing("devices", "", "devices")),
        }
    }

    /// Replaces the rules of a running container by these (and the default devices), so that at no moment something is
    /// denied that is allowed before and after. All or nothing. systemd is told, if the cgroup is a scope of its.
    pub fn set_devices(&self, rules: &[DeviceRule]) -> Result<()> {
        self.required()?;
        self.replace_devices(rules)?;
        let Some(unit) = &self.unit else { return Ok(()) };
        let resources = Resources { devices: rules.to_vec(), ..Resources::default() };
        systemd::update(unit, &resources, self.is_v2_only())
    }

    /// The same without systemd.
    pub(super) fn replace_devices(&self, rules: &[DeviceRule]) -> Result<()> {
        let Some(branch) = self.v1("devices") else { return self.allow_devices(rules) };
        let target = devices::v1(&devices::complete(rules))?;
        let text = branch.read("devices.list").map_err(|e| Error::os("read devices.list", e))?;
        let Some(present) = devices::parse_list(&text) else {
            return write_all(&on(branch, &target.knobs()));
        };
        if target.allow {
            return write_all(&on(branch, &target.knobs()));
        }
        let change = |file: &'static str, from: &Whitelist, to: &Whitelist| {
            on(branch, &devices::knobs(file, &devices::beyond(from, to)))
        };
        let more = change("devices.allow", &target, &present);
        let less = change("devices.deny", &present, &target);
        write_all(&more).and_then(|()| write_all(&less)).inspect_err(|_| {
            let _ = write_all(&change("devices.allow", &present, &target));
            let _ = write_all(&change("devices.deny", &target, &present));
        })
    }
}

/// What bpf(2) answers on a kernel without it, and on one without programs of cgroups, or with none for devices.
const LACKS_CALL: Errno = Errno::ENOSYS;
const LACKS_KIND: Errno = Errno::EINVAL;
/// What can be had there.
const WITHOUT: &str =
    r#"; without it only {"allow": true, "access": "rwm"}, which denies nothing, is accepted"#;

fn set_program(branch: &Branch, rules: &[DeviceRule]) -> Result<()> {
    let program = device_program::compile(rules)?;
    let load = || {
        let program = bpf::load_device_program(&program)?;
        bpf::set_device_program(branch.dir()?, program.as_fd())
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
