//! Refuses contradictions in a [`Spec`], and requests that no host can fulfil.
//!
//! It reports all of them at once, before any side effect. Questions that depend on the host are decided later, from the facts.

use std::fmt;

use super::inside_path::InsidePath;
use super::{chroot, memory_policy, net_devices, process, rdt, sysctl, time, user_namespace};
use crate::bundle::spec::{Linux, Namespace, NamespaceKind, Process, Scheduler, Spec};
use crate::error::{Error, Quoted};
use crate::json::read::one_line;
use crate::text::search::cut;
use crate::text::{Keep, Text};

/// A refusal: the property that causes it, and the reason.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Refusal {
    /// The property, as a JSON path.
    pub field: Text,
    /// The reason.
    pub what: Text,
}

/// Refuses a property; control characters in names are escaped.
#[cold]
#[inline(never)]
pub fn refuse(refusals: &mut Vec<Refusal>, field: fmt::Arguments<'_>, what: fmt::Arguments<'_>) {
    let line = |text: fmt::Arguments<'_>| one_line(text.to_string()).keep();
    refusals.push(Refusal { field: line(field), what: line(what) });
}

/// Refuses the property with which the error's text begins.
pub fn refuse_by(refusals: &mut Vec<Refusal>, e: &Error) {
    let text = e.to_string();
    let (field, what) = cut(&text, ": ").unwrap_or(("linux", &text));
    refuse(refusals, format_args!("{field}"), format_args!("{what}"));
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.what)
    }
}

/// Returns every refusal of the configuration that holds on any host.
pub fn validate(spec: &Spec) -> Vec<Refusal> {
    let mut out = Vec::new();
    namespaces(spec, &mut out);
    time::validate(&spec.linux, &mut out);
    net_devices::validate(&spec.linux, &mut out);
    paths(&spec.linux, &mut out);
    user_namespace::validate(spec, &mut out);
    for (key, _) in spec.linux.sysctl {
        if let Err(why) = sysctl::path(key, spec.linux.namespaces) {
            refuse(&mut out, format_args!("linux.sysctl.{key}"), format_args!("{why}"));
        }
    }
    if let Some(policy) = &spec.linux.memory_policy {
        memory_policy::validate(policy, &mut out);
    }
    if let Some(rdt) = &spec.linux.intel_rdt {
        rdt::validate(rdt, &mut out);
    }
    if let Some(p) = &spec.process {
        of_process(p, &mut out);
    }
    out
}

/// Adds every refusal of a process, from the config or from `exec --process`.
pub fn of_process(p: &Process, out: &mut Vec<Refusal>) {
    if let Some(s) = p.scheduler {
        scheduler(s, out);
    }
    let affinity = p.exec_cpu_affinity.unwrap_or_default();
    for (key, list) in [("initial", affinity.initial), ("final", affinity.last)] {
        if let Some(list) = list.filter(|list| process::cpu_list(list).is_none()) {
            refuse(
                out,
                format_args!("process.execCPUAffinity.{key}"),
                format_args!("{} is not a list of processors, as in \"0-3,7\" (0 to 1023)", Quoted(list)),
            );
        }
    }
}

impl Linux {
    /// The namespace of a kind that the configuration requests, new or joined.
    pub fn namespace(&self, kind: NamespaceKind) -> Option<&Namespace> {
        self.namespaces.iter().find(|n| n.kind == kind)
    }
}

fn namespaces(spec: &Spec, out: &mut Vec<Refusal>) {
    let linux = &spec.linux;
    if chroot::is_asked(spec) {
        chroot::validate(spec, out);
    }
    let uts = linux.namespace(NamespaceKind::Uts).is_some();
    for (field, value) in [("hostname", spec.hostname), ("domainname", spec.domainname)] {
        let Some(name) = value else { continue };
        if !uts {
            let what = format_args!("needs a uts namespace (add {{\"type\": \"uts\"}} to linux.namespaces)");
            refuse(out, format_args!("{field}"), what);
        }
        // struct new_utsname has room for 64 characters and a NUL.
        if name.len() > 64 {
            refuse(out, format_args!("{field}"), format_args!("is longer than 64 bytes"));
        }
    }
}

/// Refuses paths that are the root itself: init would not notice a mount over it.
fn paths(linux: &Linux, out: &mut Vec<Refusal>) {
    let is_root = |path: &&Text| InsidePath::new(path).is_some_and(|path| path.is_root());
    if linux.masked_paths.iter().any(|path| is_root(&path)) {
        refuse(out, format_args!("linux.maskedPaths"), format_args!("the root cannot be hidden"));
    }
    if linux.readonly_paths.iter().any(|path| is_root(&path)) {
        let what = format_args!("the root is made read-only by root.readonly");
        refuse(out, format_args!("linux.readonlyPaths"), what);
    }
}

/// The kernel's numbers of the policies.
const FIFO: u32 = 1;
const RR: u32 = 2;
const DEADLINE: u32 = 6;

