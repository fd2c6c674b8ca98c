//! The host process while its clone is at work, for both kinds of launch.

use std::cell::Cell;
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::unistd::Pid;

use super::attributes::set_scheduler;
use super::child::Child;
use super::conversation::{hear, hook_state, no_room, serve_listener};
use super::init::Init;
use super::recorder::Recorder;
use super::start_fifo::InitFifos;
use super::wait::Limits;
use super::wire::{Channel, Message, MessageKind};
use super::{idmap, namespace, outputs, rdt, relay, user_namespace, words};
use crate::bundle::spec::{HookKind, Hooks};
use crate::cgroup::Cgroup;
use crate::error::{Context, Error, Result, engine};
use crate::log;
use crate::plan::host_step::{CommonStep, Milestone, Sync};
use crate::plan::root_step::RootStep;
use crate::plan::step::InitStep;
use crate::plan::user_namespace::HostObject;
use crate::plan::{Launch, patience};
use crate::state::locked::Locked;
use crate::state::observe::Status;
use crate::state::record::{ProcessMark, Record};
use crate::state::work::{TAKEN_OVER, outside};
use crate::sys::file::stat;
use crate::sys::process::{self, Cloned, Ended};
use crate::sys::{interrupt, killed};
use crate::text::Text;
use crate::trace;

/// The result of a successful launch.
pub struct Launched {
    /// The launched process.
    pub child: Child,
    /// The terminal's master, unless it was sent to a socket.
    pub terminal: Option<OwnedFd>,
    /// The state of its container.
    pub record: Record,
    /// The OOM kills in the cgroup before the launch.
    pub killed_before: u64,
    /// The notify socket of a program that runs.
    pub notify: Option<OwnedFd>,
}

/// Announces a step; fails if the user has interrupted the launch.
pub(super) fn begin(step: &dyn fmt::Display) -> Result<()> {
    announce(step);
    interrupt::check()
}

/// Announces a step, without a check for interruption.
///
/// The program may run already, and a signal must then be passed on to it.
pub(super) fn announce(step: &dyn fmt::Display) {
    log::debug(|| format!("host: {step}"));
    trace::step(step);
}

/// The input of the clone.
pub(super) struct Cloning<'a, 'b> {
    pub(super) launch: &'a Launch,
    pub(super) hooks: &'a Hooks,
    pub(super) record: &'b Record,
    pub(super) cgroup: &'b Cgroup,
    pub(super) namespaces: Vec<OwnedFd>,
    pub(super) waiting: Option<InitFifos>,
}

/// A clone that performs its steps.
pub(super) struct Spawned<'a> {
    launch: &'a Launch,
    hooks: &'a Hooks,
    channel: Channel,
    child: Child,
    /// The opened namespaces, if mounts for init need them.
    namespaces: Vec<OwnedFd>,
    in_cgroup: bool,
    /// The OOM kills in the cgroup before the clone: the kernel never resets the count.
    killed_before: u64,
}

impl<'a> Cloning<'a, '_> {
    /// Clones init, which runs `leave` to close what only this process may have.
    pub(super) fn spawn(self, leave: &dyn Fn()) -> Result<Spawned<'a>> {
        begin(&Milestone::Spawn)?;
        words::cloning(self.launch);
        let (host_end, init_end) = Channel::pair().at("socketpair")?;
        let killed_before = self.cgroup.oom_kills();
        let flags = self.launch.new_namespaces;
        match process::clone(flags, self.cgroup.v2_dir())
            .map_err(|e| namespace::not_made("clone", e, flags))?
        {
            Cloned::Child => {
                drop(host_end);
                leave();
                trace::close_in_clone();
                Init {
                    launch: self.launch,
                    channel: init_end,
                    namespaces: self.namespaces,
                    waiting: self.waiting,
                    listener: None,
                    cgroup: self.cgroup,
                    hooks: self.hooks,
                    state: &|kind, pid| hook_state(self.record, kind, pid),
                }
                .perform()
            }
            Cloned::Parent { pid, pidfd, in_cgroup } => {
                words::cloned();
                let Cloning { launch, hooks, mut namespaces, .. } = self;
                if !launch.opens.iter().any(|object| matches!(object, HostObject::Mount(_))) {
                    namespaces = Vec::new();
                }
                let (channel, child) = (host_end, Child { pid, pidfd });
                Ok(Spawned { launch, hooks, channel, child, namespaces, in_cgroup, killed_before })
            }
        }
    }
}

