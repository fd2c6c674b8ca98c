//! The volume of a service, which one process uses at a time.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};

/// The right to use a volume, until it is dropped or the process ends.
pub struct Owned {
    _lock: Flock<File>,
}

/// Waits until no other process owns the volume.
///
/// An engine that was cut off from its manager may start the new version of a service before it has stopped the old one.
pub fn own(dir: &Path) -> io::Result<Owned> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(dir.join("lock"))?;
    let lock = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| io::Error::from(e))?;
    Ok(Owned { _lock: lock })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{RecvTimeoutError, channel};
    use std::time::Duration;

    #[test]
    fn a_second_process_waits_for_the_first() {
        let dir = std::env::temp_dir().join(format!("gateway-volume-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let first = own(&dir).unwrap();
        let (owned, inbox) = channel();
        let place = dir.clone();
        let second = std::thread::spawn(move || {
            let volume = own(&place).unwrap();
            owned.send(()).unwrap();
            drop(volume);
        });
        assert_eq!(inbox.recv_timeout(Duration::from_millis(100)), Err(RecvTimeoutError::Timeout));
        drop(first);
        inbox.recv_timeout(Duration::from_secs(60)).unwrap();
        second.join().unwrap();
        std::fs::remove_dir_all(dir).unwrap();
    }
}
