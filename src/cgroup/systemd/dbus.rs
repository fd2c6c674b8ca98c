//! The subset of D-Bus that systemd needs.
//!
//! Method calls, replies and signals, over a unix socket.
//!
//! Source: the D-Bus specification 0.43, "Message Protocol" and "Authentication Protocol". Messages are sent in little endian,
//! and read in the byte order that they name.

use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::unistd::read;

use super::wire::{BodyReader, Writer};
use crate::error::{Context, Errno, Error, Result};
use crate::sys::clock;
use crate::sys::socket::connect;

/// A method of a D-Bus object.
pub struct Method {
    /// The bus name of its owner; empty without a bus.
    pub destination: &'static str,
    /// The object's path.
    pub path: &'static str,
    /// The interface of the method.
    pub interface: &'static str,
    /// The method's name.
    pub member: &'static str,
    /// The types of its arguments.
    pub signature: &'static str,
}

/// A received message: a reply, an error, or a signal.
#[derive(Debug, Default)]
struct DbusMessage {
    kind: u8,
    reply_to: u32,
    member: String,
    error: String,
    body: BodyReader,
}

/// A connection to a bus or a peer.
pub struct Connection {
    stream: UnixStream,
    serial: u32,
    has_bus: bool,
    deadline: Instant,
    /// Signals that arrived while we waited for a reply.
    signals: Vec<(String, BodyReader)>,
}

const HELLO: Method = Method {
    destination: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
    member: "Hello",
    signature: "",
};

impl Connection {
    /// Connects to a socket and authenticates. On a bus, it sends Hello.
    pub fn open(socket: &str, has_bus: bool, patience: Duration) -> Result<Connection> {
        let deadline = clock::after(patience);
        let stream = connect(socket, patience).about(format_args!("connect to {socket}"))?;
        stream.set_nonblocking(true).at("set O_NONBLOCK")?;
        let mut connection = Connection { stream, serial: 0, has_bus, deadline, signals: Vec::new() };
        connection.authenticate().map_err(|e| e.context(socket))?;
        if has_bus {
            connection.call(&HELLO, Writer::default())?;
        }
        Ok(connection)
    }

