//! Where init waits for `start`, and the call that lets it go on.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen as listen_on, socket,
};
use nix::sys::stat::{Mode, umask};

use super::host::hear;
use super::wire::{Channel, What};
use crate::error::{Context, Error, Result, engine};
use crate::state::store::{Entry, Locked};

/// The socket's name in the container's directory.
pub const SOCKET: &str = "start.sock";

/// Makes the socket that init will wait at. Only the runtime's own user may connect.
pub fn listen(dir: &Locked) -> Result<OwnedFd> {
    let make = || -> Result<OwnedFd> {
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
        let before = umask(Mode::from_bits_truncate(0o177));
        let bound = UnixAddr::new(dir.path_of(SOCKET).as_str()).and_then(|a| bind(socket.as_raw_fd(), &a));
        umask(before);
        bound?;
        listen_on(&socket, Backlog::MAXCONN)?;
        Ok(socket)
    };
    make().at(SOCKET)
}

/// Lets init go on, and waits until the program runs. What fails between (the filter, a hook, the exec) says itself what
/// it is about.
///
/// A filter that asks for a listener is loaded here; `listener` hands it to whom it is for.
pub fn go(dir: &Entry, listener: &dyn Fn(&OwnedFd) -> Result<()>) -> Result<()> {
    let call = || -> Result<Channel> {
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
        connect(socket.as_raw_fd(), &UnixAddr::new(dir.path_of(SOCKET).as_str())?)?;
        let channel = Channel::over(socket);
        channel.go()?;
        Ok(channel)
    };
    let message = hear(&call().at(SOCKET)?, &[], listener)?;
    match (message.what, message.number) {
        (What::End, 0) => Ok(()),
        // Init was killed before it took that in.
        (What::End, _) => Err(Error::new(engine::START_STOPPED)),
        _ => Err(message.instead_of(What::End)),
    }
}
