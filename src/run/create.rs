//! Performs the host's steps of a creation, and undoes them on failure.

use std::os::fd::{AsFd, OwnedFd};

use nix::unistd::Uid;

use super::conversation::hook_state;
use super::host::{Cloning, Host, Launched, Spawned, Subject, announce, begin};
use super::net_devices::MovedDevices;
use super::recorder::Recorder;
use super::start_fifo::{InitFifos, listen};
use super::take_down::{note, run_poststop_hooks};
use super::{hooks, idmap, namespace, notify, rdt, step_trace, time, user_namespace};
use crate::bundle::load::Loaded;
use crate::bundle::spec::HookKind;
use crate::cgroup::Cgroup;
use crate::cgroup::place::location::Location;
use crate::error::{Error, Result, engine};
use crate::log;
use crate::plan::create::CreatePlan;
use crate::plan::host_step::{CreateStep, Milestone, PrepareStep};
use crate::plan::user_namespace::Owner;
use crate::state::locked::Locked;
use crate::state::public;
use crate::state::record::{Phase, Record};
use crate::state::store::Store;
use crate::state::work::TAKEN_OVER;
use crate::sys::{clock, interrupt, killed, process};
use crate::text::Keep;

/// A planned container that does not exist yet.
pub struct NewContainer<'a> {
    /// The plan.
    pub plan: &'a CreatePlan,
    /// The bundle that was planned.
    pub loaded: &'a Loaded,
    /// The location that its cgroup will have.
    pub location: &'a Location,
    /// The recorder that receives the filter's listener, if calls are recorded.
    pub recorder: Option<&'a Recorder>,
    /// Its state, with the phase `planned`.
    pub record: Record,
}

/// The descriptors that the clone needs.
#[derive(Default)]
struct Prepared {
    namespaces: Vec<OwnedFd>,
    waiting: Option<InitFifos>,
    notify: Option<OwnedFd>,
}

impl<'a> NewContainer<'a> {
    /// Performs the plan, and undoes it on failure.
    ///
    /// An error names everything that cannot be undone; the record is then kept for a later delete.
    pub fn create(mut self, store: Store) -> Result<Launched> {
        begin(&Milestone::Reserve)?;
        let dir = store.claim(self.record.id)?;
        // The limit on open files may be low, so close descriptors early.
        drop(store);
        let reserved = self.reserve(&dir).and_then(|()| self.make_cgroup());
        let cgroup = match reserved {
            Ok(cgroup) => cgroup,
            Err(e) => return Err(destroyed(dir, e)),
        };
        match self.spawn(&dir, &cgroup) {
            Ok((spawned, notify)) => {
                self.accompany(dir, cgroup, spawned).map(|launched| Launched { notify, ..launched })
            }
            Err(e) => Err(removed(&self.record, &cgroup, e).map_or_else(|kept| kept, |e| destroyed(dir, e))),
        }
    }

    fn reserve(&self, dir: &Locked) -> Result<()> {
        // The record comes first: a directory without one is from a create that did not begin, or is damaged.
        dir.write_record(&self.record)?;
        dir.write_config(self.loaded.text)?;
        dir.clear_work()
    }

    fn make_cgroup(&self) -> Result<Cgroup> {
        begin(&Milestone::MakeCgroup)?;
        Cgroup::create(self.location, &self.plan.limits, self.plan.access)
    }

