//! The conversation between the host process and a child: whole messages over one `SOCK_SEQPACKET` pair.
//!
//! | from | message | means |
//! |---|---|---|
//! | child | `Ask(sync)` | the child waits here until the host answers |
//! | child | `Terminal(number)` + fd | the master of the container's terminal |
//! | child | `Listener` + fd | the seccomp listener; the child waits here until the host answers |
//! | child | `Warn(text)` | something to tell the user, and the launch goes on |
//! | child | `Failed(step, errno, text)` | the child ends; the host knows the step by its number |
//! | host | `Go` | go on |
//! | child | end of file | exec succeeded: the child's end is close-on-exec |
//! | host | end of file | the host is gone: the child ends |

use std::fmt;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockType};

use crate::error::Quoted;
use crate::plan::step::Sync;
use crate::seccomp::record::HAND_OVER;
use crate::sys::descriptor::send_fd;

/// The longest text that goes into one message; longer ones are cut.
const TEXT: usize = 4000;

/// What a child says.
#[derive(PartialEq)]
pub enum Message {
    /// It waits for [`Channel::go`].
    Ask(Sync),
    /// A pty's number; its master comes as the message's descriptor.
    Terminal(u32),
    /// The listener of the filter that is in force now comes as the message's descriptor.
    Listener,
    /// To be logged.
    Warn(String),
    /// It failed at this step and has ended.
    Failed {
        /// Index into the plan's list of the child.
        step: u16,
        /// The errno at the root of it; 0 if there was none.
        errno: i32,
        /// What failed within the step.
        text: String,
    },
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Message::Ask(sync) => write!(f, "Ask({sync:?})"),
            Message::Terminal(number) => write!(f, "Terminal({number})"),
            Message::Listener => f.write_str("Listener"),
            Message::Warn(text) => write!(f, "Warn({})", Quoted(text)),
            Message::Failed { step, errno, text } => {
                write!(f, "Failed {{ step: {step}, errno: {errno}, text: {} }}", Quoted(text))
            }
        }
    }
}

/// One end of the conversation.
pub struct Channel(OwnedFd);

/// The errors of a conversation are errnos: it is used where nothing may be allocated.
type Result<T> = std::result::Result<T, Errno>;

impl Channel {
    /// Both ends, close-on-exec.
    pub fn pair() -> Result<(Channel, Channel)> {
        let (a, b) =
            socket::socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        Ok((Channel(a), Channel(b)))
    }

    /// A connected socket as a conversation.
    pub fn over(socket: OwnedFd) -> Channel {
        Channel(socket)
    }

    /// Asks, and waits for the answer. EPIPE if the other side is gone.
    pub fn ask(&self, sync: Sync) -> Result<()> {
        self.send(&[b'A', sync as u8], None)?;
        self.wait_go()
    }

    /// Waits for the other side to say go.
    pub fn wait_go(&self) -> Result<()> {
        self.wait_for_go(MsgFlags::empty())
    }

