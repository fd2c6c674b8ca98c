//! The acts: attempts of a payload that return `ok`, a value or an errno symbol.

use crate::ask::symbol;
use crate::json::{list, object, text, texts};
use crate::{Probe, fail};
use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::time::{Duration, Instant};

/// Performs one act; an unknown word is a bug of the test.
pub fn act(word: &str, probe: &mut Probe) {
    match word {
        // Acts on files; the path comes first.
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
        "mknod" => {
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
        "mount" => {
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
        // Acts on the kernel.
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
        "tiocsti" => {
            let letter: libc::c_char = b'x' as libc::c_char;
            probe.note(&[word], done(unsafe { libc::ioctl(0, libc::TIOCSTI, &raw const letter) }.into()));
        }
        _ => act_on_processes(word, probe),
    }
}

/// Acts on time, signals, processes and memory.
fn act_on_processes(word: &str, probe: &mut Probe) {
    match word {
        "sleep" => {
            let seconds = probe.argument(word);
            probe.say();
            std::thread::sleep(Duration::from_secs_f64(
                seconds.parse().unwrap_or_else(|_| fail("sleep: no number")),
            ));
        }
        "pause" => {
            probe.say();
            loop {
                unsafe { libc::pause() };
            }
        }
        "exit" => {
            let status = probe.number(word);
            probe.say();
            std::process::exit(status as i32);
        }
        // Even pid 1 dies of its own fault.
        "crash" => {
            probe.say();
            unsafe { std::ptr::null_mut::<u8>().write_volatile(1) };
        }
        "kill" => {
            let (pid, signal) = (probe.number(word), probe.argument(word));
            let r = unsafe { libc::kill(pid as libc::pid_t, signal_number(&signal)) };
            probe.note(&[word, &pid.to_string(), &signal], done(r.into()));
        }
        "trap" => {
            let names = probe.argument(word);
            let set = signal_set(&names);
            unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        }
        "await" => {
            let names = probe.argument(word);
            let set = signal_set(&names);
            let mut got = 0;
            unsafe { libc::sigwait(&raw const set, &raw mut got) };
            probe.note(&[word], text(signal_name(got)));
        }
        "fork" => {
            let count = probe.number(word);
            let pids: Vec<String> = (0..count).map(|_| fork_sleeper()).collect();
            probe.note(&[word, &count.to_string()], list(pids));
        }
        "orphan" => {
            let child = unsafe { libc::fork() };
            if child == 0 {
                fork_sleeper();
                unsafe { libc::_exit(0) };
            }
            let mut status = 0;
            unsafe { libc::waitpid(child, &raw mut status, 0) };
        }
        "stdin" => {
            let mut line = String::new();
            let read = io::stdin().read_line(&mut line);
            probe.note(&[word], read.map_or_else(errno, |_| text(line.trim_end_matches('\n'))));
        }
        "print" => {
            let what = probe.argument(word);
            println!("{what}");
        }
        "complain" => {
            let what = probe.argument(word);
            eprintln!("{what}");
        }
        "eat" => {
            let mib = probe.number(word) as usize;
            let mut hoard: Vec<Vec<u8>> = Vec::new();
            for _ in 0..mib {
                hoard.push(vec![1; 1 << 20]);
            }
            probe.note(
                &[word, &mib.to_string()],
                text(if hoard.iter().all(|h| h[4096] == 1) { "ok" } else { "?" }),
            );
        }
        // Runs a command of so many words and returns the peak memory of it or a child, in KiB.
        "peak" => {
            let count = probe.number(word);
            let words: Vec<String> = (0..count).map(|_| probe.argument(word)).collect();
            let mut command = std::process::Command::new(&words[0]);
            let child = command.args(&words[1..]).stdout(std::process::Stdio::null()).spawn();
            // wait4 below reaps it; that call returns the resource usage.
            #[allow(clippy::zombie_processes)]
            let child = child.unwrap_or_else(|e| fail(&format!("{}: {e}", words[0])));
            let (mut status, mut used) = (0, unsafe { std::mem::zeroed::<libc::rusage>() });
            unsafe { libc::wait4(child.id() as i32, &mut status, 0, &mut used) };
            probe.note(&[word, &status.to_string()], used.ru_maxrss.to_string());
        }
        "spin" => {
            let ms = probe.number(word) as u64;
            let (start, mut n) = (Instant::now(), 0u64);
            while start.elapsed() < Duration::from_millis(ms) {
                n = std::hint::black_box(n + 1);
            }
            probe.note(&[word], n.to_string());
        }
        // Waits for a file, so that a test can tell a running probe to continue.
        "leave" => {
            // Ends the first thread; another one runs for so many seconds.
            let seconds = probe.number(word);
            probe.say();
            std::thread::spawn(move || std::thread::sleep(Duration::from_secs(seconds as u64)));
            unsafe { libc::syscall(libc::SYS_exit, 0) };
        }
        "until" => {
            let path = probe.argument(word);
            probe.say();
            while fs::symlink_metadata(&path).is_err() {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        "lie" => {
            let victim = probe.number(word) as u32;
            let stop = probe.argument(word);
            crate::stare::lie(victim, &stop);
        }
        "keep" => {
            let pid = probe.number(word) as u32;
            let stop = probe.argument(word);
            crate::stare::keep(pid, &stop);
        }
        // Watches the other processes of the pid namespace until a file appears.
        "stare" => {
            let path = probe.argument(word);
            probe.say();
            let found = crate::stare::stare(&path);
            probe.note(&[word], found);
        }
        other => fail(&format!("no such question or act: {other:?}")),
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

/// Forks a child that sleeps for an hour and returns its pid.
fn fork_sleeper() -> String {
    let child = unsafe { libc::fork() };
    if child == 0 {
        unsafe {
            libc::sleep(3600);
            libc::_exit(0);
        }
    }
    if child < 0 { errno(io::Error::last_os_error()) } else { child.to_string() }
}

fn done(r: i64) -> String {
    if r < 0 { errno(io::Error::last_os_error()) } else { text("ok") }
}

fn errno(e: io::Error) -> String {
    text(symbol(e.raw_os_error().unwrap_or(0)))
}

fn cstring(s: &str) -> CString {
    CString::new(s).unwrap_or_else(|_| fail("an argument holds a NUL"))
}

const SIGNALS: [(&str, libc::c_int); 12] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("USR1", libc::SIGUSR1),
    ("USR2", libc::SIGUSR2),
    ("TERM", libc::SIGTERM),
    ("WINCH", libc::SIGWINCH),
    ("CONT", libc::SIGCONT),
    ("KILL", libc::SIGKILL),
    ("STOP", libc::SIGSTOP),
    ("CHLD", libc::SIGCHLD),
    ("PIPE", libc::SIGPIPE),
];

fn signal_number(name: &str) -> libc::c_int {
    let known = SIGNALS.iter().find(|(n, _)| *n == name).map(|(_, s)| *s);
    known.or_else(|| name.parse().ok()).unwrap_or_else(|| fail(&format!("no such signal: {name:?}")))
}

fn signal_name(number: libc::c_int) -> String {
    SIGNALS.iter().find(|(_, s)| *s == number).map_or_else(|| number.to_string(), |(n, _)| n.to_string())
}

fn signal_set(names: &str) -> libc::sigset_t {
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    unsafe { libc::sigemptyset(&raw mut set) };
    for name in names.split(',') {
        unsafe { libc::sigaddset(&raw mut set, signal_number(name)) };
    }
    set
}