    /// Clones init; with it returns the notify socket, if the program runs at once.
    fn spawn(&mut self, dir: &Locked, cgroup: &Cgroup) -> Result<(Spawned<'a>, Option<OwnedFd>)> {
        // Only now may `delete` kill the cgroup's members: until it was made, the path could have belonged to another
        // container.
        self.record.cgroup = cgroup.location();
        self.record.phase = Phase::Creating;
        for step in &self.plan.prepare {
            if let PrepareStep::MakeRdt(group) = step {
                self.record.resctrl = rdt::missing(group)?;
            }
        }
        dir.write_record(&self.record)?;
        let mut prepared = Prepared::default();
        for step in &self.plan.prepare {
            begin(step)?;
            match step {
                PrepareStep::LimitCgroup => cgroup.limit(&self.plan.limits)?,
                PrepareStep::OpenNamespaces => prepared.namespaces = self.open_namespaces()?,
                PrepareStep::MakeMaps { index, all } => {
                    prepared.namespaces.extend(idmap::carriers(*index, all)?);
                }
                PrepareStep::MakeRdt(group) => rdt::make(group, &mut self.record.resctrl)?,
                PrepareStep::NotifyDirectory => notify::make_directory(dir)?,
                PrepareStep::NotifySocket => prepared.notify = Some(notify::listen(dir)?),
                PrepareStep::Listen => prepared.waiting = Some(listen(dir)?),
            }
        }
        let Prepared { namespaces, waiting, notify } = prepared;
        let (launch, hooks) = (&self.plan.launch, &self.loaded.spec.hooks);
        let cloning = Cloning { launch, record: &self.record, hooks, cgroup, namespaces, waiting };
        step_trace::expect(launch, "init")?;
        let spawned = cloning.spawn(&|| dir.close_in_clone())?;
        Ok((spawned, notify))
    }

    fn open_namespaces(&self) -> Result<Vec<OwnedFd>> {
        let join = &self.plan.launch.join;
        let opened = join.iter().map(namespace::open).collect::<Result<Vec<_>>>()?;
        // Refuse to join a namespace of the host that the container would change.
        for ((kind, path), fd) in join.iter().zip(&opened) {
            let changes = self.plan.launch.init.iter().find(|step| step.sets() == Some(*kind));
            let Some(step) = changes else { continue };
            if namespace::is_hosts(*kind, fd)? {
                return Err(Error::of(format_args!(
                    "not allowed in the host's {kind} namespace, which is {path}"
                ))
                .context(step));
            }
        }
        Ok(opened)
    }

    /// Performs the host's steps while init is at work.
    fn accompany(self, dir: Locked, cgroup: Cgroup, spawned: Spawned<'a>) -> Result<Launched> {
        let NewContainer { plan, loaded, location, recorder, record } = self;
        let host = Host::new(spawned, Subject::New(recorder), record, cgroup, Some(dir));
        let mut making = Making { host, plan, loaded, location, devices: None };
        match making.perform() {
            Ok(()) => Ok(making.host.launched()),
            Err(e) => Err(making.undo(e)),
        }
    }
}

/// A container whose init is at work.
struct Making<'a> {
    host: Host<'a>,
    plan: &'a CreatePlan,
    loaded: &'a Loaded,
    location: &'a Location,
    /// The network devices that it has got from the host.
    devices: Option<MovedDevices>,
}

