//! `create`: "The runtime applies everything of config.json but `process.args`" (runtime.md, "Create").

use super::args::{CreateOptions, Globals};
use crate::bundle::id;
use crate::bundle::load::{Loaded, load_with};
use crate::bundle::spec::NamespaceKind;
use crate::cgroup::place::location::Location;
use crate::error::{Context, Result};
use crate::facts::HostFacts;
use crate::log;
use crate::plan::create::{CreatePlan, CreateRequest, compile};
use crate::plan::refused;
use crate::run::create::NewContainer;
use crate::run::host::Launched;
use crate::run::recorder::Recorder;
use crate::run::{inherited, outputs};
use crate::state::observe::boot_id;
use crate::state::record::{Phase, ProcessMark, Record};
use crate::state::store::Store;
use crate::sys::file::read_text;
use crate::sys::{interrupt, sealed_exe};
use crate::text::Text;

/// Makes the container and leaves it waiting for `start`.
pub fn run(globals: &Globals, id: &str, options: &CreateOptions) -> Result<u8> {
    sealed_exe::ensure()?;
    interrupt::block()?;
    let mode = Mode { await_start: true, detach: true };
    creation(globals, id, options, mode, load(id, options)?)?.launch(globals.root, None)?;
    Ok(0)
}

/// How `create` and `run` differ.
#[derive(Clone, Copy)]
pub struct Mode {
    /// Init waits for `start`.
    pub await_start: bool,
    /// Nobody stays to relay a terminal.
    pub detach: bool,
}

/// Reads the bundle of a new container.
pub fn load(id: &str, options: &CreateOptions) -> Result<Loaded> {
    id::check(id)?;
    load_with(options.bundle, options.config.unwrap_or("config.json"))
}

/// A creation that is compiled and has not begun.
pub struct Creation {
    /// The bundle.
    pub loaded: Loaded,
    plan: Box<CreatePlan>,
    location: Location,
    record: Record,
}

impl Creation {
    /// Performs the plan; a recorder gets the listener of its filter.
    pub fn launch(self, root: Text, recorder: Option<&Recorder>) -> Result<Launched> {
        let Creation { loaded, plan, location, record } = self;
        let store = Store::open_or_make(root)?;
        NewContainer { plan: &plan, loaded: &loaded, location: &location, recorder, record }.create(store)
    }
}

/// Compiles a creation.
pub fn creation(
    globals: &Globals,
    id: &str,
    options: &CreateOptions,
    mode: Mode,
    loaded: Loaded,
) -> Result<Creation> {
    let spec = &loaded.spec;
    outputs::check(&options.outputs)?;
    let facts = HostFacts::of_host(spec.linux.seccomp.as_ref(), globals.cgroup_manager)?;
    inherited::check(&facts.listening, options.preserve_fds)?;
    let request = CreateRequest {
        id: id.to_owned().leak(),
        bundle: loaded.dir,
        rootfs: loaded.rootfs,
        no_pivot: options.no_pivot,
        keyring: if options.no_new_keyring { None } else { Some(keyring_name(id)?) },
        preserve_fds: options.preserve_fds,
        await_start: mode.await_start,
        detach: mode.detach,
        outputs: options.outputs,
        cgroup_manager: globals.cgroup_manager,
        delegated: globals.delegated,
    };
    let plan = compile(spec, &request, &facts).map_err(refused)?;
    plan.launch.warnings.iter().for_each(|w| log::warn(w));
    let location = plan.cgroup.locate(&facts.cgroups);
    let record = record(&request, &loaded, &location)?;
    Ok(Creation { loaded, plan, location, record })
}

/// The name of the session keyring that an exec joins later. runc's, with an end that no other container can know beforehand: a
/// keyring is found by its name, and whoever has made it first would share the keys.
fn keyring_name(id: &str) -> Result<Text> {
    let path = "/proc/sys/kernel/random/uuid";
    let random = read_text(path).about(format_args!("read {path}"))?;
    Ok(format!("_ses.{id}.{}", random.trim_ascii_end()).leak())
}

fn record(request: &CreateRequest, loaded: &Loaded, location: &Location) -> Result<Record> {
    let spec = &loaded.spec;
    Ok(Record {
        id: request.id,
        phase: Phase::Planned,
        boot_id: boot_id()?.leak(),
        creator: ProcessMark::of(std::process::id() as i32)?,
        init: None,
        bundle: request.bundle,
        rootfs: request.rootfs,
        created: log::now_rfc3339().leak(),
        oci_version: spec.oci_version,
        annotations: spec.annotations,
        cgroup: location.clone(),
        device_rules: Vec::new(),
        device_nodes: Vec::new(),
        own_pid_namespace: spec.linux.namespace(NamespaceKind::Pid).is_some_and(|n| n.path.is_none()),
        keyring: request.keyring,
        poststop_done: 0,
        embrun: env!("CARGO_PKG_VERSION"),
    })
}
