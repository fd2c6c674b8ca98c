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

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockType};

use crate::error::Error;
use crate::plan::step::Sync;
use crate::seccomp::record::HAND_OVER;
use crate::sys::descriptor::{receive_fd, send_fd};

/// The longest text that goes into one message; longer ones are cut.
const TEXT: usize = 4000;

/// What a message begins with: what it is, the step, the number. A text follows.
const HEAD: usize = 8;

/// What a child says.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(u8)]
pub enum What {
    /// Nothing any more: it has closed its end. The number is ECONNRESET if it never read what it was told last.
    End,
    /// It waits for [`Channel::go`] at the [`Sync`] of the number.
    Ask,
    /// The number of a pty; its master comes as the message's descriptor.
    Terminal,
    /// The listener of the filter that is in force now comes as the message's descriptor.
    Listener,
    /// A text to be logged.
    Warn,
    /// It failed at the step and has ended: the text says of what within the step, the number is the errno at the root of it,
    /// 0 if there was none.
    Failed,
}

/// What there is, each with what it is to say it.
const ALL: [(What, &str); 6] = [
    (What::End, "be done"),
    (What::Ask, "ask"),
    (What::Terminal, "hand a terminal"),
    (What::Listener, "hand a listener"),
    (What::Warn, "warn"),
    (What::Failed, "fail"),
];

/// A message of a child.
#[derive(Debug)]
pub struct Message {
    /// What it is.
    pub what: What,
    /// Index into the plan's list of the child.
    pub step: u16,
    /// A [`Sync`], the number of a pty or an errno.
    pub number: u32,
    /// Of a warning or a failure.
    pub text: String,
    /// What came with it.
    pub fd: Option<OwnedFd>,
}

impl Message {
    /// The error of a message that is out of turn.
    pub fn instead_of(&self, wanted: What) -> Error {
        let [said, wanted] = [self.what, wanted].map(|what| ALL[what as usize].1);
        Error::new(format!("init should {wanted} here, and not {said}"))
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
        self.say(What::Ask, 0, sync as u32, "")?;
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
        self.send(b"G")
    }

    /// Hands a terminal's master over.
    pub fn terminal(&self, number: u32, master: BorrowedFd<'_>) -> Result<()> {
        send_fd(self.as_fd(), &head(What::Terminal, 0, number), master, 0).map(drop)
    }

    /// Hands the seccomp listener over, and waits until somebody serves it. Allocates nothing: the filter is in force.
    pub fn listener(&self, listener: BorrowedFd<'_>) -> Result<()> {
        send_fd(self.as_fd(), &head(What::Listener, 0, 0), listener, HAND_OVER)?;
        self.wait_for_go(MsgFlags::from_bits_retain(HAND_OVER))
    }

    /// Says something that does not stop the launch.
    pub fn warn(&self, text: &str) -> Result<()> {
        self.say(What::Warn, 0, 0, text)
    }

    /// Says that the step failed. Allocates nothing: it is used under the container's own seccomp filter.
    pub fn failed(&self, step: u16, errno: i32, text: &str) -> Result<()> {
        self.say(What::Failed, step, errno as u32, text)
    }

    fn say(&self, what: What, step: u16, number: u32, text: &str) -> Result<()> {
        let mut buffer = [0u8; HEAD + TEXT];
        let text = &text.as_bytes()[..text.len().min(TEXT)];
        buffer[..HEAD].copy_from_slice(&head(what, step, number));
        buffer[HEAD..][..text.len()].copy_from_slice(text);
        self.send(&buffer[..HEAD + text.len()])
    }

    fn send(&self, bytes: &[u8]) -> Result<()> {
        socket::send(self.0.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL).map(drop)
    }

    /// The next message.
    pub fn receive(&self) -> Result<Message> {
        let mut buffer = [0u8; HEAD + TEXT];
        let mut reset = false;
        let (n, fd) = loop {
            match receive_fd(self.as_fd(), &mut buffer) {
                Err(Errno::EINTR) => {}
                Err(Errno::ECONNRESET) => {
                    reset = true;
                    break (0, None);
                }
                other => break other?,
            }
        };
        let mut message = decode(&buffer[..n]).ok_or(Errno::EBADMSG)?;
        message.fd = fd;
        if reset {
            message.number = Errno::ECONNRESET as u32;
        }
        Ok(message)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Both sides are one program: numbers are as the processor has them.
fn head(what: What, step: u16, number: u32) -> [u8; HEAD] {
    let ([a, b], [c, d, e, f]) = (step.to_ne_bytes(), number.to_ne_bytes());
    [what as u8, 0, a, b, c, d, e, f]
}

fn decode(bytes: &[u8]) -> Option<Message> {
    // No message at all is the end.
    let (head, text) = if bytes.is_empty() { (&[0; HEAD], bytes) } else { bytes.split_first_chunk()? };
    let [what, _, a, b, number @ ..] = *head;
    Some(Message {
        what: ALL.get(usize::from(what))?.0,
        step: u16::from_ne_bytes([a, b]),
        number: u32::from_ne_bytes(number),
        text: String::from_utf8_lossy(text).into_owned(),
        fd: None,
    })
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
        let m = host.receive().unwrap();
        assert!(m.what == What::Warn && m.text == "careful" && m.fd.is_none());
        let m = host.receive().unwrap();
        assert!(m.what == What::Terminal && m.number == 7 && m.fd.is_some());
        let m = host.receive().unwrap();
        assert_eq!((m.what, m.step, m.number, m.text.len()), (What::Failed, 300, 13, TEXT));
        assert_eq!(host.receive().unwrap().what, What::End);
    }

    #[test]
    fn an_asker_learns_that_the_other_side_is_gone() {
        let (host, child) = Channel::pair().unwrap();
        drop(host);
        assert_eq!(child.ask(Sync::Created), Err(Errno::EPIPE));
    }

    #[test]
    fn an_end_tells_whether_the_last_word_was_heard() {
        for (heard, number) in [(true, 0), (false, Errno::ECONNRESET as u32)] {
            let (host, child) = Channel::pair().unwrap();
            host.go().unwrap();
            if heard {
                child.wait_go().unwrap();
            }
            drop(child);
            let m = host.receive().unwrap();
            assert_eq!((m.what, m.number), (What::End, number));
        }
    }

    #[test]
    fn everything_has_its_place_in_the_list() {
        assert!(ALL.iter().enumerate().all(|(i, (what, _))| *what as usize == i));
    }

    #[test]
    fn nonsense_is_refused() {
        for bytes in [&b"A"[..], &[1; 7], &[6; 8], b"?"] {
            assert!(decode(bytes).is_none(), "{bytes:?}");
        }
    }
}
