//! Compiles the execution of another process in a running container.

use std::fmt;

use super::attribute_step::AttributeStep;
use super::host_step::{CommonStep, ExecStep, Milestone, Sync};
use super::rdt::RdtGroup;
use super::recipe::Recipe;
use super::shared::{enter, inherited, join_namespaces, late_scheduler, let_go, terminal};
use super::step::InitStep;
use super::validate::{self, Refusal};
use super::{Launch, Outputs, Program, chroot, labels, memory_policy, privileges, process, user_namespace};
use crate::bundle::spec::{MemoryPolicy, NamespaceKind, Personality, Process};
use crate::facts::HostFacts;
use crate::seccomp::policy::Policy;
use crate::text::Text;

/// The part of an exec that the command line and the record determine.
#[derive(Clone, Debug, Default)]
pub struct ExecRequest {
    /// The number of inherited descriptors after stdio and listening sockets.
    pub preserve_fds: u32,
    /// The runtime will not stay to relay a terminal.
    pub detach: bool,
    /// The destinations of the results.
    pub outputs: Outputs,
    /// The container's session keyring; `None` if it has the caller's.
    pub keyring: Option<Text>,
    /// The container's `linux.personality.domain`.
    pub personality: Option<Personality>,
    /// The container's `linux.memoryPolicy`.
    pub memory_policy: Option<MemoryPolicy>,
    /// The container's resctrl groups.
    pub rdt: Option<&'static RdtGroup>,
    /// The caller is an ordinary user, or root of a user namespace.
    pub delegated: bool,
    /// The namespaces of init that differ from the runtime's: kind and path.
    pub join: Vec<(NamespaceKind, Text)>,
    /// The link to init's root, if the container has no mount namespace.
    pub root: Option<Text>,
}

/// The plan of an exec.
pub struct ExecPlan {
    /// The link to the root that the host opens for it, after the namespaces.
    pub root: Option<Text>,
    /// The host's steps while its clone is at work.
    pub host: Vec<ExecStep>,
    /// The clone's part.
    pub launch: Launch,
}

impl fmt::Display for ExecPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "host:\n  {}", Milestone::OpenNamespaces)?;
        self.root.map_or(Ok(()), |root| writeln!(f, "  open {root}"))?;
        writeln!(f, "  {}", Milestone::Spawn)?;
        self.host.iter().try_for_each(|s| writeln!(f, "  {s}"))?;
        self.launch.fmt(f)
    }
}

/// Compiles the plan of an exec, or returns all refusals.
pub fn compile(
    p: &Process,
    seccomp: Option<&Policy>,
    request: &ExecRequest,
    facts: &HostFacts,
) -> Result<Box<ExecPlan>, Vec<Refusal>> {
    let mut refusals = Vec::new();
    validate::of_process(p, &mut refusals);
    if request.root.is_some() {
        chroot::of_process(p, &mut refusals);
    }
    terminal(Some(p), request.detach, request.outputs.console_socket.is_some(), &mut refusals);
    let user_namespace = request.join.iter().any(|(kind, _)| *kind == NamespaceKind::User);
    let by_user = facts.user.is_some();
    let mut launch = Launch { join: request.join.clone(), user_namespace, by_user, ..Launch::default() };
    launch.program = Program::of(p, &facts.listening, false);
    launch.init = init(p, seccomp, request, facts, &mut launch, &mut refusals);
    if refusals.is_empty() {
        Ok(Box::new(ExecPlan { root: request.root, host: host(p, request, &launch), launch }))
    } else {
        Err(refusals)
    }
}

fn host(p: &Process, request: &ExecRequest, launch: &Launch) -> Vec<ExecStep> {
    use CommonStep::*;
    let outputs = &request.outputs;
    let mut steps = Recipe(vec![JoinUnified.into()]);
    steps.add_some(request.rdt.map(JoinRdt));
    steps.add(Await(Sync::Cgroup));
    steps.add(Answer(Sync::Cgroup));
    steps.add_if(p.terminal, TakeTerminal { socket: outputs.console_socket });
    steps.add_if(request.join.iter().any(|(kind, _)| *kind == NamespaceKind::Pid), Adopt);
    steps.add(Await(Sync::Created));
    user_namespace::equip(launch, Some(p), &mut steps);
    steps.add_some(late_scheduler(launch, Some(p)).map(Schedule));
    steps.add_some(outputs.pidfd_socket.map(SendPidfd));
    steps.add_some(outputs.pid_file.map(WritePidFile));
    steps.add(Answer(Sync::Created));
    steps.add(ExecStep::AwaitExec);
    steps.0
}

fn init(
    p: &Process,
    seccomp: Option<&Policy>,
    request: &ExecRequest,
    facts: &HostFacts,
    launch: &mut Launch,
    refusals: &mut Vec<Refusal>,
) -> Vec<InitStep> {
    let mut steps = Recipe::default();
    let cpus = |list: Option<Text>| list.and_then(process::cpu_list).map(AttributeStep::CpuAffinity);
    // It joins the cgroup before it can wait for the container, so that the container's cgroup is charged.
    steps.add(InitStep::DieWithHost);
    steps.add_some(p.exec_cpu_affinity.and_then(|a| cpus(a.initial)));
    steps.add(InitStep::JoinCgroup);
    steps.add(InitStep::Ask(Sync::Cgroup));
    // The affinity comes after the cgroup, because a v1 cpuset gives all of its processors to each process that joins.
    steps.add_some(match p.exec_cpu_affinity {
        None => Some(AttributeStep::CpuAffinity(&[])),
        Some(a) => cpus(a.last),
    });
    steps.add(InitStep::NewSession);
    // The process must not get the caller's keys.
    if !launch.user_namespace {
        labels::keyring(request.keyring, Some(p), facts, &mut steps);
    }
    if let Some(score) = p.oom_score_adj {
        // The file belongs to root otherwise. No process of the container can trace one of the host's user namespace.
        steps.add_if(launch.by_user, InitStep::Show);
        steps.add(InitStep::OomScoreAdj(score));
        steps.add_if(launch.by_user, InitStep::Hide);
    }
    if launch.user_namespace {
        user_namespace::join(launch, &mut steps);
        // The kernel looks its name up among those of the user namespace.
        labels::keyring(request.keyring, Some(p), facts, &mut steps);
    } else {
        join_namespaces(&request.join, &[NamespaceKind::Pid], &mut steps);
        steps.add_some(request.root.map(|_| InitStep::EnterRoot { index: request.join.len() }));
    }
    steps.add_if(p.terminal, InitStep::Terminal { size: p.console_size });
    // The container's filter, which may forbid personality(2), comes later.
    steps.add_some(request.personality.map(AttributeStep::Personality));
    steps.add_some(request.memory_policy.as_ref().map(memory_policy::step));
    steps.add(InitStep::Home);
    steps.add_if(request.delegated && !launch.user_namespace, InitStep::CheckGroups);
    labels::compile(p, facts, refusals, &mut steps);
    let preserve_fds = inherited(request.preserve_fds, facts);
    let_go(launch, preserve_fds, p.terminal, &mut steps);
    privileges::compile(p, seccomp, facts, launch, refusals, &mut steps);
    enter(&request.join, p.terminal, &mut steps);
    privileges::seccomp_with_agent(launch, &mut steps);
    steps.add(InitStep::Ask(Sync::Created));
    steps.add_if(launch.agent.is_some(), InitStep::CloseListener);
    steps.add(InitStep::OutliveHost);
    privileges::seccomp_last(launch, &mut steps);
    steps.add(InitStep::Exec);
    steps.0
}
