//! One more process in a running container.

use super::host::{Host, Launched, Subject};
use super::inherited;
use super::outputs::Outputs;
use crate::bundle::spec::{Hooks, Linux, NamespaceKind, Process};
use crate::error::{Error, Result, engine};
use crate::facts::HostFacts;
use crate::namespace;
use crate::plan::exec::{ExecRequest, compile};
use crate::plan::refused;
use crate::state::record::Record;

#[cfg(doc)]
use crate::cgroup::Cgroup;

/// Starts a process in the container of a record, in its cgroup or in `cgroups` below it ([`Cgroup::inner`]). The caller has
/// seen that the container runs, and gives what it was created with.
pub fn launch(
    record: Record,
    process: &Process,
    created: &Linux,
    request: ExecRequest,
    cgroups: &[&str],
    outputs: &Outputs,
) -> Result<Launched> {
    let init = record.init.ok_or_else(|| Error::new(engine::NOT_RUNNING))?;
    let (join, seccomp) = (namespace::recorded(init.pid, created.namespaces)?, created.seccomp.as_ref());
    // Every container has one of its own. Without it the process would run on the host.
    if !join.iter().any(|(kind, _)| *kind == NamespaceKind::Mount) {
        return Err(Error::new("the container's mount namespace is not known, or the runtime's own"));
    }
    let request = ExecRequest { join, keyring: record.keyring, personality: created.personality, ..request };
    let facts = HostFacts::of_process(seccomp)?;
    inherited::check(&facts.listening, request.preserve_fds)?;
    let plan = compile(process, seccomp, &request, &facts).map_err(refused)?;
    plan.warnings.iter().for_each(|w| crate::log::warn(w));
    let cgroup = match cgroups {
        [] => record.cgroup().or_beside(init.pid),
        inner => record.cgroup().inner(inner)?,
    };
    let subject = Subject { record, hooks: &Hooks::default(), making: None, cgroup: Some(cgroup) };
    Host::new(&plan, outputs, subject).perform()
}
