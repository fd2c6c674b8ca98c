//! The resctrl groups of a container (`linux.intelRdt`).
//!
//! The record names the directories that are made, before they are, so that a later delete removes them.

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::Pid;

use crate::error::{Context, Error, Result};
use crate::plan::rdt::{RESCTRL, RdtGroup, missing_line};
use crate::state::record::{ProcessMark, Record};
use crate::sys::file::{AT_FDCWD, mkdirat, open, read_text, rmdirat, stat};
use crate::text::{Keep, List, Text};

/// The directories that are missing, or the reason why the groups cannot be had.
pub(super) fn missing(group: &RdtGroup) -> Result<List<Text>> {
    let exists = |path: &str| stat(path).is_ok();
    // An empty directory of sysfs is there if the processor has the feature.
    if !exists(&format!("{RESCTRL}/tasks")) {
        return Err(Error::of(format_args!("linux.intelRdt: no resctrl is mounted at {RESCTRL}"))
            .hint(format_args!("mount -t resctrl resctrl {RESCTRL}")));
    }
    let there = exists(group.class);
    if group.own && there {
        return Err(Error::of(format_args!("linux.intelRdt: {} exists", group.class))
            .hint("name a class of service by closID, or remove it"));
    }
    if !there && !group.own && group.schemata.is_empty() {
        let e = Error::of(format_args!("linux.intelRdt.closID: there is no {}", group.class));
        return Err(e.hint("make the class of service first, or give it schemata"));
    }
    let mut missing = group.to_make();
    missing.retain(|directory| !exists(directory));
    Ok(missing.keep())
}

/// Makes the directories and sets up a new class, or checks an existing one.
///
/// Only those that were made stay in the list.
pub(super) fn make(group: &RdtGroup, directories: &mut List<Text>) -> Result<()> {
    for (at, directory) in directories.iter().enumerate() {
        if let Err(e) = mkdirat(AT_FDCWD, *directory, Mode::from_bits_truncate(0o755)) {
            *directories = &directories[..at];
            return Err(failed(directory, e));
        }
    }
    if group.schemata.is_empty() {
        return Ok(());
    }
    let path = format!("{}/schemata", group.class);
    if directories.contains(&group.class) {
        return write(&path, group.schemata);
    }
    match missing_line(group.schemata, &read_text(&path).about(format_args!("{path}"))?) {
        None => Ok(()),
        Some(line) => Err(Error::of(format_args!("linux.intelRdt: {path} has not {line}"))),
    }
}

/// Moves a process into the groups.
pub(super) fn join(group: &RdtGroup, pid: Pid) -> Result<()> {
    // A monitoring group takes only processes of its class.
    [Some(group.class), group.monitor]
        .into_iter()
        .flatten()
        .try_for_each(|directory| write(&format!("{directory}/tasks"), &pid.to_string()))
}

/// Removes the directories that were made for the container.
///
/// A class that other containers have entered meanwhile stays.
pub(super) fn remove(record: &Record) -> Result<()> {
    for directory in record.resctrl.iter().rev() {
        if RdtGroup::is_shared(directory, record.id) && has_processes(directory) {
            continue;
        }
        match rmdirat(AT_FDCWD, *directory) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(e) => return Err(failed(directory, e)),
        }
    }
    Ok(())
}

fn has_processes(directory: &str) -> bool {
    let tasks = read_text(&format!("{directory}/tasks")).unwrap_or_default();
    // The container's own may not be reaped yet.
    let lives = |pid: &str| pid.parse().is_ok_and(|pid| ProcessMark::of(pid).is_ok_and(|mark| mark.lives()));
    tasks.lines().any(lives)
}

fn write(path: &str, text: &str) -> Result<()> {
    let written = open(path, OFlag::O_WRONLY).and_then(|file| nix::unistd::write(&file, text.as_bytes()));
    written.map(drop).map_err(|e| failed(path, e))
}

/// The error, with the kernel's own words about it.
fn failed(path: &str, e: Errno) -> Error {
    let e = Error::os(format_args!("linux.intelRdt: {path}"), e);
    match read_text(&format!("{RESCTRL}/info/last_cmd_status")) {
        Ok(status) => e.hint(status.trim_ascii()),
        Err(_) => e,
    }
}
