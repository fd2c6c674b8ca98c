//! The shipped profiles, for every architecture that they support.

use embrun::json::value::Json;
use embrun::seccomp::arch::Arch;
use embrun::seccomp::compile::compile;
use embrun::seccomp::policy::{Policy, policy};
use embrun::seccomp::sim::{Data, check};
use embrun::seccomp::syscalls::Call;

use super::{Outcome, accepts, outcome};
use crate::catalogue::SHIPPED;

fn read(text: &str) -> Policy {
    policy(&Json::parse(text.as_bytes()).unwrap()).unwrap()
}

/// A kernel checks the form of a filter for any architecture.
///
/// So this kernel checks them all. ARM kernels check them in their guests.
#[test]
fn kernel_accepts_every_profile_for_every_architecture() {
    for (name, text) in SHIPPED {
        for native in [Arch::X86_64, Arch::X86, Arch::Aarch64, Arch::Arm, Arch::Riscv64] {
            // As shipped, and for one architecture only.
            for architectures in [read(text).architectures, Vec::new()] {
                let policy = Policy { architectures, ..read(text) };
                let filter = compile(&policy, native).unwrap();
                check(&filter.program).unwrap_or_else(|e| panic!("{name} for {native:?}: {e}"));
                assert!(accepts(&filter.program), "{name} for {native:?}");
            }
        }
    }
}

#[test]
fn every_profile_filters_native_and_32_bit_processes() {
    let callable: &[Arch] =
        if Arch::NATIVE == Arch::X86_64 { &[Arch::X86_64, Arch::X86] } else { &[Arch::NATIVE] };
    for (name, text) in SHIPPED {
        let policy = read(text);
        let filter = compile(&policy, Arch::NATIVE).unwrap();
        for arch in callable {
            let made = |call: &str| {
                let number = Call::find(call).and_then(|c| c.number(*arch)).unwrap();
                let data = Data { number, audit: arch.audit().unwrap(), args: [0; 6] };
                outcome(&filter.program, *arch, &data).expect("the kernel takes the filter")
            };
            if *arch != Arch::NATIVE && !policy.architectures.contains(arch) {
                assert_eq!(made("getpid"), Outcome::Killed(libc::SIGSYS), "{name}: {arch:?}");
                continue;
            }
            // One call is allowed. One is denied, where root would get EFAULT or EINVAL. One is newer than the
            // profile.
            assert!(matches!(made("getpid"), Outcome::Returned(1..)), "{name}: {arch:?}");
            for denied in ["mount", "init_module", "kexec_load", "settimeofday"] {
                assert_eq!(made(denied), Outcome::Returned(-1), "{name}: {arch:?}: {denied}");
            }
            let data = Data { number: 900, audit: arch.audit().unwrap(), args: [0; 6] };
            let found = outcome(&filter.program, *arch, &data);
            assert_eq!(found, Some(Outcome::Returned(-38)), "{name}: {arch:?}");
        }
    }
}