    fn wait_for_go(&self, flags: MsgFlags) -> Result<()> {
        let mut byte = [0u8; 1];
        loop {
            match socket::recv(self.0.as_raw_fd(), &mut byte, flags) {
                Ok(0) => return Err(Errno::EPIPE),
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Lets the other side go on.
    pub fn go(&self) -> Result<()> {
        self.send(b"G", None)
    }

    /// Hands a terminal's master over.
    pub fn terminal(&self, number: u32, master: BorrowedFd<'_>) -> Result<()> {
        let mut bytes = [b'T', 0, 0, 0, 0];
        bytes[1..].copy_from_slice(&number.to_le_bytes());
        self.send(&bytes, Some(master))
    }

    /// Hands the seccomp listener over, and waits until somebody serves it. Allocates nothing: the filter is in force.
    pub fn listener(&self, listener: BorrowedFd<'_>) -> Result<()> {
        send_fd(self.0.as_fd(), b"L", listener, HAND_OVER)?;
        self.wait_for_go(MsgFlags::from_bits_retain(HAND_OVER))
    }

    /// Says something that does not stop the launch.
    pub fn warn(&self, text: &str) -> Result<()> {
        self.send_text(b"W", text)
    }

    /// Says that the step failed. Allocates nothing: it is used under the container's own seccomp filter.
    pub fn failed(&self, step: u16, errno: i32, text: &str) -> Result<()> {
        let mut head = [b'F', 0, 0, 0, 0, 0, 0];
        head[1..3].copy_from_slice(&step.to_le_bytes());
        head[3..].copy_from_slice(&errno.to_le_bytes());
        self.send_text(&head, text)
    }

    fn send_text(&self, head: &[u8], text: &str) -> Result<()> {
        let mut buffer = [0u8; TEXT + 8];
        let text = &text.as_bytes()[..text.len().min(TEXT)];
        buffer[..head.len()].copy_from_slice(head);
        buffer[head.len()..head.len() + text.len()].copy_from_slice(text);
        self.send(&buffer[..head.len() + text.len()], None)
    }

    fn send(&self, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<()> {
        match fd {
            None => socket::send(self.0.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL).map(drop),
            Some(fd) => send_fd(self.0.as_fd(), bytes, fd, 0).map(drop),
        }
    }

    /// The next message and the descriptor that came with it; `None` when the other side has closed its end.
    pub fn receive(&self) -> Result<Option<(Message, Option<OwnedFd>)>> {
        let mut buffer = [0u8; TEXT + 8];
        let (n, fd) = loop {
            match receive_fd(self.0.as_fd(), &mut buffer) {
                Err(Errno::EINTR) => {}
                // The other side died with our message unread.
                Err(Errno::ECONNRESET) => return Ok(None),
                other => break other?,
            }
        };
        if n == 0 {
            return Ok(None);
        }
        decode(&buffer[..n]).map(|m| Some((m, fd))).ok_or(Errno::EBADMSG)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn decode(bytes: &[u8]) -> Option<Message> {
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    Some(match bytes {
        [b'A', sync] => Message::Ask(Sync::from_byte(*sync)?),
        [b'T', n @ ..] => Message::Terminal(u32::from_le_bytes(n.try_into().ok()?)),
        [b'L'] => Message::Listener,
        [b'W', t @ ..] => Message::Warn(text(t)),
        [b'F', a, b, c, d, e, f, t @ ..] => Message::Failed {
            step: u16::from_le_bytes([*a, *b]),
            errno: i32::from_le_bytes([*c, *d, *e, *f]),
            text: text(t),
        },
        _ => return None,
    })
}

fn receive_fd(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<(usize, Option<OwnedFd>)> {
    let mut control = nix::cmsg_space!([std::os::fd::RawFd; 1]);
    let mut iov = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let got = socket::recvmsg::<()>(socket.as_raw_fd(), &mut iov, Some(&mut control), flags)?;
    let mut fd = None;
    for message in got.cmsgs()? {
        if let socket::ControlMessageOwned::ScmRights(fds) = message {
            fd = fds.first().map(|&n| crate::sys::process::adopt(n));
        }
    }
    Ok((got.bytes, fd))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_whole_and_in_order() {
        let (host, child) = Channel::pair().unwrap();
        child.warn("careful").unwrap();
        child.terminal(7, std::io::stdin().as_fd()).unwrap();
        child.failed(300, 13, &"x".repeat(5000)).unwrap();
        drop(child);
        assert_eq!(host.receive().unwrap().unwrap().0, Message::Warn("careful".into()));
        let (message, fd) = host.receive().unwrap().unwrap();
        assert!(message == Message::Terminal(7) && fd.is_some());
        let Message::Failed { step: 300, errno: 13, text } = host.receive().unwrap().unwrap().0 else {
            panic!()
        };
        assert_eq!(text.len(), TEXT);
        assert!(host.receive().unwrap().is_none());
    }

    #[test]
    fn an_asker_learns_that_the_other_side_is_gone() {
        let (host, child) = Channel::pair().unwrap();
        drop(host);
        assert_eq!(child.ask(Sync::Created), Err(Errno::EPIPE));
    }

    #[test]
    fn nonsense_is_refused() {
        for bytes in [&b"A"[..], b"A\xff", b"T123", b"F123456"[..6].as_ref(), b"?"] {
            assert_eq!(decode(bytes), None, "{bytes:?}");
        }
    }
}
