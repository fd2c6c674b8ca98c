//! Compiles the creation of a container: the recipes of host and init.

use std::fmt;

use super::attribute_step::AttributeStep;
use super::cgroup_view::{CgroupView, cgroup_owner, cgroup_view};
use super::host_step::{CommonStep, CreateStep, Milestone, PrepareStep, Sync};
use super::inside_path::InsidePath;
use super::mounts::{MountFacts, MountObject, MountStep};
use super::rdt::RdtGroup;
use super::recipe::Recipe;
use super::root_step::{MaskedPaths, RootStep};
use super::shared::{enter, inherited, join_namespaces, joins, late_scheduler, let_go, terminal};
use super::step::InitStep;
use super::user_namespace::Owner;
use super::validate::{Refusal, refuse, refuse_by, validate};
use super::{
    Launch, Outputs, Program, chroot, devices, idmap, labels, memory_policy, mounts, privileges, sysctl,
    time, user_namespace,
};
use crate::bundle::spec::{HookKind, Hooks, Namespace, NamespaceKind, Spec};
use crate::cgroup::place::location::Access;
use crate::cgroup::planned::{CgroupManager, PlannedCgroup};
use crate::cgroup::planned_limits::{CgroupFacts, PlannedLimits};
use crate::facts::HostFacts;
use crate::seccomp::policy::Policy;
use crate::text::{Keep, List, Text};

/// The part of a creation that the command line determines.
#[derive(Clone, Copy, Debug, Default)]
pub struct CreateRequest {
    /// The container's id.
    pub id: Text,
    /// The bundle's absolute path.
    pub bundle: Text,
    /// The root file system's absolute path.
    pub rootfs: Text,
    /// The directory of its notify socket, if the caller waits for readiness.
    pub notify: Option<Text>,
    /// Move the root mount instead of pivot_root(2).
    pub no_pivot: bool,
    /// The name of the new session keyring; `None` keeps the caller's.
    pub keyring: Option<Text>,
    /// The number of inherited descriptors after stdio and listening sockets.
    pub preserve_fds: u32,
    /// Init waits for `start` (`create`), or continues at once (`run`).
    pub await_start: bool,
    /// The runtime will not stay to relay a terminal.
    pub detach: bool,
    /// The destinations of the results.
    pub outputs: Outputs,
    /// The filter that replaces the configuration's while calls are recorded.
    pub recording: Option<&'static Policy>,
    /// The manager that makes the cgroup.
    pub cgroup_manager: CgroupManager,
    /// Cgroups were delegated to an ordinary user.
    pub delegated: bool,
}

/// The plan of a creation.
#[derive(Default)]
pub struct CreatePlan {
    /// The cgroup of the container.
    pub cgroup: PlannedCgroup,
    /// The runtime's rights over cgroups.
    pub access: Access,
    /// The writes that set its limits.
    pub limits: PlannedLimits,
    /// The host's steps in the new cgroup, before the clone.
    pub prepare: Vec<PrepareStep>,
    /// The host's steps while the clone is at work.
    pub host: Vec<CreateStep>,
    /// The clone's part.
    pub launch: Launch,
}

impl fmt::Display for CreatePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "host:\n  {}\n  {}", Milestone::Reserve, Milestone::MakeCgroup)?;
        self.limits.write_properties(f)?;
        for step in &self.prepare {
            writeln!(f, "  {step}")?;
            if *step == PrepareStep::LimitCgroup {
                self.limits.write_files(f)?;
            }
        }
        writeln!(f, "  {}", Milestone::Spawn)?;
        for step in &self.host {
            writeln!(f, "  {step}")?;
            if *step == CreateStep::LimitMemory {
                self.limits.write_memory(f)?;
            }
        }
        self.launch.fmt(f)
    }
}

