//! The names and numbers of system calls.
//!
//! `generate.py` writes `table.rs` from Debian's kernel headers. The binary contains a packed text with all names in
//! order and, for each architecture that the build can meet, nine bits per name: less than 4 KB in an ARM build. An
//! x86_64 build, which developers use, knows every architecture.

use super::arch::Arch;
use crate::packed;
use crate::sys::once::Once;

/// Marks a call that an architecture does not have.
const NONE: u16 = 0x1ff;

/// ARM's private calls start at 0x0f0000 and are stored as 0x1f8 and up.
const PRIVATE: u32 = 0x0f_0000;
const SHORT_PRIVATE: u16 = 0x1f8;

/// Fails to compile for a number that stands for something else.
const fn short(number: u32) -> u16 {
    assert!(number < SHORT_PRIVATE as u32 || number > NONE as u32);
    if number >= PRIVATE { SHORT_PRIVATE | (number - PRIVATE) as u16 } else { number as u16 }
}

/// An architecture's numbers, of nine bits each.
struct Numbers {
    low: [u8; COUNT],
    /// The ninth bits.
    high: [u8; COUNT.div_ceil(8)],
}

impl Numbers {
    /// Fails to compile if a number needs more bits.
    const fn of(all: &[u16; COUNT]) -> Numbers {
        let mut numbers = Numbers { low: [0; COUNT], high: [0; COUNT.div_ceil(8)] };
        let mut i = 0;
        while i < COUNT {
            assert!(all[i] <= NONE);
            numbers.low[i] = all[i] as u8;
            numbers.high[i / 8] |= ((all[i] >> 8) as u8) << (i % 8);
            i += 1;
        }
        numbers
    }

    const fn at(&self, i: usize) -> u16 {
        self.low[i] as u16 | (self.high[i / 8] as u16 >> (i % 8) & 1) << 8
    }
}

macro_rules! number {
    (_) => {
        NONE
    };
    ($n:literal) => {
        short($n)
    };
}

macro_rules! table {
    ($($name:literal $x86:tt $x86_64:tt $x32:tt $arm:tt $aarch64:tt $riscv64:tt;)*) => {
        const COUNT: usize = [$($name),*].len();
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        static X86: Numbers = Numbers::of(&[$(number!($x86)),*]);
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        static X86_64: Numbers = Numbers::of(&[$(number!($x86_64)),*]);
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        static X32: [Other; others(&X86_64, &[$(number!($x32)),*])] = list(&X86_64, &[$(number!($x32)),*]);
        #[cfg(any(target_arch = "arm", target_arch = "aarch64", target_arch = "x86_64"))]
        static ARM: Numbers = Numbers::of(&[$(number!($arm)),*]);
        #[cfg(any(target_arch = "arm", target_arch = "aarch64", target_arch = "x86_64"))]
        static AARCH64: Numbers = Numbers::of(&[$(number!($aarch64)),*]);
        #[cfg(target_arch = "riscv64")]
        static RISCV64: Numbers = Numbers::of(&[$(number!($riscv64)),*]);
        #[cfg(target_arch = "x86_64")]
        static RISCV64: [Other; others(&AARCH64, &[$(number!($riscv64)),*])] =
            list(&AARCH64, &[$(number!($riscv64)),*]);
    };
}

include!("table.rs");

/// Index and number of a call whose number differs from the base table's.
type Other = (u16, u16);

/// Counts the calls whose numbers differ.
#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
const fn others(base: &Numbers, all: &[u16; COUNT]) -> usize {
    let (mut i, mut count) = (0, 0);
    while i < COUNT {
        count += (all[i] != base.at(i)) as usize;
        i += 1;
    }
    count
}

/// Lists the calls whose numbers differ.
#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
const fn list<const N: usize>(base: &Numbers, all: &[u16; COUNT]) -> [Other; N] {
    let (mut i, mut count, mut list) = (0, 0, [(0, 0); N]);
    while i < COUNT {
        if all[i] != base.at(i) {
            list[count] = (i as u16, all[i]);
            count += 1;
        }
        i += 1;
    }
    list
}

/// All names, one on each line.
struct Names {
    text: &'static [u8],
    /// The end of each line.
    ends: Vec<u16>,
}

impl Names {
    fn at(&self, i: usize) -> &'static [u8] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] + 1 };
        &self.text[usize::from(start)..usize::from(self.ends[i])]
    }
}

/// A call that some architecture has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call(u16);

impl Call {
    /// Finds a call by its name; `None` if no architecture has it.
    pub fn find(name: &str) -> Option<Call> {
        Call::find_near(name, 0)
    }

    /// Finds a call by its name, first at this index and soon after it.
    ///
    /// Profiles list their names in order and leave few out, so the next name is close.
    pub fn find_near(name: &str, likely: usize) -> Option<Call> {
        let (mut low, mut high) = (0, COUNT);
        let (mut middle, mut step) = (likely.min(COUNT - 1), 1);
        let names = names();
        while low < high {
            match names.at(middle).cmp(name.as_bytes()) {
                std::cmp::Ordering::Equal => return Some(Call(middle as u16)),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
            middle = low + ((high - low) / 2).min(step);
            step = (step * 8).min(COUNT);
        }
        None
    }

    /// The number of known calls.
    pub const COUNT: usize = COUNT;

    /// The call's name.
    pub fn name(self) -> &'static str {
        std::str::from_utf8(names().at(self.index())).unwrap_or("")
    }

