//! `device`: adds a device to an existing container, or removes one.
//!
//! The cgroup allows or denies it, and its node is made or removed inside. An added device lasts as long as the container.

use std::ffi::CStr;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag, major, minor, umask};

use super::command::Globals;
use super::store;
use super::update::{device_rules, linux_of, live};
use crate::bundle::spec::{Device, DeviceKind};
use crate::cgroup::limits::{ANY, DeviceRule, RuleKind, access, devices};
use crate::error::{Context as _, Error, Result};
use crate::json::slot::may;
use crate::plan::inside_path::InsidePath;
use crate::rootfs::resolve::Links;
use crate::rootfs::root::{Handle, RootDir, kind};
use crate::state::store::Entry;
use crate::state::{Held, Observed};
use crate::sys::file::{FileStat, chownat, fstat, lstatat, mknodat, open, stat, unlinkat};
use crate::text::Keep;

/// Adds or removes a device of the host.
///
/// An added device must have a node on the host; its owner and permissions are copied. A device that was unplugged can be
/// removed if its node was made by `add`. A process that has the device open keeps it.
pub fn run(
    globals: &Globals,
    verb: &str,
    id: &str,
    device: &str,
    mode: Option<&str>,
    as_path: Option<&str>,
) -> Result<()> {
    let inside = as_path.unwrap_or(device);
    let path = path_of(inside)?;
    let access = access(mode.unwrap_or("rwm")).map_err(|f| Error::from(f).context("--mode"))?;
    let held = live(Observed::of(store(globals)?.lock(id)?)?)?;
    match verb {
        "add" => add(held, device, inside, &path, access),
        "remove" => remove(held, device, inside, &path),
        _ => Err(Error::new("expected add or remove")),
    }
}

fn add(mut held: Held, device: &str, inside: &str, path: &InsidePath, access: u8) -> Result<()> {
    let host = stat(device).at(device)?;
    let rule = rule_of(&host, access).ok_or_else(|| Error::of(format_args!("{device} is no device")))?;
    if is_pty(&rule) {
        return Err(Error::new("a pty works only on its devpts").hint("bind it with spec --device"));
    }
    let root = root_of(&held)?;
    let before = change_rules(&mut held, rule)?;
    let mut make = || -> Result<()> {
        let made = make_node(&root, path, &host)?;
        if made {
            held.record.device_nodes.retain(|(n, _)| *n != inside);
            held.record.device_nodes.push((inside.to_owned().keep(), rule));
        }
        held.dir.write_record(&held.record).inspect_err(|_| {
            let _ = made.then(|| remove_node(&root, path, &rule));
        })
    };
    make().map_err(|e| {
        put_back(&held, &before);
        e.context(format_args!("make {inside} in the container"))
    })
}

fn remove(mut held: Held, device: &str, inside: &str, path: &InsidePath) -> Result<()> {
    let root = root_of(&held)?;
    let ours = held.record.device_nodes.iter().find(|(n, _)| *n == inside).map(|(_, rule)| *rule);
    // The node at that path in the container is not asked: the container could have replaced it.
    let on_host = || stat(device).ok().and_then(|node| rule_of(&node, ANY));
    let known = ours.or_else(on_host).or_else(|| of_config(&held.dir, inside));
    let known =
        known.ok_or_else(|| Error::of(format_args!("{device} is no device of the host or the container")))?;
    if ours.is_none() && devices::is_default(&known) {
        return Err(Error::of(format_args!("{device} cannot be removed: every container has this device")));
    }
    let before = change_rules(&mut held, DeviceRule { allow: false, access: ANY, ..known })?;
    // Before the node is removed: the next change of the rules lifts a denial that is not recorded.
    held.dir.write_record(&held.record).inspect_err(|_| put_back(&held, &before))?;
    let Some(rule) = ours else { return Ok(()) };
    remove_node(&root, path, &rule)
        .map_err(|e| e.context(format_args!("remove {inside} in the container")))?;
    held.record.device_nodes.retain(|(n, _)| *n != inside);
    held.dir.write_record(&held.record)
}

/// The path of a node, which must be absolute.
pub(super) fn path_of(inside: &str) -> Result<InsidePath> {
    let path = InsidePath::new(inside).filter(|p| inside.starts_with('/') && !p.is_root());
    path.ok_or_else(|| Error::of(format_args!("{inside}: must be an absolute path")))
}

/// A device of the config that the host no longer has.
fn of_config(dir: &Entry, inside: &str) -> Option<DeviceRule> {
    let mut devices = Vec::<Device>::new();
    linux_of(dir, &mut |v| v.object(&mut [may("devices", &mut devices)])).ok()?;
    let found = devices.iter().find(|device| device.path == inside)?;
    let kind = match found.kind {
        DeviceKind::Char => RuleKind::Char,
        DeviceKind::Block => RuleKind::Block,
        DeviceKind::Fifo => return None,
    };
    Some(DeviceRule { allow: true, kind, major: Some(found.major), minor: Some(found.minor), access: ANY })
}

