//! Explains why the kernel does not execute a program of the container.
//!
//! This runs after the failure was reported: under a filter, a call that only the diagnosis makes may end the process. All
//! paths are inside the container, as its user sees them, and nothing of the host is open any more.

use std::env::consts::ARCH;
use std::ffi::CStr;
use std::os::fd::{AsFd as _, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::SFlag;
use nix::sys::uio::pread;

use crate::error::{Escaped, Quoted};
use crate::sys::file::{fstat, kind, open, stat};
use crate::sys::mount_api::mount_flags;
use crate::text::c_text;

/// statfs(2)
const ST_NOEXEC: u32 = 8;
/// The most interpreters of interpreters, as in the kernel.
const DEPTH: u8 = 4;

/// A likely reason for the error of execve(2), or of the check before it.
pub fn of_program(path: &CStr, errno: Errno) -> Option<String> {
    of_file(path, errno, DEPTH)
}

fn of_file(path: &CStr, errno: Errno, depth: u8) -> Option<String> {
    let place = open(path, OFlag::O_PATH).ok()?;
    let stat = fstat(&place).ok()?;
    let mut detail = Vec::new();
    let what = if errno == Errno::EACCES && mount_flags(place.as_fd()).unwrap_or(0) & ST_NOEXEC != 0 {
        "is on a mount with the option noexec"
    } else if errno == Errno::EACCES && stat.st_mode & 0o111 == 0 {
        "lacks the permission to execute it"
    } else if kind(&stat) != SFlag::S_IFREG {
        return None;
    } else {
        let file = open(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY).ok()?;
        let head = read_at(&file, 0);
        let is_elf = head.starts_with(b"\x7fELF");
        if let Some(line) = head.strip_prefix(b"#!") {
            let line = first(line, b"\n\0");
            detail = first(line.trim_ascii_start(), b" \t");
            if detail.is_empty() {
                return None;
            }
            if !is_missing(&detail) {
                return of_file(c_text(&detail)?, errno, depth.checked_sub(1)?);
            }
            "needs an interpreter that the container lacks: "
        } else if errno == Errno::ENOENT && is_elf {
            detail = loader(&file, &head)?;
            if !is_missing(&detail) {
                return None;
            }
            "needs an ELF loader that the container lacks: "
        } else if errno != Errno::ENOEXEC {
            return None;
        } else if is_elf {
            detail = [architecture(&head)?, b", this machine is ", ARCH.as_bytes()].concat();
            "is a program for "
        } else {
            "is neither an ELF program nor a script that begins with #!"
        }
    };
    let detail = String::from_utf8_lossy(&detail);
    Some(format!("{} {what}{}", Quoted(&path.to_string_lossy()), Escaped(&detail)))
}

/// The bytes before the first of these.
fn first(text: &[u8], ends: &[u8]) -> Vec<u8> {
    text.iter().copied().take_while(|byte| !ends.contains(byte)).collect()
}

fn is_missing(path: &[u8]) -> bool {
    stat(path) == Err(Errno::ENOENT)
}

/// The architecture of an ELF program, unless it is this one's.
fn architecture(head: &[u8; 256]) -> Option<&'static [u8]> {
    let name: &[u8] = match u16::from_ne_bytes([head[18], head[19]]) {
        3 => b"x86",
        40 => b"arm",
        62 => b"x86_64",
        183 => b"aarch64",
        243 => b"riscv64",
        _ => b"another architecture",
    };
    (name != ARCH.as_bytes()).then_some(name)
}

/// The ELF loader that a program names: its first segment of the type PT_INTERP.
fn loader(file: &OwnedFd, head: &[u8; 256]) -> Option<Vec<u8>> {
    let wide = head[4] == 2;
    let (table, size, count) = if wide { (32, 56, 56) } else { (28, 32, 44) };
    let table = number(head, table, wide)?;
    for i in 0..u64::from(head[count]) {
        let entry = read_at(file, table.checked_add(i * size)?);
        if entry[..4] == [3, 0, 0, 0] {
            let place = number(&entry, if wide { 8 } else { 4 }, wide)?;
            let text = read_at(file, place);
            return Some(first(&text, b"\0"));
        }
    }
    None
}

fn number(bytes: &[u8], at: usize, wide: bool) -> Option<u64> {
    let bytes = bytes.get(at..)?;
    Some(match wide {
        true => u64::from_le_bytes(*bytes.first_chunk()?),
        false => u32::from_le_bytes(*bytes.first_chunk()?).into(),
    })
}

/// The bytes at a place in a file; zeroes after its end.
fn read_at(file: &OwnedFd, place: u64) -> [u8; 256] {
    let mut bytes = [0; 256];
    let _ = pread(file, &mut bytes, place as _);
    bytes
}