/// Compiles a spec into the plan of its creation, or returns all refusals.
pub fn compile(
    spec: &Spec,
    request: &CreateRequest,
    facts: &HostFacts,
) -> Result<Box<CreatePlan>, Vec<Refusal>> {
    let mut refusals = validate(spec);
    user_namespace::validate_pivot(spec, request.no_pivot, &mut refusals);
    user_namespace::validate_caller(spec, facts, &mut refusals);
    let console_socket = request.outputs.console_socket.is_some();
    terminal(spec.process.as_deref(), request.detach, console_socket, &mut refusals);
    if spec.process.is_none() && !request.await_start {
        let what = format_args!("is required to run a container (only create does without)");
        refuse(&mut refusals, format_args!("process"), what);
    }
    let mut plan = Box::<CreatePlan>::default();
    cgroup(spec, request, facts, &mut plan, &mut refusals);
    limits(spec, request, facts, &mut plan, &mut refusals);
    namespaces(spec, &mut plan.launch);
    plan.launch.by_user = facts.user.is_some();
    plan.host = host(spec, request, facts, &plan);
    init(spec, request, facts, &mut plan, &mut refusals);
    plan.prepare = prepare(spec, request, &plan.launch);
    if request.recording.is_some() && spec.linux.seccomp.is_some() {
        let warning = "linux.seccomp of the bundle is not in force while it is recorded";
        plan.launch.warnings.push(warning.into());
    }
    if refusals.is_empty() { Ok(plan) } else { Err(refusals) }
}

fn cgroup(
    spec: &Spec,
    request: &CreateRequest,
    facts: &HostFacts,
    plan: &mut CreatePlan,
    refusals: &mut Vec<Refusal>,
) {
    let (manager, path) = (request.cgroup_manager, spec.linux.cgroups_path);
    match PlannedCgroup::new(manager, &facts.systemd, path, request.id, spec.annotations) {
        Ok(cgroup) => plan.cgroup = cgroup,
        Err(e) => refuse_by(refusals, &e),
    }
    plan.access = match (&plan.cgroup, request.delegated) {
        (PlannedCgroup::None, _) => Access::None,
        (_, false) => Access::Full,
        (PlannedCgroup::Path(_), true) => Access::Delegated { asked: path.is_some() },
        (PlannedCgroup::Scope(..), true) => Access::Delegated { asked: true },
    };
}

/// Decides everything that is written for `linux.resources`.
fn limits(
    spec: &Spec,
    request: &CreateRequest,
    facts: &HostFacts,
    plan: &mut CreatePlan,
    refusals: &mut Vec<Refusal>,
) {
    let resources = &spec.linux.resources;
    let facts = match request.cgroup_manager {
        CgroupManager::Disabled => CgroupFacts { devices_optional: true, ..CgroupFacts::default() },
        manager => CgroupFacts {
            unit: matches!(manager, CgroupManager::Systemd { .. }),
            devices_optional: request.delegated,
            ..facts.cgroup_facts()
        },
    };
    // Every engine writes device rules, and a caller who disables cgroups knows that they are then not enforced. Like crun, we
    // ignore them, but with a warning. Limits are still refused.
    if request.cgroup_manager == CgroupManager::Disabled && !resources.devices.is_empty() {
        plan.launch.warnings.push("linux.resources.devices: not in force without a cgroup".into());
    }
    match PlannedLimits::new(resources, &facts) {
        Ok(limits) => plan.limits = limits,
        Err(e) => refuse_by(refusals, &e),
    }
}

fn namespaces(spec: &Spec, launch: &mut Launch) {
    launch.user_namespace = spec.linux.namespace(NamespaceKind::User).is_some();
    for Namespace { kind, path } in spec.linux.namespaces {
        match path {
            Some(path) => launch.join.push((*kind, path)),
            // The clone would root it at the runtime's cgroup, so init makes it once it is in its own cgroup.
            None if *kind == NamespaceKind::Cgroup => {}
            // clone(2) cannot make it: init does.
            None if *kind == NamespaceKind::Time => {}
            None => launch.new_namespaces |= kind.clone_flag(),
        }
    }
}

fn is_new(spec: &Spec, kind: NamespaceKind) -> bool {
    spec.linux.namespace(kind).is_some_and(|n| n.path.is_none())
}

fn has_runtime_hooks(hooks: &Hooks) -> bool {
    HookKind::Prestart.is_in(hooks) || HookKind::CreateRuntime.is_in(hooks)
}

