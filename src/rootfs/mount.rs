//! Performs `mounts[]`.

use std::ffi::{CStr, CString};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag};

use super::detached::DetachedMount;
use super::foreign_proc::ForeignProc;
use super::procfs::is_procfs;
use super::resolve::{Links, Missing};
use super::root::{Handle, RootDir, kind, open_name};
use super::{PRIVATE, Rootfs, SLAVE, copy, idmapped, is_slave, through_a_link};
use crate::error::{Context, Error, Lossy, Quoted, Result};
use crate::plan::mounts::{
    CgroupEntry, MAX_DATA, MountObject, MountStep, NewMount, READONLY, may_cover_proc,
};
use crate::plan::options::{Change, ms};
use crate::sys::exact_modes::ExactModes;
use crate::sys::file::{FileStat, chmodat, fstat, mkdirat, openat, set_selinux_label, symlinkat};
use crate::sys::mount_api::{FdPath, mount_on, rejected_option};
use crate::sys::path::path_of;

/// The mode of directories that are created as mount points.
const DIRECTORY: Mode = Mode::from_bits_truncate(0o755);

impl Rootfs {
    /// Performs one entry of `mounts[]`.
    pub fn mount(&mut self, step: &MountStep) -> Result<()> {
        match &step.what {
            MountObject::New(new) => self.new_mount(step, new),
            MountObject::Bind { source, recursive } => self.bind(step, source, *recursive, step.changes),
            MountObject::Remount { flags, data } => {
                let target = self.existing(step)?;
                mount_on(None, target.as_fd(), None, *flags, *data).at("remount").map_err(no_mount)?;
                self.change_all(&target, step.changes).map_err(no_mount)
            }
            MountObject::Change => {
                let target = self.existing(step)?;
                self.change_all(&target, step.changes).map_err(no_mount)
            }
            MountObject::CgroupV1 { flags, data, entries, links } => {
                self.cgroup_v1(step, (*flags, data), entries, links)
            }
        }
    }

    fn existing(&self, step: &MountStep) -> Result<Handle> {
        self.root.resolve(&step.target, Links::Follow).about(format_args!("{}", step.target))
    }

    fn change_all(&self, mount: &impl AsFd, changes: &[Change]) -> Result<()> {
        changes.iter().try_for_each(|change| self.api.change(mount.as_fd(), change))
    }

    fn new_mount(&mut self, step: &MountStep, new: &NewMount) -> Result<()> {
        let links = if new.plain_target { Links::Never } else { Links::Follow };
        let (target, was_there) = self.directory(step, links)?;
        let with_mode = if new.inherit_mode && was_there { Some(with_mode(&target, new)?) } else { None };
        let data = with_mode.as_deref().or(new.data);
        let foreign = self.pid_namespace.is_some() && new.kind == c"proc";
        let plain = step.changes.is_empty() && !new.copy_up && !new.late_readonly && !foreign;
        let plain = plain && new.root_label.is_none() && step.idmap.is_none();
        let done = if plain {
            mount_on(Some(new.source), target.as_fd(), Some(new.kind), new.flags, data).map_err(Error::from)
        } else {
            self.made_apart(step, new, &target, data)
        };
        match (done, new.instead.filter(|_| step.idmap.is_none())) {
            (Err(e), Some(bind)) if matches!(e.errno(), Some(Errno::EPERM | Errno::EBUSY)) => {
                match self.in_place_of(bind.source, bind.otherwise) {
                    Some(callers) => self.bind(step, callers, true, &[READONLY]),
                    None => {
                        let below = if self.api.changes_all() { bind.below } else { &[] };
                        self.bind(step, bind.source, true, &[below, bind.changes].concat())
                    }
                }
            }
            (Err(e), _) if step.idmap.is_some() => Err(e),
            (Err(e), _) if e.errno() == Some(Errno::EINVAL) => {
                let e = match rejected_option(new.kind, data.unwrap_or_default()) {
                    Some(option) => e.hint(format_args!(
                        "the kernel rejects the option {}",
                        Quoted(&String::from_utf8_lossy(option))
                    )),
                    None => e,
                };
                let inside = self.api.is_inside();
                Err(if inside {
                    e.hint("the user namespace must map every uid= and gid= of its options")
                } else {
                    e
                })
            }
            (Err(e), _) => Err(with_hint(e, new.kind)),
            (Ok(()), _) => Ok(()),
        }
    }

