//! Requests about network devices and their addresses (rtnetlink(7)).

use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;

use crate::sys::netlink::{Netlink, Request, attributes, u32_at};

type Result<T> = std::result::Result<T, Errno>;

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_CREATE_NEW: u16 = 0x600;

const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;
const IFF_UP: u32 = 1;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_LABEL: u16 = 3;
const IFA_BROADCAST: u16 = 4;
const IFA_CACHEINFO: u16 = 6;
const IFA_FLAGS: u16 = 8;
const IFA_RT_PRIORITY: u16 = 9;
const IFA_F_PERMANENT: u32 = 0x80;
/// IFA_F_TEMPORARY of IPv6: the kernel makes these itself.
const IFA_F_TEMPORARY: u32 = 0x01;
/// The flags that were given with an address.
///
/// They are NODAD, HOMEADDRESS, MANAGETEMPADDR and NOPREFIXROUTE.
const IFA_F_GIVEN: u32 = 0x02 | 0x10 | 0x100 | 0x200;

/// A network device, as it was found.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) is_up: bool,
    /// The name, which differs from the one asked for if that was an alternative one.
    pub(super) name: String,
}

/// An address of a network device, with what is needed to add it again.
#[derive(Debug)]
pub(super) struct Address {
    /// Family, length of the prefix, flags, scope.
    header: [u8; 4],
    flags: u32,
    /// Those attributes that can be given: type and value.
    attributes: Vec<(u16, Vec<u8>)>,
}

impl Address {
    fn of(payload: &[u8], index: u32) -> Option<Address> {
        let header: [u8; 4] = payload.get(..4)?.try_into().ok()?;
        u32_at(payload, 4).filter(|of| *of == index)?;
        let mut address = Address { header, flags: u32::from(header[2]), attributes: Vec::new() };
        attributes(payload.get(8..)?, &mut |kind, value| match kind {
            IFA_FLAGS => address.flags = u32_at(value, 0).unwrap_or(address.flags),
            IFA_ADDRESS | IFA_LOCAL | IFA_LABEL | IFA_BROADCAST | IFA_CACHEINFO | IFA_RT_PRIORITY => {
                address.attributes.push((kind, value.to_vec()));
            }
            _ => {}
        });
        let made_by_the_kernel =
            i32::from(header[0]) == libc::AF_INET6 && address.flags & IFA_F_TEMPORARY != 0;
        Some(address).filter(|_| !made_by_the_kernel)
    }

    /// Whether the container gets it: it is permanent and of global scope.
    ///
    /// See config-linux.md, "Network Devices".
    pub(super) fn goes_along(&self) -> bool {
        self.flags & IFA_F_PERMANENT != 0 && self.header[3] == libc::RT_SCOPE_UNIVERSE
    }
}

/// Requests in one network namespace.
pub(super) struct Rtnetlink(pub(super) Netlink);

impl Rtnetlink {
    /// The device of this name, if there is one.
    pub(super) fn find(&self, name: &str) -> Result<Option<Link>> {
        let mut found = None;
        let request = Request::new(RTM_GETLINK, 0, &link(0, 0, 0)).attribute(IFLA_IFNAME, &c_name(name));
        let asked = self.0.ask(request, &mut |payload| {
            let (Some(index), Some(flags)) = (u32_at(payload, 4), u32_at(payload, 8)) else { return };
            let mut real = name.to_owned();
            attributes(payload.get(16..).unwrap_or_default(), &mut |kind, value| {
                if kind == IFLA_IFNAME {
                    real = String::from_utf8_lossy(value).trim_end_matches('\0').to_owned();
                }
            });
            found = Some(Link { index, is_up: flags & IFF_UP != 0, name: real });
        });
        match asked {
            Err(Errno::ENODEV) => Ok(None),
            asked => asked.map(|()| found),
        }
    }

    /// The addresses of a device, except those that the kernel changes by itself.
    pub(super) fn addresses(&self, index: u32) -> Result<Vec<Address>> {
        let mut found = Vec::new();
        let request = Request::new(RTM_GETADDR, NLM_F_DUMP, &[0; 8]);
        self.0.ask(request, &mut |payload| found.extend(Address::of(payload, index)))?;
        Ok(found)
    }

