//! The interpreter in the host process: one match over the steps, and the way back when one fails.

use std::cell::Cell;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::unistd::{Pid, Uid};

use super::conversation::{hear, hook_state, no_room, serve_listener};
use super::init::Init;
use super::killed;
use super::outputs::{self, Outputs};
use super::recorder::Recorder;
use super::start::Waiting;
use super::take_down::{note, run_poststop_hooks};
use super::wait::Limits;
use super::wire::{Channel, Message, What};
use crate::bundle::load::Loaded;
use crate::bundle::spec::{HookKind, Hooks};
use crate::cgroup::Cgroup;
use crate::cgroup::apply::Part;
use crate::cgroup::place::location::{Access, Location};
use crate::error::{Context, Error, Result, engine};
use crate::plan::step::{HostStep, Sync};
use crate::plan::{Plan, patience};
use crate::state::observe::Status;
use crate::state::record::{Phase, ProcessMark, Record};
use crate::state::store::{Locked, Store};
use crate::state::work::outside;
use crate::sys::process::{self, Cloned, Ended};
use crate::sys::{clock, interrupt};
use crate::{hooks, log, namespace};

/// A container that is being made, or that gets one more process.
pub struct Subject<'a> {
    /// Whose state it is; init's hooks and the record's are told it.
    pub record: Record,
    /// The config's hooks.
    pub hooks: &'a Hooks,
    /// Only of a container that is being made.
    pub making: Option<Making<'a>>,
    /// Only of a container that is there.
    pub cgroup: Option<Cgroup>,
}

/// What making a container needs beside its plan.
pub struct Making<'a> {
    /// Where its state goes.
    pub store: &'a Cell<Option<Store>>,
    /// Its bundle.
    pub loaded: &'a Loaded,
    /// Where its cgroup will be.
    pub location: &'a Location,
    /// Who gets the filter's listener, if its calls are recorded.
    pub recorder: Option<&'a Recorder>,
    /// Whether cgroups are all ours, or those that were delegated.
    pub access: Access,
}

/// A process that was made.
pub struct Child {
    /// Its pid here.
    pub pid: Pid,
    /// Readable when it has ended; absent before Linux 5.2.
    pub pidfd: Option<OwnedFd>,
}

impl Child {
    /// Sends it a signal.
    pub fn signal(&self, signal: i32) -> nix::Result<()> {
        match self.pidfd.as_ref().map(|fd| process::pidfd_send_signal(fd.as_fd(), signal)) {
            // Before Linux 5.1, or under a filter that is older. Nobody else reaps it: its pid is still its own.
            None | Some(Err(Errno::ENOSYS)) => process::kill(self.pid, signal),
            Some(sent) => sent,
        }
    }
}

/// The host's side of a launch.
pub struct Host<'a> {
    plan: &'a Plan,
    outputs: &'a Outputs,
    subject: Subject<'a>,
    dir: Option<Locked>,
    namespaces: Vec<OwnedFd>,
    waiting: Option<Waiting>,
    channel: Option<Channel>,
    child: Option<Child>,
    in_cgroup: bool,
    /// What the out-of-memory killer had killed in the cgroup before the clone: its count is never set back.
    killed_before: u64,
    terminal: Option<OwnedFd>,
    hooks_began: bool,
    /// How many messages were waited for.
    waited: usize,
}

/// What a launch leaves behind when it has succeeded.
pub struct Launched {
    /// The process.
    pub child: Child,
    /// The terminal's master, unless a socket has taken it.
    pub terminal: Option<OwnedFd>,
    /// The locked container, of a launch that made one.
    pub dir: Option<Locked>,
    /// Its record.
    pub record: Record,
    /// How many processes the out-of-memory killer had killed in the cgroup before.
    pub killed_before: u64,
}

