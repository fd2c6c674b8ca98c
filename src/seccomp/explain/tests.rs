//! The reason for a verdict, and the filter as text.

use super::super::tests::{arg, engines_default, policy};
use super::*;

#[test]
fn explanations_name_the_deciding_rule() {
    let p = engines_default();
    let why = |call, args: &[u64]| explain(&p, Arch::X86_64, Arch::X86_64, call, args).unwrap();
    let text = why("clone", &[0x1000_0000]);
    assert!(
        text.starts_with(
            "clone, number 56 of SCMP_ARCH_X86_64: SCMP_ACT_ERRNO 1: operation not permitted (EPERM)\n"
        ),
        "{text}"
    );
    assert!(
        text.contains("args[0] & 0x7e020000 == 0x0 fails for 0x10000000\nbecause: defaultAction"),
        "{text}"
    );
    assert!(why("clone", &[0]).contains("(args[0] & 0x7e020000 == 0x0)"));
    assert!(why("read", &[]).contains("SCMP_ACT_ALLOW\nbecause: syscalls[0] (always)"));
    assert!(why("bpf", &[]).contains("because: defaultAction (SCMP_ACT_ERRNO)"));
    let text = why("listns", &[]);
    assert!(
        text.contains("SCMP_ACT_ERRNO 38") && text.contains("because: newer than all that the policy names"),
        "{text}"
    );
    let text = explain(&p, Arch::X86_64, Arch::Arm, "read", &[]).unwrap();
    assert!(text.contains("SCMP_ACT_KILL\nbecause: architectures does not list SCMP_ARCH_ARM"), "{text}");
    assert!(text.starts_with("read, number 3 of SCMP_ARCH_ARM: "), "{text}");
    let text = explain(&p, Arch::Arm, Arch::Arm, "0x3", &[]).unwrap();
    assert!(
        text.starts_with("read, number 3 of SCMP_ARCH_ARM on a machine of SCMP_ARCH_ARM: SCMP_ACT_ALLOW"),
        "{text}"
    );
    assert!(explain(&p, Arch::X86_64, Arch::X86_64, "warp", &[]).is_err());
    assert!(explain(&p, Arch::X86_64, Arch::X86_64, "0x100000000", &[]).is_err());
    assert!(explain(&p, Arch::X86_64, Arch::X86, "accept", &[]).is_err());
    let e = dump(&p, Arch::Mips).unwrap_err().to_string();
    assert_eq!(e, "the system calls of SCMP_ARCH_MIPS are not known to this build");
    let text = dump(&p, Arch::Aarch64).unwrap();
    assert!(text.contains("A = architecture") && text.contains("return SCMP_ACT_ALLOW"), "{text}");
}

#[test]
fn explanations_use_32_bits_of_arguments_where_the_filter_does() {
    let p = policy(Action::Allow, &[(&["personality"], Action::Errno(1), &[arg(0, Op::Eq, 8)])]);
    let why = |arch, v| explain(&p, arch, arch, "personality", &[v]).unwrap();
    let text = why(Arch::Arm, 1 << 32 | 8);
    assert!(
        text.contains("SCMP_ACT_ERRNO 1") && text.contains("because: syscalls[0] (args[0] == 0x8)"),
        "{text}"
    );
    let text = why(Arch::Arm, 1 << 32 | 9);
    assert!(text.contains("fails for 0x9\nbecause: defaultAction (SCMP_ACT_ALLOW)"), "{text}");
    let text = why(Arch::Aarch64, 1 << 32 | 8);
    assert!(text.contains("fails for 0x100000008\nbecause: defaultAction"), "{text}");
}

#[test]
#[cfg(target_arch = "x86_64")]
fn explanations_recognise_x32_by_its_number() {
    let mut p = policy(Action::Errno(1), &[(&["read", "readv"], Action::Allow, &[])]);
    p.architectures = vec![Arch::X86_64];
    let mut open = policy(Action::Allow, &[]);
    open.architectures = vec![Arch::X86_64];
    let mut x32 = policy(Action::Errno(1), &[(&["readv"], Action::Allow, &[])]);
    x32.architectures = vec![Arch::X86_64, Arch::X32];
    let unlisted = "SCMP_ACT_KILL\nbecause: architectures does not list SCMP_ARCH_X32\n";
    let unheard = "because: newer than all that the policy names";
    for (p, arch, number, begins, holds) in [
        (&p, Arch::X86_64, "0x40000000", "read, number 1073741824 of SCMP_ARCH_X32: ", unlisted),
        (&p, Arch::X32, "0x40000203", "readv, number 1073742339 of SCMP_ARCH_X32: ", unlisted),
        (&p, Arch::X32, "19", "readv, number 19 of SCMP_ARCH_X86_64: ", "because: syscalls[0] (always)"),
        (&p, Arch::X86_64, "0x80000000", "no known call, number 2147483648 of SCMP_ARCH_X86_64: ", unheard),
        (
            &p,
            Arch::X86_64,
            "0xffffffff",
            "no known call, number 4294967295 of SCMP_ARCH_X86_64: ",
            "defaultAction",
        ),
        (
            &open,
            Arch::X86_64,
            "0x80000000",
            "no known call, number 2147483648 of SCMP_ARCH_X86_64: ",
            unlisted,
        ),
        (
            &x32,
            Arch::X86_64,
            "0x40000203",
            "readv, number 1073742339 of SCMP_ARCH_X32: ",
            "syscalls[0] (always)",
        ),
        (&x32, Arch::X86_64, "0x40000000", "read, number 1073741824 of SCMP_ARCH_X32: ", unheard),
        (&x32, Arch::X32, "0xffffffff", "no known call, number 4294967295 of SCMP_ARCH_X32: ", unheard),
    ] {
        let text = explain(p, Arch::X86_64, arch, number, &[]).unwrap();
        assert!(text.starts_with(begins) && text.contains(holds), "{number}: {text}");
    }
}
