//! libseccomp as the oracle, loaded at run time.

use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsRawFd, FromRawFd};

use std::time::{Duration, Instant};

use embrun::seccomp::arch::Arch;
use embrun::seccomp::policy::{Arg, Op, Policy};
use embrun::sys::seccomp::SockFilter;

type Context = *mut c_void;

#[repr(C)]
struct Compare {
    arg: c_uint,
    op: c_int,
    a: u64,
    b: u64,
}

/// The functions of the library that are used (seccomp.h).
pub struct Library {
    init: extern "C" fn(u32) -> Context,
    release: extern "C" fn(Context),
    arch_add: extern "C" fn(Context, u32) -> c_int,
    arch_remove: extern "C" fn(Context, u32) -> c_int,
    resolve_for: extern "C" fn(u32, *const c_char) -> c_int,
    resolve: extern "C" fn(*const c_char) -> c_int,
    rule_add: extern "C" fn(Context, u32, c_int, c_uint, *const Compare) -> c_int,
    attr_set: extern "C" fn(Context, c_int, u32) -> c_int,
    export: extern "C" fn(Context, c_int) -> c_int,
}

/// The way in which the library failed.
#[derive(Debug)]
pub enum Refusal {
    /// It returned an error.
    Error,
    /// It crashed or did not end.
    Crash,
}

const NO_SUCH_NAME: c_int = -1;
const ATTR_OPTIMIZE: c_int = 8;

impl Library {
    pub fn find() -> Option<Library> {
        // SAFETY: the names end in NUL; the library has no constructors that do harm.
        let handle = unsafe { libc::dlopen(c"libseccomp.so.2".as_ptr(), libc::RTLD_NOW) };
        if handle.is_null() {
            return None;
        }
        macro_rules! symbol {
            ($name:literal, $type:ty) => {{
                // SAFETY: the handle is open, the name ends in NUL.
                let at = unsafe { libc::dlsym(handle, $name.as_ptr()) };
                if at.is_null() {
                    return None;
                }
                // SAFETY: the type is that of seccomp.h.
                unsafe { std::mem::transmute::<*mut c_void, $type>(at) }
            }};
        }
        Some(Library {
            init: symbol!(c"seccomp_init", extern "C" fn(u32) -> Context),
            release: symbol!(c"seccomp_release", extern "C" fn(Context)),
            arch_add: symbol!(c"seccomp_arch_add", extern "C" fn(Context, u32) -> c_int),
            arch_remove: symbol!(c"seccomp_arch_remove", extern "C" fn(Context, u32) -> c_int),
            resolve_for: symbol!(
                c"seccomp_syscall_resolve_name_arch",
                extern "C" fn(u32, *const c_char) -> c_int
            ),
            resolve: symbol!(c"seccomp_syscall_resolve_name", extern "C" fn(*const c_char) -> c_int),
            rule_add: symbol!(
                c"seccomp_rule_add_array",
                extern "C" fn(Context, u32, c_int, c_uint, *const Compare) -> c_int
            ),
            attr_set: symbol!(c"seccomp_attr_set", extern "C" fn(Context, c_int, u32) -> c_int),
            export: symbol!(c"seccomp_export_bpf", extern "C" fn(Context, c_int) -> c_int),
        })
    }

    /// The number that the library has for a name, independent of the architecture.
    pub fn resolve(&self, name: &str) -> Option<c_int> {
        let name = CString::new(name).unwrap();
        Some((self.resolve)(name.as_ptr())).filter(|n| *n != NO_SUCH_NAME)
    }

    /// The number of a name on an architecture, if the library knows one.
    pub fn number(&self, arch: Arch, name: &str) -> Option<c_int> {
        let name = CString::new(name).unwrap();
        Some((self.resolve_for)(token(arch), name.as_ptr())).filter(|n| *n >= 0)
    }

    /// The time to make a filter in the same way as runc.
    pub fn time(&self, policy: &Policy, family: &[Arch]) -> Duration {
        let start = Instant::now();
        assert!(self.attempt(policy, family).is_ok());
        start.elapsed()
    }

