//! AppArmor profiles and SELinux labels.
//!
//! The kernel keeps the request with the process until the next exec, and gives it to the process's children. So the steps
//! come after the hooks that are the host's, and a startContainer hook runs under the program's confinement, as in runc: its
//! program comes from the container's own file system. They come before no_new_privs and the filter, and while the host's
//! procfs is open.

use super::recipe::Recipe;
use super::step::InitStep;
use super::validate::{Refusal, refuse};
use crate::bundle::spec::{Process, Spec};
use crate::facts::{AppArmor, HostFacts};
use crate::text::Text;
use crate::text::names::position;

/// The profile of a process that stays as the runtime is.
const UNCONFINED: &str = "unconfined";

/// Joins a session keyring whose keys have the process's label.
pub(super) fn keyring(
    name: Option<Text>,
    process: Option<&Process>,
    facts: &HostFacts,
    steps: &mut Recipe<InitStep>,
) {
    let Some(name) = name else { return };
    let label = process.and_then(|p| p.selinux_label).filter(|_| facts.selinux);
    steps.add_some(label.map(|label| InitStep::KeyLabel(Some(label))));
    steps.add(InitStep::Keyring(name));
    steps.add_if(label.is_some(), InitStep::KeyLabel(None));
}

/// Adds the steps that confine the program, or refuses what this host cannot do.
pub(super) fn compile(
    p: &Process,
    facts: &HostFacts,
    refusals: &mut Vec<Refusal>,
    steps: &mut Recipe<InitStep>,
) {
    for (field, label) in [("apparmorProfile", p.apparmor_profile), ("selinuxLabel", p.selinux_label)] {
        // The kernel would take the part before a NUL or a line break for the whole name.
        if label.is_some_and(|label| label.contains(char::is_control)) {
            let why = format_args!("contains a control character");
            refuse(refusals, format_args!("process.{field}"), why);
        }
    }
    match p.apparmor_profile {
        None => {}
        Some(UNCONFINED) if facts.apparmor == AppArmor::Off => {}
        Some(_) if facts.apparmor == AppArmor::Off => {
            // The first words are runc's.
            let why = "apparmor failed to apply profile: AppArmor is not enabled on this host; remove it";
            refuse(refusals, format_args!("process.apparmorProfile"), format_args!("{why}"));
        }
        // With no_new_privs a confined process may only add a profile to its own.
        Some(profile) if facts.apparmor.must_stack(p.no_new_privileges) => {
            steps.add(InitStep::StackAppArmorProfile(profile));
        }
        Some(profile) => steps.add(InitStep::AppArmorProfile(profile)),
    }
    if let Some(label) = p.selinux_label {
        if !facts.selinux {
            // runc's words.
            let why = "selinux label is specified in config, but selinux is disabled or not supported";
            refuse(refusals, format_args!("process.selinuxLabel"), format_args!("{why}"));
        }
        steps.add(InitStep::SelinuxLabel(label));
    }
}

impl AppArmor {
    /// Whether the kernel would refuse to replace the runtime's profile by another one.
    fn must_stack(self, no_new_privileges: bool) -> bool {
        match self {
            AppArmor::Off | AppArmor::Unconfined => false,
            AppArmor::Confined => no_new_privileges,
            AppArmor::ConfinedForGood => true,
        }
    }
}

/// The label of new mounts, if SELinux is enabled.
pub(super) fn of_mounts(spec: &Spec, selinux: bool) -> Option<Text> {
    spec.linux.mount_label.filter(|_| selinux)
}

/// Refuses a label that would end in the middle of the option that carries it.
pub(super) fn check_of_mounts(spec: &Spec, refusals: &mut Vec<Refusal>) {
    if spec.linux.mount_label.is_some_and(|label| label.contains(|c: char| c == '"' || c.is_control())) {
        let why = format_args!("contains a quotation mark or a control character");
        refuse(refusals, format_args!("linux.mountLabel"), why);
    }
}

/// File systems of which the kernel has one instance, or one for each namespace.
///
/// All mounts of an instance have one label, so the kernel refuses an option that asks for another.
const SHARED: Text = "binfmt_misc cgroup cgroup2 configfs debugfs devtmpfs efivarfs mqueue pstore \
    securityfs selinuxfs sysfs tracefs";

/// The options of a new mount, with its label where the file system takes one.
///
/// As in runc and crun, a procfs gets none either: its files have the labels of the processes.
pub(super) fn with_context(kind: &str, data: &str, label: Option<Text>) -> String {
    match label.filter(|_| kind != "proc" && position(SHARED, kind).is_none()) {
        Some(label) => format!("{data}{}context=\"{label}\"", if data.is_empty() { "" } else { "," }),
        None => data.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiled(p: &Process, facts: &HostFacts) -> (Vec<String>, Vec<String>) {
        let (mut refusals, mut steps) = (Vec::new(), Recipe::default());
        compile(p, facts, &mut refusals, &mut steps);
        let text = |s: &dyn ToString| s.to_string();
        (steps.0.iter().map(|s| text(s)).collect(), refusals.iter().map(|r| text(r)).collect())
    }

    #[test]
    fn a_profile_is_stacked_only_where_the_kernel_allows_nothing_else() {
        for (apparmor, no_new_privileges, says) in [
            (AppArmor::Unconfined, true, "AppArmor profile \"web\" at exec"),
            (AppArmor::Confined, false, "AppArmor profile \"web\" at exec"),
            (AppArmor::Confined, true, "AppArmor profile \"web\" at exec, on top of the runtime's"),
            (AppArmor::ConfinedForGood, false, "AppArmor profile \"web\" at exec, on top of the runtime's"),
        ] {
            let facts = HostFacts { apparmor, ..HostFacts::default() };
            let p = Process { apparmor_profile: Some("web"), no_new_privileges, ..Process::default() };
            assert_eq!(compiled(&p, &facts), (vec![says.to_owned()], vec![]), "{apparmor:?}");
        }
    }

    #[test]
    fn a_host_without_the_module_takes_only_unconfined() {
        let facts = HostFacts::default();
        let with = |profile| Process { apparmor_profile: Some(profile), ..Process::default() };
        assert_eq!(compiled(&with("unconfined"), &facts), (vec![], vec![]));
        let why = "apparmor failed to apply profile: AppArmor is not enabled on this host; remove it";
        assert_eq!(compiled(&with("web"), &facts).1, [format!("process.apparmorProfile: {why}")]);
        let p = Process { selinux_label: Some("a:b:c:s0"), ..Process::default() };
        let why = "selinux label is specified in config, but selinux is disabled or not supported";
        assert_eq!(compiled(&p, &facts).1, [format!("process.selinuxLabel: {why}")]);
        assert_eq!(compiled(&Process::default(), &facts), (vec![], vec![]));
    }

    #[test]
    fn a_name_that_the_kernel_would_cut_is_refused() {
        let facts = HostFacts { apparmor: AppArmor::Unconfined, selinux: true, ..HostFacts::default() };
        let p = Process {
            apparmor_profile: Some("unconfined\0web"),
            selinux_label: Some("a:b:c:s0\n"),
            ..Process::default()
        };
        let why = "contains a control character";
        let refused = ["apparmorProfile", "selinuxLabel"].map(|field| format!("process.{field}: {why}"));
        assert_eq!(compiled(&p, &facts).1, refused);
    }
}
