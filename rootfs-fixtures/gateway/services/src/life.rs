//! Start, stop and the messages to the service manager.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{SigSet, Signal};

use crate::config;

/// Runs a program: ends it on SIGTERM, and prints the error that it returns.
///
/// The signal is blocked before the first thread starts, so that all threads leave it to the one that waits for it. Pid 1 of a
/// container ignores signals without a handler, so waiting for it is necessary.
pub fn run(name: &str, service: impl FnOnce() -> Result<(), String>) -> ExitCode {
    let mut stops = SigSet::empty();
    stops.add(Signal::SIGTERM);
    stops.add(Signal::SIGINT);
    if let Err(e) = stops.thread_block() {
        eprintln!("{name}: block SIGTERM: {e}");
        return ExitCode::FAILURE;
    }
    std::thread::spawn(move || {
        let _ = stops.wait();
        notify("STOPPING=1");
        std::process::exit(0);
    });
    match service() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{name}: {why}");
            notify(&format!("STATUS={why}"));
            ExitCode::FAILURE
        }
    }
}

/// Sends a message to `NOTIFY_SOCKET`, if there is one.
pub fn notify(message: &str) {
    let Some(path) = config::optional("NOTIFY_SOCKET") else { return };
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&path),
    };
    // The service works without a manager that listens.
    if let (Ok(socket), Ok(address)) = (UnixDatagram::unbound(), address) {
        let _ = socket.send_to_addr(message.as_bytes(), &address);
    }
}

/// Reports `READY=1` once, and `WATCHDOG=1` as often as the manager asks for.
pub struct Pulse {
    ready: bool,
    every: Duration,
    last: Instant,
}

impl Pulse {
    /// Reads `WATCHDOG_USEC`; without it the watchdog is fed once in two seconds.
    pub fn new() -> Result<Pulse, String> {
        let usec: u64 = config::parsed("WATCHDOG_USEC", 4_000_000)?;
        Ok(Pulse { ready: false, every: Duration::from_micros(usec / 2), last: Instant::now() })
    }

    /// Reports to the manager; `up` says whether the service works.
    ///
    /// The main loop calls it at least twice a second.
    pub fn beat(&mut self, up: bool) {
        if up && !self.ready {
            self.ready = true;
            notify("READY=1");
        }
        if self.last.elapsed() >= self.every {
            self.last = Instant::now();
            notify("WATCHDOG=1");
        }
    }
}

/// Microseconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as u64)
}
