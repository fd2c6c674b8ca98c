//! The interpreter in the container's init (and in a process of `exec`): one match over the steps.
//!
//! Everything here runs in a clone of the single-threaded host process, so it may allocate like any other code until the
//! seccomp filter is in force; from there to exec it does not. It leaves by exec or `_exit` only, and tells the host
//! which step failed.

use std::ffi::{CStr, CString};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::Mode;

use super::wire::Channel;
use super::{interrupt, program, stdio, terminal};
use crate::bundle::json::Json;
use crate::bundle::spec::{HookKind, Hooks, Personality, Scheduler, Text, c_text};
use crate::cgroup::fs::Cgroup;
use crate::error::{Context, Error, Lossy, Quoted, Result};
use crate::hooks;
use crate::plan::Plan;
use crate::plan::step::InitStep;
use crate::rootfs::procfs::ProcFs;
use crate::rootfs::root::{Links, RootDir};
use crate::rootfs::{Rootfs, Ways, home};
use crate::sys::credentials::{self, CapSets};
use crate::sys::file::open;
use crate::sys::process::{self, CStrings};
use crate::sys::scheduling::{self, SchedAttr};
use crate::sys::{seccomp, tty};

/// What the child starts with.
pub struct Init<'a> {
    /// What to do.
    pub plan: &'a Plan,
    /// To the host.
    pub channel: Channel,
    /// The namespaces to join, in the order of the plan.
    pub namespaces: Vec<OwnedFd>,
    /// Where `start` will call.
    pub listener: Option<OwnedFd>,
    /// Of a container that is there.
    pub cgroup: Option<&'a Cgroup>,
    /// The config's.
    pub hooks: &'a Hooks,
    /// The state that hooks are told, with the pid put in.
    pub state: &'a dyn Fn(HookKind, i32) -> Json,
}

/// What the steps hand to each other.
struct Scene {
    /// The host's, opened before anything of the container is in reach; an own root has its own.
    procfs: ProcFs,
    /// Of a container that is being made.
    rootfs: Option<Rootfs>,
    in_cwd: bool,
    program: Option<CString>,
    argv: CStrings,
    envp: CStrings,
}