    /// Mounts a file system detached first, if it needs more than one call.
    fn made_apart(
        &mut self,
        step: &MountStep,
        new: &NewMount,
        target: &Handle,
        data: Option<&CStr>,
    ) -> Result<()> {
        let tree = match &self.pid_namespace {
            _ if step.idmap.is_some() => self.idmapped(step, data),
            Some(namespace) if new.kind == c"proc" => self.api.foreign_proc(&ForeignProc {
                namespace: namespace.as_fd(),
                source: new.source,
                flags: new.flags,
                data,
            }),
            _ => self.api.new_fs(new.kind, new.source, new.flags, data),
        }?;
        if self.api.is_inside() && step.idmap.is_some() && data != new.data {
            // The host does not know the directory that it covers.
            let mode = Mode::from_bits_truncate(target.stat()?.st_mode & 0o7777);
            chmodat(&tree, c".", mode).at("set its mode").map_err(|e| e.hint("add an option mode=..."))?;
        }
        if new.copy_up {
            copy::directory(target, &tree).at("copy the directory below")?;
        }
        if let Some(label) = new.root_label {
            label_root(&tree, label).at("linux.mountLabel")?;
        }
        self.api.attach(tree.as_fd(), target.as_fd())?;
        self.change_all(&tree, step.changes)?;
        if new.late_readonly {
            self.late.push(tree.into());
        }
        Ok(())
    }

    fn bind(&mut self, step: &MountStep, source: &CStr, recursive: bool, changes: &[Change]) -> Result<()> {
        let tree = match step.idmap {
            Some(_) => self.idmapped(step, None)?,
            None => self.api.clone_path(source, recursive)?,
        };
        if step.target.is_root() {
            return self.replace_root(tree, changes);
        }
        let over_proc = step.target.as_bytes() == b"proc";
        if over_proc && !(is_procfs(&tree)? && fstat(&tree)?.st_ino == 1) {
            return Err(Error::new("only a procfs is mounted at /proc").context(Lossy(source)));
        }
        let links = if over_proc { Links::Never } else { Links::Follow };
        let missing = if kind(&fstat(&tree)?) == SFlag::S_IFDIR {
            Missing::Directories(DIRECTORY)
        } else {
            Missing::File { mode: Mode::from_bits_truncate(0o644), on_the_way: DIRECTORY }
        };
        let made = self.root.find_or_make(&step.target, links, missing);
        let (target, _) = made.map_err(|e| cannot_make(e, step))?;
        self.check_cover(step, &target)?;
        self.change_all(&tree, changes)?;
        self.api.attach(tree.as_fd(), target.as_fd()).map_err(|e| mismatch(e, &tree, &target))
    }

    /// The idmapped mount of an entry, detached.
    ///
    /// Without the rights to make it, init asks the host.
    fn idmapped(&mut self, step: &MountStep, data: Option<&CStr>) -> Result<DetachedMount> {
        let tree = match self.carrier.take() {
            Some(carrier) => idmapped::make(step, data, carrier.as_fd()),
            None => self.api.host_mount(step.index),
        };
        tree.map(DetachedMount::from)
    }

