//! The shipped profiles, for every architecture that they are for.

use embrun::bundle::json::Json;
use embrun::seccomp::arch::Arch;
use embrun::seccomp::compile::compile;
use embrun::seccomp::policy::{Policy, policy};
use embrun::seccomp::sim::{Data, check};
use embrun::seccomp::syscalls::Call;

use crate::kernel::{Outcome, accepts, outcome};

/// `default.json` and the roles.
pub const SHIPPED: &[(&str, &str)] = &[
    ("default", include_str!("../../seccomp-profiles/default.json")),
    ("data-collector", include_str!("../../seccomp-profiles/data-collector.json")),
    ("data-processor", include_str!("../../seccomp-profiles/data-processor.json")),
    ("uplink", include_str!("../../seccomp-profiles/uplink.json")),
    ("device-controller", include_str!("../../seccomp-profiles/device-controller.json")),
    ("firmware-updater", include_str!("../../seccomp-profiles/firmware-updater.json")),
];

fn read(text: &str) -> Policy {
    policy(&Json::parse(text.as_bytes()).unwrap()).unwrap()
}

#[test]
fn none_is_forgotten() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/seccomp-profiles");
    let names = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut found: Vec<String> = names
        .filter_map(|n| n.strip_suffix(".json").filter(|n| !n.ends_with(".config")).map(str::to_owned))
        .collect();
    let mut listed: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
    found.sort_unstable();
    listed.sort_unstable();
    assert_eq!(found, listed);
}

/// A kernel checks the form of a filter, whatever architecture it is for: all of them are shown to this one. That the ARM
/// kernels agree is shown in their guests, by `integration/guest/profiles`.
#[test]
fn the_kernel_accepts_each_for_each_architecture() {
    for (name, text) in SHIPPED {
        for native in [Arch::X86_64, Arch::X86, Arch::Aarch64, Arch::Arm, Arch::Riscv64] {
            // As shipped, and by itself.
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
fn each_decides_over_native_and_32_bit_processes() {
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
            // Allowed; denied, where root would get EFAULT or EINVAL; newer than the profile.
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
