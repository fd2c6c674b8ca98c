//! Reports a fault of this program itself.
//!
//! In a release build a panic is one invalid instruction (`docs/size.md` gives the price of its texts). We print a
//! line with the address of the instruction, which the release's `embrun.map` resolves to a function. This is more
//! information than a panic message in a binary without line numbers.

use super::signal::set_action;

/// Installs a handler that reports such an instruction on stderr.
/// The process still dies from the signal.
pub fn tell() {
    let (handler, flags) = (print as extern "C" fn(_, _, _) as usize, libc::SA_SIGINFO | libc::SA_RESETHAND);
    // On arm64 the instruction is a breakpoint.
    for signal in [libc::SIGILL, libc::SIGTRAP] {
        // SAFETY: the handler only calls write(2), and is uninstalled when it runs.
        unsafe { set_action(signal, handler, flags) };
    }
}

/// Prints the line; then the instruction runs again, without a handler.
extern "C" fn print(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    const TEXT: &str =
        concat!("embrun ", env!("CARGO_PKG_VERSION"), ": a fault of this program, please report it: 0x");
    // SAFETY: the kernel passes a siginfo with the address of the instruction.
    let mut address = unsafe { (*info).si_addr() } as usize;
    let mut line = [b'0'; TEXT.len() + 2 * size_of::<usize>() + 1];
    line[..TEXT.len()].copy_from_slice(TEXT.as_bytes());
    for digit in line[TEXT.len()..].iter_mut().rev().skip(1) {
        *digit = b"0123456789abcdef"[address % 16];
        address /= 16;
    }
    line[TEXT.len() + 2 * size_of::<usize>()] = b'\n';
    // SAFETY: pointer and length of the line.
    unsafe { libc::write(2, line.as_ptr().cast(), line.len()) };
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    #[test]
    fn invalid_instruction_is_reported_with_its_address() {
        if std::env::var_os("EMBRUN_TEST_FAULT").is_some() {
            super::tell();
            // SAFETY: ends the process.
            unsafe {
                #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
                std::arch::asm!("ud2");
                #[cfg(target_arch = "aarch64")]
                std::arch::asm!("brk #1");
                #[cfg(target_arch = "arm")]
                std::arch::asm!("udf #0");
                #[cfg(target_arch = "riscv64")]
                std::arch::asm!("unimp");
            }
        }
        let test = "sys::fault::tests::invalid_instruction_is_reported_with_its_address";
        let out = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env("EMBRUN_TEST_FAULT", "1")
            .output()
            .unwrap();
        assert!(matches!(out.status.signal(), Some(libc::SIGILL | libc::SIGTRAP)), "{out:?}");
        let told = String::from_utf8(out.stderr).unwrap();
        let (_, address) = told.split_once("please report it: 0x").expect(&told);
        assert_ne!(usize::from_str_radix(address.lines().next().unwrap(), 16).unwrap(), 0);
    }
}
