//! Moves network devices into a container, and back if its creation fails.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};

use super::link::{Address, Link, Rtnetlink};
use super::namespace;
use crate::bundle::spec::{NamespaceKind, NetDevice};
use crate::error::{Context, Error, Quoted, Result};
use crate::plan::net_devices::numbered;
use crate::rootfs::helper::made_by_a_helper;
use crate::sys::descriptor::send_fd;
use crate::sys::netlink::Netlink;
use crate::text::Keep;
use crate::text::search::has;

/// A device that has left, or is about to leave.
struct MovedDevice {
    was: Link,
    addresses: Vec<Address>,
    /// Its name in the container.
    name: String,
    /// Its index there, once it has arrived.
    there: Option<u32>,
}

/// The devices that a container has got.
///
/// The sockets keep both namespaces alive: when init is killed, the devices of its namespace still exist.
pub(super) struct MovedDevices {
    outside: Rtnetlink,
    inside: Rtnetlink,
    own: OwnedFd,
    theirs: OwnedFd,
    moved: Vec<MovedDevice>,
}

impl MovedDevices {
    /// Opens both namespaces: the runtime's, and that of a child that waits for us.
    pub(super) fn between(child: i32) -> Result<MovedDevices> {
        let own = namespace::own(NamespaceKind::Network)?;
        let theirs = namespace::open(&(NamespaceKind::Network, format!("/proc/{child}/ns/net").keep()))?;
        if namespace::is_hosts(NamespaceKind::Network, &theirs)? {
            return Err(Error::new("linux.netDevices: the container has the host's network namespace"));
        }
        // A socket belongs to the namespace in which it is made. This process must not be there: it could fail to come back.
        let open_there = |socket: &OwnedFd| {
            setns(&theirs, CloneFlags::CLONE_NEWNET)?;
            send_fd(socket.as_fd(), b"N", Netlink::open()?.as_fd(), 0).map(drop)
        };
        let inside = made_by_a_helper(&open_there).at("open a netlink socket in the container")?;
        let outside = Rtnetlink(Netlink::open().at("open a netlink socket")?);
        Ok(MovedDevices { outside, inside: Rtnetlink(inside.into()), own, theirs, moved: Vec::new() })
    }

    /// Moves a device.
    pub(super) fn take(&mut self, device: &NetDevice) -> Result<()> {
        self.try_take(device).context(|| format!("linux.netDevices.{}", device.host))
    }

    fn try_take(&mut self, device: &NetDevice) -> Result<()> {
        let missing = || Error::new("there is no such network device");
        let was = self.outside.find(device.host).at("find the device")?.ok_or_else(missing)?;
        let name = self.free_name(device)?;
        // IPv6 addresses are lost when the device is set down.
        let addresses = self.outside.addresses(was.index).at("list its addresses")?;
        let index = was.index;
        self.moved.push(MovedDevice { was, addresses, name, there: None });
        let Some(MovedDevice { was, addresses, name, there }) = self.moved.last_mut() else { return Ok(()) };
        self.outside.set_up(index, false).at("set the device down")?;
        self.outside.move_to(index, &self.theirs, name).map_err(|e| refused(e, "move the device"))?;
        // The index may be another one there.
        let index = self.inside.find(name).at("find the device in the container")?.ok_or_else(missing)?.index;
        *there = Some(index);
        for address in addresses.iter().filter(|address| address.goes_along()) {
            self.inside.add(index, address, &was.name, name).at("add an address in the container")?;
        }
        self.inside.set_up(index, true).at("set the device up in the container")
    }

    /// Finds a free name for the device.
    ///
    /// The kernel would move the device first and then refuse a name that is not free.
    fn free_name(&self, device: &NetDevice) -> Result<String> {
        let wanted = device.name.unwrap_or(device.host);
        let taken = |name: &str| {
            Ok::<_, Error>(self.inside.find(name).at("look for the name in the container")?.is_some())
        };
        if device.name.is_some() && has(wanted, "%d") {
            for number in 0.. {
                let Some(name) = numbered(wanted, number) else { break };
                if !taken(&name)? {
                    return Ok(name);
                }
            }
        } else if !taken(wanted)? {
            return Ok(wanted.to_owned());
        }
        Err(Error::of(format_args!("name: the container has a network device {} already", Quoted(wanted))))
    }

    /// Moves all of them back, and adds to the cause of that what could not be moved.
    pub(super) fn put_back(self, mut cause: Error) -> Error {
        for device in self.moved.iter().rev() {
            if let Err(e) = self.return_device(device) {
                cause = cause.hint(format_args!(
                    "and the network device {} could not be moved back: {e}",
                    device.was.name
                ));
            }
        }
        cause
    }

    fn return_device(&self, device: &MovedDevice) -> Result<()> {
        let MovedDevice { was, addresses, name, there } = device;
        // Not if the move had failed before it began.
        if self.outside.find(&was.name).at("find it outside")?.is_none() {
            let gone = || Error::new("it is in neither network namespace");
            // If the kernel has refused the new name after the move, it has the old one.
            let by_name = || match self.inside.find(name)? {
                None => self.inside.find(&was.name),
                found => Ok(found),
            };
            // The container may have given its name to another device.
            let index = match there {
                Some(index) => *index,
                None => by_name().at("find it")?.ok_or_else(gone)?.index,
            };
            self.inside.set_up(index, false).at("set it down")?;
            self.inside.move_to(index, &self.own, &was.name).at("move it")?;
        }
        let back = self.outside.find(&was.name).at("find it outside")?;
        let index = back.ok_or_else(|| Error::from(Errno::ENODEV))?.index;
        for address in addresses {
            self.outside.add(index, address, &was.name, &was.name).at("add an address")?;
        }
        self.outside.set_up(index, was.is_up).at("set it up")
    }
}

fn refused(e: Errno, what: &'static str) -> Error {
    let error = Error::os(what, e);
    match e {
        Errno::EPERM => error.hint("needs CAP_NET_ADMIN in both network namespaces"),
        Errno::EINVAL => error.hint("a loopback device, a bridge or another device that is bound to its network namespace cannot be moved"),
        _ => error,
    }
}
