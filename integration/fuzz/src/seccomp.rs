//! A seccomp profile to a filter, beside an evaluation of the profile's rules.
//!
//! An input that is no JSON is the seed of a random policy.

use embrun::json::value::Json;
use embrun::seccomp::arch::Arch;
use embrun::seccomp::compile::{compile, listed};
use embrun::seccomp::policy::{Policy, policy};
use embrun::seccomp::sim::{Data, check, run};
use embrun::seccomp::syscalls::Call;
use embrun::sys::seccomp::SockFilter;

use crate::heap::limited;
use crate::meaning::{ENOSYS, matching, stub};
use crate::random::{self, FAMILIES, Random};

/// Checks one profile with the calls that it could distinguish.
pub fn judge(input: &[u8]) {
    let Some((seed, text)) = input.split_first_chunk::<4>() else { return };
    let mut random = Random::new(u32::from_le_bytes(*seed).into());
    let family = random.pick(FAMILIES);
    let policy = match Json::parse(text) {
        Ok(json) => match limited(text.len(), 128, || policy(&json)) {
            Ok(policy) => policy,
            Err(_) => return,
        },
        Err(_) if text.contains(&b'{') => return,
        Err(_) => {
            let hash = text.iter().fold(0u64, |n, b| n.wrapping_mul(0x100_0000_01b3) ^ u64::from(*b));
            let mut random = Random::new(hash);
            let known: Vec<Call> = Call::all().collect();
            let some: Vec<Call> = (0..40).map(|_| random.pick(&known)).collect();
            random::policy(&mut random, family, if hash % 2 == 0 { &known } else { &some })
        }
    };
    let native = family[0];
    let Ok(filter) = compile(&policy, native) else { return };
    check(&filter.program).unwrap_or_else(|e| panic!("the kernel would refuse the filter: {e}"));
    let archs: Vec<Arch> = listed(&policy, native).into_iter().filter(|a| a.audit().is_some()).collect();
    if archs.is_empty() {
        return;
    }
    let calls = random::calls(&mut random, &policy, &archs, 64);
    for (arch, data) in &calls {
        let verdict = run(&filter.program, data).0;
        let arch = actual(*arch, data.number, &archs);
        if let Some(arch) = arch {
            assert!(
                agrees(&policy, arch, &archs, data, verdict),
                "{arch:?} {data:x?}: {verdict:#x}: {policy:?}"
            );
        }
    }
    alone(&policy, native, &filter.program, &calls);
}

/// The number decides between x86_64 and x32.
///
/// `None` for an architecture that the filter does not list.
fn actual(arch: Arch, number: u32, archs: &[Arch]) -> Option<Arch> {
    let arch = match arch {
        Arch::X86_64 | Arch::X32 if number < 0x4000_0000 => Arch::X86_64,
        Arch::X86_64 | Arch::X32 if number < 0x8000_0000 => Arch::X32,
        // No call of either has such a number.
        Arch::X86_64 | Arch::X32 => return None,
        other => other,
    };
    archs.contains(&arch).then_some(arch)
}

fn agrees(policy: &Policy, arch: Arch, archs: &[Arch], data: &Data, verdict: u32) -> bool {
    if stub(policy, archs, data) == Some(verdict) {
        return true;
    }
    if Call::of(arch, data.number).is_none() {
        // A number without a call has the default action, or is newer than the profile.
        return verdict == policy.default_action.code() || verdict == ENOSYS;
    }
    let matching = matching(policy, arch, data);
    // ARM's private calls and those of x32 have ranges of their own, whose newest call counts.
    matching.contains(&verdict) || (verdict == ENOSYS && matching == [policy.default_action.code()])
}

/// Rules for other architectures never change the verdict for the native one.
fn alone(policy: &Policy, native: Arch, program: &[SockFilter], calls: &[(Arch, Data)]) {
    if native == Arch::X86_64 {
        return;
    }
    let only = Policy { architectures: Vec::new(), ..policy.clone() };
    let Ok(filter) = compile(&only, native) else { return };
    for (_, data) in calls.iter().filter(|(arch, _)| *arch == native) {
        assert_eq!(run(&filter.program, data).0, run(program, data).0, "{data:x?}: {policy:?}");
    }
}