impl Init<'_> {
    /// Performs the plan. Does not return: the process becomes the program, or ends after telling what failed.
    pub fn perform(mut self) -> ! {
        let _ = nix::sys::prctl::set_name(c"embrun:[INIT]");
        process::default_signals();
        // While the host's procfs is there, and before any limit: where the kernel cannot do it in one go. What is opened
        // from here on is close-on-exec by itself.
        process::close_from_on_exec(3);
        // Also a container that waits to be started can be asked to end.
        process::end_when_asked();
        interrupt::forget();
        let mut step = 0;
        // Never dropped: from the wait for start on its descriptors are closed, and their numbers may be others'.
        let mut scene = self.scene().map(ManuallyDrop::new);
        let failure = match &mut scene {
            Err(e) => std::mem::replace(e, Errno::EIO.into()),
            Ok(scene) => loop {
                let Some(&now) = self.plan.init.get(step) else { break Error::new("the plan has no exec") };
                match self.step(now, scene) {
                    Ok(()) => step += 1,
                    Err(e) => break e,
                }
            },
        };
        let errno = failure.errno().map_or(0, |e| e as i32);
        let _ = self.channel.failed(step as u16, errno, &failure.to_string());
        process::exit(1)
    }

    fn scene(&self) -> Result<Scene> {
        let c = |s: &Text| c_text(s.as_bytes());
        Ok(Scene {
            procfs: ProcFs::open()?,
            rootfs: None,
            in_cwd: false,
            program: None,
            argv: CStrings::new(self.plan.program.args.iter().filter_map(c)),
            // An empty HOME is none: it gets one when the program is looked for.
            envp: CStrings::new(self.plan.program.env.iter().filter(|e| **e != "HOME=").filter_map(c)),
        })
    }

    fn step(&mut self, step: InitStep, scene: &mut Scene) -> Result<()> {
        match step {
            InitStep::DieWithHost => self.die_with_host(),
            InitStep::OutliveHost => Ok(nix::sys::prctl::set_pdeathsig(None).at("prctl")?),
            InitStep::JoinCgroup => self.cgroup.map_or(Ok(()), Cgroup::join_v1),
            InitStep::Ask(sync) => Ok(self.channel.ask(sync)?),
            InitStep::NewSession => nix::unistd::setsid().map(drop).at("setsid"),
            InitStep::Keyring(name) => self.keyring(name),
            InitStep::JoinNamespace { kind, index } => {
                let flag = CloneFlags::from_bits_retain(kind.clone_flag() as i32);
                setns(&self.namespaces[index], flag).at("setns")?;
                Ok(())
            }
            InitStep::NewCgroupNamespace => unshare(CloneFlags::CLONE_NEWCGROUP).at("unshare"),
            InitStep::LoopbackUp => tty::loopback_up().at("ioctl SIOCSIFFLAGS"),
            InitStep::Hostname(name) => nix::unistd::sethostname(name).at("sethostname"),
            InitStep::Domainname(name) => process::set_domain_name(name).at("setdomainname"),
            InitStep::PrepareRoot { rootfs, propagation } => {
                let path = c_text(rootfs.as_bytes()).ok_or(Errno::EINVAL)?;
                scene.rootfs = Some(Rootfs::prepare(path, propagation, Ways::default())?);
                Ok(())
            }
            InitStep::Mount(mount) => scene.rootfs()?.mount(mount),
            InitStep::MakeCwd(path) => {
                let made =
                    scene.rootfs()?.root().mkdir_all(&path, Links::Follow, Mode::from_bits_truncate(0o755));
                made.map(drop).at("mkdir")
            }
            InitStep::Devices(devices) => scene.rootfs()?.devices(&devices),
            InitStep::StdioNull => {
                let rootfs = scene.rootfs()?;
                stdio::take_null(rootfs.root(), rootfs.proc())
            }
            InitStep::Terminal { size } => {
                terminal::make(scene.rootfs.as_mut(), &scene.procfs, size, &self.channel)
            }
            InitStep::RunHooks(kind) => self.run_hooks(kind, scene),
            InitStep::Sysctl((file, value)) => scene.procfs.sysctl(file, value),
            InitStep::OomScoreAdj(score) => {
                scene.procfs.write_self("oom_score_adj", score.to_string().as_bytes())
            }
            InitStep::FinishMounts => scene.rootfs()?.finish(),
            InitStep::ReadonlyRoot => scene.rootfs()?.make_readonly(),
            InitStep::ReadonlyPaths(paths) => scene.rootfs()?.readonly(paths),
            InitStep::MaskedPaths(paths) => scene.rootfs()?.mask(paths),
            InitStep::PivotRoot => scene.rootfs()?.pivot(),
            InitStep::MoveRoot => scene.rootfs()?.move_over(),
            InitStep::Rlimit(l) => process::set_rlimit(l.resource, l.soft, l.hard).map(drop).at("prlimit"),
            InitStep::Scheduler(s) => set_scheduler(s),
            InitStep::IoPriority(io) => scheduling::set_io_priority(io.class, io.priority).at("ioprio_set"),
            InitStep::CpuAffinity(cpus) => run_on(cpus).at("sched_setaffinity"),
            InitStep::Personality(domain) => personality(domain),
            InitStep::Umask(mask) => {
                nix::sys::stat::umask(Mode::from_bits_truncate(mask as libc::mode_t));
                Ok(())
            }
            InitStep::OwnStdio(uid) => stdio::own(uid),
            InitStep::TryCwd => self.try_cwd(scene),
            InitStep::Cwd => self.cwd(scene),
            InitStep::NoNewPrivileges => nix::sys::prctl::set_no_new_privs().at("prctl"),
            InitStep::Seccomp => self.load_filter(),
            InitStep::BoundingSet(keep) => credentials::drop_bounding(keep.bounding).at("PR_CAPBSET_DROP"),
            InitStep::Ids(user) => become_user(user.uid, user.gid, user.additional_gids),
            InitStep::Capabilities(s) => {
                let (effective, permitted, inheritable) = (s.effective, s.permitted, s.inheritable);
                credentials::capset(CapSets { effective, permitted, inheritable }).at("capset")?;
                credentials::set_ambient(s.ambient).at("PR_CAP_AMBIENT")
            }
            InitStep::FindProgram => {
                let home = |uid| match &scene.rootfs {
                    Some(rootfs) => home(rootfs.root(), &scene.procfs, uid),
                    // An exec is in the container already.
                    None => here().map_or("/".into(), |root| home(&root, &scene.procfs, uid)),
                };
                program::set_home(&mut scene.envp, &self.plan.program, || home(self.plan.program.uid));
                scene.program = Some(program::find(&self.plan.program)?);
                Ok(())
            }
            InitStep::AwaitStart { preserve_fds } => self.await_start(preserve_fds, &scene.procfs),
            InitStep::Exec { preserve_fds } => {
                let path =
                    scene.program.as_deref().ok_or_else(|| Error::new("process: is required to start"))?;
                if self.plan.filter.is_none() {
                    pass_on(preserve_fds);
                }
                Err(exec(path, &scene.argv, &scene.envp))
            }
        }
    }

    fn die_with_host(&self) -> Result<()> {
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL).at("prctl")?;
        // It may have died before that took effect; its end of the conversation is closed then.
        let mut fds = [PollFd::new(self.channel.as_fd(), PollFlags::empty())];
        match poll(&mut fds, PollTimeout::ZERO) {
            Ok(0) => Ok(()),
            _ => Err(Errno::EPIPE.into()),
        }
    }

    /// A kernel without keyrings, or a full quota, is no reason not to run (as in runc).
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

    /// As by runc: a createContainer hook starts in the root file system, as the host sees it, and a startContainer hook that
    /// is given no environment has the program's.
    fn run_hooks(&self, kind: HookKind, scene: &Scene) -> Result<()> {
        let pid = nix::unistd::getpid().as_raw();
        let place = hooks::Place {
            dir: scene
                .rootfs
                .as_ref()
                .filter(|_| kind == HookKind::CreateContainer)
                .map(|r| r.root().as_fd()),
            envp: Some(&scene.envp).filter(|_| kind == HookKind::StartContainer),
        };
        hooks::run_in(&place, self.hooks, kind, &(self.state)(kind, pid))
    }

    /// As root if root may: a directory that only root can enter is no error where the image is made so. What only the
    /// user can enter is tried again as the user.
    fn try_cwd(&self, scene: &mut Scene) -> Result<()> {
        match nix::unistd::chdir(self.plan.program.cwd) {
            Ok(()) => scene.in_cwd = true,
            Err(Errno::EACCES | Errno::EPERM) => {}
            Err(e) => {
                return Err(Error::os(
                    format_args!("chdir to process.cwd {}", Quoted(self.plan.program.cwd)),
                    e,
                ));
            }
        }
        Ok(())
    }

    fn cwd(&self, scene: &mut Scene) -> Result<()> {
        let cwd = self.plan.program.cwd;
        if !scene.in_cwd {
            nix::unistd::chdir(cwd).about(format_args!("chdir to process.cwd {}", Quoted(cwd)))?;
        }
        // A descriptor of a directory of the host that leaked in (`/proc/self/fd/N`) leads out of the root, and the kernel
        // gives no path for it (CVE-2024-21626).
        let inside = nix::unistd::getcwd().is_ok_and(|path| path.is_absolute());
        if inside {
            Ok(())
        } else {
            Err(Error::new(format!("process.cwd {} is outside of the container", Quoted(cwd))))
        }
    }

    /// What comes behind it is under the filter, and the profile must allow it. So nothing is closed but by exec.
    fn load_filter(&self) -> Result<()> {
        let Some(filter) = &self.plan.filter else { return Ok(()) };
        if let Some(InitStep::Exec { preserve_fds }) = self.plan.init.last() {
            pass_on(*preserve_fds);
        }
        match seccomp::load(&filter.program, filter.flags).at("seccomp")?.map(ManuallyDrop::new) {
            Some(listener) => self.channel.listener(listener.as_fd()).context(|| {
                "hand the listener over (the profile must let sendmsg and recvfrom pass before anybody listens)"
            }),
            None => Ok(()),
        }
    }

    /// Keeps nothing but the standard streams and the listener, and waits for somebody to say go. Whoever connects and
    /// goes away (a look at the status) is nobody.
    fn await_start(&mut self, preserve_fds: u32, procfs: &ProcFs) -> Result<()> {
        let listener = self.listener.take().ok_or_else(|| Error::new("no socket to wait at"))?;
        // Also ends the host's wait for us: it sees its end of the conversation close.
        let listener =
            process::close_all_but(listener, 3 + preserve_fds as i32, procfs.as_fd()).at("dup3")?;
        loop {
            let peer = match nix::sys::socket::accept4(
                listener.as_raw_fd(),
                nix::sys::socket::SockFlag::SOCK_CLOEXEC,
            ) {
                Ok(fd) => Channel::over(process::adopt(fd)),
                Err(Errno::EINTR | Errno::ECONNABORTED) => continue,
                // What there is too little of now need not be the end of a container: who calls is still there then.
                Err(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::ENOBUFS) => {
                    let _ = poll(&mut [], PollTimeout::from(20u8));
                    continue;
                }
                Err(e) => return Err(Error::os("accept", e)),
            };
            if peer.wait_go().is_ok() {
                std::mem::forget(std::mem::replace(&mut self.channel, peer));
                return Ok(());
            }
        }
    }
}