fn prepare(spec: &Spec, request: &CreateRequest, launch: &Launch) -> Vec<PrepareStep> {
    let mut steps = Recipe(vec![PrepareStep::LimitCgroup]);
    steps.add_if(!launch.join.is_empty(), PrepareStep::OpenNamespaces);
    steps.add_some(idmap::prepare(spec, &launch.init));
    steps.add_some(RdtGroup::of(&spec.linux, request.id).map(PrepareStep::MakeRdt));
    steps.add_if(request.notify.is_some(), PrepareStep::NotifyDirectory);
    steps.add_if(request.await_start, PrepareStep::Listen);
    // The program sends as soon as it runs; `start` makes the socket otherwise.
    steps.add_if(request.notify.is_some() && !request.await_start, PrepareStep::NotifySocket);
    steps.0
}

fn host(spec: &Spec, request: &CreateRequest, facts: &HostFacts, plan: &CreatePlan) -> Vec<CreateStep> {
    use CommonStep::*;
    use CreateStep::*;
    let (hooks, outputs) = (&spec.hooks, &request.outputs);
    let mut steps = Recipe(vec![JoinUnified.into()]);
    steps.add_some(RdtGroup::of(&spec.linux, request.id).map(JoinRdt));
    let owner = cgroup_owner(spec, request.rootfs, facts);
    if plan.launch.user_namespace {
        user_namespace::accompany(spec, facts, plan, owner, &mut steps);
    } else {
        steps.add_some(owner.filter(|uid| *uid != 0).map(|uid| GiveCgroup(Owner::Host(uid))));
    }
    steps.add(Await(Sync::Cgroup));
    steps.add_if(matches!(plan.cgroup, PlannedCgroup::Scope(..)), LetGoOfScope);
    // Init is in its network namespace, and has not touched it.
    let devices = spec.linux.net_devices;
    steps.add_if(!devices.is_empty(), MoveNetDevices(devices));
    steps.add(Answer(Sync::Cgroup));
    let terminal = spec.process.as_ref().is_some_and(|p| p.terminal);
    steps.add_if(terminal, TakeTerminal { socket: outputs.console_socket });
    if has_runtime_hooks(hooks) {
        steps.add(Await(Sync::RuntimeHooks));
        for kind in [HookKind::Prestart, HookKind::CreateRuntime] {
            steps.add_if(kind.is_in(hooks), RunHooks(kind));
        }
        steps.add(Answer(Sync::RuntimeHooks));
    }
    steps.add_if(joins(&plan.launch.join, NamespaceKind::Pid).is_some(), Adopt);
    steps.add(Await(Sync::Created));
    user_namespace::equip(&plan.launch, spec.process.as_deref(), &mut steps);
    steps.add_some(late_scheduler(&plan.launch, spec.process.as_deref()).map(Schedule));
    steps.add_if(!plan.limits.memory.is_empty(), LimitMemory);
    steps.add_some(outputs.pidfd_socket.map(SendPidfd));
    // The caller reads the pid file as soon as this process has ended. The record comes last, because it makes the container
    // exist.
    steps.add_some(outputs.pid_file.map(WritePidFile));
    steps.add(RecordCreated);
    steps.add(Answer(Sync::Created));
    steps.add(if request.await_start { Release } else { AwaitExec });
    steps.add_if(!request.await_start && HookKind::Poststart.is_in(hooks), RunHooks(HookKind::Poststart));
    steps.0
}