    /// The call's number; `None` if the architecture lacks it or has no table here.
    pub fn number(self, arch: Arch) -> Option<u32> {
        let (base, others) = table(arch)?;
        // A binary search, because x32 has many entries and a filter needs the number of each call several times.
        let other =
            others.get(others.partition_point(|(at, _)| *at < self.0)).filter(|(at, _)| *at == self.0);
        long(arch, other.map_or(base.at(self.index()), |(_, number)| *number))
    }

    /// Finds the call with a number on an architecture.
    pub fn of(arch: Arch, number: u32) -> Option<Call> {
        Call::all().find(|call| call.number(arch) == Some(number))
    }

    /// The call's index in the table.
    pub fn index(self) -> usize {
        self.0.into()
    }

    /// All calls, sorted by name.
    pub fn all() -> impl Iterator<Item = Call> {
        (0..COUNT).map(|i| Call(i as u16))
    }
}

impl Arch {
    /// The kernel's `AUDIT_ARCH_*` value for this architecture (`linux/audit.h`).
    /// `None` if this build does not have the architecture's call numbers.
    pub fn audit(self) -> Option<u32> {
        const LE: u32 = 0x4000_0000;
        const LE64: u32 = 0xc000_0000;
        let value = match self {
            Arch::X86 => LE | 3,
            Arch::X86_64 | Arch::X32 => LE64 | 62,
            Arch::Arm => LE | 40,
            Arch::Aarch64 => LE64 | 183,
            Arch::Riscv64 => LE64 | 243,
            _ => return None,
        };
        known(self).then_some(value)
    }
}

/// Whether this build knows the call numbers of an architecture.
pub fn known(arch: Arch) -> bool {
    table(arch).is_some()
}

fn names() -> &'static Names {
    static NAMES: Once<Names> = Once::empty();
    NAMES.get(|| {
        let text = packed!("syscalls").as_bytes();
        let mut ends = Vec::with_capacity(COUNT);
        ends.extend(text.iter().zip(0..).filter(|(byte, _)| **byte == b'\n').map(|(_, at)| at));
        Names { text, ends }
    })
}

/// Returns an architecture's numbers: a base table and the differences from it.
fn table(arch: Arch) -> Option<(&'static Numbers, &'static [Other])> {
    match arch {
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        Arch::X86 => Some((&X86, &[])),
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        Arch::X86_64 => Some((&X86_64, &[])),
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        Arch::X32 => Some((&X86_64, &X32)),
        #[cfg(any(target_arch = "arm", target_arch = "aarch64", target_arch = "x86_64"))]
        Arch::Arm => Some((&ARM, &[])),
        #[cfg(any(target_arch = "arm", target_arch = "aarch64", target_arch = "x86_64"))]
        Arch::Aarch64 => Some((&AARCH64, &[])),
        #[cfg(target_arch = "riscv64")]
        Arch::Riscv64 => Some((&RISCV64, &[])),
        #[cfg(target_arch = "x86_64")]
        Arch::Riscv64 => Some((&AARCH64, &RISCV64)),
        _ => None,
    }
}

fn long(arch: Arch, short: u16) -> Option<u32> {
    match (arch, u32::from(short)) {
        (_, n) if n == u32::from(NONE) => None,
        (Arch::X32, n) => Some(n | super::arch::X32_BIT),
        (_, n) if n >= SHORT_PRIVATE.into() => Some(PRIVATE | (n & 7)),
        (_, n) => Some(n),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_found() {
        for (i, call) in Call::all().enumerate() {
            assert_eq!(Call::find(call.name()), Some(call));
            for likely in [0, i.saturating_sub(9), i, i + 1, COUNT, usize::MAX] {
                assert_eq!(Call::find_near(call.name(), likely), Some(call));
            }
            assert!(i == 0 || names().at(i - 1) < call.name().as_bytes());
        }
        assert_eq!(Call::find("embrun"), None);
        assert_eq!(Call::find(""), None);
    }

    #[test]
    fn native_numbers_agree_with_the_c_library() {
        for (name, number) in [
            ("read", libc::SYS_read),
            ("clone3", libc::SYS_clone3),
            ("openat2", libc::SYS_openat2),
            ("pidfd_open", libc::SYS_pidfd_open),
            ("execve", libc::SYS_execve),
        ] {
            assert_eq!(Call::find(name).unwrap().number(Arch::NATIVE), Some(number as u32), "{name}");
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn numbers_of_private_foreign_and_missing_calls_are_right() {
        let number = |name, arch| Call::find(name).unwrap().number(arch);
        assert_eq!(number("cacheflush", Arch::Arm), Some(0xf0002));
        assert_eq!(number("readv", Arch::X32), Some(0x4000_0203));
        assert_eq!(number("accept", Arch::X86), None);
        assert_eq!(number("riscv_flush_icache", Arch::Riscv64), Some(259));
        assert_eq!(number("read", Arch::Mips), None);
        assert_eq!(Call::of(Arch::Arm, 0xf0002).map(Call::name), Some("cacheflush"));
    }
}
