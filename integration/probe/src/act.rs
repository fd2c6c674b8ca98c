//! The acts: attempts of a payload that return `ok`, a value or an errno symbol.

use crate::ask::symbol;
use crate::json::{object, text, texts};
use crate::{Probe, fail, notify, process};
use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};

/// Performs one act; an unknown word is a bug of the test.
pub fn act(word: &str, probe: &mut Probe) {
    match word {
        // The path comes first.
        "read" | "stat" | "list" | "readlink" | "mkdir" | "rmdir" | "unlink" | "chdir" | "chroot"
        | "umount" | "exec" => {
            let path = probe.argument(word);
            let result = on_path(word, &path).unwrap_or_else(errno);
            probe.note(&[word, &path], result);
        }
        "write" | "append" | "open" | "symlink" | "chmod" => {
            let (path, with) = (probe.argument(word), probe.argument(word));
            let result = on_path_with(word, &path, &with).unwrap_or_else(errno);
            probe.note(&[word, &path], result);
        }
        "mknod" => mknod(word, probe),
        "mount" => mount(word, probe),
        "socket" | "syscall" | "unshare" | "sethostname" | "setuid" | "tiocsti" => on_kernel(word, probe),
        "notify" | "notify-fd" | "flood" => notify::act(word, probe),
        _ => process::act(word, probe),
    }
}

fn mknod(word: &str, probe: &mut Probe) {
    let (path, kind) = (probe.argument(word), probe.argument(word));
    let (major, minor) = (probe.number(word) as u32, probe.number(word) as u32);
    let kind = match kind.as_str() {
        "c" => libc::S_IFCHR,
        "b" => libc::S_IFBLK,
        "p" => libc::S_IFIFO,
        other => fail(&format!("mknod: {other:?} is none of c, b, p")),
    };
    let c = cstring(&path);
    let made = unsafe { libc::mknod(c.as_ptr(), kind | 0o600, libc::makedev(major, minor)) };
    probe.note(&[word, &path], done(made.into()));
}

fn mount(word: &str, probe: &mut Probe) {
    let words = [probe.argument(word), probe.argument(word), probe.argument(word)];
    let [source, target, kind] = words.each_ref().map(|w| cstring(w));
    let (flags, kind) = match kind.to_bytes() {
        b"bind" => (libc::MS_BIND, std::ptr::null()),
        b"remount-rw" => (libc::MS_REMOUNT | libc::MS_BIND, std::ptr::null()),
        _ => (0, kind.as_ptr()),
    };
    let r = unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind, flags, std::ptr::null()) };
    probe.note(&[word, &words[0], &words[1], &words[2]], done(r.into()));
}

/// Makes one system call.
fn on_kernel(word: &str, probe: &mut Probe) {
    match word {
        "socket" => {
            let (family, kind) = (probe.argument(word), probe.argument(word));
            let result = socket(&family, &kind);
            probe.note(&[word, &family, &kind], result);
        }
        "syscall" => {
            let number = probe.number(word);
            let count = probe.number(word);
            let mut a = [0; 6];
            for slot in a.iter_mut().take(count.clamp(0, 6) as usize) {
                *slot = probe.number(word) as libc::c_long;
            }
            let r = unsafe { libc::syscall(number as libc::c_long, a[0], a[1], a[2], a[3], a[4], a[5]) };
            let result = if r < 0 { errno(io::Error::last_os_error()) } else { r.to_string() };
            probe.note(&[word, &number.to_string()], result);
        }
        "unshare" => {
            let kind = probe.argument(word);
            let flag = match kind.as_str() {
                "user" => libc::CLONE_NEWUSER,
                "mount" => libc::CLONE_NEWNS,
                "uts" => libc::CLONE_NEWUTS,
                "net" => libc::CLONE_NEWNET,
                other => fail(&format!("unshare: {other:?} is none of user, mount, uts, net")),
            };
            probe.note(&[word, &kind], done(unsafe { libc::unshare(flag) }.into()));
        }
        "sethostname" => {
            let name = probe.argument(word);
            let r = unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) };
            probe.note(&[word, &name], done(r.into()));
        }
        "setuid" => {
            let id = probe.number(word);
            probe.note(&[word, &id.to_string()], done(unsafe { libc::setuid(id as libc::uid_t) }.into()));
        }
        // tiocsti
        _ => {
            let letter: libc::c_char = b'x' as libc::c_char;
            probe.note(&[word], done(unsafe { libc::ioctl(0, libc::TIOCSTI, &raw const letter) }.into()));
        }
    }
}