/// Refuses values for which sched_setattr(2) fails with EINVAL.
fn scheduler(s: &Scheduler, out: &mut Vec<Refusal>) {
    let mut refuse =
        |key: &str, what: &str| refuse(out, format_args!("process.scheduler.{key}"), format_args!("{what}"));
    let real_time = matches!(s.policy, FIFO | RR);
    let deadline = s.policy == DEADLINE;
    if !(-20..=19).contains(&s.nice) {
        refuse("nice", "is out of range (-20 to 19)");
    }
    if real_time && !(1..=99).contains(&s.priority) {
        refuse("priority", "must be 1 to 99 for SCHED_FIFO and SCHED_RR");
    }
    if !real_time && s.priority != 0 {
        refuse("priority", "is for SCHED_FIFO and SCHED_RR only");
    }
    for (key, value) in [("runtime", s.runtime), ("deadline", s.deadline), ("period", s.period)] {
        if !deadline && value != 0 {
            refuse(key, "is for SCHED_DEADLINE only");
        }
    }
    let period = if s.period == 0 { s.deadline } else { s.period };
    if deadline && !(1024 <= s.runtime && s.runtime <= s.deadline && s.deadline <= period) {
        refuse("runtime", "must be at least 1024 ns, and not above deadline, which must not be above period");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::config::spec;
    use crate::json::value::Json;

    /// The refusals of a valid configuration with additional members.
    fn refusals(more: &str, namespaces: &str, linux: &str) -> Vec<String> {
        let text = format!(
            r#"{{"ociVersion":"1.0.2","root":{{"path":"x"}}{more},"linux":{{"namespaces":[{namespaces}]{linux}}}}}"#
        );
        let spec = spec(&Json::parse(text.as_bytes()).unwrap()).unwrap();
        validate(&spec).iter().map(|r| r.to_string()).collect()
    }

    fn refusals_of_process(members: &str) -> Vec<String> {
        let more = format!(r#","process":{{"args":["x"],"cwd":"/",{members}}}"#);
        refusals(&more, r#"{"type":"mount"}"#, "")
    }

    #[test]
    fn a_sound_configuration_is_not_refused() {
        let linux = r#","sysctl":{"net.ipv4.ip_forward":"1"},"maskedPaths":["/a"],"readonlyPaths":["/.a"],"netDevices":{}"#;
        let kinds = ["mount", "uts", "network"].map(|kind| format!(r#"{{"type":"{kind}"}}"#)).join(",");
        assert_eq!(refusals(r#","hostname":"a","domainname":"b""#, &kinds, linux), [""; 0]);
    }

    #[test]
    fn every_refusal_is_collected() {
        let linux = r#","maskedPaths":["/"],"readonlyPaths":["/a","/a/.."],
            "sysctl":{"net.core.somaxconn":"1","vm.x":"1"},"intelRdt":{"closID":"a/b"},"memoryPolicy":{"mode":"MPOL_BIND"}"#;
        assert_eq!(
            refusals(r#","hostname":"a","domainname":"b""#, "", linux),
            [
                r#"linux.maskedPaths: needs a mount namespace (add {"type": "mount"} to linux.namespaces)"#,
                r#"linux.readonlyPaths: needs a mount namespace (add {"type": "mount"} to linux.namespaces)"#,
                "linux.namespaces: a container without a mount namespace needs a new pid namespace",
                r#"hostname: needs a uts namespace (add {"type": "uts"} to linux.namespaces)"#,
                r#"domainname: needs a uts namespace (add {"type": "uts"} to linux.namespaces)"#,
                "linux.maskedPaths: the root cannot be hidden",
                "linux.readonlyPaths: the root is made read-only by root.readonly",
                "linux.sysctl.net.core.somaxconn: needs a network namespace of the container's own",
                "linux.sysctl.vm.x: is not in a namespace: it would change the host",
                "linux.memoryPolicy.nodes: is required with this mode",
                "linux.intelRdt.closID: is not the name of a class of service",
            ]
        );
    }

    #[test]
    fn names_longer_than_the_kernels_are_refused() {
        let name = "x".repeat(65);
        let more = format!(r#","hostname":"{name}","domainname":"{}""#, &name[1..]);
        let says = refusals(&more, r#"{"type":"mount"},{"type":"uts"}"#, "");
        assert_eq!(says, ["hostname: is longer than 64 bytes"]);
    }

    #[test]
    fn lists_of_a_process() {
        let members = r#""execCPUAffinity":{"initial":"0-1","final":"3-"}"#;
        assert_eq!(
            refusals_of_process(members),
            [r#"process.execCPUAffinity.final: "3-" is not a list of processors, as in "0-3,7" (0 to 1023)"#,]
        );
        assert_eq!(refusals_of_process(r#""execCPUAffinity":{"initial":"0-1","final":""}"#), [""; 0]);
    }

    #[test]
    fn schedulers() {
        for (members, says) in [
            (r#""policy":"SCHED_OTHER","nice":19"#, None),
            (r#""policy":"SCHED_RR","priority":99"#, None),
            (r#""policy":"SCHED_DEADLINE","runtime":1024,"deadline":1024"#, None),
            (r#""policy":"SCHED_OTHER","nice":20"#, Some("nice: is out of range")),
            (r#""policy":"SCHED_FIFO""#, Some("priority: must be 1 to 99")),
            (r#""policy":"SCHED_BATCH","priority":1"#, Some("priority: is for SCHED_FIFO")),
            (r#""policy":"SCHED_IDLE","period":1"#, Some("period: is for SCHED_DEADLINE")),
            (r#""policy":"SCHED_DEADLINE""#, Some("runtime: must be at least")),
            (
                r#""policy":"SCHED_DEADLINE","runtime":2000,"deadline":3000,"period":2500"#,
                Some("runtime: must be"),
            ),
        ] {
            let refused = refusals_of_process(&format!(r#""scheduler":{{{members}}}"#));
            match says {
                None => assert_eq!(refused, [""; 0], "{members}"),
                Some(says) => {
                    assert_eq!(refused.len(), 1, "{members}: {refused:?}");
                    assert!(refused[0].starts_with(&format!("process.scheduler.{says}")), "{refused:?}");
                }
            }
        }
    }
}