fn init(
    spec: &Spec,
    request: &CreateRequest,
    facts: &HostFacts,
    plan: &mut CreatePlan,
    refusals: &mut Vec<Refusal>,
) {
    let CreatePlan { cgroup, launch, access, .. } = plan;
    // Reserve room for all steps, because an outgrown list is not freed.
    let mut steps = Recipe(Vec::with_capacity(spec.mounts.len() + 64));
    steps.add(InitStep::DieWithHost);
    steps.add_if(!matches!(cgroup, PlannedCgroup::None), InitStep::JoinCgroup);
    let new_time = time::new_namespace(&spec.linux);
    if launch.user_namespace {
        user_namespace::enter(launch, new_time.is_some(), &mut steps);
    } else {
        join_namespaces(&launch.join, &[NamespaceKind::Pid, NamespaceKind::Cgroup], &mut steps);
        steps.add_some(new_time.map(InitStep::NewTimeNamespace));
    }
    steps.add(InitStep::NewSession);
    labels::keyring(request.keyring, spec.process.as_deref(), facts, &mut steps);
    let view = cgroup_view(spec, cgroup, *access, facts);
    root_and_mounts(spec, request, facts.selinux, view, launch, refusals, &mut steps);
    kernel_names(spec, &mut steps);
    let score = spec.process.as_ref().and_then(|p| p.oom_score_adj);
    steps.add_some(score.filter(|_| !launch.user_namespace).map(InitStep::OomScoreAdj));
    seal_root(spec, request, facts.selinux, launch, &mut steps);
    if let Some(p) = &spec.process {
        // The filter, which may forbid personality(2), comes later.
        steps.add_some(spec.linux.personality.map(AttributeStep::Personality));
        steps.add_some(spec.linux.memory_policy.as_ref().map(memory_policy::step));
        steps.add(InitStep::Home);
        steps.add_if(request.delegated && !launch.user_namespace, InitStep::CheckGroups);
        labels::compile(p, facts, refusals, &mut steps);
    }
    let terminal = spec.process.as_ref().is_some_and(|p| p.terminal);
    let_go(launch, inherited(request.preserve_fds, facts), terminal, &mut steps);
    if let Some(p) = &spec.process {
        launch.program = Program::of(p, &facts.listening, request.notify.is_some());
        let policy = request.recording.or(spec.linux.seccomp.as_ref());
        privileges::compile(p, policy, facts, launch, refusals, &mut steps);
    }
    enter(&launch.join, terminal, &mut steps);
    privileges::seccomp_with_agent(launch, &mut steps);
    finish(spec, request, launch, &mut steps);
    launch.init = steps.0;
    if launch.user_namespace {
        launch.opens = user_namespace::files_of_the_host(&launch.init);
    }
}

/// Prepares root and mounts, up to the hooks that still see the host's files.
fn root_and_mounts(
    spec: &Spec,
    request: &CreateRequest,
    selinux: bool,
    cgroup: CgroupView,
    launch: &mut Launch,
    refusals: &mut Vec<Refusal>,
    steps: &mut Recipe<InitStep>,
) {
    steps.add(match chroot::is_asked(spec) {
        true => InitStep::OpenRoot(request.rootfs),
        false => InitStep::PrepareRoot { rootfs: request.rootfs, propagation: spec.linux.rootfs_propagation },
    });
    let facts = MountFacts {
        rootfs: request.rootfs,
        bundle: request.bundle,
        own_network: spec.linux.namespace(NamespaceKind::Network).is_some(),
        own_pids: spec.linux.namespace(NamespaceKind::Pid).is_some(),
        cgroup,
        selinux,
        notify: request.notify,
    };
    let mounts = mounts::compile(spec, &facts).unwrap_or_else(|found| {
        refusals.extend(found);
        &[]
    });
    launch.warnings.append(&mut mounts::warnings(spec, &facts));
    // A mount of the cgroup file system shows the cgroup namespace of the process that mounts it.
    let (before, rest) = mounts.split_at(mounts.iter().position(shows_cgroup).unwrap_or(mounts.len()));
    for step in before {
        steps.add(RootStep::Mount(step));
    }
    enter_cgroup(spec, launch, steps);
    for step in rest {
        steps.add(RootStep::Mount(step));
    }
    let devices = devices::compile(spec, mounts).unwrap_or_else(|found| {
        refusals.extend(found);
        None
    });
    steps.add_some(devices.map(RootStep::Devices));
    if let Some(p) = &spec.process {
        steps.add_some(InsidePath::new(p.cwd).map(RootStep::MakeCwd));
        steps.add_if(p.terminal, InitStep::Terminal { size: p.console_size });
    }
    steps.add(RootStep::StdioNull);
    steps.add_if(is_new(spec, NamespaceKind::Network), InitStep::LoopbackUp);
    steps.add_if(has_runtime_hooks(&spec.hooks), InitStep::Ask(Sync::RuntimeHooks));
    let hooks = HookKind::CreateContainer;
    steps.add_if(hooks.is_in(&spec.hooks), InitStep::RunHooks(hooks));
}