/// Applies the rule after all others, or leaves it.
///
/// Returns the rules added since create.
fn change_rules(held: &mut Held, rule: DeviceRule) -> Result<Vec<DeviceRule>> {
    let before = held.record.device_rules.clone();
    devices::append(&mut held.record.device_rules, rule);
    let rules = device_rules(&held.dir, &held.record.device_rules)?;
    held.record.cgroup().set_devices(&rules).inspect_err(|_| put_back(held, &before))?;
    Ok(before)
}

/// Restores the earlier rules after a later part of the change has failed.
fn put_back(held: &Held, before: &[DeviceRule]) {
    let _ = device_rules(&held.dir, before).and_then(|rules| held.record.cgroup().set_devices(&rules));
}

/// The rule that allows this access to a device, by its node.
pub(super) fn rule_of(node: &FileStat, access: u8) -> Option<DeviceRule> {
    let kind = match kind(node) {
        SFlag::S_IFCHR => RuleKind::Char,
        SFlag::S_IFBLK => RuleKind::Block,
        _ => return None,
    };
    let number = |n: u64| u32::try_from(n).ok();
    let (major, minor) = (number(major(node.st_rdev))?, number(minor(node.st_rdev))?);
    Some(DeviceRule { allow: true, kind, major: Some(major), minor: Some(minor), access })
}

/// Whether it is a pty, whose nodes work only on a devpts file system.
pub(super) fn is_pty(rule: &DeviceRule) -> bool {
    // UNIX98_PTY_SLAVE_MAJOR and UNIX98_PTY_MAJOR_COUNT of the kernel.
    rule.kind == RuleKind::Char && rule.major.is_some_and(|major| (136..144).contains(&major))
}

/// The root of the container as its init sees it, mounts included.
fn root_of(held: &Held) -> Result<RootDir> {
    let init = held.record.init.as_ref().ok_or_else(|| Error::new(crate::error::engine::NOT_RUNNING))?;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = open(format!("/proc/{}/root", init.pid).as_str(), flags);
    // If init can still be entered, its pid was not reused when the root was opened.
    if !init.can_be_entered() {
        return Err(Error::new(crate::error::engine::NOT_RUNNING));
    }
    Ok(RootDir::new(root.at("open the root of the container")?))
}

/// Makes the node, or finds the same one; whether it was made.
fn make_node(root: &RootDir, path: &InsidePath, host: &FileStat) -> Result<bool> {
    let (above, name) = path.split().ok_or(Errno::EISDIR)?;
    let directory = root.directory(&above)?;
    if let Ok(there) = lstatat(&directory, name) {
        return match kind(&there) == kind(host) && there.st_rdev == host.st_rdev {
            true => Ok(false),
            false => Err(Error::new("something else is there already").hint("give another path with --as")),
        };
    }
    refuse_hosts_dev(&directory)?;
    let mask = umask(Mode::empty());
    let mode = Mode::from_bits_truncate(host.st_mode & 0o777);
    let made = mknodat(&directory, name, kind(host), mode, host.st_rdev);
    umask(mask);
    made.at("mknod")?;
    let owned = chownat(&directory, name, host.st_uid, Some(host.st_gid));
    if let Err(e) = owned {
        let _ = unlink(directory.as_fd(), name);
        return Err(Error::os("chown", e));
    }
    Ok(true)
}

/// A container with the host's `/dev` has all nodes and must make none there.
fn refuse_hosts_dev(directory: &Handle) -> Result<()> {
    let (dev, here) = (stat("/dev").at("/dev")?, fstat(directory)?);
    if dev.st_dev == here.st_dev && dev.st_dev != stat("/").at("/")?.st_dev {
        return Err(Error::new("the directory is the host's /dev"));
    }
    Ok(())
}

/// Removes the node if it is still that device: the container may have replaced it.
///
/// Links on the way are followed within the root, a link at the end is not.
fn remove_node(root: &RootDir, path: &InsidePath, rule: &DeviceRule) -> Result<()> {
    let Some((above, name)) = path.split() else { return Ok(()) };
    let directory = match root.resolve(&above, Links::Follow) {
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
        found => found?,
    };
    match lstatat(&directory, name) {
        Ok(found) if rule_of(&found, rule.access) == Some(*rule) => unlink(directory.as_fd(), name),
        _ => Ok(()),
    }
}

fn unlink(directory: std::os::fd::BorrowedFd<'_>, name: &CStr) -> Result<()> {
    match unlinkat(directory, name) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
