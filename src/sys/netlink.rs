//! A socket to the kernel's routing code (netlink(7), rtnetlink(7)).

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recvfrom, send, socket,
};

use super::Errno;

type Result<T> = std::result::Result<T, Errno>;

/// The length of a message's header: length, type, flags, sequence number, port.
const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
/// The kernel fits what it sends to the room that the reader has, up to this.
const ROOM: usize = 32 << 10;

/// A request, under construction.
pub struct Request(Vec<u8>);

impl Request {
    /// A request of a type with its flags and its fixed part.
    pub fn new(kind: u16, flags: u16, fixed: &[u8]) -> Request {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags | NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
        bytes.extend_from_slice(fixed);
        Request(bytes)
    }

    /// Adds an attribute, padded to four bytes.
    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Request {
        self.0.extend_from_slice(&(value.len() as u16 + 4).to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }
}

/// Hands out the attributes of a message: the type and the value.
pub fn attributes<'a>(mut bytes: &'a [u8], take: &mut dyn FnMut(u16, &'a [u8])) {
    while let Some((length, kind)) = u16_at(bytes, 0).zip(u16_at(bytes, 2)) {
        let Some(value) = bytes.get(4..usize::from(length)) else { return };
        // The upper bits are flags.
        take(kind & 0x3fff, value);
        bytes = bytes.get(usize::from(length).next_multiple_of(4)..).unwrap_or_default();
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// A number in a message.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// A socket that belongs to the network namespace in which it was made.
///
/// It keeps that namespace alive.
pub struct Netlink(OwnedFd);

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Netlink {
    fn from(socket: OwnedFd) -> Netlink {
        Netlink(socket)
    }
}

impl Netlink {
    /// Makes the socket.
    pub fn open() -> Result<Netlink> {
        let protocol = SockProtocol::NetlinkRoute;
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol).map(Netlink)
    }

    /// Sends a request, and hands out the payload of each message that answers it.
    pub fn ask(&self, request: Request, take: &mut dyn FnMut(&[u8])) -> Result<()> {
        let mut bytes = request.0;
        let length = bytes.len() as u32;
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        send(self.0.as_raw_fd(), &bytes, MsgFlags::empty())?;
        let mut room = vec![0; ROOM];
        loop {
            let (length, from) = match recvfrom::<NetlinkAddr>(self.0.as_raw_fd(), &mut room) {
                Err(Errno::EINTR) => continue,
                received => received?,
            };
            // A process of the same network namespace may send messages, too, if it has CAP_NET_ADMIN.
            if from.is_none_or(|from| from.pid() != 0) {
                continue;
            }
            let mut rest = &room[..length];
            while let Some((length, kind)) = u32_at(rest, 0).zip(u16_at(rest, 4)) {
                let Some(payload) = rest.get(HEADER..length as usize) else { return Err(Errno::EMSGSIZE) };
                match kind {
                    NLMSG_ERROR | NLMSG_DONE => return answer(payload),
                    _ => take(payload),
                }
                rest = rest.get((length as usize).next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }
}

/// The result of a request: a negative error number, or 0.
fn answer(payload: &[u8]) -> Result<()> {
    match u32_at(payload, 0) {
        Some(0) | None => Ok(()),
        Some(number) => Err(Errno::from_raw((number as i32).wrapping_neg())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_found_again() {
        let request = Request::new(16, 0, &[7; 8]).attribute(3, b"lo\0").attribute(0x8004, &[]);
        assert_eq!(request.0.len(), HEADER + 8 + 8 + 4);
        let mut seen = Vec::new();
        attributes(&request.0[HEADER + 8..], &mut |kind, value| seen.push((kind, value.to_vec())));
        assert_eq!(seen, [(3, b"lo\0".to_vec()), (4, vec![])]);
    }

    #[test]
    fn cut_messages_are_ignored() {
        for bytes in [&[][..], &[1], &[0, 0, 0, 0], &[3, 0, 1, 0], &[9, 0, 1, 0, 5]] {
            attributes(bytes, &mut |kind, value| panic!("{kind} {value:?}"));
        }
    }

    #[test]
    fn the_kernel_answers_and_refuses() {
        const RTM_GETLINK: u16 = 18;
        let socket = Netlink::open().unwrap();
        let by_index = |index: i32| {
            let mut fixed = [0; 16];
            fixed[4..8].copy_from_slice(&index.to_ne_bytes());
            let mut answers = 0;
            socket.ask(Request::new(RTM_GETLINK, 0, &fixed), &mut |_| answers += 1).map(|()| answers)
        };
        assert_eq!(by_index(1), Ok(1));
        assert_eq!(by_index(i32::MAX), Err(Errno::ENODEV));
        let mut links = 0;
        socket.ask(Request::new(RTM_GETLINK, 0x300, &[0; 16]), &mut |_| links += 1).unwrap();
        assert!(links >= 1);
    }
}
