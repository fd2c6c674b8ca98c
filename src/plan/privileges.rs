//! Drops a process's privileges in the order that the kernel requires.

use super::Launch;
use super::attribute_step::AttributeStep;
use super::process;
use super::recipe::Recipe;
use super::shared::late_scheduler;
use super::step::InitStep;
use super::validate::{Refusal, refuse};
use crate::bundle::spec::Process;
use crate::error::Result;
use crate::facts::{HostFacts, SYS_PTRACE};
use crate::seccomp::arch::Arch;
use crate::seccomp::compile::compile as compile_filter;
use crate::seccomp::notify::Agent;
use crate::seccomp::policy::Policy;
use crate::text::Keep;

/// Adds the steps from the resource limits to the look-up of the program.
///
/// Without no_new_privs the kernel takes a filter only from a process with CAP_SYS_ADMIN, so the filter is loaded before the
/// capabilities are dropped, and the profile must allow the later calls. With no_new_privs the filter is loaded last
/// ([`seccomp_last`]). A filter with an agent is loaded before the host is asked for the last time, so that a missing agent fails
/// the creation.
pub fn compile(
    p: &Process,
    seccomp: Option<&Policy>,
    facts: &HostFacts,
    launch: &mut Launch,
    refusals: &mut Vec<Refusal>,
    steps: &mut Recipe<InitStep>,
) {
    if !launch.user_namespace {
        p.rlimits.iter().for_each(|limit| steps.add(AttributeStep::Rlimit(limit)));
    }
    // The process still has CAP_SYS_NICE and CAP_SYS_ADMIN here.
    if late_scheduler(launch, Some(p)).is_none() {
        steps.add_some(p.scheduler.map(AttributeStep::Scheduler));
    }
    steps.add_some(p.io_priority.map(AttributeStep::IoPriority));
    if let Some(policy) = seccomp {
        if let Err(e) = filter(policy, facts, launch) {
            refuse(refusals, format_args!("linux.seccomp"), format_args!("{e}"));
        }
    }
    // Like runc and crun: the umask is never the caller's, and the filter, which may forbid umask(2), comes later.
    steps.add(AttributeStep::Umask(p.user.umask.unwrap_or(0o022)));
    steps.add(AttributeStep::OwnStdio(p.user.uid));
    steps.add(InitStep::TryCwd);
    if p.no_new_privileges {
        steps.add(AttributeStep::NoNewPrivileges);
    } else if launch.filter.is_some() {
        steps.add(InitStep::Seccomp);
    }
    // A process has every capability in a user namespace that it makes or joins (user_namespaces(7)).
    let available = if launch.user_namespace { facts.known_capabilities } else { facts.capabilities };
    // An ordinary user's exec must find an init that waits for `start`, so the user's programs inside find it too. The kernel
    // does not let them trace a process that has a capability which they lack.
    let until_exec = if launch.by_user && launch.user_namespace { SYS_PTRACE } else { 0 };
    let caps = process::capabilities(&p.capabilities, available, until_exec, &mut launch.warnings);
    // The bounding set comes first, while the process has CAP_SETPCAP; then the ids, under keepcaps; the sets last.
    steps.add(AttributeStep::BoundingSet(caps));
    steps.add(AttributeStep::Ids(Box::new(p.user).keep()));
    steps.add(AttributeStep::Capabilities(caps));
    // The change of ids has cleared PR_SET_PDEATHSIG.
    steps.add(InitStep::DieWithHostStill);
    steps.add(InitStep::Cwd);
    steps.add(InitStep::FindProgram);
}

/// Loads a filter with an agent, before the host is asked for the last time.
pub fn seccomp_with_agent(launch: &Launch, steps: &mut Recipe<InitStep>) {
    if launch.agent.is_some() {
        seccomp_last(launch, steps);
    }
}

/// Compiles the filter, and sets its agent.
fn filter(policy: &Policy, facts: &HostFacts, launch: &mut Launch) -> Result<()> {
    let filter = launch.filter.insert(compile_filter(policy, Arch::NATIVE)?);
    filter.fit(facts.seccomp)?;
    launch.agent = Agent::of(policy).filter(|_| filter.notify);
    launch.warnings.append(&mut filter.warnings);
    Ok(())
}

/// Loads the filter as late as possible before exec, unless it is loaded already.
///
/// Then the profile need not allow the runtime's own calls.
pub fn seccomp_last(launch: &Launch, steps: &mut Recipe<InitStep>) {
    if launch.filter.is_some() && !steps.0.iter().any(|s| matches!(s, InitStep::Seccomp)) {
        steps.add(InitStep::Seccomp);
    }
}