impl Scene {
    fn rootfs(&mut self) -> Result<&mut Rootfs> {
        self.rootfs.as_mut().ok_or_else(|| Error::new("the root is not prepared"))
    }
}

/// The root directory of this process.
pub fn here() -> Result<RootDir> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(RootDir::new(open(c"/", flags).at("open /")?))
}

fn personality(domain: Personality) -> Result<()> {
    let persona = match domain {
        Personality::Linux => nix::sys::personality::Persona::empty(),
        Personality::Linux32 => nix::sys::personality::Persona::from_bits_retain(0x8),
    };
    nix::sys::personality::set(persona).map(drop).at("personality")
}

fn set_scheduler(s: &Scheduler) -> Result<()> {
    let attr = SchedAttr {
        policy: s.policy,
        flags: s.flags,
        nice: s.nice,
        priority: s.priority as u32,
        runtime: s.runtime,
        deadline: s.deadline,
        period: s.period,
        ..SchedAttr::default()
    };
    scheduling::set_scheduler(&attr).map_err(|e| {
        let error = Error::os("sched_setattr", e);
        // sched(7): a cgroup of v1 without a share of the real-time budget can hold no such process.
        if e == Errno::EPERM {
            error.hint("needs CAP_SYS_NICE, and for real time cpu.realtimeRuntime on cgroup v1; a deadline process scheduler can't be used together with AllowedCPUs")
        } else {
            error
        }
    })
}

