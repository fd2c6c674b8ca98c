//! The conversation between the host process and a child, in whole messages.
//!
//! It runs over one `SOCK_SEQPACKET` pair, or over the two FIFOs of a container that waits for `start`
//! ([`super::start_fifo`]).
//!
//! | from | message | meaning |
//! |---|---|---|
//! | child | `Ask(sync)` | the child waits here until the host answers |
//! | child | `Terminal(number)` + fd | the master of the container's terminal |
//! | child | `Announce(number)` | the child will load a filter whose listener gets this number; it waits for an answer |
//! | child | `Listener` + fd | the listener, if the host has asked for it with `Send` |
//! | child | `Open(number)` | the child needs this file of the plan; it waits for an answer with a descriptor or an errno |
//! | child | `Entered(pid)` | this clone replaces the child and waits for the answer; others can send it, so the host believes it only of its own child |
//! | child | `Warn(text)` | a warning for the user, which does not stop the launch |
//! | child | `Heard` | the child has received the go of `start`; an end of file without it means that the container has stopped |
//! | child | `Hooked` | the startContainer hooks have succeeded; an end of file without it is not that of exec |
//! | child | `Failed(step, errno, text)` | the child ends; the host knows the step by its number. A `Warn` follows, empty or with a likely reason |
//! | host | `Go` | the child continues |
//! | host | `Send` | the child must send the listener, because the host cannot take it |
//! | child | end of file | exec succeeded: the child's end is close-on-exec |
//! | host | end of file | the host has ended, so the child ends |
//!
//! A child under its filter only uses read(2) and write(2), which every profile that works with runc allows. The host takes the
//! listener out of the child by pidfd_getfd(2) (Linux 5.6).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockType};
use nix::unistd::{read, write};

use crate::error::Error;
use crate::plan::host_step::Sync;
use crate::sys::descriptor::{receive_fd, send_fd};
use crate::sys::process;
use crate::text::{List, Text};

/// The longest text of a message; longer texts are truncated.
const TEXT: usize = 4000;

/// The size of a message's head: kind, step, number and length of the text.
const HEAD: usize = 10;

/// The host's answers.
const GO: u8 = b'G';
const SEND: u8 = b'S';

/// The kinds of a child's messages.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(u8)]
pub enum MessageKind {
    /// The child has closed its end.
    ///
    /// The number is ECONNRESET if it left a message unread.
    End,
    /// The child waits for [`Channel::go`] at the [`Sync`] with this number.
    Ask,
    /// The number of a pty, whose master is the message's descriptor.
    Terminal,
    /// The number that the listener of the next filter will have; the child waits.
    Announce,
    /// The message's descriptor is the listener of the loaded filter.
    Listener,
    /// The pid of the clone that continues in place of the child.
    Entered,
    /// The number of a file of the host in the plan; the child waits.
    Open,
    /// A text for the log.
    Warn,
    /// The child has received the go of `start`.
    Heard,
    /// All startContainer hooks have succeeded.
    Hooked,
    /// The step failed and the child has ended.
    ///
    /// The text describes the failure; the number is the errno that caused it, or 0.
    Failed,
}

/// All kinds in the order of their bytes on the wire.
static KINDS: List<MessageKind> = {
    use MessageKind::*;
    &[End, Ask, Terminal, Announce, Listener, Entered, Open, Warn, Heard, Hooked, Failed]
};

/// Their texts for errors.
const DEEDS: Text = "be done,ask,send a terminal,announce a listener,send a listener,enter a pid namespace,\
    ask for a file,warn,hear,run the startContainer hooks,fail";

/// A message from the child.
#[derive(Debug)]
pub struct Message {
    /// The kind of the message.
    pub what: MessageKind,
    /// The step's index in the child's list.
    pub step: u16,
    /// A [`Sync`], the number of a pty or an errno.
    pub number: u32,
    /// The text of a warning or a failure.
    pub text: String,
    /// The descriptor that was attached to the message.
    pub fd: Option<OwnedFd>,
}