fn on_path(act: &str, path: &str) -> io::Result<String> {
    let call = |r: libc::c_int| if r < 0 { Err(io::Error::last_os_error()) } else { Ok(text("ok")) };
    match act {
        "read" => {
            let mut bytes = Vec::new();
            fs::File::open(path)?.take(65536).read_to_end(&mut bytes)?;
            Ok(object([("text".into(), text(String::from_utf8_lossy(&bytes)))]))
        }
        "stat" => stat(path),
        "list" => {
            let mut names: Vec<String> = fs::read_dir(path)?
                .map(|e| e.map(|e| e.file_name().to_string_lossy().into_owned()))
                .collect::<io::Result<_>>()?;
            names.sort_unstable();
            Ok(texts(names))
        }
        "readlink" => Ok(object([("link".into(), text(fs::read_link(path)?.to_string_lossy()))])),
        "mkdir" => fs::create_dir(path).map(|()| text("ok")),
        "rmdir" => fs::remove_dir(path).map(|()| text("ok")),
        "unlink" => fs::remove_file(path).map(|()| text("ok")),
        "chdir" => std::env::set_current_dir(path).map(|()| text("ok")),
        "chroot" => call(unsafe { libc::chroot(cstring(path).as_ptr()) }),
        "umount" => call(unsafe { libc::umount2(cstring(path).as_ptr(), libc::MNT_DETACH) }),
        _ => std::process::Command::new(path).output().map(|out| text(String::from_utf8_lossy(&out.stdout))),
    }
}

fn on_path_with(act: &str, path: &str, with: &str) -> io::Result<String> {
    match act {
        "write" => fs::write(path, with).map(|()| text("ok")),
        "append" => {
            let mut file = OpenOptions::new().append(true).open(path)?;
            file.write_all(with.as_bytes()).map(|()| text("ok"))
        }
        "open" => {
            let how = OpenOptions::new().read(with.contains('r')).write(with.contains('w')).open(path);
            how.map(|_| text("ok"))
        }
        "symlink" => std::os::unix::fs::symlink(with, path).map(|()| text("ok")),
        _ => {
            let mode = u32::from_str_radix(with, 8).unwrap_or_else(|_| fail("chmod: no octal mode"));
            fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).map(|()| text("ok"))
        }
    }
}

fn stat(path: &str) -> io::Result<String> {
    let meta = fs::symlink_metadata(path)?;
    let kind = meta.file_type();
    let kind = match () {
        () if kind.is_dir() => "directory",
        () if kind.is_symlink() => "symlink",
        () if kind.is_char_device() => "char",
        () if kind.is_block_device() => "block",
        () if kind.is_fifo() => "fifo",
        () if kind.is_socket() => "socket",
        () => "file",
    };
    let device = meta.rdev() as libc::dev_t;
    let numbers = [
        ("mode", u64::from(meta.mode() & 0o7777)),
        ("uid", meta.uid().into()),
        ("gid", meta.gid().into()),
        ("size", meta.len()),
        ("major", u64::from(libc::major(device))),
        ("minor", u64::from(libc::minor(device))),
    ];
    let numbers = numbers.map(|(k, v)| (k.to_string(), v.to_string()));
    Ok(object([("type".to_string(), text(kind))].into_iter().chain(numbers)))
}

fn socket(family: &str, kind: &str) -> String {
    let domain = match family {
        "inet" => libc::AF_INET,
        "unix" => libc::AF_UNIX,
        "packet" => libc::AF_PACKET,
        "netlink" => libc::AF_NETLINK,
        other => fail(&format!("socket: {other:?} is none of inet, unix, packet, netlink")),
    };
    let (kind, protocol) = match kind {
        "stream" => (libc::SOCK_STREAM, 0),
        "dgram" => (libc::SOCK_DGRAM, 0),
        "raw" => (libc::SOCK_RAW, if domain == libc::AF_INET { libc::IPPROTO_ICMP } else { 0 }),
        other => fail(&format!("socket: {other:?} is none of stream, dgram, raw")),
    };
    done(unsafe { libc::socket(domain, kind, protocol) }.into())
}

pub fn done(r: i64) -> String {
    if r < 0 { errno(io::Error::last_os_error()) } else { text("ok") }
}

pub fn errno(e: io::Error) -> String {
    text(symbol(e.raw_os_error().unwrap_or(0)))
}

fn cstring(s: &str) -> CString {
    CString::new(s).unwrap_or_else(|_| fail("an argument holds a NUL"))
}
