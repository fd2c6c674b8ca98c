//! Compiles the execution of one more process in a running container.

use super::recipe::Recipe;
use super::step::{HostStep, InitStep, Sync};
use super::validate::{self, Refusal};
use super::{Plan, Program, create, privileges, process};
use crate::bundle::spec::{NamespaceKind, Personality, Process};
use crate::facts::HostFacts;
use crate::seccomp::policy::Policy;
use crate::text::Text;

/// What the command line and the container's record say about an exec.
#[derive(Clone, Debug, Default)]
pub struct ExecRequest {
    /// How many descriptors the program inherits after the standard streams and the listening sockets.
    pub preserve_fds: u32,
    /// The runtime will not stay to relay a terminal.
    pub detach: bool,
    /// A socket takes the terminal's master.
    pub console_socket: bool,
    /// A socket takes a pidfd of the process.
    pub pidfd_socket: bool,
    /// A file takes the process' pid.
    pub pid_file: bool,
    /// The container's session keyring, unless it has the caller's.
    pub keyring: Option<Text>,
    /// The container's `linux.personality.domain`.
    pub personality: Option<Personality>,
    /// Namespaces of init that are not the runtime's: kind and path.
    pub join: Vec<(NamespaceKind, Text)>,
}

/// Compiles the plan of an exec, or says everything that stands in the way.
pub fn compile(
    p: &Process,
    seccomp: Option<&Policy>,
    request: &ExecRequest,
    facts: &HostFacts,
) -> Result<Box<Plan>, Vec<Refusal>> {
    let mut refusals = Vec::new();
    validate::of_process(p, &mut refusals);
    create::terminal(Some(p), request.detach, request.console_socket, &mut refusals);
    let mut plan = Box::<Plan>::default();
    plan.join.clone_from(&request.join);
    plan.program = Program::of(p, &facts.listening);
    plan.host = host(p, request);
    plan.init = init(p, seccomp, request, facts, &mut plan, &mut refusals);
    if refusals.is_empty() { Ok(plan) } else { Err(refusals) }
}

fn host(p: &Process, request: &ExecRequest) -> Vec<HostStep> {
    use HostStep::*;
    let mut steps = Recipe(vec![OpenNamespaces, Spawn, JoinUnified]);
    steps.add(Await(Sync::Cgroup));
    steps.add(Answer(Sync::Cgroup));
    steps.add_if(p.terminal, TakeTerminal);
    steps.add_if(request.join.iter().any(|(kind, _)| *kind == NamespaceKind::Pid), Adopt);
    steps.add(Await(Sync::Created));
    steps.add_if(request.pidfd_socket, SendPidfd);
    steps.add_if(request.pid_file, WritePidFile);
    steps.add(Answer(Sync::Created));
    steps.add(AwaitExec);
    steps.0
}

fn init(
    p: &Process,
    seccomp: Option<&Policy>,
    request: &ExecRequest,
    facts: &HostFacts,
    plan: &mut Plan,
    refusals: &mut Vec<Refusal>,
) -> Vec<InitStep> {
    let mut steps = Recipe::default();
    let cpus = |list: Option<Text>| list.and_then(process::cpu_list).map(InitStep::CpuAffinity);
    // In the cgroup before anything of the container can be waited for: what this process costs is the container's.
    steps.add(InitStep::DieWithHost);
    steps.add_some(p.exec_cpu_affinity.and_then(|a| cpus(a.initial)));
    steps.add(InitStep::JoinCgroup);
    steps.add(InitStep::Ask(Sync::Cgroup));
    // After the cgroup: a cpuset of v1 gives everything that joins it all of its processors.
    steps.add_some(match p.exec_cpu_affinity {
        None => Some(InitStep::CpuAffinity(&[])),
        Some(a) => cpus(a.last),
    });
    steps.add(InitStep::NewSession);
    // The caller's keys stay outside.
    steps.add_some(request.keyring.map(InitStep::Keyring));
    steps.add_some(p.oom_score_adj.map(InitStep::OomScoreAdj));
    create::join_namespaces(&request.join, &[NamespaceKind::Pid], &mut steps);
    steps.add_if(p.terminal, InitStep::Terminal { size: p.console_size });
    // Before anything of the container's that could forbid it: its filter.
    steps.add_some(request.personality.map(InitStep::Personality));
    steps.add(InitStep::Home);
    let preserve_fds = create::inherited(request.preserve_fds, facts);
    create::let_go(&request.join, preserve_fds, p.terminal, &mut steps);
    privileges::compile(p, seccomp, facts, plan, refusals, &mut steps);
    create::enter(&request.join, p.terminal, &mut steps);
    privileges::seccomp_with_agent(plan, &mut steps);
    steps.add(InitStep::Ask(Sync::Created));
    steps.add_if(plan.agent.is_some(), InitStep::CloseListener);
    steps.add(InitStep::OutliveHost);
    privileges::seccomp_last(plan, &mut steps);
    steps.add(InitStep::Exec);
    steps.0
}
