//! The acts on the notify socket, `$NOTIFY_SOCKET`.
//!
//! In a message `+` stands for a newline and `~` for a space.

use crate::Probe;
use crate::act::errno;
use crate::json::text;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

/// Performs one act.
pub fn act(word: &str, probe: &mut Probe) {
    let message = probe.argument(word).replace('+', "\n").replace('~', " ").into_bytes();
    let shown = String::from_utf8_lossy(&message).into_owned();
    let result = match word {
        "notify" => connected().and_then(|socket| socket.send(&message)).map(|_| text("ok")),
        "notify-fd" => connected().and_then(|socket| with_descriptor(&socket, &message)).map(|()| text("ok")),
        // flood: sends for two seconds without a pause, and returns how often it was possible.
        _ => connected().and_then(|socket| flood(&socket, &message)),
    };
    probe.note(&[word, &shown], result.unwrap_or_else(errno));
}

fn connected() -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    let path = std::env::var("NOTIFY_SOCKET").map_err(|_| io::Error::from_raw_os_error(libc::ENOENT))?;
    socket.connect(path)?;
    Ok(socket)
}

fn flood(socket: &UnixDatagram, message: &[u8]) -> io::Result<String> {
    socket.set_nonblocking(true)?;
    let (start, mut sent) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(2) {
        sent += u64::from(socket.send(message).is_ok());
    }
    Ok(sent.to_string())
}

fn with_descriptor(socket: &UnixDatagram, message: &[u8]) -> io::Result<()> {
    let mut iov = libc::iovec { iov_base: message.as_ptr().cast_mut().cast(), iov_len: message.len() };
    let mut control = [0u64; 3];
    let length = size_of::<libc::c_int>() as u32;
    let sent = unsafe {
        let mut header: libc::msghdr = std::mem::zeroed();
        header.msg_iov = &raw mut iov;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = libc::CMSG_SPACE(length) as _;
        let first = libc::CMSG_FIRSTHDR(&raw const header);
        (*first).cmsg_level = libc::SOL_SOCKET;
        (*first).cmsg_type = libc::SCM_RIGHTS;
        (*first).cmsg_len = libc::CMSG_LEN(length) as _;
        libc::CMSG_DATA(first).cast::<libc::c_int>().write_unaligned(socket.as_raw_fd());
        libc::sendmsg(socket.as_raw_fd(), &raw const header, 0)
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