impl<'a> Host<'a> {
    /// A launch that has not begun.
    pub fn new(plan: &'a Plan, outputs: &'a Outputs, subject: Subject<'a>) -> Host<'a> {
        Host {
            plan,
            outputs,
            subject,
            dir: None,
            namespaces: Vec::new(),
            waiting: None,
            channel: None,
            child: None,
            in_cgroup: false,
            killed_before: 0,
            terminal: None,
            hooks_began: false,
            waited: 0,
        }
    }

    /// Performs the plan. On failure nothing is left of what it made, or the error says what, and a record is kept to
    /// clean up by.
    pub fn perform(mut self) -> Result<Launched> {
        for step in &self.plan.host {
            log::debug(|| format!("host: {step}"));
            // The program may run by the time that it is waited for: then the signal is one to pass on.
            let checked = if *step == HostStep::AwaitExec { Ok(()) } else { interrupt::check() };
            if let Err(e) = checked.and_then(|()| self.step(*step)) {
                return Err(self.undo(e));
            }
        }
        interrupt::forget();
        let child = self.child.ok_or_else(|| Error::new("the plan has no clone"))?;
        let (terminal, dir, record) = (self.terminal, self.dir, self.subject.record);
        Ok(Launched { child, terminal, dir, record, killed_before: self.killed_before })
    }

    fn step(&mut self, step: HostStep) -> Result<()> {
        match step {
            HostStep::Reserve => self.reserve(),
            HostStep::MakeCgroup => self.make_cgroup(),
            HostStep::LimitCgroup => self.limit_cgroup(Part::ButMemory),
            HostStep::LimitMemory => self.limit_cgroup(Part::Memory),
            HostStep::OpenNamespaces => self.open_namespaces(),
            HostStep::Listen => {
                self.waiting = Some(super::start::listen(self.dir()?)?);
                Ok(())
            }
            HostStep::Spawn => self.spawn(),
            HostStep::JoinCgroup => self.join_cgroup(Cgroup::join),
            HostStep::JoinUnified => self.join_cgroup(Cgroup::join_v2),
            HostStep::GiveCgroup(uid) => {
                self.subject.cgroup.as_ref().map_or(Ok(()), |cgroup| cgroup.give(Uid::from_raw(uid)))
            }
            HostStep::Await(sync) => self.wait_for(sync),
            HostStep::Answer(_) => self.answer(),
            HostStep::TakeTerminal => self.take_terminal(),
            HostStep::Adopt => self.adopt(),
            HostStep::RunHooks(kind) => self.run_hooks(kind),
            HostStep::SendPidfd => self.send_pidfd(),
            HostStep::WritePidFile => outputs::write_pid_file(self.outputs.pid_file, self.pid()?),
            HostStep::RecordCreated => self.record_created(),
            HostStep::Release => {
                self.wait_for_release()?;
                self.survived()
            }
            HostStep::AwaitExec => {
                self.wait_for_exec()?;
                interrupt::forget();
                self.survived()
            }
        }
    }

    fn reserve(&mut self) -> Result<()> {
        let making = self.subject.making.as_ref().ok_or_else(no_making)?;
        // Given up then: every descriptor counts where few may be open.
        let dir = making.store.take().ok_or_else(no_making)?.claim(self.subject.record.id)?;
        let dir = self.dir.insert(dir);
        // First: a directory without a record is one that nothing was begun for, or that was damaged.
        dir.write_record(&self.subject.record)?;
        dir.write_config(making.loaded.text)?;
        dir.clear_work()
    }

    fn make_cgroup(&mut self) -> Result<()> {
        let making = self.subject.making.as_ref().ok_or_else(no_making)?;
        let resources = &making.loaded.spec.linux.resources;
        let cgroup = self.subject.cgroup.insert(Cgroup::create(making.location, resources, making.access)?);
        // From here on a delete may kill who is in it. Before, it could be somebody else's by a hair.
        self.subject.record.cgroup = cgroup.location();
        self.subject.record.phase = Phase::Creating;
        self.dir()?.write_record(&self.subject.record)
    }

    fn limit_cgroup(&self, part: Part) -> Result<()> {
        let making = self.subject.making.as_ref().ok_or_else(no_making)?;
        let cgroup = self.subject.cgroup.as_ref().ok_or_else(no_making)?;
        cgroup.apply(&making.loaded.spec.linux.resources, part)
    }

    fn open_namespaces(&mut self) -> Result<()> {
        self.namespaces = match &self.subject.record.init {
            Some(init) => namespace::open_all_of(&self.plan.join, init)?,
            None => self.plan.join.iter().map(namespace::open).collect::<Result<_>>()?,
        };
        if self.subject.making.is_some() { self.leave_the_host_alone() } else { Ok(()) }
    }

    /// Refuses to join a namespace of the host that the container would change.
    fn leave_the_host_alone(&self) -> Result<()> {
        for ((kind, path), fd) in self.plan.join.iter().zip(&self.namespaces) {
            let Some(step) = self.plan.init.iter().find(|step| step.sets() == Some(*kind)) else { continue };
            if namespace::is_hosts(*kind, fd)? {
                return Err(Error::of(format_args!(
                    "not allowed in the host's {kind} namespace, which is {path}"
                ))
                .context(step));
            }
        }
        Ok(())
    }

    fn spawn(&mut self) -> Result<()> {
        let (host_end, init_end) = Channel::pair().at("socketpair")?;
        self.killed_before = self.oom_kills();
        let cgroup = self.subject.cgroup.as_ref().and_then(Cgroup::v2_dir);
        let cloned = process::clone(self.plan.new_namespaces, cgroup);
        match cloned.map_err(|e| clone_error(e, self.plan.new_namespaces))? {
            Cloned::Child => {
                drop(host_end);
                if let Some(dir) = self.dir.take() {
                    dir.leave();
                }
                if let (Some(_), Some(cgroup)) = (&self.subject.making, &self.subject.cgroup) {
                    cgroup.close_in_clone();
                }
                let record = &self.subject.record;
                Init {
                    plan: self.plan,
                    channel: init_end,
                    namespaces: std::mem::take(&mut self.namespaces),
                    waiting: self.waiting.take(),
                    listener: None,
                    cgroup: self.subject.cgroup.as_ref(),
                    hooks: self.subject.hooks,
                    state: &|kind, pid| hook_state(record, kind, pid),
                }
                .perform()
            }
            Cloned::Parent { pid, pidfd, in_cgroup } => {
                self.channel = Some(host_end);
                self.child = Some(Child { pid, pidfd });
                self.in_cgroup = in_cgroup;
                self.namespaces.clear();
                self.waiting = None;
                self.mark_init()
            }
        }
    }

    /// A `delete --force` that takes the container over while we wait finds init by it.
    fn mark_init(&mut self) -> Result<()> {
        let pid = self.pid()?.as_raw();
        self.dir.as_mut().map_or(Ok(()), |dir| ProcessMark::of(pid).map(|mark| dir.init = Some(mark)))
    }

    /// From here on the process in the pid namespace is the child; the one that it is a clone of has nothing left to do.
    ///
    /// A process of the container that may trace the clone can speak in its place as soon as it is there. It can name no
    /// process that is not our child, and none of ours but the clone is in its pid namespace.
    fn adopt(&mut self) -> Result<()> {
        self.hooks_began |= HookKind::CreateContainer.is_in(self.subject.hooks);
        let message = self.message_outside(What::Entered)?;
        let pid = Pid::from_raw(message.number as i32);
        let first = self.pid()?;
        if pid == first || pid.as_raw() <= 0 || !process::is_child(pid) {
            return Err(Error::new("a process that is none of ours says that it is init"));
        }
        let entered = Child { pid, pidfd: process::pidfd_open(pid).ok() };
        if let Some(dir) = &mut self.dir {
            dir.init = Some(ProcessMark::of(pid.as_raw())?);
        }
        if let Some(first) = self.child.replace(entered) {
            killed::wait(first.pid, first.pidfd.as_ref(), killed::DEADLINE).at("waitpid")?;
        }
        self.answer()
    }

    /// Lets init go on.
    fn answer(&mut self) -> Result<()> {
        match self.channel()?.go() {
            Err(Errno::EPIPE) => Err(self.died()),
            told => Ok(told?),
        }
    }

    fn join_cgroup(&self, join: fn(&Cgroup, Pid, bool) -> Result<()>) -> Result<()> {
        match &self.subject.cgroup {
            Some(cgroup) => join(cgroup, self.pid()?, self.in_cgroup),
            None => Ok(()),
        }
    }

    /// Handles what init says until it asks for `sync`.
    fn wait_for(&mut self, sync: Sync) -> Result<()> {
        // Init runs them before it asks for this.
        self.hooks_began |= sync == Sync::Created && HookKind::CreateContainer.is_in(self.subject.hooks);
        let asked = self.message_outside(What::Ask)?.number;
        if asked == sync as u32 { Ok(()) } else { Err(Error::new("init asks for something else")) }
    }

    /// Waits for init while other commands may have the container.
    fn message_outside(&mut self, wanted: What) -> Result<Message> {
        let mut dir = self.dir.take();
        let message = outside(&mut dir, None, || self.message(wanted));
        self.dir = dir;
        message
    }

    fn take_terminal(&mut self) -> Result<()> {
        let message = self.message_outside(What::Terminal)?;
        let master = message.fd.ok_or_else(no_room)?;
        match self.outputs.console_socket {
            Some(socket) => outside(&mut self.dir, None, || {
                outputs::send_terminal(socket, message.number, master.as_fd())
            }),
            None => {
                super::foreground::relayed(&master)?;
                self.terminal = Some(master);
                Ok(())
            }
        }
    }

    /// Waits until init has closed its end: it runs the program, or waits for `start` on its own.
    fn wait_for_release(&mut self) -> Result<()> {
        self.message(What::Heard)?;
        self.channel = None;
        Ok(())
    }

    /// Waits until init runs the program. Its end of file alone does not say so: it may have been killed in a hook.
    fn wait_for_exec(&mut self) -> Result<()> {
        let hooks = HookKind::StartContainer.is_in(self.subject.hooks);
        self.hooks_began |= hooks;
        if hooks {
            self.message_outside(What::Hooked)?;
        }
        self.message_outside(What::End)?;
        self.channel = None;
        Ok(())
    }

    /// A memory limit that is too low for the start shows only in the kernel's count: what was killed told nobody. Of an exec
    /// its status tells, as of any program that is killed.
    fn survived(&self) -> Result<()> {
        let (Some(_), Some(cgroup), Some(child)) = (&self.subject.making, &self.subject.cgroup, &self.child)
        else {
            return Ok(());
        };
        let pidfd = child.pidfd.as_ref().map(|fd| fd.as_fd());
        if cgroup.killed_at_start(pidfd, self.killed_before) && process::is_killed(child.pid) {
            return Err(Error::new(engine::INIT_OOM));
        }
        Ok(())
    }

    fn oom_kills(&self) -> u64 {
        self.subject.cgroup.as_ref().map_or(0, Cgroup::oom_kills)
    }

    fn oom_kills_now(&self) -> bool {
        self.oom_kills() > self.killed_before
    }

    /// The next message that counts, which must be this one. Each step that waits takes one, and the hooks' end comes before it.
    fn message(&mut self, wanted: What) -> Result<Message> {
        let patience = patience::limits(&self.plan.init, self.subject.hooks).nth(self.waited);
        self.waited += usize::from(wanted != What::Hooked);
        let limits = Limits {
            cgroup: self.subject.cgroup.as_ref(),
            making: self.subject.making.is_some(),
            child: self.child.as_ref().map(|child| child.pid),
            executes: wanted == What::End,
            executed: Cell::new(false),
            patience: patience.ok_or_else(|| Error::new("init has nothing more to say"))?,
        };
        let pidfd = self.child.as_ref().and_then(|child| child.pidfd.as_ref()).map(AsFd::as_fd);
        let serve = |listener: &OwnedFd| self.serve_listener(listener);
        let message = hear(self.channel()?, &self.plan.init, pidfd, &serve, &|fd| limits.wait(fd));
        let message = if limits.executed.get() { Message::end() } else { message? };
        match message.what {
            what if what == wanted => Ok(message),
            What::End => Err(self.died()),
            _ => Err(message.instead_of(wanted)),
        }
    }

    /// Init waits under its filter until somebody has the listener.
    fn serve_listener(&self, listener: &OwnedFd) -> Result<()> {
        if let Some(recorder) = self.subject.making.as_ref().and_then(|m| m.recorder) {
            return recorder.listen(listener);
        }
        let agent = self.plan.agent.as_ref().ok_or_else(|| Error::new("a listener that nobody asked for"))?;
        // As runc tells it: of a process in a container that runs, or of a container that is on its way there.
        let status = if self.subject.making.is_some() { Status::Creating } else { Status::Running };
        serve_listener(agent, &self.subject.record, status, self.pid()?.as_raw(), listener)?;
        Ok(self.channel()?.go()?)
    }

    /// Init is gone without a word: the kernel has killed it.
    fn died(&mut self) -> Error {
        let ended = self.reap().ok().flatten();
        let e = Error::new(match ended {
            Some(Ended::Signalled(signal)) => format!("signal {signal} killed init"),
            Some(Ended::Exited(status)) => format!("init ended with status {status}"),
            None => "init closed the conversation".into(),
        });
        if ended == Some(Ended::Signalled(libc::SIGKILL)) && self.oom_kills_now() {
            return Error::new(engine::INIT_OOM).context(e);
        }
        e
    }

    fn run_hooks(&mut self, kind: HookKind) -> Result<()> {
        self.hooks_began = true;
        let state = hook_state(&self.subject.record, kind, self.pid()?.as_raw());
        hooks::run_all(&mut self.dir, self.subject.hooks, kind, &state)
    }

    fn send_pidfd(&mut self) -> Result<()> {
        let Some(socket) = self.outputs.pidfd_socket else { return Ok(()) };
        let child = self.child.as_ref().ok_or_else(no_making)?;
        let pidfd = child.pidfd.as_ref().ok_or_else(|| Error::new("--pidfd-socket: needs Linux 5.3"))?;
        outside(&mut self.dir, None, || outputs::send_pidfd(socket, pidfd.as_fd()))
    }

    fn record_created(&mut self) -> Result<()> {
        let pid = self.pid()?.as_raw();
        let record = &mut self.subject.record;
        record.init = Some(ProcessMark::of(pid)?);
        record.phase = Phase::Created;
        record.created = log::now_rfc3339().leak();
        let dir = self.dir.as_ref().ok_or_else(no_making)?;
        dir.write_record(record)?;
        let making = self.subject.making.as_ref().ok_or_else(no_making)?;
        dir.publish(&|out| super::public::write(out, record, making.loaded, making.location), record)
    }

    fn dir(&self) -> Result<&Locked> {
        self.dir.as_ref().ok_or_else(no_making)
    }

    fn channel(&self) -> Result<&Channel> {
        self.channel.as_ref().ok_or_else(|| Error::new("no conversation with init"))
    }

    fn pid(&self) -> Result<Pid> {
        self.child.as_ref().map(|c| c.pid).ok_or_else(|| Error::new("no init"))
    }

    /// How init has ended; `None` if it does not.
    fn reap(&mut self) -> nix::Result<Option<Ended>> {
        let Some(child) = &self.child else { return Err(Errno::ECHILD) };
        let ended = killed::wait(child.pid, child.pidfd.as_ref(), killed::DEADLINE)?;
        if ended.is_some() {
            self.child = None;
        }
        Ok(ended)
    }

    /// Takes back what was made, and returns the error that made it necessary, with what could not be taken back.
    fn undo(mut self, cause: Error) -> Error {
        interrupt::forget();
        if let Some(child) = &self.child {
            let _ = child.signal(libc::SIGKILL);
            // On v1 a frozen process does not die. A paused container stays so.
            if let (Some(cgroup), true) = (&self.subject.cgroup, self.subject.making.is_some()) {
                cgroup.let_die();
            }
            if self.reap() == Ok(None) {
                return cause.hint(match self.dir {
                    Some(_) => "init does not end; delete it later",
                    None => "its process does not end",
                });
            }
        }
        let Some(dir) = self.dir.take() else { return cause };
        let deadline = clock::after(killed::DEADLINE);
        if let Some(cgroup) = &self.subject.cgroup {
            if let Err(e) = cgroup.kill(deadline).and_then(|()| cgroup.remove(deadline)) {
                return cause.hint(format_args!("and its cgroup could not be removed, delete it later: {e}"));
            }
        }
        let mut record = self.subject.record;
        // The hooks of the other kinds may have made what these take down (runtime.md, "Lifecycle", steps 12 and 13).
        let hooks = HookKind::Poststop.of(self.subject.hooks);
        let ended = if self.hooks_began && !hooks.is_empty() {
            record.phase = Phase::Deleting;
            note(&dir, &record).and_then(|()| run_poststop_hooks(dir, record, hooks))
        } else {
            dir.destroy()
        };
        match ended {
            Ok(()) => cause,
            Err(e) => cause.hint(format_args!("and its state could not be removed, delete it later: {e}")),
        }
    }
}

fn no_making() -> Error {
    Error::new("a step of a creation in a plan of something else")
}

fn clone_error(e: Errno, flags: u64) -> Error {
    let e = Error::os("clone", e);
    match e.errno() {
        Some(Errno::EINVAL) => match namespace::absent(flags) {
            absent if absent.is_empty() => e,
            absent => {
                e.hint(format_args!("the kernel lacks namespaces that linux.namespaces asks for: {absent}"))
            }
        },
        Some(Errno::ENOSPC) => e.hint("a limit on namespaces is reached: user.max_*_namespaces"),
        Some(Errno::EPERM) => e.hint("needs CAP_SYS_ADMIN"),
        _ => e,
    }
}
