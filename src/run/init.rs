//! The interpreter in the container's init, and in a process of `exec`.
//!
//! It runs in a clone of the single-threaded host process, so it may allocate until the seccomp filter is loaded, and not from
//! then until exec. It ends only by exec or `_exit`, and reports the failed step to the host.

use std::ffi::CString;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;

use super::init_context::{InitContext, OfTheHost, let_go_of};
use super::start_fifo::InitFifos;
use super::wire::{self, Channel};
use super::{attributes, hooks, program, stdio, terminal, time, user_namespace};
use crate::bundle::spec::{HookKind, Hooks, NamespaceKind, Propagation};
use crate::cgroup::Cgroup;
use crate::error::{Context, Error, Quoted, Result};
use crate::json::value::Json;
use crate::plan::Launch;
use crate::plan::idmap::{Idmap, MapCarrier};
use crate::plan::mounts::MountStep;
use crate::plan::root_step::RootStep;
use crate::plan::step::InitStep;
use crate::rootfs::procfs::ProcFs;
use crate::rootfs::resolve::Links;
use crate::rootfs::root::here;
use crate::rootfs::{Rootfs, Ways, enter_root, home};
use crate::sys::entry::{self, STDIN};
use crate::sys::path::current_dir;
use crate::sys::process::{self, CStrings, Cloned};
use crate::sys::{descriptor, interrupt, seccomp, stack, tty};
use crate::text::{Text, argument, c_text};
use crate::trace;

/// The input of the child.
pub struct Init<'a> {
    /// The steps.
    pub launch: &'a Launch,
    /// The conversation with the host.
    pub channel: Channel,
    /// The namespaces to join, in the order of the plan.
    pub namespaces: Vec<OwnedFd>,
    /// The FIFOs at which it waits for `start`.
    pub waiting: Option<InitFifos>,
    /// The listener of the loaded filter, until the host has it too.
    pub listener: Option<OwnedFd>,
    /// The container's cgroup.
    pub cgroup: &'a Cgroup,
    /// The hooks of the config.
    pub hooks: &'a Hooks,
    /// Makes the state for hooks of a kind, given the pid.
    pub state: &'a dyn Fn(HookKind, i32) -> Json,
}

