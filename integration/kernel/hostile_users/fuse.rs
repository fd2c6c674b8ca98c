//! A FUSE file system whose server stops answering at some point.

use crate::common::Test;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::thread::JoinHandle;

/// The requests that the server answers.
#[derive(Clone, Copy, PartialEq)]
pub enum Answers {
    /// None.
    Nothing,
    /// Those until the file `volume` was found once.
    OneLookup,
    /// The same, and it allows idmapped mounts (Linux 6.12).
    OneLookupOfAnIdmapped,
}

/// The mounted file system.
pub struct Hung {
    /// Its mount point.
    pub dir: PathBuf,
    server: JoinHandle<()>,
}

impl Hung {
    pub fn mount(t: &Test, answers: Answers) -> Hung {
        let Ok(file) = File::options().read(true).write(true).open("/dev/fuse") else {
            t.skip("the kernel has no FUSE")
        };
        let dir = t.path("fuse");
        fs::create_dir(&dir).unwrap();
        let fd = file.as_raw_fd();
        let data = format!("fd={fd},rootmode=40755,user_id=0,group_id=0,allow_other,default_permissions");
        mount(Some("hung"), &dir, Some("fuse"), MsFlags::empty(), Some(&*data)).unwrap();
        Hung { dir, server: std::thread::spawn(move || serve(file, answers)) }
    }

    pub fn end(self) {
        // The requests that wait are aborted.
        umount2(&self.dir, MntFlags::MNT_FORCE | MntFlags::MNT_DETACH).unwrap();
        self.server.join().unwrap();
    }
}

/// Serves until the file system is unmounted.
fn serve(mut file: File, answers: Answers) {
    let mut room = vec![0; 1 << 17];
    let mut lookups = 0;
    while let Ok(length) = file.read(&mut room) {
        let word = |at: usize| u32::from_ne_bytes(room[at..at + 4].try_into().unwrap());
        let (kind, node) = (word(4), word(16));
        assert!(length >= 40, "{length}");
        lookups += u32::from(kind == LOOKUP);
        let payload = match kind {
            _ if answers == Answers::Nothing => continue,
            INIT => init(word(44), answers == Answers::OneLookupOfAnIdmapped),
            GETATTR if node == 1 => attributes(1, libc::S_IFDIR | 0o755, &[0; 16]),
            LOOKUP if lookups == 1 => {
                let mut entry = [0; 40];
                entry[0] = 2;
                attributes(2, libc::S_IFDIR | 0o755, &entry)
            }
            _ => continue,
        };
        let mut answer = (payload.len() as u32 + 16).to_ne_bytes().to_vec();
        answer.extend_from_slice(&[0; 4]);
        answer.extend_from_slice(&room[8..16]);
        answer.extend_from_slice(&payload);
        // The request may have been interrupted.
        let _ = file.write_all(&answer);
    }
}

const LOOKUP: u32 = 1;
const GETATTR: u32 = 3;
const INIT: u32 = 26;

/// `struct fuse_init_out`
fn init(minor: u32, idmapped: bool) -> Vec<u8> {
    const INIT_EXT: u32 = 1 << 30;
    const ALLOW_IDMAP: u32 = 1 << (40 - 32);
    let mut out = vec![0; 64];
    let flags2 = if idmapped { ALLOW_IDMAP } else { 0 };
    for (at, value) in [(0, 7), (4, minor), (12, INIT_EXT), (20, 1 << 16), (24, 1), (32, flags2)] {
        out[at..at + 4].copy_from_slice(&u32::to_ne_bytes(value));
    }
    out
}

/// `struct fuse_attr` after the part before it, valid for one answer.
fn attributes(inode: u64, mode: u32, before: &[u8]) -> Vec<u8> {
    let mut out = before.to_vec();
    let mut attributes = [0; 88];
    attributes[..8].copy_from_slice(&inode.to_ne_bytes());
    attributes[60..64].copy_from_slice(&mode.to_ne_bytes());
    attributes[64] = 2;
    out.extend_from_slice(&attributes);
    out
}
