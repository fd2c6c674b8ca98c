//! `device`: plugs a device into a container that is there, and out again, without a restart: the cgroup allows it or not,
//! and its node is made or removed inside. What is plugged in lasts as long as the container.

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

/// Adds or removes a device of the host.
///
/// Added is one whose node is there on the host; its owner and permissions are copied. Removed is also one that has been
/// pulled out already, if its node was made by `add`. A process that has the device open keeps it.
pub fn run(
    globals: &Globals,
    verb: &str,
    id: &str,
    device: &str,
    mode: Option<&str>,
    as_path: Option<&str>,
) -> Result<()> {
    let inside = as_path.unwrap_or(device);
    let path = InsidePath::new(inside).filter(|p| inside.starts_with('/') && !p.is_root());
    let path = path.ok_or_else(|| Error::of(format_args!("{inside}: must be an absolute path")))?;
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
    let root = root_of(&held)?;
    let before = change_rules(&mut held, rule)?;
    let mut make = || -> Result<()> {
        let made = make_node(&root, path, &host)?;
        if made {
            held.record.device_nodes.retain(|(n, _)| *n != inside);
            held.record.device_nodes.push((inside.to_owned().leak(), rule));
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
    // What the container has at the path is not asked: it could have put another device there.
    let on_host = || stat(device).ok().and_then(|node| rule_of(&node, ANY));
    let known = ours.or_else(on_host).or_else(|| of_config(&held.dir, inside));
    let known =
        known.ok_or_else(|| Error::of(format_args!("{device} is no device of the host or the container")))?;
    if ours.is_none() && devices::is_default(&known) {
        return Err(Error::of(format_args!("{device} cannot be removed: every container has this device")));
    }
    let before = change_rules(&mut held, DeviceRule { allow: false, access: ANY, ..known })?;
    // Before the node goes: a denial that nobody has written down is lifted by the next change of the rules.
    held.dir.write_record(&held.record).inspect_err(|_| put_back(&held, &before))?;
    let Some(rule) = ours else { return Ok(()) };
    remove_node(&root, path, &rule)
        .map_err(|e| e.context(format_args!("remove {inside} in the container")))?;
    held.record.device_nodes.retain(|(n, _)| *n != inside);
    held.dir.write_record(&held.record)
}

/// A device of the config that the host has no more.
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

/// Puts the rule into force after all others, or leaves it; returns those that came since create without it.
fn change_rules(held: &mut Held, rule: DeviceRule) -> Result<Vec<DeviceRule>> {
    let before = held.record.device_rules.clone();
    devices::append(&mut held.record.device_rules, rule);
    let rules = device_rules(&held.dir, &held.record.device_rules)?;
    held.record.cgroup().set_devices(&rules).inspect_err(|_| put_back(held, &before))?;
    Ok(before)
}

/// Puts the rules from before into force, when what belongs to the new ones has failed.
fn put_back(held: &Held, before: &[DeviceRule]) {
    let _ = device_rules(&held.dir, before).and_then(|rules| held.record.cgroup().set_devices(&rules));
}

/// The rule that allows this access to a device by its node.
fn rule_of(node: &FileStat, access: u8) -> Option<DeviceRule> {
    let kind = match kind(node) {
        SFlag::S_IFCHR => RuleKind::Char,
        SFlag::S_IFBLK => RuleKind::Block,
        _ => return None,
    };
    let number = |n: u64| u32::try_from(n).ok();
    let (major, minor) = (number(major(node.st_rdev))?, number(minor(node.st_rdev))?);
    Some(DeviceRule { allow: true, kind, major: Some(major), minor: Some(minor), access })
}

/// The root of the container as its init sees it, mounts included.
fn root_of(held: &Held) -> Result<RootDir> {
    let init = held.record.init.as_ref().ok_or_else(|| Error::new(crate::error::engine::NOT_RUNNING))?;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = open(format!("/proc/{}/root", init.pid).as_str(), flags);
    // If init can be entered still, its pid was not another's when the root was opened.
    if !init.can_be_entered() {
        return Err(Error::new(crate::error::engine::NOT_RUNNING));
    }
    Ok(RootDir::new(root.at("open the root of the container")?))
}

/// Makes the node, or finds the same one there; says whether it was made.
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

/// A container that has the host's `/dev` has all nodes already, and must not make more there.
fn refuse_hosts_dev(directory: &Handle) -> Result<()> {
    let (dev, here) = (stat("/dev").at("/dev")?, fstat(directory)?);
    if dev.st_dev == here.st_dev && dev.st_dev != stat("/").at("/")?.st_dev {
        return Err(Error::new("the directory is the host's /dev"));
    }
    Ok(())
}

/// Removes the node if it is that device still: the container may have put something else there. Links on the way are
/// followed within the root, the last name is not.
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