impl Init<'_> {
    /// Performs the plan and does not return.
    ///
    /// The process becomes the program, or ends after it has reported its failure.
    pub fn perform(mut self) -> ! {
        let _ = nix::sys::prctl::set_name(c"embrun:[INIT]");
        process::default_signals();
        // This must be done while the host's procfs is open and before any limit is set, because some kernels cannot do it in one
        // call. All descriptors opened from here on are close-on-exec.
        descriptor::close_from_on_exec(3);
        // SIGTERM must also end a container that waits for `start`.
        process::end_when_asked();
        interrupt::forget_in_clone();
        let mut step = 0;
        let mut context = self.context();
        let failure = match &mut context {
            Err(e) => std::mem::replace(e, Errno::EIO.into()),
            Ok(context) => loop {
                let Some(&now) = self.launch.init.get(step) else { break Error::new("the plan has no exec") };
                trace::step_of_clone(step);
                match self.step(now, context) {
                    Ok(()) => step += 1,
                    Err(e) => break e,
                }
            },
        };
        let errno = failure.errno().unwrap_or(Errno::UnknownErrno);
        let _ = self.channel.failed(step as u16, errno as i32, &failure.to_string());
        // This follows the report, because a further call may end this process if it has a filter.
        let of_program = matches!(self.launch.init.get(step), Some(InitStep::FindProgram | InitStep::Exec));
        let reason =
            context.ok().filter(|_| of_program).and_then(|c| c.diagnosis(&self.launch.program, errno));
        let _ = self.channel.warn(&reason.unwrap_or_default());
        process::exit(1)
    }

    fn context(&self) -> Result<InitContext> {
        let c = |s: &Text| argument(s);
        Ok(InitContext {
            host: Some(OfTheHost::ProcFs(ProcFs::open()?)),
            in_cwd: false,
            dumpable: false,
            groups_denied: false,
            program: None,
            argv: CStrings::new(self.launch.program.args.iter().filter_map(c)),
            // An empty HOME counts as unset: it is set when the program is looked up.
            envp: CStrings::new(self.launch.program.env.iter().filter(|e| **e != "HOME=").filter_map(c)),
        })
    }

    fn step(&mut self, step: InitStep, context: &mut InitContext) -> Result<()> {
        match step {
            InitStep::DieWithHost => self.die_with_host(),
            InitStep::DieWithHostStill => die_with_parent(),
            InitStep::OutliveHost => Ok(nix::sys::prctl::set_pdeathsig(None).at("prctl")?),
            InitStep::JoinCgroup => {
                self.cgroup.join_v1()?;
                self.cgroup.close_in_clone();
                Ok(())
            }
            InitStep::Ask(sync) => Ok(self.channel.ask(sync)?),
            InitStep::NewSession => nix::unistd::setsid().map(drop).at("setsid"),
            InitStep::Keyring(name) => self.keyring(name),
            // An empty line takes the request back.
            InitStep::KeyLabel(label) => {
                context.host()?.procfs().set_label("attr/keycreate", label.unwrap_or("\n"))
            }
            InitStep::AppArmorProfile(profile) => context.host()?.procfs().set_profile("exec", profile),
            InitStep::StackAppArmorProfile(profile) => context.host()?.procfs().set_profile("stack", profile),
            InitStep::SelinuxLabel(label) => context.host()?.procfs().set_label("attr/exec", label),
            InitStep::JoinNamespace { kind, index } => self.join(kind, index),
            InitStep::Unshare(flags) => user_namespace::make(flags),
            InitStep::Show | InitStep::Hide | InitStep::CheckGroups | InitStep::BecomeRoot => {
                context.ids(step)
            }
            InitStep::CloneInit => self.go_on_in_a_clone(),
            InitStep::NewCgroupNamespace => unshare(CloneFlags::CLONE_NEWCGROUP).at("unshare"),
            InitStep::NewTimeNamespace(offsets) => time::enter_new(context.host()?.procfs(), offsets),
            InitStep::EnterTimeNamespace => time::enter(context.host()?.procfs()),
            InitStep::LoopbackUp => tty::loopback_up().at("ioctl SIOCSIFFLAGS"),
            InitStep::Hostname(name) => nix::unistd::sethostname(name).at("sethostname"),
            InitStep::Domainname(name) => process::set_domain_name(name).at("setdomainname"),
            InitStep::PrepareRoot { rootfs, propagation } => {
                context.host = Some(OfTheHost::Rootfs(self.prepare_root(rootfs, propagation)?));
                Ok(())
            }
            InitStep::OpenRoot(rootfs) => context.open_root(rootfs),
            InitStep::EnterRoot { index } => enter_root(&self.namespaces[index]),
            InitStep::Root(step) => root_step(self, step, context.rootfs()?),
            InitStep::Terminal { size } => self.terminal(size, context),
            InitStep::ControllingTerminal => tty::set_controlling(STDIN).at("ioctl TIOCSCTTY"),
            InitStep::Home => self.find_home(context),
            InitStep::LetGo { preserve_fds } => self.let_go(preserve_fds, context),
            InitStep::EnterPidNamespace => self.go_on_in_a_clone(),
            InitStep::RunHooks(kind) => self.run_hooks(kind, context),
            InitStep::Sysctl((file, value)) => context.host()?.procfs().sysctl(file, value),
            InitStep::OomScoreAdj(n) => user_namespace::set_own_score(context.host()?.procfs(), n),
            InitStep::Attribute(step) => attributes::set(step, context.groups_denied),
            InitStep::TryCwd => self.try_cwd(context),
            InitStep::Cwd => self.cwd(context),
            InitStep::Seccomp => self.load_filter(),
            InitStep::CloseListener => {
                self.listener = None;
                Ok(())
            }
            InitStep::FindProgram => context.find_program(&self.launch.program),
            InitStep::AwaitStart => self.await_start(),
            InitStep::Exec => Err(context.exec()),
        }
    }

    fn join(&self, kind: NamespaceKind, index: usize) -> Result<()> {
        user_namespace::join(&self.namespaces[index], kind, self.launch.user_namespace)
    }

    fn prepare_root(&self, path: Text, propagation: Option<Propagation>) -> Result<Rootfs> {
        let path = c_text(path.as_bytes()).ok_or(Errno::EINVAL)?;
        let mut rootfs = match user_namespace::host_files(self.launch, &self.channel)? {
            Some(files) => Rootfs::prepare_inside(path, propagation, files)?,
            None => Rootfs::prepare(path, propagation, Ways::default())?,
        };
        // This namespace is joined last, but procfs must show the container's processes.
        if let Some(i) = self.launch.join.iter().position(|(kind, _)| *kind == NamespaceKind::Pid) {
            rootfs.set_pid_namespace(self.namespaces[i].try_clone()?);
        }
        Ok(rootfs)
    }

    /// Makes the terminal, and binds the console of a new container to it.
    fn terminal(&self, size: Option<(u16, u16)>, context: &mut InitContext) -> Result<()> {
        let slave = match context.host()? {
            OfTheHost::ProcFs(procfs) => terminal::make(&here()?, procfs, size, &self.channel)?,
            OfTheHost::Rootfs(rootfs) => {
                let slave = terminal::make(rootfs.root(), rootfs.proc(), size, &self.channel)?;
                rootfs.console(slave.as_fd())?;
                slave
            }
        };
        terminal::take(&slave)
    }

    fn mount(&self, step: &MountStep, rootfs: &mut Rootfs) -> Result<()> {
        if let (Some(Idmap { carrier: MapCarrier::Opened(number), .. }), false) =
            (step.idmap, self.launch.user_namespace)
        {
            rootfs.set_carrier(self.namespaces[*number].try_clone()?);
        }
        rootfs.mount(step)
    }

    fn die_with_host(&self) -> Result<()> {
        die_with_parent()?;
        // The host may have died before the death signal was set; then its end of the conversation is closed.
        let mut fds = [PollFd::new(self.channel.as_fd(), PollFlags::empty())];
        match poll(&mut fds, PollTimeout::ZERO) {
            Ok(0) => Ok(()),
            _ => Err(Errno::EPIPE.into()),
        }
    }

    /// Joins a session keyring.
    ///
    /// Like in runc, a missing feature and a full quota are ignored.
    fn keyring(&self, name: &str) -> Result<()> {
        let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
        match process::session_keyring(&name) {
            Ok(()) | Err(Errno::ENOSYS) => Ok(()),
            Err(e) => {
                let e = Error::os("session keyring", e)
                    .hint("use --no-new-keyring, or raise kernel.keys.maxkeys");
                Ok(self.channel.warn(&e.to_string())?)
            }
        }
    }

    /// Runs hooks of a kind inside the container.
    ///
    /// Like runc, a createContainer hook starts in the root file system as the host sees it, and a startContainer hook without
    /// an environment gets the program's.
    fn run_hooks(&self, kind: HookKind, context: &InitContext) -> Result<()> {
        let pid = nix::unistd::getpid().as_raw();
        let place = hooks::HookContext {
            dir: context
                .host
                .as_ref()
                .and_then(OfTheHost::rootfs)
                .filter(|_| kind == HookKind::CreateContainer)
                .map(|r| r.root().as_fd()),
            envp: Some(&context.envp).filter(|_| kind == HookKind::StartContainer),
        };
        hooks::run_in(&place, self.hooks, kind, &(self.state)(kind, pid))?;
        if kind == HookKind::StartContainer {
            self.channel.hooked();
        }
        Ok(())
    }

    /// Changes to the working directory as root, if root can enter it.
    ///
    /// A directory that only root can enter is valid, because images are built by root. If root cannot enter it, the container's
    /// user tries again later.
    fn try_cwd(&self, context: &mut InitContext) -> Result<()> {
        match nix::unistd::chdir(self.launch.program.cwd) {
            Ok(()) => {
                context.in_cwd = true;
                self.is_inside()
            }
            Err(Errno::EACCES | Errno::EPERM) => Ok(()),
            Err(e) => {
                Err(Error::os(format_args!("chdir to process.cwd {}", Quoted(self.launch.program.cwd)), e))
            }
        }
    }

    fn cwd(&self, context: &mut InitContext) -> Result<()> {
        if context.in_cwd {
            return Ok(());
        }
        let cwd = self.launch.program.cwd;
        nix::unistd::chdir(cwd).about(format_args!("chdir to process.cwd {}", Quoted(cwd)))?;
        self.is_inside()
    }

    /// Checks that the working directory is inside the container.
    ///
    /// This follows chdir(2) at once, because a filter that is loaded later may forbid getcwd(2).
    fn is_inside(&self) -> Result<()> {
        // A leaked descriptor of a host directory (`/proc/self/fd/N`) leads out of the root, and the kernel returns no path for
        // it (CVE-2024-21626). EILSEQ means that the path exists and is not UTF-8.
        let inside = matches!(current_dir(), Ok(_) | Err(Errno::EILSEQ));
        if inside {
            Ok(())
        } else {
            let cwd = Quoted(self.launch.program.cwd);
            Err(Error::of(format_args!("process.cwd {cwd} is outside of the container")))
        }
    }

    /// Looks up the home directory as root, who can always read the image's file.
    fn find_home(&self, context: &mut InitContext) -> Result<()> {
        let host = context.host.as_ref().ok_or_else(let_go_of)?;
        let find = |uid| match host.rootfs() {
            Some(rootfs) => home(rootfs.root(), host.procfs(), uid),
            // An exec is already inside the container.
            None => here().map_or("/".into(), |root| home(&root, host.procfs(), uid)),
        };
        let program = &self.launch.program;
        program::set_home(&mut context.envp, program, || find(program.uid));
        Ok(())
    }

    /// Closes all descriptors of the host.
    ///
    /// Close-on-exec descriptors are still open while the kernel resolves the program's path and its interpreter, and until then
    /// other processes of the container may act on this process. The conversation moves to the numbers after the inherited ones.
    fn let_go(&mut self, preserve_fds: u32, context: &mut InitContext) -> Result<()> {
        let host = ManuallyDrop::new(context.host.take().ok_or_else(let_go_of)?);
        std::mem::forget(std::mem::take(&mut self.namespaces));
        let (first, channel, procfs) =
            (3 + preserve_fds as i32, self.channel.as_fd().as_raw_fd(), host.procfs().as_fd());
        let only = "close what is the host's";
        let channel = match self.waiting.take().map(ManuallyDrop::new) {
            Some(waiting) => {
                // Later a filter may forbid it.
                stack::give_back();
                let keep = [waiting.start.as_raw_fd(), waiting.started.as_raw_fd(), channel];
                let [start, started, channel] = descriptor::keep_only(first, keep, procfs).at(only)?;
                self.waiting = Some(InitFifos { start, started });
                channel
            }
            None => {
                let [channel] = descriptor::keep_only(first, [channel], procfs).at(only)?;
                channel
            }
        };
        std::mem::forget(std::mem::replace(&mut self.channel, Channel::Socket(channel)));
        entry::wipe();
        Ok(())
    }

    /// Continues in a clone, and ends this process once the host knows the clone.
    ///
    /// The clone is in the pid namespace that this process has joined or made, where nobody has seen this process.
    fn go_on_in_a_clone(&self) -> Result<()> {
        match process::clone_sibling().at("clone")? {
            Cloned::Child => Ok(self.channel.wait_go()?),
            Cloned::Parent { pid, .. } => {
                let told = self.channel.entered(pid.as_raw() as u32);
                process::exit(i32::from(told.is_err()))
            }
        }
    }

    /// Loads the filter. All calls after this one must be allowed by the profile.
    fn load_filter(&mut self) -> Result<()> {
        let Some(filter) = &self.launch.filter else { return Ok(()) };
        let mut send = false;
        if filter.notify {
            send = self.channel.announce_listener(descriptor::next_descriptor()?)?;
        }
        self.listener = seccomp::load(&filter.program, filter.flags).at("seccomp")?;
        if let (true, Some(listener)) = (send, &self.listener) {
            self.channel.send_listener(listener.as_fd()).context(|| {
                "send the listener (before Linux 5.6 the profile must allow sendmsg, as no agent listens yet)"
            })?;
        }
        // The host takes the listener out of this process, which must exist until then. When calls are recorded, the next call
        // waits for the recorder anyway.
        if self.launch.agent.is_some() { Ok(self.channel.wait_go()?) } else { Ok(()) }
    }

    /// Ends the conversation with the host and waits for `start`.
    fn await_start(&mut self) -> Result<()> {
        let InitFifos { start, started } =
            self.waiting.take().ok_or_else(|| Error::new("no FIFOs to wait at for start"))?;
        // From here on the host's death does not end this process. A loaded filter may keep our end of the conversation open.
        self.channel.heard()?;
        self.channel = Channel::Fifo(started);
        wire::wait_go(start.as_fd())?;
        // The container runs now: closing the FIFO shows that nothing waits at it any more.
        drop(start);
        Ok(self.channel.heard()?)
    }
}

fn die_with_parent() -> Result<()> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL).at("prctl")
}

fn root_step(init: &Init<'_>, step: RootStep, rootfs: &mut Rootfs) -> Result<()> {
    match step {
        RootStep::Mount(mount) => init.mount(mount, rootfs),
        RootStep::MakeCwd(path) => {
            let made = rootfs.root().mkdir_all(&path, Links::Follow, Mode::from_bits_truncate(0o755));
            made.map(drop).at("mkdir")
        }
        RootStep::Devices(devices) => rootfs.devices(&devices),
        RootStep::StdioNull => stdio::take_null(rootfs.root(), rootfs.proc()),
        RootStep::FinishMounts => rootfs.finish(),
        RootStep::ReadonlyRoot => rootfs.make_readonly(),
        RootStep::ReadonlyPaths(paths) => rootfs.readonly(paths),
        RootStep::MaskedPaths(masked) => rootfs.mask(masked.paths, masked.data),
        RootStep::PivotRoot => rootfs.pivot(),
        RootStep::MoveRoot => rootfs.move_over(),
        RootStep::Chroot => enter_root(rootfs.root()),
    }
}