fn run_on(cpus: &[u32]) -> nix::Result<()> {
    let mut set = nix::sched::CpuSet::new();
    cpus.iter().try_for_each(|cpu| set.set(*cpu as usize))?;
    if cpus.is_empty() {
        // All that can be named: the kernel keeps to those of the cgroup.
        (0..nix::sched::CpuSet::count()).try_for_each(|cpu| set.set(cpu))?;
    }
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set)
}

fn become_user(uid: u32, gid: u32, groups: &[u32]) -> Result<()> {
    credentials::keep_capabilities(true).at("PR_SET_KEEPCAPS")?;
    credentials::set_ids(uid, gid, groups)?;
    credentials::keep_capabilities(false).at("PR_SET_KEEPCAPS")
}

/// Sees to it that the program inherits so many descriptors beside the standard streams. All others are close-on-exec since
/// the start.
fn pass_on(preserve_fds: u32) {
    (3..3 + preserve_fds as i32).for_each(process::keep_across_exec);
}

/// Allocates nothing until it has failed.
fn exec(path: &CStr, argv: &CStrings, envp: &CStrings) -> Error {
    let errno = process::execve(path, argv, envp);
    // The program was found: it may be the interpreter that its first line names.
    Error::os(format_args!("exec {}", Lossy(path)), errno)
}
