//! How a process gives up what it may not keep, in the order that the kernel allows.

use super::Plan;
use super::process;
use super::step::InitStep;
use super::validate::Refusal;
use crate::bundle::spec::Process;
use crate::facts::HostFacts;
use crate::seccomp::arch::Arch;
use crate::seccomp::compile::compile as compile_filter;
use crate::seccomp::notify::Agent;
use crate::seccomp::policy::Policy;

/// Adds the steps from the resource limits to the program's look-up, and the filter to the plan.
///
/// Without no_new_privs the kernel takes a filter only from a process with CAP_SYS_ADMIN, so the filter comes before the
/// capabilities go, and the profile must allow what follows here. With it the filter comes last ([`seccomp_last`]).
pub fn compile(
    p: &Process,
    seccomp: Option<&Policy>,
    facts: &HostFacts,
    plan: &mut Plan,
    refusals: &mut Vec<Refusal>,
    steps: &mut Vec<InitStep>,
) {
    steps.extend(p.rlimits.iter().copied().map(InitStep::Rlimit));
    // While CAP_SYS_NICE and CAP_SYS_ADMIN are there.
    steps.extend(p.scheduler.map(InitStep::Scheduler));
    steps.extend(p.io_priority.map(InitStep::IoPriority));
    if let Some(policy) = seccomp {
        let compiled = compile_filter(policy, Arch::NATIVE).and_then(|mut filter| {
            filter.fit(facts.seccomp)?;
            Ok(filter)
        });
        match compiled {
            Ok(filter) => {
                plan.agent = Agent::of(policy).filter(|_| filter.notify);
                plan.warnings.extend(filter.warnings.iter().cloned());
                plan.filter = Some(filter);
            }
            Err(e) => refusals.push(Refusal::new("linux.seccomp", e.to_string())),
        }
    }
    steps.push(InitStep::OwnStdio(p.user.uid));
    steps.push(InitStep::TryCwd);
    if p.no_new_privileges {
        steps.push(InitStep::NoNewPrivileges);
    } else if plan.filter.is_some() {
        steps.push(InitStep::Seccomp);
    }
    let (caps, warnings) = process::capabilities(p.capabilities.as_ref(), facts.capabilities);
    plan.warnings.extend(warnings);
    // The bounding set first, while CAP_SETPCAP is there; ids next, under keepcaps; the sets last.
    steps.push(InitStep::BoundingSet(caps.bounding));
    steps.push(InitStep::Ids { uid: p.user.uid, gid: p.user.gid, groups: p.user.additional_gids });
    steps.push(InitStep::Capabilities {
        effective: caps.effective,
        permitted: caps.permitted,
        inheritable: caps.inheritable,
        ambient: caps.ambient,
    });
    // The change of ids has cleared it.
    steps.push(InitStep::DieWithHost);
    steps.push(InitStep::Cwd);
    if let Some(umask) = p.user.umask {
        steps.push(InitStep::Umask(umask));
    }
    steps.push(InitStep::FindProgram);
}

/// Adds the filter as close to exec as can be, unless it is loaded already: the profile need not allow what the runtime
/// does before.
pub fn seccomp_last(plan: &Plan, steps: &mut Vec<InitStep>) {
    if plan.filter.is_some() && !steps.contains(&InitStep::Seccomp) {
        steps.push(InitStep::Seccomp);
    }
}
