//! A sensor as a character device in user space (CUSE), for guests.
//!
//! usage: `sensor NAME` creates /dev/NAME, which a container gets by its device number like real hardware. Each read returns a value
//! of two bytes, the lower one first; every fiftieth value is far from the others.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};

/// Operations of the protocol in the kernel's `include/uapi/linux/fuse.h`.
const OPEN: u32 = 14;
const READ: u32 = 15;
const RELEASE: u32 = 18;
const FLUSH: u32 = 25;
const INTERRUPT: u32 = 36;
const INIT: u32 = 4096;

/// Bytes of a request before its arguments.
const HEAD: usize = 40;
const ENOSYS: i32 = 38;

struct Request {
    operation: u32,
    unique: u64,
    arguments: Vec<u8>,
}

fn number(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..at + 4).and_then(|b| b.try_into().ok());
    word.map_or(0, u32::from_ne_bytes)
}

fn request(device: &mut File, buffer: &mut [u8]) -> io::Result<Request> {
    let length = device.read(buffer)?;
    let bytes = &buffer[..length];
    if length < HEAD {
        return Err(io::Error::other(format!("a request of {length} bytes")));
    }
    let unique = u64::from_ne_bytes(bytes[8..16].try_into().expect("eight bytes"));
    Ok(Request { operation: number(bytes, 4), unique, arguments: bytes[HEAD..].to_vec() })
}

fn reply(device: &mut File, unique: u64, error: i32, content: &[u8]) -> io::Result<()> {
    let mut out = Vec::with_capacity(16 + content.len());
    out.extend_from_slice(&(16 + content.len() as u32).to_ne_bytes());
    out.extend_from_slice(&(-error).to_ne_bytes());
    out.extend_from_slice(&unique.to_ne_bytes());
    out.extend_from_slice(content);
    device.write_all(&out)
}

/// The version of the protocol, the sizes, no fixed device number, and the name.
fn description(name: &str, arguments: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let words = [number(arguments, 0), number(arguments, 4), 0, 0, 4096, 4096];
    words.iter().for_each(|w| out.extend_from_slice(&w.to_ne_bytes()));
    out.resize(72, 0);
    out.extend_from_slice(format!("DEVNAME={name}\0").as_bytes());
    out
}

fn value(count: u16) -> u16 {
    if count % 50 == 49 { 1000 } else { 20 + count % 7 }
}

fn main() -> io::Result<()> {
    let name = std::env::args().nth(1).ok_or_else(|| io::Error::other("usage: sensor NAME"))?;
    let mut device = OpenOptions::new().read(true).write(true).open("/dev/cuse")?;
    let mut buffer = vec![0; 64 << 10];
    let mut count = 0;
    loop {
        let r = request(&mut device, &mut buffer)?;
        let done = match r.operation {
            INIT => reply(&mut device, r.unique, 0, &description(&name, &r.arguments)),
            OPEN => reply(&mut device, r.unique, 0, &[0; 16]),
            READ => {
                let bytes = value(count).to_le_bytes();
                count = (count + 1) % 350;
                let fits = bytes.len().min(number(&r.arguments, 16) as usize);
                reply(&mut device, r.unique, 0, &bytes[..fits])
            }
            RELEASE | FLUSH => reply(&mut device, r.unique, 0, &[]),
            INTERRUPT => Ok(()),
            _ => reply(&mut device, r.unique, ENOSYS, &[]),
        };
        // A reader that was killed while it waited takes no answer (ENOENT).
        if let Err(e) = done
            && e.kind() != io::ErrorKind::NotFound
        {
            return Err(e);
        }
    }
}