impl Making<'_> {
    fn perform(&mut self) -> Result<()> {
        self.host.mark_init()?;
        for step in &self.plan.host {
            match step {
                CreateStep::AwaitExec => announce(step),
                _ => begin(step)?,
            }
            self.step(*step)?;
        }
        Ok(())
    }

    fn step(&mut self, step: CreateStep) -> Result<()> {
        match step {
            CreateStep::Common(step) => self.host.step(step),
            CreateStep::LetGoOfScope => {
                self.host.cgroup.let_go();
                Ok(())
            }
            CreateStep::GiveCgroup(owner) => self.give_cgroup(owner),
            CreateStep::DenyGroups => user_namespace::deny_groups(self.host.child.pid),
            CreateStep::MapIds(maps) => {
                user_namespace::map(&mut self.host.dir, self.host.child.pid, &maps, "linux")
            }
            CreateStep::CheckIds(maps) => user_namespace::check(self.host.child.pid, &maps),
            CreateStep::TimeOffsets(offsets) => time::set_offsets_of(self.host.child.pid, offsets),
            CreateStep::OomScoreAdj(score) => user_namespace::set_oom_score(self.host.child.pid, score),
            CreateStep::MoveNetDevices(devices) => {
                let moves = self.devices.insert(MovedDevices::between(self.host.child.pid.as_raw())?);
                devices.iter().try_for_each(|device| moves.take(device))
            }
            CreateStep::RunHooks(kind) => self.run_hooks(kind),
            CreateStep::LimitMemory => self.host.cgroup.limit_memory(&self.plan.limits),
            CreateStep::RecordCreated => self.record_created(),
            CreateStep::Release => {
                self.host.wait_for_release()?;
                self.survived()
            }
            CreateStep::AwaitExec => {
                self.host.wait_for_exec()?;
                self.survived()
            }
        }
    }

    fn give_cgroup(&self, owner: Owner) -> Result<()> {
        let Host { cgroup, child, .. } = &self.host;
        cgroup.give(Uid::from_raw(match owner {
            Owner::Host(uid) => uid,
            Owner::Inside(uid) => user_namespace::host_uid(child.pid, uid)?,
        }))
    }

    fn run_hooks(&mut self, kind: HookKind) -> Result<()> {
        self.host.dir.as_ref().ok_or_else(taken_over)?;
        self.host.hooks_began = true;
        let state = hook_state(&self.host.record, kind, self.host.child.pid.as_raw());
        hooks::run_all(&mut self.host.dir, &self.loaded.spec.hooks, kind, &state)
    }

    fn record_created(&mut self) -> Result<()> {
        let Host { record, dir, .. } = &mut self.host;
        let dir = dir.as_ref().ok_or_else(taken_over)?;
        record.init = dir.init;
        record.phase = Phase::Created;
        record.created = log::now_rfc3339().keep();
        dir.write_record(record)?;
        dir.publish(&|out| public::write(out, record, self.loaded, self.location), record)
    }

    /// Fails if the OOM killer has killed init.
    ///
    /// The OOM killer leaves no message; only the kernel's count shows that a memory limit is too low for the start. An exec
    /// reports it through its exit status.
    fn survived(&self) -> Result<()> {
        let Host { cgroup, child, killed_before, .. } = &self.host;
        let pidfd = child.pidfd.as_ref().map(|fd| fd.as_fd());
        if cgroup.killed_at_start(pidfd, *killed_before) && process::is_killed(child.pid) {
            return Err(Error::new(engine::INIT_OOM));
        }
        Ok(())
    }

    /// Undoes the launch; the error names everything that could not be undone.
    fn undo(mut self, cause: Error) -> Error {
        interrupt::forget();
        // Frozen processes do not die on v1. A paused container stays paused.
        let gone = self.host.end(Cgroup::let_die);
        let cause = match self.devices.take() {
            Some(devices) => devices.put_back(cause),
            None => cause,
        };
        let Host { dir, cgroup, mut record, hooks_began, .. } = self.host;
        let Some(dir) = dir else {
            return if gone { cause } else { cause.hint("its process does not end") };
        };
        if !gone {
            return cause.hint("init does not end; delete it later");
        }
        let cause = match removed(&record, &cgroup, cause) {
            Ok(cause) => cause,
            Err(kept) => return kept,
        };
        // Poststop hooks run because earlier hooks may have made resources that they remove (runtime.md, "Lifecycle", steps 12
        // and 13).
        let hooks = HookKind::Poststop.of(&self.loaded.spec.hooks);
        if !hooks_began || hooks.is_empty() {
            return destroyed(dir, cause);
        }
        record.phase = Phase::Deleting;
        reported(note(&dir, &record).and_then(|()| run_poststop_hooks(dir, record, hooks)), cause)
    }
}

/// Removes the cgroup and the resctrl groups.
///
/// It returns the cause, or as `Err` what remains; in the latter case the record is kept.
fn removed(record: &Record, cgroup: &Cgroup, cause: Error) -> std::result::Result<Error, Error> {
    interrupt::forget();
    let deadline = clock::after(killed::DEADLINE);
    match cgroup.kill(deadline).and_then(|()| cgroup.remove(deadline)).and_then(|()| rdt::remove(record)) {
        Ok(()) => Ok(cause),
        Err(e) => Err(cause.hint(format_args!("and its cgroup could not be removed, delete it later: {e}"))),
    }
}

/// Removes the state directory.
fn destroyed(dir: Locked, cause: Error) -> Error {
    interrupt::forget();
    reported(dir.destroy(), cause)
}

fn reported(removed: Result<()>, cause: Error) -> Error {
    match removed {
        Ok(()) => cause,
        Err(e) => cause.hint(format_args!("and its state could not be removed, delete it later: {e}")),
    }
}

fn taken_over() -> Error {
    Error::new(TAKEN_OVER)
}