fn shows_cgroup(step: &MountStep) -> bool {
    match &step.what {
        MountObject::CgroupV1 { .. } => true,
        MountObject::New(new) => new.kind.to_bytes().starts_with(b"cgroup"),
        _ => false,
    }
}

fn enter_cgroup(spec: &Spec, launch: &Launch, steps: &mut Recipe<InitStep>) {
    steps.add(InitStep::Ask(Sync::Cgroup));
    // The caller may be confined to a few processors; the container gets those of its cgroup.
    steps.add(AttributeStep::CpuAffinity(&[]));
    steps.add_if(is_new(spec, NamespaceKind::Cgroup), InitStep::NewCgroupNamespace);
    if let Some(index) = joins(&launch.join, NamespaceKind::Cgroup).filter(|_| !launch.user_namespace) {
        steps.add(InitStep::JoinNamespace { kind: NamespaceKind::Cgroup, index });
    }
}

/// Sets names and parameters of the container's namespaces in the host's procfs.
fn kernel_names(spec: &Spec, steps: &mut Recipe<InitStep>) {
    steps.add_some(spec.hostname.map(InitStep::Hostname));
    steps.add_some(spec.domainname.map(InitStep::Domainname));
    for (key, value) in spec.linux.sysctl {
        // validate has already refused parameters that are not the container's.
        if let Ok(path) = sysctl::path(key, spec.linux.namespaces) {
            steps.add(InitStep::Sysctl(Box::new((path, *value)).keep()));
        }
    }
}

/// Restricts the root, after the hooks that may still need to write to it.
///
/// All steps use descriptors and the host's procfs, so they come before the pivot.
fn seal_root(
    spec: &Spec,
    request: &CreateRequest,
    selinux: bool,
    launch: &Launch,
    steps: &mut Recipe<InitStep>,
) {
    let inside = |paths: List<Text>| {
        let mut all = Vec::with_capacity(paths.len());
        all.extend(paths.iter().filter_map(|p| InsidePath::new(p)));
        all.keep()
    };
    if chroot::is_asked(spec) {
        steps.add(RootStep::Chroot);
        return;
    }
    steps.add(RootStep::FinishMounts);
    let (readonly, masked) = (inside(spec.linux.readonly_paths), inside(spec.linux.masked_paths));
    steps.add_if(!readonly.is_empty(), RootStep::ReadonlyPaths(readonly));
    if !masked.is_empty() {
        let label = labels::of_mounts(spec, selinux);
        let labelled = label.map(|_| labels::with_context("tmpfs", MaskedPaths::NOTHING, label));
        let data = labelled.map_or(MaskedPaths::NOTHING, Keep::keep);
        steps.add(RootStep::MaskedPaths(Box::new(MaskedPaths { paths: masked, data }).keep()));
    }
    steps.add_if(spec.root.readonly, RootStep::ReadonlyRoot);
    // The host has opened all files for it by now.
    steps.add_if(launch.by_user && launch.user_namespace, InitStep::Hide);
    steps.add(if request.no_pivot { RootStep::MoveRoot } else { RootStep::PivotRoot });
}

fn finish(spec: &Spec, request: &CreateRequest, launch: &Launch, steps: &mut Recipe<InitStep>) {
    // An ordinary user's exec finds its namespaces then. It holds nothing of the host any more, nor of the environment.
    let waits = request.await_start && launch.by_user && launch.user_namespace;
    steps.add_if(waits, InitStep::Show);
    // After this answer init waits for `start`, and its parent ends.
    steps.add(InitStep::Ask(Sync::Created));
    steps.add_if(launch.agent.is_some(), InitStep::CloseListener);
    steps.add(InitStep::OutliveHost);
    steps.add_if(request.await_start, InitStep::AwaitStart);
    privileges::seccomp_last(launch, steps);
    // The hook runs under the filter, because its program comes from the container's own file system.
    let hooks = HookKind::StartContainer;
    steps.add_if(hooks.is_in(&spec.hooks), InitStep::RunHooks(hooks));
    steps.add(InitStep::Exec);
}
