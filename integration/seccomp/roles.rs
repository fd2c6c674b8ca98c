//! The gateway roles: a probe can do what its role needs and nothing else.

use std::ffi::CStr;

use embrun::json::value::Json;
use embrun::seccomp::arch::Arch;
use embrun::seccomp::compile::compile;
use embrun::seccomp::policy::{Policy, policy};
use embrun::seccomp::sim::{Data, check, run};
use embrun::seccomp::syscalls::Call;
use embrun::sys::seccomp::{self, SockFilter};

const ALLOW: u32 = 0x7fff_0000;
const ROLES: &[(&str, &str)] = &[
    ("data-collector", include_str!("../../seccomp-profiles/data-collector.json")),
    ("data-processor", include_str!("../../seccomp-profiles/data-processor.json")),
    ("uplink", include_str!("../../seccomp-profiles/uplink.json")),
    ("device-controller", include_str!("../../seccomp-profiles/device-controller.json")),
    ("firmware-updater", include_str!("../../seccomp-profiles/firmware-updater.json")),
];

/// Calls that every role denies.
const NEVER: &str = "mount umount2 move_mount open_tree fsopen fsmount mount_setattr pivot_root chroot ptrace \
    process_vm_readv process_vm_writev pidfd_getfd unshare setns init_module finit_module delete_module kexec_load \
    kexec_file_load bpf perf_event_open userfaultfd keyctl add_key request_key reboot swapon swapoff settimeofday \
    clock_settime clock_adjtime adjtimex acct quotactl open_by_handle_at name_to_handle_at mknod mknodat syslog io_uring_setup \
    io_uring_enter seccomp setuid setgid setresuid setresgid setgroups capset personality iopl ioperm sethostname \
    setdomainname vhangup landlock_create_ruleset memfd_create memfd_secret";

fn role(name: &str) -> Policy {
    let text = ROLES.iter().find(|(n, _)| *n == name).unwrap().1;
    policy(&Json::parse(text.as_bytes()).unwrap()).unwrap()
}

#[test]
fn no_role_allows_system_calls_that_change_the_system() {
    for (name, _) in ROLES {
        let p = role(name);
        for native in [Arch::X86_64, Arch::Aarch64, Arch::Arm, Arch::Riscv64] {
            let filter = compile(&p, native).unwrap();
            check(&filter.program).unwrap();
            assert!(filter.warnings.is_empty(), "{name}: {:?}", filter.warnings);
            let verdict = |call: &str, args: [u64; 6]| {
                let number = Call::find(call).unwrap().number(native)?;
                Some(run(&filter.program, &Data { number, audit: native.audit().unwrap(), args }).0)
            };
            for call in NEVER.split_ascii_whitespace() {
                for args in [[0; 6], [u64::MAX; 6]] {
                    assert!(verdict(call, args) != Some(ALLOW), "{name} on {native:?} may {call}");
                }
            }
            // Raw and packet sockets, with any additional bits.
            for (family, kind) in
                [(2, 3), (10, 3), (17, 2), (17, 3), (2, 0x80803), (1 << 32 | 17, 3), (40, 1), (16, 3)]
            {
                let given = verdict("socket", [family, kind, 1, 0, 0, 0]);
                assert!(given != Some(ALLOW), "{name} on {native:?} may have a socket {family} {kind}");
            }
            for flags in [0x1000_0000, 0x0002_0000 | 0x10000, 0x2000_0000 | 17, 0x4000_0000, 0x0200_0000] {
                let given = verdict("clone", [flags, 0, 0, 0, 0, 0]);
                assert!(given != Some(ALLOW), "{name} on {native:?} may clone with {flags:#x}");
            }
            for request in [0x5412u64, 0x541c, 1 << 32 | 0x5412] {
                let given = verdict("ioctl", [0, request, 0, 0, 0, 0]);
                assert!(
                    given != Some(ALLOW),
                    "{name} on {native:?} may put input into terminals ({request:#x})"
                );
            }
            for call in ["clone3", "openat2"] {
                assert_eq!(verdict(call, [0; 6]), Some(0x0005_0000 | 38), "{name}: {call}");
            }
            for call in [
                "read",
                "mmap",
                "mmap2",
                "futex",
                "execve",
                "exit_group",
                "epoll_pwait",
                "sendmsg",
                "clock_gettime64",
            ] {
                assert!(
                    verdict(call, [0; 6]).is_none_or(|v| v == ALLOW),
                    "{name} on {native:?} may not {call}"
                );
            }
        }
    }
}

/// An attempt of a probe under the filter; it returns the errno, or 0 on success.
type Attempt = (&'static str, fn() -> i32);

fn errno(answer: i64) -> i32 {
    if answer < 0 { std::io::Error::last_os_error().raw_os_error().unwrap_or(-1) } else { 0 }
}

fn open(path: &CStr, flags: i32) -> i32 {
    // SAFETY: the path ends in NUL.
    errno(unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, 0o600) }.into())
}

fn socket(family: i32, kind: i32) -> i32 {
    // SAFETY: a plain system call.
    errno(unsafe { libc::socket(family, kind, 0) }.into())
}

