//! Idmapped mounts: the user namespaces with their maps, and mounts for init.
//!
//! An init that is in a user namespace has no rights over the file systems of the host.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use nix::unistd::Pid;

use super::wire::Channel;
use super::{namespace, user_namespace};
use crate::bundle::spec::NamespaceKind;
use crate::error::{Context, Error, Result};
use crate::plan::idmap::{MapCarrier, MountMaps};
use crate::plan::mounts::MountStep;
use crate::plan::user_namespace::IdMaps;
use crate::rootfs::idmapped;
use crate::sys::killed;
use crate::sys::process::{self, Cloned};
use crate::text::Keep;

/// Makes a user namespace for each of the maps.
pub(super) fn carriers(index: usize, all: &[MountMaps]) -> Result<Vec<OwnedFd>> {
    idmapped::check_kernel(index)?;
    all.iter().map(|one| carrier(&one.maps, &format!("mounts[{}]", one.index))).collect()
}

/// Makes a user namespace that its descriptor alone keeps.
///
/// Its only process ends once the maps are written.
fn carrier(maps: &IdMaps, owner: &str) -> Result<OwnedFd> {
    let (ours, theirs) = Channel::pair().at("socketpair")?;
    let flags = NamespaceKind::User.clone_flag();
    match process::clone(flags, None).map_err(|e| namespace::not_made("clone", e, flags).context(owner))? {
        Cloned::Child => {
            drop(ours);
            let _ = theirs.wait_go();
            process::exit(0)
        }
        Cloned::Parent { pid, pidfd, .. } => {
            let opened = user_namespace::map(&mut None, pid, maps, owner)
                .and_then(|()| of_process(pid, NamespaceKind::User));
            drop(ours);
            killed::wait(pid, pidfd.as_ref(), killed::DEADLINE).at("waitpid")?;
            opened
        }
    }
}

fn of_process(pid: Pid, kind: NamespaceKind) -> Result<OwnedFd> {
    let name = if kind == NamespaceKind::User { "user" } else { "mnt" };
    namespace::open(&(kind, format!("/proc/{pid}/ns/{name}").keep()))
}

/// Makes the mount of an entry for init, which attaches it.
pub(super) fn for_init(step: &MountStep, init: Pid, opened: &[OwnedFd]) -> Result<OwnedFd> {
    let users = of_process(init, NamespaceKind::User)?;
    let carrier = match step.idmap.map(|idmap| idmap.carrier) {
        Some(MapCarrier::Opened(number)) => opened.get(number),
        _ => Some(&users),
    };
    let carrier = carrier.ok_or_else(|| Error::new("no user namespace has the map"))?;
    let mounts = of_process(init, NamespaceKind::Mount)?;
    let open = |source: &CStr| user_namespace::root_of(init)?.open(source);
    idmapped::make_for_init(step, carrier.as_fd(), users.as_fd(), mounts.as_fd(), &open)
}