impl Message {
    /// The end of the conversation, detected by other means.
    pub fn end() -> Message {
        Message { what: MessageKind::End, step: 0, number: 0, text: String::new(), fd: None }
    }

    /// The error for an unexpected message.
    pub fn instead_of(&self, wanted: MessageKind) -> Error {
        let [said, wanted] =
            [self.what, wanted].map(|what| DEEDS.split(',').nth(what as usize).unwrap_or(""));
        Error::of(format_args!("init should {wanted} here, not {said}"))
    }
}

/// One end of a conversation.
pub enum Channel {
    /// A socket for both directions.
    Socket(OwnedFd),
    /// A pair of FIFOs: one to read, one to write.
    Fifos(OwnedFd, OwnedFd),
    /// The FIFO to write to; there are no more answers.
    Fifo(OwnedFd),
}

/// Errors are errnos, because a child under its filter may not allocate.
type Result<T> = std::result::Result<T, Errno>;

impl Channel {
    /// Both ends of a new conversation, close-on-exec.
    pub fn pair() -> Result<(Channel, Channel)> {
        let (a, b) =
            socket::socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        Ok((Channel::Socket(a), Channel::Socket(b)))
    }

    fn writer(&self) -> &OwnedFd {
        match self {
            Channel::Socket(to) | Channel::Fifos(_, to) | Channel::Fifo(to) => to,
        }
    }

    /// Asks and waits for the answer; EPIPE if the other side is gone.
    pub fn ask(&self, sync: Sync) -> Result<()> {
        self.say(MessageKind::Ask, 0, sync as u32, "")?;
        self.wait_go()
    }

    /// Waits until the other side lets this one continue.
    pub fn wait_go(&self) -> Result<()> {
        wait_go(self.as_fd())
    }

    /// Lets the other side continue.
    pub fn go(&self) -> Result<()> {
        self.tell(GO)
    }

    fn tell(&self, answer: u8) -> Result<()> {
        match self {
            Channel::Socket(to) => socket::send(to.as_raw_fd(), &[answer], MsgFlags::MSG_NOSIGNAL).map(drop),
            Channel::Fifos(_, to) | Channel::Fifo(to) => write(to, &[answer]).map(drop),
        }
    }

    /// Sends the terminal's master.
    pub fn terminal(&self, number: u32, master: BorrowedFd<'_>) -> Result<()> {
        send_fd(self.as_fd(), &head(MessageKind::Terminal, 0, number, 0), master, 0).map(drop)
    }

    /// Announces the clone that continues in place of this process.
    pub fn entered(&self, pid: u32) -> Result<()> {
        self.say(MessageKind::Entered, 0, pid, "")
    }

    /// Announces the listener of the next filter by its future number.
    ///
    /// Returns whether it must be sent ([`Channel::send_listener`]) because the host cannot take it.
    pub fn announce_listener(&self, number: i32) -> Result<bool> {
        self.say(MessageKind::Announce, 0, number as u32, "")?;
        match self {
            // The host must take it: a FIFO transports no descriptors.
            Channel::Fifo(_) => Ok(false),
            _ => Ok(answer(self.as_fd())? == SEND),
        }
    }

    /// Sends the listener; the loaded filter must allow sendmsg(2).
    pub fn send_listener(&self, listener: BorrowedFd<'_>) -> Result<()> {
        send_fd(self.as_fd(), &head(MessageKind::Listener, 0, 0, 0), listener, 0).map(drop)
    }

    /// Answers the announcement; returns whether the host can take the listener.
    pub fn may_take_listener(&self, pidfd: Option<BorrowedFd<'_>>) -> Result<bool> {
        // Descriptor 0 always exists: this checks whether the kernel permits the call.
        let may = pidfd.is_some_and(|pidfd| process::pidfd_getfd(pidfd, 0).is_ok());
        match (self, may) {
            (Channel::Socket(_), true) => self.tell(GO)?,
            (Channel::Socket(_), false) => self.tell(SEND)?,
            (_, true) => {}
            (_, false) => return Err(Errno::ENOSYS),
        }
        Ok(may)
    }