/// The container that the clone belongs to.
#[derive(Clone, Copy)]
pub(super) enum Subject<'a> {
    /// A new container; its calls may be recorded.
    New(Option<&'a Recorder>),
    /// A running container.
    Running,
}

/// The host's side of a launch while the clone is at work.
pub(super) struct Host<'a> {
    launch: &'a Launch,
    hooks: &'a Hooks,
    subject: Subject<'a>,
    pub(super) record: Record,
    pub(super) cgroup: Cgroup,
    /// The lock on a new container.
    ///
    /// It is `None` for an exec, and after another command has taken the container over.
    pub(super) dir: Option<Locked>,
    channel: Channel,
    namespaces: Vec<OwnedFd>,
    pub(super) child: Child,
    /// The child's end, once it is reaped: its pid may be reused by then.
    pub(super) ended: Option<Ended>,
    in_cgroup: bool,
    pub(super) killed_before: u64,
    terminal: Option<OwnedFd>,
    pub(super) hooks_began: bool,
    /// The number of messages that were waited for so far.
    waited: usize,
}

impl<'a> Host<'a> {
    /// Prepares a conversation that has not begun.
    pub(super) fn new(
        spawned: Spawned<'a>,
        subject: Subject<'a>,
        record: Record,
        cgroup: Cgroup,
        dir: Option<Locked>,
    ) -> Host<'a> {
        let Spawned { launch, hooks, channel, child, namespaces, in_cgroup, killed_before } = spawned;
        Host {
            launch,
            hooks,
            subject,
            record,
            cgroup,
            dir,
            channel,
            namespaces,
            child,
            ended: None,
            in_cgroup,
            killed_before,
            terminal: None,
            hooks_began: false,
            waited: 0,
        }
    }

    /// Performs a step.
    pub(super) fn step(&mut self, step: CommonStep) -> Result<()> {
        match step {
            CommonStep::Await(sync) => self.wait_for(sync),
            CommonStep::Answer(_) => self.answer(),
            CommonStep::TakeTerminal { socket } => self.take_terminal(socket),
            CommonStep::JoinUnified => self.cgroup.join_v2(self.child.pid, self.in_cgroup),
            CommonStep::Adopt => self.adopt(),
            CommonStep::JoinRdt(group) => rdt::join(group, self.child.pid),
            CommonStep::LimitProcess(limits) => user_namespace::limit(self.child.pid, limits),
            CommonStep::Schedule(scheduler) => set_scheduler(self.child.pid.as_raw(), scheduler),
            CommonStep::GivePipes(uid) => user_namespace::give_pipes(self.child.pid, uid),
            CommonStep::SendPidfd(socket) => self.send_pidfd(socket),
            CommonStep::WritePidFile(path) => outputs::write_pid_file(path, self.child.pid),
        }
    }

    /// Returns the launched process, when it runs and no step is left.
    pub(super) fn launched(self) -> Launched {
        interrupt::forget();
        let Host { child, terminal, record, killed_before, .. } = self;
        Launched { child, terminal, record, killed_before, notify: None }
    }

    /// Marks init, so that a concurrent `delete --force` finds it.
    pub(super) fn mark_init(&mut self) -> Result<()> {
        let pid = self.child.pid.as_raw();
        self.dir.as_mut().map_or(Ok(()), |dir| ProcessMark::of(pid).map(|mark| dir.init = Some(mark)))
    }

    /// Adopts the process in the pid namespace as the child, in place of its parent.
    ///
    /// A process of the container that may trace the clone can send this message itself. It can only name our own children, and
    /// the clone is our only child in that pid namespace.
    fn adopt(&mut self) -> Result<()> {
        self.hooks_began |= HookKind::CreateContainer.is_in(self.hooks);
        let message = self.message_outside(MessageKind::Entered)?;
        let pid = Pid::from_raw(message.number as i32);
        if pid == self.child.pid || pid.as_raw() <= 0 || !process::is_child(pid) {
            return Err(Error::new("a process that is not our child claims to be init"));
        }
        let entered = Child { pid, pidfd: process::pidfd_open(pid).ok() };
        let first = std::mem::replace(&mut self.child, entered);
        self.mark_init()?;
        killed::wait(first.pid, first.pidfd.as_ref(), killed::DEADLINE).at("waitpid")?;
        self.answer()
    }

    /// Lets init continue.
    fn answer(&mut self) -> Result<()> {
        match self.channel.go() {
            Err(Errno::EPIPE) => Err(self.died()),
            told => Ok(told?),
        }
    }

    /// Handles init's messages until it asks for `sync`.
    fn wait_for(&mut self, sync: Sync) -> Result<()> {
        // Init runs these hooks before it asks for this.
        self.hooks_began |= sync == Sync::Created && HookKind::CreateContainer.is_in(self.hooks);
        let asked = self.message_outside(MessageKind::Ask)?.number;
        if asked != sync as u32 {
            return Err(Error::new("init asks for something else"));
        }
        if sync == Sync::UserNamespace {
            // An ordinary user cannot look at it later.
            let users = stat(&*format!("/proc/{}/ns/user", self.child.pid)).at("stat its user namespace")?;
            self.record.user_namespace = Some(users.st_ino as u64);
        }
        Ok(())
    }

    /// Waits for a message of init while other commands may use the container.
    fn message_outside(&mut self, wanted: MessageKind) -> Result<Message> {
        let mut dir = self.dir.take();
        let message = outside(&mut dir, None, || self.message(wanted));
        self.dir = dir;
        message
    }

    fn take_terminal(&mut self, socket: Option<Text>) -> Result<()> {
        let message = self.message_outside(MessageKind::Terminal)?;
        let master = message.fd.ok_or_else(no_room)?;
        match socket {
            Some(socket) => outside(&mut self.dir, None, || {
                outputs::send_terminal(socket, message.number, master.as_fd())
            }),
            None => {
                relay::prepare(&master)?;
                self.terminal = Some(master);
                Ok(())
            }
        }
    }

    fn send_pidfd(&mut self, socket: Text) -> Result<()> {
        let pidfd = self.child.pidfd.as_ref();
        let pidfd = pidfd.ok_or_else(|| Error::new("--pidfd-socket: needs Linux 5.3"))?;
        outside(&mut self.dir, None, || outputs::send_pidfd(socket, pidfd.as_fd()))
    }

    /// Waits until init has closed its end and waits for `start` alone.
    pub(super) fn wait_for_release(&mut self) -> Result<()> {
        self.message(MessageKind::Heard)?;
        words::closed(self.subject);
        Ok(())
    }

    /// Waits until init runs the program.
    ///
    /// The end of file alone does not prove that: init may have been killed in a hook.
    pub(super) fn wait_for_exec(&mut self) -> Result<()> {
        let hooks = HookKind::StartContainer.is_in(self.hooks);
        self.hooks_began |= hooks;
        for (kind, wanted) in [(MessageKind::Hooked, hooks), (MessageKind::End, true)] {
            match wanted.then(|| self.message_outside(kind)).transpose() {
                // The message came, and a delete has killed the program meanwhile.
                Err(e) if e.is(TAKEN_OVER) => {}
                came => drop(came?),
            }
        }
        interrupt::forget();
        words::closed(self.subject);
        Ok(())
    }

    /// Receives the next message, which must be of this kind.
    ///
    /// Each step that waits receives one; the message about the hooks precedes the last.
    fn message(&mut self, wanted: MessageKind) -> Result<Message> {
        let patience = patience::limits(&self.launch.init, self.hooks).nth(self.waited);
        self.waited += usize::from(wanted != MessageKind::Hooked);
        let limits = Limits {
            cgroup: &self.cgroup,
            making: matches!(self.subject, Subject::New(_)),
            child: self.child.pid,
            executes: wanted == MessageKind::End,
            executed: Cell::new(false),
            patience: patience.ok_or_else(|| Error::new("no further message of init is expected"))?,
        };
        let pidfd = self.child.pidfd.as_ref().map(AsFd::as_fd);
        let serve = |listener: &OwnedFd| self.serve_listener(listener);
        let hear = || hear(&self.channel, &self.launch.init, pidfd, &serve, &|fd| limits.wait(fd));
        let mut message = hear();
        while let Ok(Message { what: MessageKind::Open, number, .. }) = message {
            message = self.open(number).and_then(|()| hear());
        }
        let message = if limits.executed.get() { Message::end() } else { message? };
        match message.what {
            // An init that has not received the last go has executed nothing.
            MessageKind::End if wanted != MessageKind::End || message.number != 0 => Err(self.died()),
            what if what == wanted => Ok(message),
            _ => Err(message.instead_of(wanted)),
        }
    }

    /// Opens an object of the plan for init, which waits for it.
    fn open(&self, number: u32) -> Result<()> {
        match self.launch.opens.get(number as usize) {
            Some(HostObject::File(path)) => user_namespace::open_for(self.child.pid, path, &self.channel),
            Some(HostObject::Mount(step)) => {
                let mount = idmap::for_init(step, self.child.pid, &self.namespaces);
                let mount = mount.context(|| InitStep::Root(RootStep::Mount(step)))?;
                Ok(self.channel.hand(Ok(mount))?)
            }
            None => Err(Error::new("init asks for a file that is not in the plan")),
        }
    }

    /// Serves the listener, while init waits under its filter.
    fn serve_listener(&self, listener: &OwnedFd) -> Result<()> {
        // Like runc, the status differs between an exec and a creation.
        let status = match self.subject {
            Subject::New(Some(recorder)) => return recorder.listen(listener),
            Subject::New(None) => Status::Creating,
            Subject::Running => Status::Running,
        };
        let agent = self.launch.agent.as_ref().ok_or_else(|| Error::new("an unexpected listener"))?;
        serve_listener(agent, &self.record, status, self.child.pid.as_raw(), listener)?;
        Ok(self.channel.go()?)
    }

    /// The error for an init that ended without a message: a signal has killed it.
    fn died(&mut self) -> Error {
        let ended = self.reap().ok().flatten();
        let e = Error::new(match ended {
            Some(Ended::Signalled(signal)) => format!("signal {signal} killed init"),
            Some(Ended::Exited(status)) => format!("init ended with status {status}"),
            None => "init closed the conversation".into(),
        });
        let killed = ended == Some(Ended::Signalled(libc::SIGKILL));
        if killed && self.cgroup.oom_kills() > self.killed_before {
            return Error::new(engine::INIT_OOM).context(e);
        }
        e
    }

    /// The child's end; `None` if it does not end in time.
    fn reap(&mut self) -> nix::Result<Option<Ended>> {
        if self.ended.is_none() {
            self.ended = killed::wait(self.child.pid, self.child.pidfd.as_ref(), killed::DEADLINE)?;
        }
        Ok(self.ended)
    }

    /// Kills the child unless it has ended, and returns whether it is gone.
    ///
    /// `let_die` may thaw it, because a frozen process does not die on v1.
    pub(super) fn end(&mut self, let_die: fn(&Cgroup)) -> bool {
        if self.ended.is_none() {
            let _ = self.child.signal(libc::SIGKILL);
            let_die(&self.cgroup);
        }
        self.reap() != Ok(None)
    }
}