    fn authenticate(&mut self) -> Result<()> {
        // The kernel passes our identity, so none is claimed: in a user namespace our uid differs from the one that the other
        // side sees. BEGIN is sent along, and the first message only after the reply, as systemd's own clients do: systemd
        // overlooks a message that it reads together with BEGIN until another one arrives.
        self.send(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        let mut answer = self.line()?;
        if answer == b"DATA" {
            answer = self.line()?;
        }
        if !answer.starts_with(b"OK ") {
            let answer = String::from_utf8_lossy(&answer);
            return Err(Error::of(format_args!("D-Bus: authentication is refused: {answer}")));
        }
        Ok(())
    }

    fn line(&mut self) -> Result<Vec<u8>> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.extend(self.receive(1)?);
            if line.len() > 512 {
                return Err(Error::new("D-Bus: no answer to the authentication"));
            }
        }
        line.truncate(line.trim_ascii_end().len());
        Ok(line)
    }

    /// Calls a method and returns the body of the reply.
    pub fn call(&mut self, method: &Method, body: Writer) -> Result<BodyReader> {
        self.serial += 1;
        let serial = self.serial;
        self.send(&self.message(method, serial, &body.0))?;
        loop {
            let mut message = self.message_in()?;
            match message.kind {
                4 => self.signals.push((message.member, message.body)),
                2 if message.reply_to == serial => return Ok(message.body),
                3 if message.reply_to == serial => {
                    let text = message.body.str().unwrap_or_default();
                    return Err(Error::of(format_args!("{}: {text} ({})", method.member, message.error)));
                }
                _ => {}
            }
        }
    }

    /// The next signal with this name.
    pub fn signal(&mut self, member: &str) -> Result<BodyReader> {
        loop {
            if let Some(at) = self.signals.iter().position(|(name, _)| name == member) {
                return Ok(self.signals.remove(at).1);
            }
            let message = self.message_in()?;
            if message.kind == 4 {
                self.signals.push((message.member, message.body));
            }
        }
    }

    fn message(&self, method: &Method, serial: u32, body: &[u8]) -> Vec<u8> {
        let mut w = Writer::default();
        // Little endian, a method call, no flags, protocol 1.
        w.0.extend([b'l', 1, 0, 1]);
        w.u32(body.len() as u32);
        w.u32(serial);
        let mut fields = vec![(1, "o", method.path), (2, "s", method.interface), (3, "s", method.member)];
        if self.has_bus {
            fields.push((6, "s", method.destination));
        }
        if !method.signature.is_empty() {
            fields.push((8, "g", method.signature));
        }
        w.array(8, &mut |w| {
            for (code, kind, text) in &fields {
                w.align(8);
                w.0.push(*code);
                w.signature(kind);
                if *kind == "g" { w.signature(text) } else { w.str(text) }
            }
        });
        w.align(8);
        w.0.extend(body);
        w.0
    }

    fn message_in(&mut self) -> Result<DbusMessage> {
        let bytes = self.receive(16)?;
        let mut head = BodyReader { big_endian: bytes[0] == b'B', bytes, at: 4 };
        let kind = head.bytes[1];
        let odd = || Error::new("D-Bus: an answer cannot be read");
        let body_length = head.u32().ok_or_else(odd)? as usize;
        head.at = 12;
        let fields_length = head.u32().ok_or_else(odd)? as usize;
        // The protocol's own limits are higher; no reply that we need comes near.
        if body_length > 1 << 20 || fields_length > 1 << 16 {
            return Err(odd());
        }
        let mut rest = self.receive(fields_length.next_multiple_of(8) + body_length)?;
        let body = rest.split_off(fields_length.next_multiple_of(8));
        rest.truncate(fields_length);
        let big_endian = head.big_endian;
        let mut fields = BodyReader { bytes: rest, at: 0, big_endian };
        let body = BodyReader { bytes: body, at: 0, big_endian };
        let mut message = DbusMessage { kind, body, ..DbusMessage::default() };
        while fields.at < fields_length {
            fields.align(8);
            let code = *fields.take(1).and_then(|b| b.first()).ok_or_else(odd)?;
            let kind = fields.signature().ok_or_else(odd)?;
            match (kind.as_str(), code) {
                ("u", code) => {
                    let n = fields.u32().ok_or_else(odd)?;
                    if code == 5 {
                        message.reply_to = n;
                    }
                }
                ("g", _) => drop(fields.signature().ok_or_else(odd)?),
                ("s" | "o", code) => {
                    let text = fields.str().ok_or_else(odd)?;
                    match code {
                        3 => message.member = text,
                        4 => message.error = text,
                        _ => {}
                    }
                }
                _ => return Err(odd()),
            }
        }
        Ok(message)
    }

    fn send(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            match send(self.stream.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL) {
                Ok(n) => bytes = &bytes[n..],
                Err(e) => self.wait(e, PollFlags::POLLOUT)?,
            }
        }
        Ok(())
    }

    fn receive(&mut self, n: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; n];
        let mut done = 0;
        while done < n {
            match read(&self.stream, &mut bytes[done..]) {
                Ok(0) => return Err(Error::new("D-Bus: the connection was closed")),
                Ok(n) => done += n,
                Err(e) => self.wait(e, PollFlags::POLLIN)?,
            }
        }
        Ok(bytes)
    }

    /// Waits until the socket is ready on EAGAIN; returns other errors.
    fn wait(&self, e: Errno, events: PollFlags) -> Result<()> {
        match e {
            Errno::EINTR => return Ok(()),
            Errno::EAGAIN => {}
            e => return Err(Error::os("D-Bus", e)),
        }
        let left = clock::until(self.deadline);
        if left.is_zero() {
            return Err(Error::os("D-Bus: no answer in time", Errno::ETIMEDOUT));
        }
        let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(self.stream.as_fd(), events)], timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(e) => Err(Error::os("poll", e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::cgroup::systemd::PropertyValue;
    use std::io::Write as _;

    use super::*;

    fn pair() -> (Connection, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let deadline = Instant::now() + Duration::from_millis(200);
        (Connection { stream: ours, serial: 0, has_bus: true, deadline, signals: Vec::new() }, theirs)
    }

    /// The bytes that the reference implementation's `dbus-send` sends for this call.
    #[test]
    fn a_call_is_laid_out_as_the_specification_says() {
        let (connection, _theirs) = pair();
        let bytes = connection.message(&HELLO, 1, &[]);
        let expected: &[u8] = b"l\x01\0\x01\0\0\0\0\x01\0\0\0\x6d\0\0\0\
            \x01\x01o\0\x15\0\0\0/org/freedesktop/DBus\0\0\0\
            \x02\x01s\0\x14\0\0\0org.freedesktop.DBus\0\0\0\0\
            \x03\x01s\0\x05\0\0\0Hello\0\0\0\
            \x06\x01s\0\x14\0\0\0org.freedesktop.DBus\0\0\0\0";
        assert_eq!(bytes, expected, "{}", String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn values_are_aligned() {
        let mut w = Writer::default();
        w.str("a");
        w.properties(&[
            &("N".into(), PropertyValue::U64(7)),
            &("L".into(), PropertyValue::Strs(vec!["x".into()])),
            &("P".into(), PropertyValue::Pairs(vec![("k".into(), "v".into())])),
        ]);
        let mut r = BodyReader { bytes: w.0, at: 0, big_endian: false };
        assert_eq!(r.str().as_deref(), Some("a"));
        let length = r.u32().unwrap() as usize;
        r.align(8);
        let start = r.at;
        assert_eq!((r.str().as_deref(), r.signature().as_deref()), (Some("N"), Some("t")));
        r.align(8);
        assert_eq!((r.u32(), r.u32()), (Some(7), Some(0)));
        r.align(8);
        assert_eq!((r.str().as_deref(), r.signature().as_deref()), (Some("L"), Some("as")));
        assert_eq!((r.u32(), r.str().as_deref()), (Some(6), Some("x")));
        r.align(8);
        assert_eq!((r.str().as_deref(), r.signature().as_deref()), (Some("P"), Some("a(ss)")));
        let inner = r.u32().unwrap();
        r.align(8);
        let before = r.at;
        assert_eq!((r.str().as_deref(), r.str().as_deref()), (Some("k"), Some("v")));
        assert_eq!(r.at - before, inner as usize);
        assert_eq!(r.at - start, length);
    }

    #[test]
    fn answers_errors_and_signals_are_told_apart() {
        // A signal, then a reply with one string, both written by hand.
        let mut bytes = Vec::new();
        let mut put = |kind: u8, fields: &[(u8, &str, &str)], reply: u32, body: &str| {
            let mut b = Writer::default();
            b.str(body);
            let mut w = Writer::default();
            w.0.extend([b'l', kind, 0, 1]);
            w.u32(b.0.len() as u32);
            w.u32(9);
            w.array(8, &mut |w| {
                for (code, kind, text) in fields {
                    w.align(8);
                    w.0.push(*code);
                    w.signature(kind);
                    w.str(text);
                }
                w.align(8);
                w.0.push(5);
                w.signature("u");
                w.u32(reply);
            });
            w.align(8);
            w.0.extend(b.0);
            bytes.extend(w.0);
        };
        put(4, &[(3, "s", "JobRemoved")], 0, "signal");
        put(2, &[], 1, "answer");
        put(3, &[(4, "s", "org.x.Bad")], 2, "why");
        let (mut connection, mut theirs) = pair();
        theirs.write_all(&bytes).unwrap();
        assert_eq!(connection.call(&HELLO, Writer::default()).unwrap().str().as_deref(), Some("answer"));
        assert_eq!(connection.signal("JobRemoved").unwrap().str().as_deref(), Some("signal"));
        let e = connection.call(&HELLO, Writer::default()).unwrap_err().to_string();
        assert_eq!(e, "Hello: why (org.x.Bad)");
        let e = connection.call(&HELLO, Writer::default()).unwrap_err();
        assert_eq!(e.errno(), Some(Errno::ETIMEDOUT));
    }

    #[test]
    fn rubbish_is_an_error_and_never_a_panic() {
        let mut seed = 1u64;
        for _ in 0..3000 {
            let mut bytes: Vec<u8> = (0..64)
                .map(|_| {
                    seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    (seed >> 56) as u8
                })
                .collect();
            bytes[0] = b'l';
            bytes[4..16].copy_from_slice(&[8, 0, 0, 0, 0, 0, 0, 0, 40, 0, 0, 0]);
            let (mut connection, mut theirs) = pair();
            theirs.write_all(&bytes).unwrap();
            drop(theirs);
            let _ = connection.message_in();
        }
    }
}