    /// Tries for a millisecond to take the listener out of the child behind `pidfd`.
    ///
    /// `None` if it will never exist: the next message gives the reason. EAGAIN if it does not exist yet.
    pub fn take_listener(&self, pidfd: BorrowedFd<'_>, number: i32) -> Result<Option<OwnedFd>> {
        // Check for a message before the call: a child that has its filter may continue and send one.
        let said = self.is_readable(1);
        match process::pidfd_getfd(pidfd, number) {
            Ok(listener) => Ok(Some(listener)),
            Err(Errno::ESRCH) => Ok(None),
            Err(Errno::EBADF) if said => Ok(None),
            Err(Errno::EBADF) => Err(Errno::EAGAIN),
            Err(e) => Err(e),
        }
    }

    /// The reason that follows a failure, if the child knows one.
    ///
    /// A child that its filter ended in the meantime sends none. The time is limited, because others can keep its end open.
    pub fn diagnosis(&self) -> Option<String> {
        let message = self.is_readable(2000).then(|| self.receive().ok())??;
        (message.what == MessageKind::Warn && !message.text.is_empty()).then_some(message.text)
    }

    fn is_readable(&self, milliseconds: u16) -> bool {
        let mut fds = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::from(milliseconds)).is_ok_and(|n| n > 0)
    }

    /// Reports a warning, which does not stop the launch.
    pub fn warn(&self, text: &str) -> Result<()> {
        self.say(MessageKind::Warn, 0, 0, text)
    }

    /// Reports that this process has received the go of `start`.
    pub fn heard(&self) -> Result<()> {
        self.say(MessageKind::Heard, 0, 0, "")
    }

    /// Reports that the startContainer hooks have succeeded; a dead host is ignored.
    pub fn hooked(&self) {
        let _ = self.say(MessageKind::Hooked, 0, 0, "");
    }

    /// Reports the failed step; allocates nothing, because the filter may be loaded.
    pub fn failed(&self, step: u16, errno: i32, text: &str) -> Result<()> {
        self.say(MessageKind::Failed, step, errno as u32, text)
    }

    pub(super) fn say(&self, what: MessageKind, step: u16, number: u32, text: &str) -> Result<()> {
        let mut buffer = [0u8; HEAD + TEXT];
        let text = &text.as_bytes()[..text.len().min(TEXT)];
        buffer[..HEAD].copy_from_slice(&head(what, step, number, text.len() as u16));
        buffer[HEAD..][..text.len()].copy_from_slice(text);
        // The message has at most PIPE_BUF bytes, so that a write to a FIFO is atomic, too.
        let message = &buffer[..HEAD + text.len()];
        loop {
            match write(self.writer(), message) {
                Err(Errno::EINTR) => {}
                done => return done.map(drop),
            }
        }
    }

    /// Receives the next message.
    pub fn receive(&self) -> Result<Message> {
        let mut buffer = [0u8; HEAD + TEXT];
        let mut reset = false;
        let (n, fd) = loop {
            let received = match self {
                Channel::Socket(from) => receive_fd(from.as_fd(), &mut buffer),
                _ => self.receive_bytes(&mut buffer).map(|n| (n, None)),
            };
            match received {
                Err(Errno::EINTR) => {}
                // The kernel reports it once, before a message that is still queued.
                Err(Errno::ECONNRESET) => reset = true,
                other => break other?,
            }
        };
        let mut message = decode(&buffer[..n]).ok_or(Errno::EBADMSG)?;
        message.fd = fd;
        if reset && n == 0 {
            message.number = Errno::ECONNRESET as u32;
        }
        Ok(message)
    }

    /// Reads one message from a FIFO; an end within the message is an error.
    fn receive_bytes(&self, buffer: &mut [u8; HEAD + TEXT]) -> Result<usize> {
        let (mut have, mut want) = (0, HEAD);
        while have < want {
            match read(self.as_fd(), &mut buffer[have..want])? {
                0 => break,
                n => have += n,
            }
            if have == HEAD {
                want = HEAD + usize::from(u16::from_ne_bytes([buffer[8], buffer[9]])).min(TEXT);
            }
        }
        Ok(have)
    }
}