    /// Adds an address, which the device may have already.
    ///
    /// A label that begins with the old name gets the new one in its place.
    pub(super) fn add(&self, index: u32, address: &Address, old: &str, new: &str) -> Result<()> {
        let mut fixed = [0; 8];
        fixed[..4].copy_from_slice(&address.header);
        fixed[2] = 0;
        fixed[4..].copy_from_slice(&index.to_ne_bytes());
        let mut request = Request::new(RTM_NEWADDR, NLM_F_CREATE_NEW, &fixed)
            .attribute(IFA_FLAGS, &(address.flags & IFA_F_GIVEN).to_ne_bytes());
        for (kind, value) in &address.attributes {
            request = match value.strip_prefix(old.as_bytes()).filter(|_| *kind == IFA_LABEL) {
                // A label is as short as a name.
                Some(rest) if new.len() + rest.len() > 16 => request,
                Some(rest) => request.attribute(IFA_LABEL, &[new.as_bytes(), rest].concat()),
                None => request.attribute(*kind, value),
            };
        }
        match self.0.ask(request, &mut |_| {}) {
            Err(Errno::EEXIST) => Ok(()),
            added => added,
        }
    }

    /// Sets a device up or down.
    pub(super) fn set_up(&self, index: u32, up: bool) -> Result<()> {
        let flags = if up { IFF_UP } else { 0 };
        self.0.ask(Request::new(RTM_NEWLINK, 0, &link(index, flags, IFF_UP)), &mut |_| {})
    }

    /// Moves a device to a namespace, where it gets this name.
    pub(super) fn move_to(&self, index: u32, namespace: &OwnedFd, name: &str) -> Result<()> {
        let request = Request::new(RTM_NEWLINK, 0, &link(index, 0, 0))
            .attribute(IFLA_IFNAME, &c_name(name))
            .attribute(IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes());
        self.0.ask(request, &mut |_| {})
    }
}

/// `struct ifinfomsg`
fn link(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..].copy_from_slice(&change.to_ne_bytes());
    bytes
}

fn c_name(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_found_with_its_address() {
        let links = Rtnetlink(Netlink::open().unwrap());
        let lo = links.find("lo").unwrap().unwrap();
        assert_eq!((lo.index, &*lo.name), (1, "lo"));
        assert_eq!(links.find("no-such-device"), Ok(None));
        // Its scope is the host, so it stays.
        assert!(links.addresses(1).unwrap().iter().all(|address| !address.goes_along()));
    }

    #[test]
    fn global_permanent_addresses_go_along() {
        // Family, prefix, flags, scope, index; IFA_FLAGS; IFA_ADDRESS; IFA_LABEL.
        let payload = |flags: u8, scope: u8, more: u32| {
            let mut bytes = vec![libc::AF_INET as u8, 24, flags, scope];
            bytes.extend_from_slice(&5u32.to_ne_bytes());
            for (kind, value) in [(8u16, more.to_ne_bytes()), (1, [10, 0, 0, 1]), (3, *b"e0\0\0")] {
                bytes.extend_from_slice(&8u16.to_ne_bytes());
                bytes.extend_from_slice(&kind.to_ne_bytes());
                bytes.extend_from_slice(&value);
            }
            bytes
        };
        let of = |flags, scope, more| Address::of(&payload(flags, scope, more), 5).unwrap();
        assert!(of(0x80, 0, 0x280).goes_along());
        assert_eq!(of(0x80, 0, 0x280).attributes, [(1, vec![10, 0, 0, 1]), (3, b"e0\0\0".to_vec())]);
        assert!(!of(0x80, 0, 0).goes_along(), "the attribute counts");
        assert!(!of(0x80, 253, 0x80).goes_along(), "of the link");
        assert!(Address::of(&payload(0x80, 0, 0x80), 6).is_none(), "of another device");
        assert!(Address::of(&[2, 24, 0x80], 5).is_none());
    }
}
