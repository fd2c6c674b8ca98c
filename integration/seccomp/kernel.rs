//! The verdicts of the kernel and of our interpreter agree.
//!
//! Children load random filters and make harmless calls: native ones, and on x86_64 also x32 ones and
//! x86 ones through the 32-bit entry of the kernel.

mod profiles;

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use crate::random::Random;
use embrun::seccomp::arch::Arch;
use embrun::seccomp::compile::compile;
use embrun::seccomp::sim::{Data, run};
use embrun::seccomp::syscalls::Call;
use embrun::sys::seccomp::{self, SockFilter};

/// System calls that have no effect, whatever their arguments are.
const HARMLESS: &[&str] =
    &["getpid", "getppid", "getuid", "geteuid", "getgid", "getegid", "gettid", "sched_yield"];

/// The result of a child, in shared memory.
struct Shared {
    stage: AtomicU32,
    result: AtomicI64,
}

#[derive(Debug, PartialEq)]
pub enum Outcome {
    Returned(i64),
    Killed(i32),
}

#[test]
fn kernel_verdicts_match_the_interpreter() {
    let harmless: Vec<Call> = HARMLESS.iter().map(|n| Call::find(n).unwrap()).collect();
    let mut made = 0;
    for seed in crate::random::seeds(150) {
        let mut random = Random::new(seed);
        let family: &[Arch] = match Arch::NATIVE {
            Arch::X86_64 => random.pick(&[
                &[Arch::X86_64][..],
                &[Arch::X86_64, Arch::X86],
                &[Arch::X86_64, Arch::X86, Arch::X32],
            ]),
            Arch::Aarch64 => &[Arch::Aarch64, Arch::Arm],
            _ => &[Arch::NATIVE],
        };
        let policy = crate::random::policy(&mut random, family, &harmless);
        let Ok(filter) = compile(&policy, Arch::NATIVE) else { continue };
        let callable: &[Arch] = if Arch::NATIVE == Arch::X86_64 {
            &[Arch::X86_64, Arch::X86, Arch::X32]
        } else {
            &[Arch::NATIVE]
        };
        for (arch, data) in crate::random::calls(&mut random, &policy, callable, 25) {
            let name = Call::of(arch, data.number).map(Call::name);
            if name.is_some_and(|n| !HARMLESS.contains(&n)) || number_is_taken(arch, data.number) {
                continue;
            }
            let expected = expected(&filter.program, &data);
            let found = outcome(&filter.program, arch, &data).expect("the kernel takes the filter");
            let same = match expected {
                // The call is made: it returns a small number, or ENOSYS.
                None => matches!(found, Outcome::Returned(n) if n >= 0 || n == -38),
                Some(ref e) => found == *e,
            };
            assert!(
                same,
                "seed {seed}: {arch:?} {name:?} {data:x?}: expected {expected:?}, the kernel has {found:?}"
            );
            made += 1;
        }
    }
    assert!(made > 0 || std::env::var_os("SEED").is_some());
    eprintln!("{made} calls");
}

/// Whether a number may belong to a call outside of our table.
///
/// It may be a call of a newer kernel or of another ABI of the same processes. On 32-bit ARM this
/// includes numbers above the ARM-private calls, which raise a signal of their own.
fn number_is_taken(arch: Arch, number: u32) -> bool {
    let bare = number & !0xc000_0000;
    let signal = arch == Arch::Arm && number >= 0xf_0000;
    Call::of(arch, number).is_none() && (signal || bare < 340 || (424..1000).contains(&bare))
}

/// The outcome of a verdict without tracer or listener; `None` if the call is made.
fn expected(program: &[SockFilter], data: &Data) -> Option<Outcome> {
    let verdict = run(program, data).0;
    Some(match verdict & 0xffff_0000 {
        0x7fff_0000 | 0x7ffc_0000 => return None,
        0x7ff0_0000 | 0x7fc0_0000 => Outcome::Returned(-38),
        0x0005_0000 => Outcome::Returned(-i64::from(verdict & 0xffff)),
        _ => Outcome::Killed(libc::SIGSYS),
    })
}

