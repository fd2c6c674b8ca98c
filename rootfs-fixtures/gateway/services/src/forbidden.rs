//! `--try`: a service tries what its role must not do, inside its container.
//!
//! It reports how each attempt ended, in place of an attacker who runs code in the service. Only errors that refuse count as
//! denied: a call that fails because of its arguments has reached the kernel's code behind all barriers. Run it in a container
//! only.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::OpenOptions;
use std::io;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::process::{Command, ExitCode};
use std::ptr::null;
use std::time::Duration;

use crate::config;

/// A privilege that only some roles have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Right {
    /// Create files in `/data` and `/tmp`.
    Files,
    /// Use IP sockets.
    Network,
    /// Start processes.
    Processes,
}

/// Tries everything outside the rights; fails if anything succeeded.
pub fn main(service: &str, rights: &[Right]) -> ExitCode {
    // The child of an attempt to start a process.
    if config::optional("TRY_NOTHING").is_some() {
        return ExitCode::SUCCESS;
    }
    let mut breaches = 0;
    let mut report = |what: &str, ended: Result<(), io::Error>| {
        let (denied, how) = match ended {
            Ok(()) => (false, "succeeded".to_owned()),
            Err(e) => (e.raw_os_error().is_some_and(|e| REFUSALS.contains(&e)), e.to_string()),
        };
        breaches += u32::from(!denied);
        let line = serde_json::json!({"service": service, "try": what, "denied": denied, "how": how});
        println!("{line}");
    };
    files(rights, &mut report);
    kernel(&mut report);
    processes(rights, &mut report);
    network(rights, &mut report);
    if breaches == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The errors that refuse an attempt.
const REFUSALS: [i32; 10] = [
    libc::EPERM,
    libc::EACCES,
    libc::EROFS,
    libc::ENOENT,
    libc::ESRCH,
    libc::ECONNREFUSED,
    libc::ENETUNREACH,
    libc::EHOSTUNREACH,
    libc::ENOSYS,
    libc::EAFNOSUPPORT,
];

type Report<'a> = dyn FnMut(&str, Result<(), io::Error>) + 'a;

fn files(rights: &[Right], report: &mut Report<'_>) {
    let open = |path: &str| OpenOptions::new().write(true).open(path).map(drop);
    let create = |path: &str| {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
            .and_then(|_| std::fs::remove_file(path))
    };
    report("create a file in the root file system", create("/created"));
    report("replace its own program", open("/proc/self/exe"));
    report("write to /etc", open("/etc/passwd"));
    report("write a kernel setting", open("/proc/sys/kernel/core_pattern"));
    report("send a system request", open("/proc/sysrq-trigger"));
    if !rights.contains(&Right::Files) {
        report("create a file in /tmp", create("/tmp/created"));
        report("create a file in /dev", create("/dev/created"));
    }
    report("change the mode of a directory", call(libc::SYS_fchmodat, &[AT_FDCWD, text(c"/"), 0o755, 0]));
    // A bundle for this check has the node of another role's device, but no right to use it.
    for path in paths("TRY_DEVICES") {
        report(&format!("open {path} of another role"), std::fs::File::open(&path).map(drop));
    }
    for path in paths("TRY_PATHS") {
        report(&format!("list {path} of another role"), std::fs::read_dir(&path).map(drop));
    }
    let device = libc::makedev(7, 0) as i64;
    report(
        "make a device node",
        call(libc::SYS_mknodat, &[AT_FDCWD, text(c"/tmp/loop0"), libc::S_IFBLK as i64 | 0o600, device]),
    );
    report("open a file by its handle", call(libc::SYS_open_by_handle_at, &[AT_FDCWD, 0, 0]));
}

fn kernel(report: &mut Report<'_>) {
    let tmpfs = text(c"tmpfs");
    report("mount", call(libc::SYS_mount, &[tmpfs, text(c"/tmp"), tmpfs, 0, 0]));
    report("unmount", call(libc::SYS_umount2, &[text(c"/proc"), libc::MNT_DETACH as i64]));
    report("move the root", call(libc::SYS_pivot_root, &[text(c"/"), text(c"/")]));
    report("change the root", call(libc::SYS_chroot, &[text(c"/tmp")]));
    report("make a user namespace", call(libc::SYS_unshare, &[libc::CLONE_NEWUSER as i64]));
    report("make a mount namespace", call(libc::SYS_unshare, &[libc::CLONE_NEWNS as i64]));
    report("load a module", call(libc::SYS_finit_module, &[0, text(c""), 0]));
    report("load a BPF program", call(libc::SYS_bpf, &[5, 0, 0]));
    report("use a keyring", call(libc::SYS_keyctl, &[0, -3, 0, 0, 0]));
    report("count events of the processor", call(libc::SYS_perf_event_open, &[0, 0, -1, -1, 0]));
    report("handle page faults", call(libc::SYS_userfaultfd, &[0]));
    report("start an io_uring", call(libc::SYS_io_uring_setup, &[1, 0]));
    report("reboot", call(libc::SYS_reboot, &[0, 0, 0, 0]));
    report("set the host name", call(libc::SYS_sethostname, &[text(c"x"), 1]));
    report("set the clock", call(libc::SYS_settimeofday, &[0, 0]));
}

fn processes(rights: &[Right], report: &mut Report<'_>) {
    report("trace pid 1", call(libc::SYS_ptrace, &[16, 1, 0, 0]));
    report("read the memory of pid 1", call(libc::SYS_process_vm_readv, &[1, 0, 0, 0, 0, 0]));
    report("take a descriptor of pid 1", call(libc::SYS_pidfd_getfd, &[0, 0, 0]));
    report("become root", call(libc::SYS_setuid, &[0]));
    report("drop its groups", call(libc::SYS_setgroups, &[0, 0]));
    let header: [u32; 2] = [0x2008_0522, 0];
    let sets: [u32; 6] = [u32::MAX; 6];
    report("raise capabilities", call(libc::SYS_capset, &[header.as_ptr() as i64, sets.as_ptr() as i64]));
    let raised = std::fs::read_to_string("/proc/self/status").map(|s| s.contains("\nNoNewPrivs:\t0"));
    report(
        "gain privileges by executing a file",
        if raised.is_ok_and(|r| !r) { Err(denied()) } else { Ok(()) },
    );
    if !rights.contains(&Right::Processes) {
        report("start a process", child());
    }
    report("type into a terminal", call(libc::SYS_ioctl, &[0, libc::TIOCSTI as i64, text(c"x")]));
}

fn child() -> io::Result<()> {
    Command::new("/proc/self/exe").arg("--try").env("TRY_NOTHING", "1").status().map(drop)
}

fn network(rights: &[Right], report: &mut Report<'_>) {
    let socket = |family: i32, kind: i32, protocol: i32| {
        call(libc::SYS_socket, &[i64::from(family), i64::from(kind), i64::from(protocol)])
    };
    report("open a packet socket", socket(libc::AF_PACKET, libc::SOCK_RAW, 0));
    report("open a raw socket", socket(libc::AF_INET, libc::SOCK_RAW, 1));
    report("open a vsock socket", socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0));
    report("open a kernel crypto socket", socket(libc::AF_ALG, libc::SOCK_SEQPACKET, 0));
    if !rights.contains(&Right::Network) {
        report("open an IP socket", socket(libc::AF_INET, libc::SOCK_STREAM, 0));
        report("open a netlink socket", socket(libc::AF_NETLINK, libc::SOCK_RAW, 0));
    }
    for address in paths("TRY_ADDRESSES") {
        let connect = || {
            let to = address.to_socket_addrs()?.next().ok_or_else(denied)?;
            TcpStream::connect_timeout(&to, Duration::from_secs(1)).map(drop)
        };
        report(&format!("connect to {address}"), connect());
    }
}

const AT_FDCWD: i64 = libc::AT_FDCWD as i64;

fn denied() -> io::Error {
    io::Error::from_raw_os_error(libc::EPERM)
}

fn text(text: &'static std::ffi::CStr) -> i64 {
    text.as_ptr() as i64
}

fn paths(variable: &str) -> Vec<String> {
    let list = config::optional(variable).unwrap_or_default();
    list.split_whitespace().filter(|p| CString::new(*p).is_ok()).map(str::to_owned).collect()
}

/// Performs a system call.
///
/// If a call above is allowed, it changes nothing, or only what this short-lived process sees.
fn call(number: libc::c_long, arguments: &[i64]) -> io::Result<()> {
    let mut a = [null::<u8>() as libc::c_long; 6];
    for (to, from) in a.iter_mut().zip(arguments) {
        *to = *from as libc::c_long;
    }
    // SAFETY: pointers among the arguments come from literals and arrays that live longer than the call.
    match unsafe { libc::syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
