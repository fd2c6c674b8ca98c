//! ioctls of pseudo-terminals and of the loopback interface.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

use super::done;

type Result<T> = std::result::Result<T, Errno>;

/// Unlocks the slave of a pty master.
pub fn unlock_pty(master: BorrowedFd<'_>) -> Result<()> {
    let unlock: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads one int.
    done(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK as _, &raw const unlock) })
}

/// The number N of a pty, whose slave is `/dev/pts/N`.
pub fn pty_number(master: BorrowedFd<'_>) -> Result<u32> {
    let mut n: libc::c_uint = 0;
    // SAFETY: TIOCGPTN writes one unsigned int.
    done(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTN as _, &raw mut n) })?;
    Ok(n)
}

/// Opens the slave of a pty master without a path (TIOCGPTPEER, Linux 4.13).
pub fn pty_peer(master: BorrowedFd<'_>) -> Result<OwnedFd> {
    // _IO('T', 0x41), which is the same on every supported architecture.
    const TIOCGPTPEER: u32 = 0x5441;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: takes open flags by value, returns a new descriptor for us.
    unsafe {
        let fd = Errno::result(libc::ioctl(master.as_raw_fd(), TIOCGPTPEER as _, flags))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Makes a terminal the controlling terminal of this session.
pub fn set_controlling(tty: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: takes a flag by value.
    done(unsafe { libc::ioctl(tty.as_raw_fd(), libc::TIOCSCTTY as _, 0) })
}

/// The size of a terminal in (rows, columns).
pub fn size(tty: BorrowedFd<'_>) -> Result<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one winsize.
    done(unsafe { libc::ioctl(tty.as_raw_fd(), libc::TIOCGWINSZ as _, &raw mut size) })?;
    Ok((size.ws_row, size.ws_col))
}

/// Sets the size of a terminal in rows and columns.
pub fn set_size(tty: BorrowedFd<'_>, (rows, columns): (u16, u16)) -> Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one winsize.
    done(unsafe { libc::ioctl(tty.as_raw_fd(), libc::TIOCSWINSZ as _, &raw const size) })
}

/// Reads the attributes of a terminal (termios(3)).
pub fn attributes(tty: BorrowedFd<'_>) -> Result<libc::termios> {
    // SAFETY: an all-zero termios is valid, and the call fills it in.
    unsafe {
        let mut attributes: libc::termios = std::mem::zeroed();
        done(libc::tcgetattr(tty.as_raw_fd(), &raw mut attributes))?;
        Ok(attributes)
    }
}

/// Sets the attributes of a terminal immediately.
pub fn set_attributes(tty: BorrowedFd<'_>, attributes: &libc::termios) -> Result<()> {
    // SAFETY: reads one termios.
    done(unsafe { libc::tcsetattr(tty.as_raw_fd(), libc::TCSANOW, attributes) })
}

/// Converts attributes to raw mode, with output processing unchanged.
pub fn raw(cooked: &libc::termios) -> libc::termios {
    let mut raw = *cooked;
    // SAFETY: changes flags of the one termios.
    unsafe { libc::cfmakeraw(&raw mut raw) };
    raw.c_oflag |= cooked.c_oflag & libc::OPOST;
    raw
}

/// Brings up the loopback interface of this network namespace.
pub fn loopback_up() -> Result<()> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
        // A kernel without IPv4 has other address families.
        .or_else(|_| socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None))?;
    // SAFETY: an all-zero ifreq is valid; the name fits and ends in NUL.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as _;
        request.ifr_name[1] = b'o' as _;
        request.ifr_ifru.ifru_flags = libc::IFF_UP as _;
        done(libc::ioctl(socket.as_fd().as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request))
    }
}
