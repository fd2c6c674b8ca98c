//! A hostile process that attacks the runtime's processes in its pid namespace.
//!
//! It looks at every new process while that is still the runtime's, and takes what it can get.

use crate::json::texts;
use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

/// Looks until the file `stop` exists; returns what it found of the host.
pub fn stare(stop: &str) -> String {
    let own = Looks::at("self");
    let mut found = BTreeSet::new();
    let mut kept = Vec::new();
    let mut next = std::process::id() + 1;
    let mut seen = BTreeSet::new();
    for round in 0u64.. {
        if round % 256 == 0 && Path::new(stop).exists() {
            break;
        }
        let Ok(comm) = fs::read_to_string(format!("/proc/{next}/comm")) else {
            // It appeared and ended between two looks.
            next += u32::from(next <= newest());
            continue;
        };
        if !comm.starts_with("embrun") {
            next += 1;
            continue;
        }
        // Helpers come and go while the first process lives.
        for pid in [next, newest()] {
            if fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.starts_with("embrun")) {
                seen.insert(pid);
                look(pid, &own, &mut found);
                grab(pid, &mut found, &mut kept);
            }
        }
    }
    // The runtime's file must not become writable later, when nobody executes it any more.
    for exe in kept {
        if writable(&exe) {
            found.insert("its executable can be written".into());
        }
    }
    found.insert(format!("looked at {}", if seen.len() > 20 { "many" } else { "few" }));
    texts(found)
}

/// The newest process of this pid namespace.
fn newest() -> u32 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_ascii_whitespace().last().and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// The attributes of a process that everyone can read.
struct Looks {
    links: Vec<String>,
}

impl Looks {
    fn at(pid: &str) -> Looks {
        let table = fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
        let name = |line: &str| Some(line.split_once(':')?.0.trim().to_owned());
        Looks { links: table.lines().filter_map(name).collect() }
    }
}

fn look(pid: u32, own: &Looks, found: &mut BTreeSet<String>) {
    let read = |file: &str| {
        let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    for (file, mark) in [
        ("cmdline", "secret-argument"),
        ("environ", "secret-of-the-host"),
        ("mountinfo", "mount-of-the-host"),
    ] {
        if read(file).contains(mark) {
            found.insert(format!("{file} shows the {mark}"));
        }
    }
    let links = Looks::at(&pid.to_string()).links;
    if !links.is_empty() && links != own.links {
        found.insert(format!("net/dev shows {links:?}"));
    }
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
        let link = fs::read_link(entry.path()).unwrap_or_default().to_string_lossy().into_owned();
        let number = entry.file_name().to_string_lossy().parse().unwrap_or(0);
        // The FIFOs of a container that waits for its start.
        let fifo = link.ends_with(".fifo");
        let own = is_own_procfs(&entry.path());
        // The descriptor may have been closed between the two looks.
        let still = fs::read_link(entry.path()).is_ok_and(|again| again.to_string_lossy() == link);
        if number > 2 && link.starts_with('/') && !fifo && !own && still {
            found.insert(format!("a descriptor of {link}"));
        }
    }
    // The helper that mounts the procfs of a joined pid namespace must be privileged; it sees nothing
    // else.
    let helper = read("mountinfo").lines().count() <= 2;
    if has_all_capabilities(pid) && !helper {
        found.insert("it has every capability".into());
    }
    if Path::new(&format!("/proc/{pid}/root/run/it")).exists() {
        found.insert("its root is the host's".into());
    }
}

/// No container of the tests has CAP_SYS_BOOT.
fn has_all_capabilities(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let sets = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap_or("0");
    u64::from_str_radix(sets.trim(), 16).unwrap_or(0) >> 22 & 1 == 1
}

