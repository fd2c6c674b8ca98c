//! Compiles the execution of one more process in a running container.

use super::step::{HostStep, InitStep, Sync};
use super::validate::{self, Refusal};
use super::{Plan, Program, privileges, process};
use crate::bundle::spec::{NamespaceKind, Personality, Process, Text};
use crate::facts::HostFacts;
use crate::seccomp::policy::Policy;

/// What the command line and the container's record say about an exec.
#[derive(Clone, Debug, Default)]
pub struct ExecRequest {
    /// How many descriptors after the standard streams the program inherits.
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
) -> Result<Plan, Vec<Refusal>> {
    let mut refusals = validate::of_process(p);
    match (p.terminal, request.detach, request.console_socket) {
        (true, true, false) => refusals.push(Refusal::new(
            "process.terminal",
            "cannot allocate tty if embrun will detach without setting console socket",
        )),
        (false, _, true) | (true, false, true) => refusals.push(Refusal::new(
            "process.terminal",
            "cannot use console socket if embrun will not detach or allocate tty",
        )),
        _ => {}
    }
    let mut plan = Plan { join: request.join.clone(), program: Program::of(p), ..Plan::default() };
    plan.host = host(p, request);
    plan.init = init(p, seccomp, request, facts, &mut plan, &mut refusals);
    if refusals.is_empty() { Ok(plan) } else { Err(refusals) }
}

fn host(p: &Process, request: &ExecRequest) -> Vec<HostStep> {
    use HostStep::*;
    let mut steps = vec![OpenNamespaces, Spawn, JoinCgroup, Await(Sync::Cgroup), Answer(Sync::Cgroup)];
    let mut when = |wanted: bool, step: HostStep| {
        if wanted {
            steps.push(step);
        }
    };
    when(p.terminal, TakeTerminal);
    when(true, Await(Sync::Created));
    when(request.pidfd_socket, SendPidfd);
    when(request.pid_file, WritePidFile);
    when(true, Answer(Sync::Created));
    when(true, AwaitExec);
    steps
}

/// The processors to run on before the process is in the container's cgroup, and those after.
fn affinity(p: &Process) -> (Option<InitStep>, Option<InitStep>) {
    let step = |list: Option<Text>| list.and_then(process::cpu_list).map(InitStep::CpuAffinity);
    p.exec_cpu_affinity.map_or((None, None), |a| (step(a.initial), step(a.last)))
}

fn init(
    p: &Process,
    seccomp: Option<&Policy>,
    request: &ExecRequest,
    facts: &HostFacts,
    plan: &mut Plan,
    refusals: &mut Vec<Refusal>,
) -> Vec<InitStep> {
    // In the cgroup before anything of the container can be waited for: what this process costs is the container's.
    let (initial, last) = affinity(p);
    let mut steps = vec![InitStep::DieWithHost];
    steps.extend(initial);
    steps.push(InitStep::Ask(Sync::Cgroup));
    // After the cgroup: a cpuset of v1 gives everything that joins it all of its processors.
    steps.extend(match p.exec_cpu_affinity {
        None => Some(InitStep::CpuAffinity(&[])),
        Some(_) => last,
    });
    steps.push(InitStep::NewSession);
    // The caller's keys stay outside.
    steps.extend(request.keyring.map(InitStep::Keyring));
    if let Some(score) = p.oom_score_adj {
        steps.push(InitStep::OomScoreAdj(score));
    }
    for (index, (kind, _)) in request.join.iter().enumerate() {
        if !matches!(kind, NamespaceKind::Pid | NamespaceKind::Mount) {
            steps.push(InitStep::JoinNamespace { kind: *kind, index });
        }
    }
    if let Some(index) = request.join.iter().position(|(kind, _)| *kind == NamespaceKind::Mount) {
        steps.push(InitStep::JoinNamespace { kind: NamespaceKind::Mount, index });
    }
    if p.terminal {
        steps.push(InitStep::Terminal { size: p.console_size });
    }
    // Before anything of the container's that could forbid it: its filter.
    steps.extend(request.personality.map(InitStep::Personality));
    privileges::compile(p, seccomp, facts, plan, refusals, &mut steps);
    steps.extend([InitStep::Ask(Sync::Created), InitStep::OutliveHost]);
    privileges::seccomp_last(plan, &mut steps);
    steps.push(InitStep::Exec { preserve_fds: request.preserve_fds });
    steps
}