    /// Attaches a tree on top of the root and uses it as the root from then on.
    ///
    /// It leaves the host's peer groups first, so that mounts in it stay in the container.
    fn replace_root(&mut self, tree: DetachedMount, changes: &[Change]) -> Result<()> {
        self.api.change(tree.as_fd(), &SLAVE)?;
        if !is_slave(self.propagation) {
            self.api.change(tree.as_fd(), &PRIVATE)?;
        }
        self.change_all(&tree, changes)?;
        let attached = self.api.attach(tree.as_fd(), self.root.as_fd());
        attached.map_err(|e| mismatch(e, &tree, &self.root))?;
        self.root = RootDir::with(tree.into(), self.root.resolver());
        Ok(())
    }

    /// The directory to mount on, and whether it existed before.
    fn directory(&self, step: &MountStep, links: Links) -> Result<(Handle, bool)> {
        match self.root.find_or_make(&step.target, links, Missing::Directories(DIRECTORY)) {
            Ok((found, made)) => {
                self.check_cover(step, &found)?;
                Ok((found, !made))
            }
            Err(Errno::ELOOP) if links == Links::Never => {
                // runc's words.
                Err(through_a_link(&step.target).hint("it must be mounted on ordinary directory"))
            }
            Err(e) => Err(cannot_make(e, step)),
        }
    }

    /// Refuses mounts over the root and over procfs, except for a few of its files.
    ///
    /// Init would not notice a mount over the root. Programs in the container rely on the rest of procfs.
    fn check_cover(&self, step: &MountStep, target: &Handle) -> Result<()> {
        self.not_the_root(target)?;
        if !is_procfs(target)? || step.target.as_bytes() == b"proc" {
            return Ok(());
        }
        let leads_to = path_of(target)?;
        if may_cover_proc(&leads_to) {
            return Ok(());
        }
        Err(Error::of(format_args!("{} leads into /proc, where nothing may be mounted over", step.target)))
    }

    fn cgroup_v1(
        &mut self,
        step: &MountStep,
        (flags, data): (u32, &CStr),
        entries: &[CgroupEntry],
        links: &[(&CStr, &CStr)],
    ) -> Result<()> {
        let (target, _) = self.directory(step, Links::Follow)?;
        let readonly = flags & ms::RDONLY != 0;
        let _exact = ExactModes::begin();
        let tree = self.api.new_fs(c"tmpfs", c"tmpfs", flags & !ms::RDONLY, Some(data))?;
        for entry in entries {
            self.hierarchy(&tree, flags, entry).about(format_args!("{}", Lossy(entry.directory)))?;
        }
        for (name, directory) in links {
            symlinkat(directory, &tree, name).about(format_args!("{}", Lossy(name)))?;
        }
        if readonly {
            self.api.change(tree.as_fd(), &READONLY)?;
        }
        self.api.attach(tree.as_fd(), target.as_fd())?;
        self.change_all(&tree, step.changes)
    }

    /// The path to bind if the first one is absent.
    ///
    /// It is a cgroup of the caller, so it is bound read-only: the container must not kill or limit its caller's processes.
    fn in_place_of(&self, path: &'static CStr, otherwise: Option<&'static CStr>) -> Option<&'static CStr> {
        let absent = |path| self.api.open_host(path, OFlag::O_PATH).is_err_and(|e| e == Errno::ENOENT);
        otherwise.filter(|_| absent(path))
    }

    fn hierarchy(&mut self, tmpfs: &DetachedMount, flags: u32, entry: &CgroupEntry) -> Result<()> {
        mkdirat(tmpfs, entry.directory, DIRECTORY)?;
        let place = open_name(tmpfs, entry.directory)?;
        if let Some(data) = entry.data {
            let source = Some(c"cgroup");
            return Ok(mount_on(source, place.as_fd(), source, flags, Some(data))?);
        }
        let callers = self.in_place_of(entry.source, entry.otherwise);
        let flags = if callers.is_some() { flags | ms::RDONLY } else { flags };
        let own = self.api.clone_path(callers.unwrap_or(entry.source), false)?;
        let change = crate::plan::options::Options { set: flags, ..Default::default() }.changes();
        self.change_all(&own, change)?;
        Ok(self.api.attach(own.as_fd(), place.as_fd())?)
    }
}

