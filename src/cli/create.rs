//! `create`: "The runtime applies everything of config.json but `process.args`" (runtime.md, "Create").

use std::cell::Cell;

use super::args::{CreateOptions, Globals};
use crate::bundle::load::{Loaded, load_with};
use crate::bundle::spec::NamespaceKind;
use crate::cgroup::place::location::{Access, Location};
use crate::cgroup::planned::PlannedCgroup;
use crate::error::{Context, Result};
use crate::facts::HostFacts;
use crate::log;
use crate::plan::create::{CreateRequest, compile};
use crate::plan::{Plan, refused};
use crate::run::host::{Host, Launched, Making, Subject};
use crate::run::inherited;
use crate::run::outputs::Outputs;
use crate::run::recorder::Recorder;
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
    let creation = Creation::new(globals, id, options, Mode { await_start: true, detach: true })?;
    creation.launch(None)?;
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

/// A creation that is compiled and has not begun.
pub struct Creation {
    /// The bundle.
    pub loaded: Loaded,
    store: Cell<Option<Store>>,
    plan: Box<Plan>,
    record: Record,
    cgroup: Location,
    access: Access,
    outputs: Outputs,
}

impl Creation {
    /// Reads the bundle and compiles the plan. Nothing is made yet but the state root.
    pub fn new(globals: &Globals, id: &str, options: &CreateOptions, mode: Mode) -> Result<Creation> {
        crate::bundle::id::check(id)?;
        let config = options.config.unwrap_or("config.json");
        Creation::of(globals, id, options, mode, load_with(options.bundle, config)?)
    }

    /// The same of a bundle that was read.
    pub fn of(
        globals: &Globals,
        id: &str,
        options: &CreateOptions,
        mode: Mode,
        loaded: Loaded,
    ) -> Result<Creation> {
        options.outputs.check()?;
        let facts = HostFacts::of_host(loaded.spec.linux.seccomp.as_ref(), globals.cgroup_manager)?;
        inherited::check(&facts.listening, options.preserve_fds)?;
        let spec = &loaded.spec;
        let request = CreateRequest {
            id: id.to_owned().leak(),
            bundle: loaded.dir,
            rootfs: loaded.rootfs,
            no_pivot: options.no_pivot,
            keyring: if options.no_new_keyring { None } else { Some(keyring_name(id)?) },
            preserve_fds: options.preserve_fds,
            await_start: mode.await_start,
            detach: mode.detach,
            console_socket: options.outputs.console_socket.is_some(),
            pidfd_socket: options.outputs.pidfd_socket.is_some(),
            pid_file: options.outputs.pid_file.is_some(),
            cgroup_manager: globals.cgroup_manager,
        };
        let plan = compile(spec, &request, &facts).map_err(refused)?;
        plan.warnings.iter().for_each(|w| log::warn(w));
        let cgroup = plan.cgroup.locate(&facts.cgroups);
        let access = match (&plan.cgroup, globals.delegated) {
            (PlannedCgroup::None, _) => Access::None,
            (PlannedCgroup::Scope(..), true) => Access::Delegated { asked: true },
            (PlannedCgroup::Path(_), true) => Access::Delegated { asked: spec.linux.cgroups_path.is_some() },
            (_, false) => Access::Full,
        };
        let record = record(&request, &loaded, &cgroup)?;
        Ok(Creation {
            store: Cell::new(Some(Store::open_or_make(globals.root)?)),
            plan,
            record,
            cgroup,
            access,
            outputs: options.outputs,
            loaded,
        })
    }

    /// Performs the plan; a recorder gets the listener of its filter.
    pub fn launch(&self, recorder: Option<&Recorder>) -> Result<Launched> {
        let subject = Subject {
            record: self.record.clone(),
            hooks: &self.loaded.spec.hooks,
            making: Some(Making {
                store: &self.store,
                loaded: &self.loaded,
                location: &self.cgroup,
                recorder,
                access: self.access,
            }),
            cgroup: None,
        };
        Host::new(&self.plan, &self.outputs, subject).perform()
    }
}

/// The name of the session keyring that an exec joins later. runc's, with an end that no other container can know beforehand: a
/// keyring is found by its name, and whoever has made it first would share the keys.
fn keyring_name(id: &str) -> Result<Text> {
    let path = "/proc/sys/kernel/random/uuid";
    let random = read_text(path).about(format_args!("read {path}"))?;
    Ok(format!("_ses.{id}.{}", random.trim_ascii_end()).leak())
}

fn record(request: &CreateRequest, loaded: &Loaded, cgroup: &Location) -> Result<Record> {
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
        cgroup: cgroup.clone(),
        device_rules: Vec::new(),
        device_nodes: Vec::new(),
        own_pid_namespace: spec.linux.namespace(NamespaceKind::Pid).is_some_and(|n| n.path.is_none()),
        keyring: request.keyring,
        poststop_done: 0,
        embrun: env!("CARGO_PKG_VERSION"),
    })
}
