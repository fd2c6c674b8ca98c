//! bpf(2), as far as device programs of cgroup v2 need it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::resource::Resource;

use super::Errno;
use super::process::set_rlimit;

/// An eBPF instruction (`struct bpf_insn` of linux/bpf.h).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Instruction class, operation, and source of the second operand.
    pub code: u8,
    /// Destination register in the low four bits, source in the high ones.
    pub registers: u8,
    /// Instructions to skip for a jump, or offset in bytes for a load.
    pub offset: i16,
    /// The constant operand.
    pub immediate: i32,
}

// linux/bpf.h
const PROG_LOAD: libc::c_long = 5;
const PROG_ATTACH: libc::c_long = 8;
const PROG_DETACH: libc::c_long = 9;
const PROG_GET_FD_BY_ID: libc::c_long = 13;
const PROG_QUERY: libc::c_long = 16;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 1 << 1;
const REPLACE: u32 = 1 << 2;

/// `union bpf_attr`, larger than that of any kernel.
/// Linux 6.17 to 7.1 write beyond the end of a short one. Fields are set by offset, which is the same on every
/// architecture.
#[repr(C, align(8))]
struct Attribute([u8; 256]);

impl Attribute {
    fn new() -> Attribute {
        Attribute([0; 256])
    }

    fn word(mut self, offset: usize, value: u32) -> Attribute {
        self.0[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    fn fd(self, offset: usize, fd: BorrowedFd<'_>) -> Attribute {
        self.word(offset, fd.as_raw_fd() as u32)
    }

    fn pointer<T>(mut self, offset: usize, to: *const T) -> Attribute {
        self.0[offset..offset + 8].copy_from_slice(&(to as usize as u64).to_ne_bytes());
        self
    }

    fn read_word(&self, offset: usize) -> u32 {
        u32::from_ne_bytes([self.0[offset], self.0[offset + 1], self.0[offset + 2], self.0[offset + 3]])
    }

    /// # Safety
    /// Every pointer in the attribute that the command uses must be valid for it.
    unsafe fn call(&mut self, command: libc::c_long) -> Result<RawFd, Errno> {
        // SAFETY: the attribute has the given size and is writable; the caller guarantees its pointers.
        let done = unsafe { libc::syscall(libc::SYS_bpf, command, self.0.as_mut_ptr(), self.0.len()) };
        Errno::result(done).map(|n| n as RawFd)
    }
}

/// The number of attempts to load a program.
/// The kernel's verifier ends with EAGAIN if a signal is pending (Linux 5.0), even one that has no effect: that of a stopped and
/// continued process, of a debugger, or of a suspending machine.
const ATTEMPTS: u32 = 64;

/// Loads a device access program (Linux 4.15, CONFIG_CGROUP_BPF).
pub fn load_device_program(program: &[Instruction]) -> Result<OwnedFd, Errno> {
    let mut attribute = Attribute::new()
        .word(0, PROG_TYPE_CGROUP_DEVICE)
        .word(4, program.len() as u32)
        .pointer(8, program.as_ptr())
        .pointer(16, c"Apache-2.0".as_ptr());
    // SAFETY: instructions and licence outlive the call, with the given length and a NUL at the end.
    let mut call = || unsafe { attribute.call(PROG_LOAD) };
    let mut load = || {
        let mut done = call();
        for _ in 1..ATTEMPTS {
            if done != Err(Errno::EAGAIN) {
                break;
            }
            done = call();
        }
        done
    };
    let fd = match load() {
        Err(Errno::EPERM) => unlimited(&mut load),
        done => done,
    }?;
    // SAFETY: the kernel created this descriptor for us (close-on-exec, like all of bpf's).
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Calls `load` without a limit on locked memory.
/// Before Linux 5.11 the kernel charges programs to that limit, for all programs of the user together. The old
/// limit is restored, so that children inherit it.
fn unlimited(load: &mut dyn FnMut() -> Result<RawFd, Errno>) -> Result<RawFd, Errno> {
    let memlock = Resource::RLIMIT_MEMLOCK as u32;
    let (soft, hard) = set_rlimit(memlock, u64::MAX, u64::MAX)?;
    let done = load();
    set_rlimit(memlock, soft, hard)?;
    done
}

/// Attaches a device program to a cgroup v2 directory.
/// It is added to existing programs or replaces one of them (Linux 5.6, EINVAL before).
pub fn attach_device_program(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    replace: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    let attribute = Attribute::new().fd(0, cgroup).fd(4, program).word(8, CGROUP_DEVICE);
    let mut attribute = match replace {
        None => attribute.word(12, ALLOW_MULTI),
        Some(old) => attribute.word(12, ALLOW_MULTI | REPLACE).fd(16, old),
    };
    // SAFETY: the command takes no pointers.
    unsafe { attribute.call(PROG_ATTACH) }.map(drop)
}

/// Detaches a device program from a cgroup.
pub fn detach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut attribute = Attribute::new().fd(0, cgroup).fd(4, program).word(8, CGROUP_DEVICE);
    // SAFETY: the command takes no pointers.
    unsafe { attribute.call(PROG_DETACH) }.map(drop)
}

/// The device programs that are attached to this cgroup itself.
pub fn device_programs(cgroup: BorrowedFd<'_>) -> Result<Vec<OwnedFd>, Errno> {
    // The kernel allows 64 programs in a cgroup (BPF_CGROUP_MAX_PROGS).
    let mut ids = [0u32; 64];
    let mut attribute = Attribute::new()
        .fd(0, cgroup)
        .word(4, CGROUP_DEVICE)
        .pointer(16, ids.as_mut_ptr())
        .word(24, ids.len() as u32);
    // SAFETY: the array is writable and has as many ids as the attribute says.
    unsafe { attribute.call(PROG_QUERY) }?;
    let count = attribute.read_word(24) as usize;
    ids.iter().take(count).map(|id| program_by_id(*id)).collect()
}

fn program_by_id(id: u32) -> Result<OwnedFd, Errno> {
    let mut attribute = Attribute::new().word(0, id);
    // SAFETY: the command takes no pointers.
    let fd = unsafe { attribute.call(PROG_GET_FD_BY_ID) }?;
    // SAFETY: the kernel created this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes `program` the only device program of a cgroup.
/// The cgroup is never without one: if the kernel cannot replace a program (before Linux 5.6), the new one is
/// attached before the old ones are detached, and both apply in between.
pub fn set_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<(), Errno> {
    let old = device_programs(cgroup)?;
    if let [one] = old.as_slice() {
        match attach_device_program(cgroup, program, Some(one.as_fd())) {
            Err(Errno::EINVAL) => {}
            other => return other,
        }
    }
    attach_device_program(cgroup, program, None)?;
    old.iter().try_for_each(|one| detach_device_program(cgroup, one.as_fd()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use std::time::{Duration, Instant};

    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

    use super::*;

    static HANDLED: AtomicU32 = AtomicU32::new(0);

    extern "C" fn count(_: libc::c_int) {
        HANDLED.fetch_add(1, Ordering::Relaxed);
    }

    /// If each load is attempted only once, a few of a thousand fail.
    #[test]
    fn a_program_is_loaded_while_signals_arrive() {
        let set = |value| Instruction { code: 0xb7, registers: 0, offset: 0, immediate: value };
        let mut program: Vec<Instruction> = (0..400).map(|i| set(i & 1)).collect();
        program.push(Instruction { code: 0x95, registers: 0, offset: 0, immediate: 0 });
        if let Err(Errno::EPERM | Errno::ENOSYS) = load_device_program(&program) {
            eprintln!("SKIPPED: this process may not load programs");
            return;
        }
        let handler = |handler| SigAction::new(handler, SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler only counts. No other test uses the signal, which is ignored by default.
        unsafe { sigaction(Signal::SIGURG, &handler(SigHandler::Handler(count))) }.unwrap();
        let (process, thread) = (std::process::id() as i32, nix::unistd::gettid().as_raw());
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    // SAFETY: plain integers.
                    unsafe { libc::syscall(libc::SYS_tgkill, process, thread, libc::SIGURG) };
                    std::thread::sleep(Duration::from_millis(2));
                }
            });
            let mut failed = None;
            // Another test may have taken the handler away.
            let end = Instant::now() + Duration::from_millis(700);
            while failed.is_none() && HANDLED.load(Ordering::Relaxed) < 300 && Instant::now() < end {
                failed = load_device_program(&program).err();
            }
            done.store(true, Ordering::Relaxed);
            assert_eq!(failed, None);
        });
        // SAFETY: as before.
        unsafe { sigaction(Signal::SIGURG, &handler(SigHandler::SigDfl)) }.unwrap();
    }

    #[test]
    fn attribute_is_larger_than_the_kernels_and_passed_whole() {
        let mut attribute = Attribute::new();
        assert!(attribute.0.len() >= 2 * 120, "union bpf_attr had 120 bytes when Linux 5.6 came");
        assert!(attribute.0.iter().all(|b| *b == 0));
        // The kernel looks at all bytes that it does not know, and refuses one that is not zero.
        *attribute.0.last_mut().unwrap() = 1;
        // SAFETY: the command takes no pointers.
        let refused = unsafe { attribute.call(PROG_DETACH) }.unwrap_err();
        assert!(matches!(refused, Errno::E2BIG | Errno::EPERM | Errno::ENOSYS), "{refused}");
    }
}