/// Sends forged messages over the socket of a process that enters.
///
/// They claim that another process continues in its place, and that all is well. It repeats them until
/// the file `stop` exists.
pub fn lie(victim: u32, stop: &str) {
    // The message that the runtime's own clone sends: the kind, a byte, the step, the number, the length
    // of the text.
    let message = |kind: u8, number: u32| {
        let ([a, b], [c, d, e, f]) = (0u16.to_ne_bytes(), number.to_ne_bytes());
        [kind, 0, a, b, c, d, e, f, 0, 0]
    };
    let mut next = std::process::id() + 1;
    for round in 0u64.. {
        if round % 256 == 0 && Path::new(stop).exists() {
            break;
        }
        let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, next, 0) } as i32;
        if pidfd < 0 {
            next += u32::from(next <= newest());
            continue;
        }
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd, 3, 0) } as i32;
        if fd >= 0 {
            for kind in 1..10 {
                for number in [victim, 1, 3] {
                    let bytes = message(kind, number);
                    unsafe {
                        libc::send(
                            fd,
                            bytes.as_ptr().cast(),
                            bytes.len(),
                            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
                        )
                    };
                }
            }
            unsafe { libc::close(fd) };
            next += 1;
        }
        unsafe { libc::close(pidfd) };
        // A program that is no longer the runtime has no such descriptor.
        let comm = fs::read_to_string(format!("/proc/{next}/comm")).unwrap_or_default();
        next += u32::from(!comm.is_empty() && !comm.starts_with("embrun"));
    }
}

/// Takes the descriptors 3 and 4 of a process and keeps them until `stop` exists.
pub fn keep(pid: u32, stop: &str) {
    let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) } as i32;
    let fds = [3, 4].map(|n| unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd, n, 0) } as i32);
    if fds.iter().all(|fd| *fd >= 0) {
        let _ = fs::write(Path::new(stop).with_file_name("kept"), "");
    }
    while !Path::new(stop).exists() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

fn grab(pid: u32, found: &mut BTreeSet<String>, kept: &mut Vec<OwnedFd>) {
    let path = CString::new(format!("/proc/{pid}/exe")).unwrap();
    let exe = unsafe { libc::open(path.as_ptr(), libc::O_PATH) };
    if exe >= 0 && kept.len() < 100 {
        kept.push(unsafe { OwnedFd::from_raw_fd(exe) });
    } else if exe >= 0 {
        unsafe { libc::close(exe) };
    }
    let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) } as i32;
    if pidfd < 0 {
        return;
    }
    for number in 3..32 {
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd, number, 0) } as i32;
        if fd < 0 {
            continue;
        }
        let mut stat: libc::stat = unsafe { std::mem::zeroed() };
        unsafe { libc::fstat(fd, &raw mut stat) };
        let kind = stat.st_mode & libc::S_IFMT;
        let path = format!("/proc/self/fd/{fd}");
        if matches!(kind, libc::S_IFDIR | libc::S_IFREG) && !is_own_procfs(Path::new(&path)) {
            let link = fs::read_link(&path).unwrap_or_default();
            found.insert(format!("took a descriptor of {}", link.display()));
        }
        unsafe { libc::close(fd) };
    }
    unsafe { libc::close(pidfd) };
}

/// Whether this is a procfs of our own pid namespace.
///
/// Such a mount, on its way to a container that joins the namespace, reveals nothing new.
fn is_own_procfs(directory: &Path) -> bool {
    let link = fs::read_link(directory.join("self")).unwrap_or_default();
    link.as_os_str().to_str() == Some(&std::process::id().to_string())
}

fn writable(exe: &OwnedFd) -> bool {
    let own = fs::metadata("/proc/self/exe").map(|m| std::os::unix::fs::MetadataExt::ino(&m)).unwrap_or(0);
    let path = format!("/proc/self/fd/{}", exe.as_raw_fd());
    let theirs = fs::metadata(&path).map(|m| std::os::unix::fs::MetadataExt::ino(&m)).unwrap_or(0);
    // The process may have executed its program before the file was opened.
    if own == theirs {
        return false;
    }
    let Ok(file) = fs::OpenOptions::new().read(true).write(true).open(&path) else { return false };
    // A sealed memory file can be opened but not written. A mapping alone changes nothing in an unsealed
    // one.
    let (write, shared) = (libc::PROT_WRITE, libc::MAP_SHARED);
    let map = unsafe { libc::mmap(std::ptr::null_mut(), 4096, write, shared, file.as_raw_fd(), 0) };
    map != libc::MAP_FAILED
}
