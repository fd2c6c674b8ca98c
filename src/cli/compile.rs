//! Compiles what was loaded into a plan, for every command that makes a process.
//!
//! It gathers the facts, compiles, and reports refusals and warnings. It has no side effect on the host or the configuration.

use super::command::{CreateOptions, ExecOptions, Globals};
use super::create::Mode;
use super::engine_option;
use crate::bundle::load::Loaded;
use crate::bundle::spec::{NamespaceKind, Process, Spec};
use crate::cgroup::place::location::Location;
use crate::error::{Error, Result, engine};
use crate::facts::HostFacts;
use crate::log;
use crate::plan::create::{self, CreatePlan, CreateRequest};
use crate::plan::exec::{self, ExecRequest};
use crate::plan::rdt::RdtGroup;
use crate::plan::validate::Refusal;
use crate::plan::{Launch, Outputs, refused};
use crate::run::create::NewContainer;
use crate::run::exec::Exec;
use crate::run::host::Launched;
use crate::run::recorder::Recorder;
use crate::run::{inherited, namespace, notify, outputs};
use crate::seccomp::policy::Policy;
use crate::state::record::{Phase, ProcessMark, Record};
use crate::state::store::Store;
use crate::sys::boot::boot_id;
use crate::sys::file::line_of;
use crate::sys::path::join;
use crate::text::{Keep, Text};
use crate::trace;

/// The steps before a plan in a trace.
const FACTS: &str = "look at the host";
const COMPILE: &str = "compile the plan";

/// A compiled creation that has not begun.
pub struct Creation {
    /// The bundle.
    pub loaded: Loaded,
    plan: Box<CreatePlan>,
    location: Location,
    record: Record,
}

impl Creation {
    /// Performs the plan; a recorder receives the listener of the filter.
    pub fn launch(self, root: Text, recorder: Option<&Recorder>) -> Result<Launched> {
        let Creation { loaded, plan, location, record } = self;
        let store = Store::open_or_make(root)?;
        NewContainer { plan: &plan, loaded: &loaded, location: &location, recorder, record }.create(store)
    }
}

/// The directory of the notify socket, if the caller waits for readiness.
///
/// Without a mount namespace the container would get it by a mount of the host.
fn notify_directory(root: Text, id: &str, spec: &Spec) -> Option<Text> {
    notify::callers_socket()?;
    if spec.linux.namespace(NamespaceKind::Mount).is_none() {
        log::warn("NOTIFY_SOCKET: a container without a mount namespace cannot pass readiness on");
        return None;
    }
    Some(join(root, &join(id, notify::INSIDE)).keep())
}

/// Compiles a creation; the filter `recording` replaces the configuration's.
pub fn creation(
    globals: &Globals,
    id: &str,
    options: &CreateOptions,
    mode: Mode,
    recording: Option<&'static Policy>,
    loaded: Loaded,
) -> Result<Creation> {
    let spec = &loaded.spec;
    let policy = recording.or(spec.linux.seccomp.as_ref());
    trace::step(&FACTS);
    let facts = HostFacts::of_host(spec, policy, globals.cgroup_manager)?;
    check(&options.outputs, &facts, options.preserve_fds)?;
    let request = CreateRequest {
        id: id.to_owned().keep(),
        bundle: loaded.dir,
        rootfs: loaded.rootfs,
        notify: if recording.is_none() { notify_directory(globals.root, id, spec) } else { None },
        no_pivot: options.no_pivot,
        keyring: if options.no_new_keyring { None } else { Some(keyring_name(id)?) },
        preserve_fds: options.preserve_fds,
        await_start: mode.await_start,
        detach: mode.detach,
        outputs: options.outputs,
        recording,
        cgroup_manager: globals.cgroup_manager,
        delegated: globals.delegated,
    };
    trace::step(&COMPILE);
    let plan = create::compile(spec, &request, &facts).map_err(|all| refuse(all, &options.outputs))?;
    warn(&plan.launch);
    let location = plan.cgroup.locate(&facts.cgroups);
    let record = record(&request, &loaded, &location)?;
    Ok(Creation { loaded, plan, location, record })
}