const READ_FILE: Attempt = ("read a file", || open(c"/etc/passwd", libc::O_RDONLY));
const MAKE_FILE: Attempt = ("make a file", || {
    let made = open(c"/tmp/embrun-role-probe", libc::O_RDWR | libc::O_CREAT);
    // SAFETY: the path ends in NUL.
    unsafe { libc::unlink(c"/tmp/embrun-role-probe".as_ptr()) };
    made
});
const OPEN_DEVICE: Attempt = ("open a device for writing", || open(c"/dev/null", libc::O_RDWR));
const UNIX: Attempt =
    ("have a local socket", || socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC));
const INET: Attempt = ("have a network socket", || socket(libc::AF_INET, libc::SOCK_DGRAM));
const RAW: Attempt = ("have a raw socket", || socket(libc::AF_INET, libc::SOCK_RAW));
const PACKET: Attempt = ("have a packet socket", || socket(libc::AF_PACKET, libc::SOCK_RAW));
const THREAD: Attempt = ("have a thread", || std::thread::spawn(|| 0).join().unwrap_or(-1));
const CHILD: Attempt = ("have a child", || {
    // SAFETY: the child exits at once.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: as above.
        unsafe { libc::_exit(0) };
    }
    errno(pid.into())
});
// SAFETY: each is a plain system call that would have no effect if it were permitted.
const MOUNT: Attempt = ("mount", || {
    // SAFETY: the strings end in NUL; there is no such directory.
    errno(
        unsafe { libc::mount(c"x".as_ptr(), c"/nowhere".as_ptr(), c"tmpfs".as_ptr(), 0, std::ptr::null()) }
            .into(),
    )
});
// SAFETY: as above.
const UNSHARE: Attempt = ("unshare", || errno(unsafe { libc::unshare(libc::CLONE_NEWUTS) }.into()));
// SAFETY: as above; the tracing process ends right after.
const PTRACE: Attempt = ("ptrace", || errno(unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) } as i64));
// SAFETY: as above; an empty image contains no module.
const MODULE: Attempt =
    ("load a module", || errno(unsafe { libc::syscall(libc::SYS_init_module, 0, 0, c"".as_ptr()) } as i64));
// SAFETY: as above.
const CHMOD: Attempt = ("chmod", || errno(unsafe { libc::chmod(c"/nowhere".as_ptr(), 0o777) }.into()));

#[test]
fn probes_can_do_what_their_role_needs_and_no_more() {
    let base = [READ_FILE, UNIX, THREAD];
    let never = [RAW, PACKET, MOUNT, UNSHARE, PTRACE, MODULE];
    for (name, may, may_not) in [
        ("data-collector", &[][..], &[MAKE_FILE, OPEN_DEVICE, INET, CHILD, CHMOD][..]),
        ("data-processor", &[MAKE_FILE, OPEN_DEVICE], &[INET, CHILD, CHMOD]),
        ("uplink", &[MAKE_FILE, INET], &[CHILD, CHMOD]),
        ("device-controller", &[OPEN_DEVICE], &[MAKE_FILE, INET, CHILD, CHMOD]),
        ("firmware-updater", &[MAKE_FILE, OPEN_DEVICE, INET, CHILD], &[]),
    ] {
        let filter = compile(&role(name), Arch::NATIVE).unwrap();
        for attempt in base.iter().chain(may) {
            assert_eq!(under(&filter.program, attempt.1), 0, "{name} must {}", attempt.0);
        }
        for attempt in never.iter().chain(may_not) {
            assert_eq!(under(&filter.program, attempt.1), libc::EPERM, "{name} must not {}", attempt.0);
        }
    }
    // The filter is what denies: without one, root may do all of this.
    for attempt in [MAKE_FILE, OPEN_DEVICE, INET, CHILD, PTRACE] {
        assert_eq!(under(&[], attempt.1), 0, "{}", attempt.0);
    }
}

/// The result of an attempt in a process with the filter.
fn under(program: &[SockFilter], attempt: fn() -> i32) -> i32 {
    // SAFETY: the child does what single attempts do and exits by _exit.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        // SAFETY: a plain system call.
        unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        let loaded = program.is_empty() || seccomp::load(program, 0).is_ok();
        let code = if loaded { attempt() } else { 255 };
        // SAFETY: as above.
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    // SAFETY: our own child.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    assert!(libc::WIFEXITED(status), "killed by {}", libc::WTERMSIG(status));
    libc::WEXITSTATUS(status)
}

#[test]
fn role_templates_are_valid_configurations() {
    for (name, profile) in ROLES {
        let path = format!("{}/seccomp-profiles/{name}.config.json", env!("CARGO_MANIFEST_DIR"));
        let Json::Object(mut config) = Json::parse(&std::fs::read(path).unwrap()).unwrap() else { panic!() };
        let Some((_, Json::Object(linux))) = config.iter_mut().find(|(key, _)| *key == "linux") else {
            panic!()
        };
        linux.push(("seccomp", Json::parse(profile.as_bytes()).unwrap()));
        let spec =
            embrun::bundle::config::spec(&Json::Object(config)).unwrap_or_else(|f| panic!("{name}: {f:?}"));
        let process = spec.process.unwrap();
        assert!(process.no_new_privileges && spec.root.readonly, "{name}");
        assert_eq!(process.capabilities, Default::default(), "{name}");
        assert_eq!(spec.linux.seccomp, Some(role(name)));
    }
}