/// The descriptor to read from.
impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Channel::Socket(from) | Channel::Fifos(from, _) | Channel::Fifo(from) => from.as_fd(),
        }
    }
}

/// Waits until the other side lets this one continue; EPIPE if it is gone.
pub fn wait_go(from: BorrowedFd<'_>) -> Result<()> {
    answer(from).map(drop)
}

fn answer(from: BorrowedFd<'_>) -> Result<u8> {
    let mut byte = [0u8; 1];
    loop {
        match read(from, &mut byte) {
            Ok(0) => return Err(Errno::EPIPE),
            Ok(_) => return Ok(byte[0]),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e),
        }
    }
}

/// Encodes a head; both sides are the same program, so numbers are in native order.
fn head(what: MessageKind, step: u16, number: u32, length: u16) -> [u8; HEAD] {
    let ([a, b], [c, d, e, f], [g, h]) = (step.to_ne_bytes(), number.to_ne_bytes(), length.to_ne_bytes());
    [what as u8, 0, a, b, c, d, e, f, g, h]
}

fn decode(bytes: &[u8]) -> Option<Message> {
    // An empty message means the end.
    let (head, text) = if bytes.is_empty() { (&[0; HEAD], bytes) } else { bytes.split_first_chunk()? };
    let [what, _, a, b, c, d, e, f, length @ ..] = *head;
    if usize::from(u16::from_ne_bytes(length)) != text.len() {
        return None;
    }
    Some(Message {
        what: *KINDS.get(usize::from(what))?,
        step: u16::from_ne_bytes([a, b]),
        number: u32::from_ne_bytes([c, d, e, f]),
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
        assert!(m.what == MessageKind::Warn && m.text == "careful" && m.fd.is_none());
        let m = host.receive().unwrap();
        assert!(m.what == MessageKind::Terminal && m.number == 7 && m.fd.is_some());
        let m = host.receive().unwrap();
        assert_eq!((m.what, m.step, m.number, m.text.len()), (MessageKind::Failed, 300, 13, TEXT));
        assert_eq!(host.receive().unwrap().what, MessageKind::End);
    }

    #[test]
    fn messages_over_fifos_arrive_whole_and_in_order() {
        let (from, to) = nix::unistd::pipe().unwrap();
        let (unused, answers) = nix::unistd::pipe().unwrap();
        let child = Channel::Fifos(unused, to);
        child.warn("careful").unwrap();
        child.ask_without_answer(Sync::Created);
        child.failed(300, 13, &"x".repeat(5000)).unwrap();
        drop(child);
        let host = Channel::Fifos(from, answers);
        let m = host.receive().unwrap();
        assert!(m.what == MessageKind::Warn && m.text == "careful");
        assert_eq!(host.receive().unwrap().number, Sync::Created as u32);
        let m = host.receive().unwrap();
        assert_eq!((m.what, m.step, m.number, m.text.len()), (MessageKind::Failed, 300, 13, TEXT));
        assert_eq!(host.receive().unwrap().what, MessageKind::End);
    }

    impl Channel {
        fn ask_without_answer(&self, sync: Sync) {
            self.say(MessageKind::Ask, 0, sync as u32, "").unwrap();
        }
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
            assert_eq!((m.what, m.number), (MessageKind::End, number));
        }
    }

    #[test]
    fn failure_is_received_although_a_go_stays_unread() {
        let (host, child) = Channel::pair().unwrap();
        host.go().and(child.failed(7, 5, "")).unwrap();
        drop(child);
        assert_eq!(host.receive().map(|m| (m.what, m.number)), Ok((MessageKind::Failed, 5)));
    }

    #[test]
    fn everything_has_its_place_in_the_list() {
        assert!(KINDS.iter().enumerate().all(|(i, what)| *what as usize == i));
    }

    #[test]
    fn nonsense_is_refused() {
        let long = head(MessageKind::Warn, 0, 0, 5);
        let unknown = [99, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for bytes in [&b"A"[..], &[1; 9], &unknown, &long, b"?"] {
            assert!(decode(bytes).is_none(), "{bytes:?}");
        }
    }
}
