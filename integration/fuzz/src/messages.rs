//! Bytes that a hostile init writes to the host.
//!
//! They arrive over the socket, and over a FIFO in pieces.

use std::io::Write as _;
use std::os::fd::AsRawFd as _;

use embrun::error::Errno;
use embrun::run::wire::{Channel, Message};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair};

use crate::heap::measured;

const HEAD: usize = 10;
const TEXT: usize = 4000;

/// Sends the input as one message, and as the content of a FIFO.
pub fn judge(input: &[u8]) {
    socket(input);
    fifo(input);
}

fn socket(input: &[u8]) {
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
    send(theirs.as_raw_fd(), input, MsgFlags::MSG_NOSIGNAL).unwrap();
    drop(theirs);
    let channel = Channel::Socket(ours);
    // A longer message is cut, and does not have the length that it claims.
    let seen = &input[..input.len().min(HEAD + TEXT)];
    same(receive(&channel), reference(seen), input);
    if !input.is_empty() {
        same(receive(&channel), Some(Reference::default()), b"the end");
    }
}

fn fifo(input: &[u8]) {
    let input = &input[..input.len().min(32 << 10)];
    let (from, to) = nix::unistd::pipe().unwrap();
    let mut to = std::fs::File::from(to);
    to.write_all(input).unwrap();
    drop(to);
    let nowhere = std::fs::File::open("/dev/null").unwrap().into();
    let channel = Channel::Fifos(from, nowhere);
    let mut rest = input;
    loop {
        let length = match rest {
            [_, _, _, _, _, _, _, _, a, b, ..] => HEAD + usize::from(u16::from_ne_bytes([*a, *b])).min(TEXT),
            _ => rest.len(),
        };
        let (message, after) = rest.split_at(length.min(rest.len()));
        same(receive(&channel), reference(message), message);
        if message.is_empty() {
            return;
        }
        rest = after;
    }
}

/// Receives a message; the length that it claims takes no memory.
fn receive(channel: &Channel) -> Result<Message, Errno> {
    let (message, peak) = measured(|| channel.receive());
    assert!(peak <= 8 * TEXT, "{peak} bytes for a message");
    message
}

#[derive(Debug, Default, PartialEq)]
struct Reference {
    kind: u8,
    step: u16,
    number: u32,
    text: String,
}

/// Reads a message as the table of `run/wire.rs` describes it.
///
/// It has a kind from 0 to 10, a byte of padding, step, number, length and text.
fn reference(bytes: &[u8]) -> Option<Reference> {
    if bytes.is_empty() {
        return Some(Reference::default());
    }
    let at = |at: usize| bytes.get(at).copied();
    let length = usize::from(u16::from_ne_bytes([at(8)?, at(9)?]));
    (at(0)? <= 10 && bytes.len() == HEAD + length).then_some(())?;
    Some(Reference {
        kind: at(0)?,
        step: u16::from_ne_bytes([at(2)?, at(3)?]),
        number: u32::from_ne_bytes([at(4)?, at(5)?, at(6)?, at(7)?]),
        text: String::from_utf8_lossy(&bytes[HEAD..]).into_owned(),
    })
}

fn same(is: Result<Message, Errno>, should: Option<Reference>, input: &[u8]) {
    let is = match is {
        Ok(m) => {
            assert!(m.fd.is_none(), "no descriptor was sent");
            Some(Reference { kind: m.what as u8, step: m.step, number: m.number, text: m.text })
        }
        Err(Errno::EBADMSG) => None,
        Err(e) => panic!("{e} for {input:?}"),
    };
    assert_eq!(is, should, "{input:?}");
}