/// Labels the root directory of a mount, unless its file system takes no labels.
fn label_root(tree: &DetachedMount, label: &CStr) -> std::result::Result<(), Errno> {
    let root = openat(tree, c".", OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
    match set_selinux_label(&root, label) {
        Err(Errno::EOPNOTSUPP) => Ok(()),
        other => other,
    }
}

/// Binds an open file over a file or a directory of the container.
pub(super) fn bind_over(what: impl AsFd, target: &Handle) -> Result<()> {
    let source = FdPath::new(what.as_fd());
    Ok(mount_on(Some(source.as_c_str()), target.as_fd(), None, ms::BIND, None)?)
}

/// The data of a tmpfs that takes the mode of the directory it covers.
fn with_mode(target: &Handle, new: &NewMount) -> Result<CString> {
    let mut text = new.data.map_or(Vec::new(), |data| [data.to_bytes(), b","].concat());
    text.extend_from_slice(format!("mode={:04o}", target.stat()?.st_mode & 0o7777).as_bytes());
    if text.len() > MAX_DATA {
        return Err(Error::os("the options and the mode of the directory", Errno::E2BIG));
    }
    CString::new(text).map_err(|_| Error::from(Errno::EINVAL))
}

fn no_mount(e: Error) -> Error {
    match e.errno() {
        Some(Errno::EINVAL) => e.hint("only a mount can be remounted: bind or mount something there first"),
        _ => e,
    }
}

fn cannot_make(errno: Errno, step: &MountStep) -> Error {
    let target = &step.target;
    let e = Error::os(format_args!("{target} of the root file system"), errno);
    match errno {
        Errno::EROFS => e.hint(format_args!("it is read-only: make {target} when you build it")),
        Errno::EACCES => e.hint(format_args!("its owner is another user: make {target} when you build it")),
        Errno::ENOTDIR => e.hint("something on the way is a file"),
        _ => e,
    }
}

fn mismatch(errno: Errno, source: &DetachedMount, target: &impl AsFd) -> Error {
    let is_directory =
        |s: std::result::Result<FileStat, Errno>| s.map(|s| kind(&s) == SFlag::S_IFDIR).unwrap_or_default();
    let e = Error::from(errno);
    match (is_directory(fstat(source)), is_directory(fstat(target))) {
        (true, false) => Error::os("the source is a directory and the destination is not", Errno::ENOTDIR),
        (false, true) => Error::os("the destination is a directory and the source is not", Errno::EISDIR),
        _ => e,
    }
}

/// Adds the possible fix to the error of a file system's mount.
pub(super) fn with_hint(e: Error, kind: &CStr) -> Error {
    const OPTIONS: [(&CStr, &str); 7] = [
        (c"proc", "CONFIG_PROC_FS"),
        (c"sysfs", "CONFIG_SYSFS"),
        (c"tmpfs", "CONFIG_TMPFS"),
        (c"devpts", "CONFIG_UNIX98_PTYS"),
        (c"mqueue", "CONFIG_POSIX_MQUEUE"),
        (c"cgroup2", "CONFIG_CGROUPS"),
        (c"overlay", "CONFIG_OVERLAY_FS"),
    ];
    match e.errno() {
        Some(Errno::ENODEV) => {}
        // In a user namespace the kernel mounts them only if they are fully visible somewhere (mount_too_revealing).
        Some(Errno::EPERM) if kind == c"proc" || kind == c"sysfs" => {
            return e.hint(
                "inside another container its own must not be partly covered, or the namespace be shared",
            );
        }
        _ => return e,
    }
    match OPTIONS.iter().find(|(name, _)| *name == kind) {
        Some((_, option)) => e.hint(format_args!("the kernel lacks {option}")),
        None => e.hint(format_args!("the kernel does not know the file system {}", Lossy(kind))),
    }
}