/// Compiles an exec in a recorded container, which was created with `spec`.
pub fn execution(
    delegated: bool,
    record: Record,
    spec: &Spec,
    process: &Process,
    options: &ExecOptions,
) -> Result<Exec> {
    let init = record.init.ok_or_else(|| Error::new(engine::NOT_RUNNING))?;
    let join = namespace::recorded(init.pid, spec.linux.namespaces)?;
    // Without the container's mount namespace or its root the process would run on the host.
    let root = match spec.linux.namespace(NamespaceKind::Mount) {
        None => Some(format!("/proc/{}/root", init.pid).keep()),
        Some(_) if join.iter().any(|(kind, _)| *kind == NamespaceKind::Mount) => None,
        Some(_) => {
            return Err(Error::new("the container's mount namespace is not known, or the runtime's own"));
        }
    };
    let policy = spec.linux.seccomp.as_ref();
    trace::step(&FACTS);
    let facts = HostFacts::of_process(Some(process), policy)?;
    check(&options.outputs, &facts, options.preserve_fds)?;
    let request = ExecRequest {
        preserve_fds: options.preserve_fds,
        detach: options.detach,
        outputs: options.outputs,
        keyring: record.keyring,
        personality: spec.linux.personality,
        memory_policy: spec.linux.memory_policy,
        rdt: RdtGroup::of(&spec.linux, record.id),
        delegated,
        join,
        root,
    };
    trace::step(&COMPILE);
    let plan =
        exec::compile(process, policy, &request, &facts).map_err(|all| refuse(all, &options.outputs))?;
    warn(&plan.launch);
    let cgroup = match &options.cgroups[..] {
        [] => record.cgroup().or_beside(init.pid),
        inner => record.cgroup().inner(inner)?,
    };
    Ok(Exec { plan, record, init, cgroup })
}

/// Checks requests of the command line against the host.
fn check(outputs: &Outputs, facts: &HostFacts, preserve_fds: u32) -> Result<()> {
    outputs::check(outputs)?;
    inherited::check(&facts.listening, preserve_fds)
}

/// Reports refusals to a person, or to an engine's user.
///
/// An engine asks for a log or a pid file.
fn refuse(mut refusals: Vec<Refusal>, outputs: &Outputs) -> Error {
    if log::is_file() || outputs.pid_file.is_some() {
        refusals.iter_mut().for_each(|refusal| *refusal = engine_option::named(*refusal));
    }
    refused(refusals)
}

fn warn(launch: &Launch) {
    launch.warnings.iter().for_each(|w| log::warn(w));
}

/// The name of the session keyring, which an exec joins later.
///
/// It is runc's name with a random suffix: a keyring is found by its name, and a container that could guess it could make the
/// keyring first and share the keys.
fn keyring_name(id: &str) -> Result<Text> {
    Ok(format!("_ses.{id}.{}", line_of("/proc/sys/kernel/random/uuid")?).keep())
}

fn record(request: &CreateRequest, loaded: &Loaded, location: &Location) -> Result<Record> {
    let spec = &loaded.spec;
    Ok(Record {
        id: request.id,
        phase: Phase::Planned,
        boot_id: boot_id()?,
        creator: ProcessMark::own()?,
        init: None,
        bundle: request.bundle,
        rootfs: request.rootfs,
        created: log::now_rfc3339().keep(),
        oci_version: spec.oci_version,
        annotations: spec.annotations,
        cgroup: location.clone(),
        device_rules: Vec::new(),
        device_nodes: Vec::new(),
        resctrl: &[],
        own_pid_namespace: spec.linux.namespace(NamespaceKind::Pid).is_some_and(|n| n.path.is_none()),
        user_namespace: None,
        keyring: request.keyring,
        poststop_done: 0,
        embrun: env!("CARGO_PKG_VERSION"),
    })
}
