//! Performs the host's steps of an exec.

use super::host::{Cloning, Host, Launched, Subject, announce, begin};
use super::{namespace, step_trace};
use crate::bundle::spec::Hooks;
use crate::cgroup::Cgroup;
use crate::error::{Error, Result};
use crate::plan::exec::ExecPlan;
use crate::plan::host_step::{ExecStep, Milestone};
use crate::state::record::{ProcessMark, Record};
use crate::sys::interrupt;

/// A planned exec in a container that was observed to run.
pub struct Exec {
    /// The plan.
    pub plan: Box<ExecPlan>,
    /// The container's state.
    pub record: Record,
    /// The container's init, whose namespaces the process joins.
    pub init: ProcessMark,
    /// The cgroup that the process joins.
    pub cgroup: Cgroup,
}

impl Exec {
    /// Performs the plan.
    ///
    /// After a failure the process is gone, or the error says that it is not.
    pub fn perform(self) -> Result<Launched> {
        let Exec { plan, record, init, cgroup } = self;
        begin(&Milestone::OpenNamespaces)?;
        let (launch, hooks) = (&plan.launch, &Hooks::default());
        // It is of this init too, which is found alive after that.
        let root = plan.root.map(namespace::open_root).transpose()?;
        let mut namespaces = namespace::open_all_of(&launch.join, &init, record.user_namespace)?;
        namespaces.extend(root);
        let cloning = Cloning { launch, hooks, record: &record, cgroup: &cgroup, namespaces, waiting: None };
        step_trace::expect(launch, "exec")?;
        let spawned = cloning.spawn(&|| {})?;
        let mut host = Host::new(spawned, Subject::Running, record, cgroup, None);
        match steps(&mut host, &plan.host) {
            Ok(()) => Ok(host.launched()),
            Err(e) => Err(undo(host, e)),
        }
    }
}

fn steps(host: &mut Host<'_>, steps: &[ExecStep]) -> Result<()> {
    for step in steps {
        match step {
            ExecStep::AwaitExec => announce(step),
            _ => begin(step)?,
        }
        match *step {
            ExecStep::Common(step) => host.step(step)?,
            ExecStep::AwaitExec => host.wait_for_exec()?,
        }
    }
    Ok(())
}

fn undo(mut host: Host<'_>, cause: Error) -> Error {
    interrupt::forget();
    // A paused container stays paused.
    if host.end(|_| {}) { cause } else { cause.hint("its process does not end") }
}