    /// The filter that runc would make of a policy, without its stub, or the error.
    ///
    /// The library runs in a separate process, because it never returns for some policies.
    pub fn compile(&self, policy: &Policy, family: &[Arch]) -> Result<Vec<SockFilter>, Refusal> {
        let (mut reader, mut writer) = pipe();
        // SAFETY: the child uses what the parent has set up, and leaves by _exit.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0);
        if pid == 0 {
            let half_a_second = libc::timeval { tv_sec: 0, tv_usec: 500_000 };
            let timer = libc::itimerval { it_interval: half_a_second, it_value: half_a_second };
            // SAFETY: plain system calls.
            unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()) };
            let refused = self.attempt(policy, family).map(|program| {
                let word = |i: &SockFilter| {
                    let mut bytes = i.code.to_ne_bytes().to_vec();
                    bytes.extend([i.jt, i.jf]);
                    bytes.extend(i.k.to_ne_bytes());
                    bytes
                };
                writer.write_all(&program.iter().flat_map(word).collect::<Vec<u8>>()).unwrap();
            });
            // SAFETY: as above.
            unsafe { libc::_exit(refused.is_err().into()) };
        }
        drop(writer);
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        let mut status = 0;
        // SAFETY: our own child.
        assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
        match status {
            0 => Ok(parse(&bytes)),
            s if libc::WIFEXITED(s) => Err(Refusal::Error),
            _ => Err(Refusal::Crash),
        }
    }

    fn attempt(&self, policy: &Policy, family: &[Arch]) -> Result<Vec<SockFilter>, c_int> {
        let context = (self.init)(policy.default_action.code());
        assert!(!context.is_null(), "{:?}", policy.default_action);
        let result = self.fill(context, policy, family).map(|()| self.program(context));
        (self.release)(context);
        result
    }

    fn fill(&self, context: Context, policy: &Policy, family: &[Arch]) -> Result<(), c_int> {
        let result = |r: c_int| if r == 0 { Ok(()) } else { Err(r) };
        for arch in family.iter().filter(|a| **a != Arch::X86_64) {
            result((self.arch_add)(context, token(*arch)))?;
        }
        if !family.contains(&Arch::X86_64) {
            result((self.arch_remove)(context, token(Arch::X86_64)))?;
        }
        if policy.syscalls.iter().map(|r| r.names.len()).sum::<usize>() > 32 {
            result((self.attr_set)(context, ATTR_OPTIMIZE, 2))?;
        }
        for rule in policy.syscalls.iter().filter(|r| r.action != policy.default_action) {
            for name in &rule.names {
                let Some(number) = self.resolve(name) else { continue };
                let twice = rule
                    .args
                    .iter()
                    .enumerate()
                    .any(|(i, a)| rule.args[..i].iter().any(|b| a.index == b.index));
                let compares: Vec<Compare> = rule.args.iter().map(compare).collect();
                for part in compares.chunks(if twice { 1 } else { 6 }) {
                    let count = part.len() as c_uint;
                    result((self.rule_add)(context, rule.action.code(), number, count, part.as_ptr()))?;
                }
                if compares.is_empty() {
                    result((self.rule_add)(context, rule.action.code(), number, 0, std::ptr::null()))?;
                }
            }
        }
        Ok(())
    }

    fn program(&self, context: Context) -> Vec<SockFilter> {
        // SAFETY: a new file descriptor.
        let fd = unsafe { libc::memfd_create(c"bpf".as_ptr(), 0) };
        // SAFETY: nothing else has this descriptor.
        let mut file = unsafe { File::from_raw_fd(fd) };
        assert_eq!((self.export)(context, file.as_raw_fd()), 0);
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        parse(&bytes)
    }
}

fn pipe() -> (File, File) {
    let mut ends = [0; 2];
    // SAFETY: two new file descriptors are written, which nothing else has.
    unsafe {
        assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0);
        (File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1]))
    }
}

/// A program from the bytes of `struct sock_filter`s.
pub fn parse(bytes: &[u8]) -> Vec<SockFilter> {
    let instruction = |b: &[u8]| SockFilter {
        code: u16::from_ne_bytes([b[0], b[1]]),
        jt: b[2],
        jf: b[3],
        k: u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
    };
    bytes.chunks_exact(8).map(instruction).collect()
}

fn token(arch: Arch) -> u32 {
    match arch {
        Arch::X32 => 0x4000_003e,
        other => other.audit().unwrap(),
    }
}

fn compare(arg: &Arg) -> Compare {
    let op = match arg.op {
        Op::Ne => 1,
        Op::Lt => 2,
        Op::Le => 3,
        Op::Eq => 4,
        Op::Ge => 5,
        Op::Gt => 6,
        Op::MaskedEq => 7,
    };
    Compare { arg: arg.index.into(), op, a: arg.value, b: arg.value_two }
}