fn shared() -> &'static Shared {
    // SAFETY: new memory, initialised to zeroes.
    unsafe {
        let at = libc::mmap(
            std::ptr::null_mut(),
            size_of::<Shared>(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        assert_ne!(at, libc::MAP_FAILED);
        &*at.cast()
    }
}

/// Whether the kernel accepts a filter.
pub fn accepts(program: &[SockFilter]) -> bool {
    under(shared(), program, || 0).is_some()
}

/// The outcome of a call under a filter; `None` if the kernel refuses the filter.
pub fn outcome(program: &[SockFilter], arch: Arch, data: &Data) -> Option<Outcome> {
    under(shared(), program, || call(arch, data))
}

fn under(shared: &Shared, program: &[SockFilter], act: impl FnOnce() -> i64) -> Option<Outcome> {
    shared.stage.store(0, Ordering::SeqCst);
    // SAFETY: the child makes plain system calls only.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        // SAFETY: plain system calls.
        unsafe {
            libc::setrlimit(libc::RLIMIT_CORE, &libc::rlimit { rlim_cur: 0, rlim_max: 0 });
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        }
        if seccomp::load(program, 0).is_err() {
            // SAFETY: as above.
            unsafe { libc::_exit(1) };
        }
        shared.stage.store(1, Ordering::SeqCst);
        shared.result.store(act(), Ordering::SeqCst);
        shared.stage.store(2, Ordering::SeqCst);
        // The filter may forbid to exit.
        // SAFETY: as above.
        unsafe {
            libc::syscall(libc::SYS_exit_group, 0);
            std::ptr::null_mut::<u8>().write_volatile(0);
        }
    }
    let mut status = 0;
    // SAFETY: our own child.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    let outcome = match shared.stage.load(Ordering::SeqCst) {
        0 => None,
        1 => Some(Outcome::Killed(libc::WTERMSIG(status))),
        _ => Some(Outcome::Returned(shared.result.load(Ordering::SeqCst))),
    };
    // SAFETY: mapped by `shared` and no longer used.
    unsafe { libc::munmap(std::ptr::from_ref(shared).cast_mut().cast(), size_of::<Shared>()) };
    outcome
}

/// Makes a call as a process of an architecture would.
///
/// It returns the kernel's answer, with errors as negative numbers.
#[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))]
fn call(arch: Arch, data: &Data) -> i64 {
    #[cfg(target_arch = "x86_64")]
    if arch == Arch::X86 {
        return x86::call(data);
    }
    let a = data.args.map(|a| a as libc::c_long);
    // SAFETY: the calls are harmless.
    let answer =
        unsafe { libc::syscall(data.number as i32 as libc::c_long, a[0], a[1], a[2], a[3], a[4], a[5]) };
    // SAFETY: errno is the thread's own.
    if answer == -1 { -i64::from(unsafe { *libc::__errno_location() }) } else { answer as i64 }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::asm;

    use super::Data;

    /// The kernel's 32-bit entry, which a 64-bit process may also use.
    pub fn call(data: &Data) -> i64 {
        let args = data.args.map(|a| a as u32);
        let answer: i32;
        // SAFETY: the calls are harmless; rbx and rbp are put back, r8 to r11 may be lost.
        unsafe {
            asm!(
                "push rbx", "push rbp", "mov ebx, [r12]", "mov ebp, [r12 + 20]", "int 0x80", "pop rbp", "pop rbx",
                inlateout("eax") data.number as i32 => answer,
                in("r12") args.as_ptr(),
                in("ecx") args[1], in("edx") args[2], in("esi") args[3], in("edi") args[4],
                lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _,
            );
        }
        answer.into()
    }
}
