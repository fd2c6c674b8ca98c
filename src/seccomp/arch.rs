//! Architectures: the spec's names and the kernel's numbers.

use crate::text::names::{NameTable, word};

/// The bit that the number of every x32 call has.
///
/// x32 has the same audit architecture as x86_64.
pub const X32_BIT: u32 = 0x4000_0000;

macro_rules! archs {
    ($($arch:ident $name:literal;)*) => {
        /// An architecture that a policy can name.
        #[allow(missing_docs)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Arch {
            $($arch),*
        }

        /// Every architecture and its name in the spec.
        pub static ALL: NameTable<Arch> =
            NameTable { text: concat!($("SCMP_ARCH_", $name, " "),*), values: &[$(Arch::$arch),*] };
    };
}

archs! {
    X86 "X86";
    X86_64 "X86_64";
    X32 "X32";
    Arm "ARM";
    Aarch64 "AARCH64";
    Mips "MIPS";
    Mips64 "MIPS64";
    Mips64n32 "MIPS64N32";
    Mipsel "MIPSEL";
    Mipsel64 "MIPSEL64";
    Mipsel64n32 "MIPSEL64N32";
    Ppc "PPC";
    Ppc64 "PPC64";
    Ppc64le "PPC64LE";
    S390 "S390";
    S390x "S390X";
    Parisc "PARISC";
    Parisc64 "PARISC64";
    Riscv64 "RISCV64";
    Loongarch64 "LOONGARCH64";
    M68k "M68K";
    Sh "SH";
    Sheb "SHEB";
}

impl Arch {
    /// The architecture that this build is for.
    pub const NATIVE: Arch = if cfg!(target_arch = "x86_64") {
        Arch::X86_64
    } else if cfg!(target_arch = "x86") {
        Arch::X86
    } else if cfg!(target_arch = "aarch64") {
        Arch::Aarch64
    } else if cfg!(target_arch = "arm") {
        Arch::Arm
    } else if cfg!(target_arch = "riscv64") {
        Arch::Riscv64
    } else {
        panic!("seccomp has no system call table for this architecture")
    };

    /// Finds the architecture that the spec calls `name` (`SCMP_ARCH_X86_64`).
    pub fn from_name(name: &str) -> Option<Arch> {
        ALL.get(name)
    }

    /// The spec's name.
    pub fn name(self) -> &'static str {
        word(ALL.text, self as usize)
    }

    /// Whether one kernel can run processes of both architectures.
    ///
    /// Only then can one filter see calls of both.
    pub fn runs_beside(self, other: Arch) -> bool {
        let family = |arch| match arch {
            Arch::X86 | Arch::X86_64 | Arch::X32 => 1,
            Arch::Arm | Arch::Aarch64 => 2,
            Arch::Riscv64 => 3,
            _ => 0,
        };
        family(self) == family(other)
    }

    /// Whether calls use all 64 bits of an argument.
    /// x32 passes 64 bits, but its calls use only the lower half.
    pub fn wide(self) -> bool {
        matches!(self, Arch::X86_64 | Arch::Aarch64 | Arch::Riscv64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_architectures_convert_both_ways() {
        for (name, arch) in ALL.pairs() {
            assert_eq!(Arch::from_name(name), Some(arch));
            assert_eq!(arch.name(), name);
        }
        assert_eq!(Arch::from_name("SCMP_ARCH_NATIVE"), None);
        assert!(Arch::NATIVE.audit().is_some());
    }
}
